package source

import (
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
)

func TestNeeded(t *testing.T) {
	for dir, want := range map[string]bool{
		"": true, "base": true, "pg_wal": true, "global": true, "base/5": true, "pg_multixact/members": true,
		"pg_tblspc/16390": true, "pg_tblspc/16390/PG_15_202209061": true, "pg_tblspc/16390/PG_15_202209061/5": true,
		"pg_wal/lost+found": false, "base/lost+found": false, "base/5/x": false, "base/pgsql_tmp": false,
		"pg_tblspc/16390/lost+found": false, "pg_tblspc/16390/PG_15_202209061/lost+found": false, "pg_tblspc/lost+found": false,
		"lost+found": false, "log": false, "pg_log": false, "5": false,
	} {
		if got := needed(dir); got != want {
			t.Errorf("needed(%q) is %v, want %v", dir, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	utf8, latin1 := session{server: server{encoding: "UTF8"}}, session{server: server{encoding: "LATIN1"}}
	for name, want := range map[string][2]bool{
		"base/5": {true, true}, "übung": {true, false}, "\xfcbung": {false, false}, "": {true, true},
	} {
		if got := [2]bool{utf8.plain(name), latin1.plain(name)}; got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

func TestPausesEnd(t *testing.T) {
	p := newPauses(3 * time.Second)
	for range 2 {
		p.Reset()
		var sum time.Duration
		for n := 0; ; n++ {
			next := p.NextBackOff()
			if next == backoff.Stop {
				break
			}
			if sum += next; sum > 3*time.Second || n > 100 {
				t.Fatalf("%d pauses add up to %v", n+1, sum)
			}
		}
		if sum < time.Second {
			t.Errorf("the pauses add up to %v only", sum)
		}
	}
	if newPauses(-1).NextBackOff() != backoff.Stop {
		t.Error("a negative limit allows a pause")
	}
}
