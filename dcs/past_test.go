package dcs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

func TestPast(t *testing.T) {
	l := newLab(t)
	begun := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for i := range 7 {
		r := dcs.PastRejoin{Scope: "lab", Member: fmt.Sprintf("n%d", i), Started: begun.Add(time.Duration(i) * time.Second), Outcome: "rejoined"}
		if err := l.client.Remember(t.Context(), r, 4); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.client.Past(t.Context(), 0)
	if err != nil || len(list) != 4 || list[0].Member != "n6" || list[3].Member != "n3" {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err = l.client.Past(t.Context(), 2); err != nil || len(list) != 2 || list[1].Member != "n5" {
		t.Errorf("the newest two: %+v, %v", list, err)
	}
	key := "/failback/lab/history/" + list[0].ID()
	if _, err := l.admin.Put(t.Context(), key, `{"version":2}`); err != nil {
		t.Fatal(err)
	}
	list, err = l.client.Past(t.Context(), 0)
	if !errors.Is(err, dcs.ErrMalformed) || !strings.Contains(err.Error(), key) || len(list) != 3 {
		t.Errorf("one cannot be read: %+v, %v", list, err)
	}
}

func FuzzDecodePastRejoin(f *testing.F) {
	good, err := dcs.PastRejoin{Scope: "s", Member: "n1", Started: time.Unix(1, 0), Error: "a\nb", LostBytes: 1}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"started":"2026-11-21T10:00:00Z","member":"` + strings.Repeat("ä", 300) + `","error":"` + strings.Repeat("\\u0001😀", 1500) + `"}`))
	f.Add([]byte(`{"version":1,"member":"\u001b[2J","started":"2026-11-21T10:00:00Z","lost_bytes":-5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dcs.DecodePastRejoin(b)
		if err != nil {
			return
		}
		for _, s := range []string{r.Scope, r.Member, r.Host, r.Leader, r.Outcome, r.Error, r.Reason, r.Strategy, r.Fork, r.Salvaged, r.Program} {
			fitForALine(t, s)
		}
		if r.FetchedBytes < 0 || r.LostBytes < 0 || r.LostCommits < 0 {
			t.Errorf("negative: %+v", r)
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := dcs.DecodePastRejoin(again); err != nil || same != r {
			t.Errorf("got %+v (%v) again, first %+v", same, err, r)
		}
	})
}
