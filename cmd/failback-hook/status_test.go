package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// shownSurvey is a cluster in which everything is to be seen.
func shownSurvey() dcs.Survey {
	n := func(v int64) *int64 { return &v }
	since := time.Now().UTC().Add(-time.Minute)
	return dcs.Survey{
		Topology: dcs.Topology{
			Scope: "main", Revision: 4711, SystemID: 7710524822113234669, Leader: &dcs.Leader{Name: "n2"}, Config: dcs.Config{Paused: true},
			Members: []dcs.Member{
				{Name: "n1", Role: dcs.RoleReplica, State: "running", Timeline: 1, LSN: 0x3000100},
				{Name: "n2", Role: dcs.RolePrimary, State: "running", Timeline: 2, LSN: 0x5000000},
				{Name: "n3", Role: dcs.RoleReplica, State: "running", Timeline: 2, LSN: 0x4000000},
				{Name: "n4\x1b[2J", Role: dcs.RoleUnknown},
			},
		},
		Stands: []dcs.Stand{
			{Standing: dcs.StandingDiverged, Diverged: n(256), Fork: &dcs.Switch{Timeline: 1, LSN: 0x3000000}, Why: "timeline 1 ended at 0/3000000 for the leader"},
			{Standing: dcs.StandingLeads}, {Standing: dcs.StandingStreams, Behind: n(16 << 20)},
			{Standing: dcs.StandingUnknown, Why: "its manager reports no timeline"},
		},
		AtWork: []dcs.Holder{{Key: "/failback/main/nodes/n1", Hangs: true, Owner: dcs.Owner{Member: "n1", Host: "db1", PID: 12, Operation: "rejoin", Leader: "n2", Since: since,
			Progress: &dcs.Progress{Phase: "copy", Done: 1 << 30, Total: 2 << 30, Still: 90}}}},
		Queue: []dcs.Holder{{Key: "/failback/main/queue/n2/n5", Forgotten: true, Owner: dcs.Owner{Member: "n5", Operation: "rejoin", Leader: "n2"}}},
	}
}

func TestRenderStatus(t *testing.T) {
	s := statusOf(shownSurvey(), errors.New("etcd is away"))
	s.At = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s.AtWork[0].Since = s.At.Add(-time.Minute)
	var b bytes.Buffer
	renderStatus(&b, s)
	golden(t, "status.txt", b.String())
	b.Reset()
	printJSON(&b, s)
	golden(t, "status.json", b.String())

	b.Reset()
	renderStatus(&b, statusOf(dcs.Survey{Topology: dcs.Topology{Scope: "main"}}, nil))
	if got := b.String(); !strings.Contains(got, "main: nobody leads") || !strings.Contains(got, "Nobody is being rejoined, and nobody waits.") {
		t.Errorf("got %s", got)
	}
}

func TestRenderHistory(t *testing.T) {
	begun := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	first := dcs.PastRejoin{Scope: "main", Member: "n1", Leader: "n2", Started: begun, Finished: begun.Add(83 * time.Second), Outcome: "rejoined", Strategy: "wal",
		Fork: "timeline 1 at " + pg.LSN(0x3000000).String(), FetchedBytes: 5 << 20, LostBytes: 256, LostCommits: 2, Salvaged: "/var/lib/failback/1"}
	second := dcs.PastRejoin{Scope: "main", Member: "n3", Started: begun.Add(time.Hour), Finished: begun.Add(time.Hour + time.Second), Outcome: "failed", Error: "plan: no space left"}
	past := pastRejoins{Scope: "main", Rejoins: newestFirst([]dcs.PastRejoin{first, second, first}, 0), Problems: []string{"etcd cannot be reached"}}
	if len(past.Rejoins) != 2 || len(newestFirst(past.Rejoins, 1)) != 1 {
		t.Errorf("%d records", len(past.Rejoins))
	}
	var b bytes.Buffer
	renderHistory(&b, past)
	golden(t, "history.txt", b.String())
	b.Reset()
	renderHistory(&b, pastRejoins{Scope: "main"})
	if b.String() != "No rejoin of main is on record.\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestStatusUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"scope is not set":               {"status"},
		`status: unexpected argument`:    {"status", "x", "--scope", "a"},
		"history: unexpected argument":   {"history", "x"},
		"--limit: -1 is negative":        {"history", "--limit", "-1"},
		"etcd: endpoints:":               {"status", "--scope", "a", "--etcd-endpoints", "ftp://x"},
		"state_dir (--state-dir): \"x\"": {"--state-dir", "x", "--scope", "a", "--name", "b", "-D", "/c"},
	} {
		if got := run(t, nil, nil, args...); got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: %+v, want %q", args, got, want)
		}
	}
	for _, command := range []string{"status", "history"} {
		got := run(t, nil, nil, command, "--help")
		if got.code != 0 || !strings.Contains(got.stdout, "EXAMPLES") {
			t.Errorf("%s --help: %+v", command, got)
		}
		for line := range strings.Lines(got.stdout) {
			if len(strings.TrimRight(line, "\n")) > helpWidth {
				t.Errorf("too wide: %s", line)
			}
		}
	}
}

// History is of use without etcd.
func TestHistoryLocal(t *testing.T) {
	got := run(t, nil, map[string]string{"XDG_STATE_HOME": t.TempDir()}, "history", "--local", "--scope", "main", "-o", "json")
	if got.code != 0 || !strings.Contains(got.stdout, `"rejoins": []`) {
		t.Errorf("%+v", got)
	}
}
