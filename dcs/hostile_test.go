package dcs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// shownText fails for what is not fit to be shown in a line.
func shownText(t *testing.T, most int, words ...string) {
	t.Helper()
	for _, s := range words {
		if len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%.100q (%d bytes) is not fit for a line", s, len(s))
		}
	}
}

// Anybody who may write below our prefix may write anything.
func FuzzDecodeOwner(f *testing.F) {
	good, err := json.Marshal(Owner{Member: "n1", Host: "db1", PID: 7, Operation: "rejoin", Leader: "n2", Since: time.Unix(1, 0), Progress: &Progress{Phase: "copy", Done: 1, Total: 2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/failback/lab/nodes/n1", good)
	f.Add("/failback/lab/nodes/%0A%1b", []byte(`{"pid":-1,"host":"a\nb","operation":"\u001b[2J","progress":{"phase":"\u0000","done":-1,"total":-9,"still_seconds":9223372036854775807}}`))
	f.Add("/failback/lab/queue/n2/"+strings.Repeat("x", 10000), []byte(`{`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		o := decodeOwner(key, value)
		shownText(t, 3*maxWord+10, o.Member, o.Host, o.Operation, o.Leader, o.Version)
		if o.PID < 0 {
			t.Errorf("process %d", o.PID)
		}
		if p := o.Progress; p != nil {
			if p.Done < 0 || p.Total < 0 || p.Still < 0 {
				t.Errorf("progress %+v", p)
			}
			shownText(t, 4*maxWord, p.String())
			p.Hangs()
		}
		e := &LockedError{Key: "k", Owner: o}
		shownText(t, 30*maxWord, e.Error())
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add([]byte(`[[1,53697008,"no recovery target specified","2026-11-21T07:35:29.181924+00:00","n2"],[2,53697009,"x"]]`))
	f.Add([]byte(`[[4294967295,18446744073709551615,"a\nb","not a time",7]]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseHistory(b)
		if err != nil {
			return
		}
		for i, s := range list {
			shownText(t, 3*maxWord+10, s.Reason, s.Leader)
			if s.Timeline == 0 || i > 0 && s.Timeline <= list[i-1].Timeline {
				t.Errorf("entry %d: %+v", i, s)
			}
		}
		leader := &Member{Name: "l", Timeline: 9, LSN: 1 << 40}
		for _, m := range []Member{{Name: "a", Timeline: 1, LSN: 1}, {Name: "a", Timeline: 5, LSN: 1 << 63}, {Name: "l"}} {
			if s := stand(m, leader, list); s.Standing == "" || s.Diverged != nil && *s.Diverged < 0 && m.LSN < 1<<62 || s.Behind != nil && *s.Behind < 0 {
				t.Errorf("%+v stands %+v", m, s)
			}
		}
	})
}

func FuzzSplitConnURL(f *testing.F) {
	for _, s := range []string{"postgres://u:p@a:1,b:2/db?password=x", "postgresql://[fe80::1%25eth0]:5/", "postgres://%2Ftmp", "postgres://a%2Cb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, host, port, err := splitConnURL(s)
		if err != nil {
			return
		}
		if port == 0 || host == "" || strings.HasPrefix(host, "/") || strings.ContainsFunc(host, notInHost) {
			t.Errorf("%q: host %q, port %d", s, host, port)
		}
	})
}
