package hook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// A run that did something is on record in both places, however it ended.
func TestRunsAreRemembered(t *testing.T) {
	tests := []struct {
		name    string
		setup   func(*stage)
		outcome string
		failed  string
	}{
		{"rejoined", func(s *stage) { s.on["release"] = s.streams(2) }, "rejoined", ""},
		{"failed", func(s *stage) { s.fail["apply"] = errors.New("disk\non fire") }, "failed", "disk; on fire"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.hook.Config.StateDir = t.TempDir()
			s.plan.Fork = pg.Fork{Timeline: 1, LSN: 0x3000060}
			s.plan.Lost = rewind.Lost{Bytes: 77, Commits: 7}
			tt.setup(s)
			report, _ := s.hook.Rejoin(t.Context())
			here, err := PastHere{Dir: s.hook.Config.StateDir}.List("main", 0)
			must(t, err)
			if len(s.past) != 1 || len(here) != 1 || here[0].ID() != s.past[0].ID() || strings.Contains(fmt.Sprint(report.Warnings), "record") {
				t.Fatalf("in etcd %d, here %+v, warnings %q", len(s.past), here, report.Warnings)
			}
			r := here[0]
			if r.Outcome != tt.outcome || !strings.Contains(r.Error, tt.failed) || (tt.failed == "") != (r.Error == "") {
				t.Errorf("outcome %q, error %q", r.Outcome, r.Error)
			}
			if r.Member != "n1" || r.Leader != "n2" || r.Fork != "timeline 1 at 0/3000060" || r.LostCommits != 7 || r.Reason == "" || r.Strategy != "wal" {
				t.Errorf("got %+v", r)
			}
		})
	}
	t.Run("cannot be written", func(t *testing.T) {
		s := newStage(t)
		s.hook.Config.StateDir = filepath.Join(t.TempDir(), "file")
		write(t, s.hook.Config.StateDir, "")
		s.fail["remember"] = dcs.ErrUnavailable
		s.on["release"] = s.streams(2)
		report, err := s.hook.Rejoin(t.Context())
		must(t, err)
		if len(report.Warnings) != 2 || report.Outcome != OutcomeRejoined {
			t.Errorf("got outcome %q, warnings %q", report.Outcome, report.Warnings)
		}
	})
	t.Run("nothing was done", func(t *testing.T) {
		s := newStage(t)
		s.fail["open source"] = rewind.ErrSourceAuth
		if _, err := s.hook.Rejoin(t.Context()); err == nil || len(s.past) != 0 {
			t.Errorf("got %v, %d records", err, len(s.past))
		}
	})
}

func TestPastHere(t *testing.T) {
	p := PastHere{Dir: t.TempDir()}
	begun := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	const scope = "../../etc/x" // stays below
	for i := range mostPast + 3 {
		must(t, p.Add(dcs.PastRejoin{Scope: scope, Member: fmt.Sprintf("../n%d", i%3), Started: begun.Add(time.Duration(i) * time.Minute), Outcome: "rejoined"}))
	}
	list, err := p.List(scope, 0)
	must(t, err)
	if len(list) != mostPast || !list[0].Started.Equal(begun.Add((mostPast+2)*time.Minute)) || !list[mostPast-1].Started.Equal(begun.Add(3*time.Minute)) {
		t.Errorf("%d records from %s to %s", len(list), list[len(list)-1].Started, list[0].Started)
	}
	var outside []string
	must(t, filepath.WalkDir(p.Dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			outside = append(outside, strings.TrimPrefix(path, p.Dir))
		}
		return err
	}))
	if diff := cmp.Diff([]string{"", "/history", "/history/scope-..%2F..%2Fetc%2Fx"}, outside); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	// What cannot be read is named and hides nothing else.
	newest := filepath.Join(p.dir(scope), list[0].ID()+".json")
	write(t, newest, "{")
	got, err := p.List(scope, 2)
	if !errors.Is(err, dcs.ErrMalformed) || !strings.Contains(err.Error(), newest) || len(got) != 1 || got[0].ID() != list[1].ID() {
		t.Errorf("got %+v, %v", got, err)
	}
	if none, err := p.List("other", 0); none != nil || err != nil {
		t.Errorf("of another cluster: %v, %v", none, err)
	}
}
