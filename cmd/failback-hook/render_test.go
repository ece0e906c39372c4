package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// samplePlan is a failover as it happens: timeline 1 forked at 0/3000148.
func samplePlan() *rewind.Plan {
	when := time.Date(2026, 11, 21, 3, 14, 15, 926e6, time.FixedZone("", 3600))
	return &rewind.Plan{
		Format:   rewind.PlanFormat,
		SystemID: 7512345678901234567,
		Strategy: rewind.StrategyWAL,
		Reason:   "the WAL since the last common checkpoint is all here, and checksums are on",
		Target:   rewind.Side{Timeline: 1, State: "shut down", EndOfWAL: 0x5A000060, Bytes: 6 << 30},
		Source:   rewind.Side{Timeline: 2, State: "in production", EndOfWAL: 0x61000000, Bytes: 6 << 30},
		Fork:     pg.Fork{LSN: 0x3000148, Timeline: 1},
		Replay:   rewind.Checkpoint{LSN: 0x2000060, Redo: 0x2000028, Timeline: 1},
		Entries: []rewind.Entry{
			{Path: "base/5/99999", Action: rewind.ActionCopy, Kind: rewind.KindFile, SourceSize: 8192},
			{Path: "base/5/1259", Action: rewind.ActionBlocks, Kind: rewind.KindFile, Blocks: []rewind.BlockRun{{First: 0, Count: 3}}},
			{Path: "base/5/1249", Action: rewind.ActionTail, Kind: rewind.KindFile, Blocks: []rewind.BlockRun{{First: 7, Count: 1}}},
		},
		WAL: rewind.WALPlan{
			Fetch: []rewind.File{
				{Path: "pg_wal/00000002.history", Kind: rewind.KindFile}, {Path: "pg_wal/000000020000000000000003", Kind: rewind.KindFile},
			},
			SetAside: []string{"pg_wal/000000010000000000000004"},
		},
		Kept:         []string{"postgresql.conf", "pg_hba.conf", "server.crt"},
		SlotsDropped: []string{"n2"},
		Lost: rewind.Lost{
			From: 0x3000148, To: 0x5A000060, Bytes: 0x5A000060 - 0x3000148, Records: 12345, Commits: 1203, Aborts: 4, Prepared: 1,
			FirstCommit: when, LastCommit: when.Add(83 * time.Second),
			Relations: []rewind.LostRelation{
				lostFile(16384, 120000, 7, 0, 120345),
				lostFile(16390, 0, 0, 12, 30),
				lostFile(1259, 1, 2, 0, 5),
				lostFile(16387, 0, 0, 0, 120400),
				lostFile(16391, 40, 0, 0, 80),
				lostFile(16393, 0, 0, 0, 3),
			},
		},
		Totals: rewind.Totals{
			FetchBytes: 50 << 20, BlockBytes: 4 * 8192, FileBytes: 1 << 20, TailBytes: 16 << 20, WALBytes: 32 << 20, Blocks: 4, UndoBytes: 4 * 8192,
			Files:       map[rewind.Action]int{rewind.ActionCopy: 1, rewind.ActionBlocks: 1, rewind.ActionTail: 1, rewind.ActionRemove: 2},
			RemoveBytes: 3 << 20, SameFiles: 117,
		},
		Warnings: []string{"full_page_writes is off on the leader"},
	}
}

// lostFile is a relation in the default database.
func lostFile(rel pg.Oid, inserted, updated, deleted, records int64) rewind.LostRelation {
	loc := pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: rel}
	return rewind.LostRelation{Locator: loc, Path: pg.RelPath(loc, pg.MainFork, 0, 15),
		LostRows: rewind.LostRows{Inserted: inserted, Updated: updated, Deleted: deleted}, Records: records}
}

// sampleNames are what the leader says of the relations in samplePlan.
func sampleNames() map[string]hook.RelationName {
	return map[string]hook.RelationName{
		"base/5/16384": {Database: "shop", Schema: "public", Name: "account", Kind: "table"},
		"base/5/16387": {Database: "shop", Schema: "public", Name: "account_pkey", Kind: "index", Of: "public.account"},
		"base/5/16390": {Database: "shop", Schema: "sales", Name: "order\x1b[2J", Kind: "table"},
		"base/5/16391": {Database: "shop", Schema: "pg_toast", Name: "pg_toast_16384", Kind: "TOAST", Of: "public.account"},
		"base/5/16393": {Database: "shop", Schema: "public", Name: "account_id_seq", Kind: "sequence"},
	}
}

func sampleReport(plan *rewind.Plan) *hook.Report {
	begun := time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)
	return &hook.Report{
		Outcome: hook.OutcomePlanned, Started: begun, Finished: begun.Add(14300 * time.Millisecond),
		Scope: "main", Member: "n1", Leader: "n2",
		Decision:      hook.Decision{Verb: hook.VerbRejoin, Reason: "the histories part at 0/3000148"},
		Plan:          plan,
		LostNames:     sampleNames(),
		DatabaseBytes: 6 << 30,
		Topology:      dcs.Topology{Scope: "main", SystemID: 7512345678901234567},
		Standby: &hook.StandbySettings{
			PrimaryConninfo: "host=10.0.0.2 port=5432 user=repl password=*** application_name=n1",
			PrimarySlotName: "n1", RecoveryTargetTimeline: "latest",
		},
	}
}

func TestRenderPlan(t *testing.T) {
	equal := samplePlan()
	*equal = rewind.Plan{Strategy: rewind.StrategyNone, Reason: "this node's history is the beginning of the leader's",
		Target: rewind.Side{Timeline: 2, EndOfWAL: 0x4000000}, Source: rewind.Side{Timeline: 2, EndOfWAL: 0x5000000},
		Fork: pg.Fork{LSN: pg.MaxLSN, Timeline: 2}, Kept: []string{}}
	long := samplePlan()
	long.Kept = nil
	for i := range 25 {
		long.Kept = append(long.Kept, fmt.Sprintf("certs/%02d.pem", i))
		long.Lost.Relations = append(long.Lost.Relations, lostFile(pg.Oid(20000+i), int64(i), 0, 1, 5))
	}
	unnamed := sampleReport(samplePlan()) // the leader tells nothing, and one is not its own
	unnamed.LostNames = nil
	unnamed.Plan.Lost.Relations[1].Created = true
	catalogs := sampleReport(samplePlan())
	catalogs.Plan.Lost.Relations = catalogs.Plan.Lost.Relations[2:3]
	resumed := samplePlan()
	resumed.Resumed = true
	nothing := sampleReport(nil)
	nothing.Standby = nil
	nothing.Decision = hook.Decision{Verb: hook.VerbNothing, Reason: "it streams from the leader already"}
	locked := sampleReport(samplePlan())
	locked.Locks = []dcs.Owner{{Member: "n3", Host: "db3", PID: 4711, Operation: "rejoin", Leader: "n2", Since: locked.Started}}
	locked.Warnings = []string{"the server runs: this plan is an estimate"}
	for name, r := range map[string]*hook.Report{
		"locked":   locked,
		"failover": sampleReport(samplePlan()),
		"equal":    sampleReport(equal),
		"long":     sampleReport(long),
		"resumed":  sampleReport(resumed),
		"nothing":  nothing,
		"unnamed":  unnamed,
		"catalogs": catalogs,
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			renderPlan(&b, r)
			if !strings.HasSuffix(b.String(), "\nNothing was changed.\n") {
				t.Error("the last line does not say that nothing was changed")
			}
			golden(t, "plan/"+name+".txt", b.String())
		})
	}
}

func TestRenderTimelines(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name                 string
		target, source, fork pg.Timeline
	}{
		{"the leader left the common timeline", 1, 2, 1},
		{"this node left it", 2, 1, 1},
		{"both left it", 2, 3, 1},
		{"both left it, with the same number", 2, 2, 1},
	} {
		plan := samplePlan()
		plan.Target.Timeline, plan.Source.Timeline, plan.Fork.Timeline = c.target, c.source, c.fork
		fmt.Fprintf(&b, "%s:\n", c.name)
		renderTimelines(&b, plan, "n1", "n2")
		b.WriteString("\n")
	}
	golden(t, "timelines.txt", b.String())
}

func TestRenderReport(t *testing.T) {
	done := sampleReport(samplePlan())
	done.Outcome = hook.OutcomeRejoined
	done.FetchedBytes, done.FetchedWALBytes = 49<<20, 40<<20
	done.Steps = []hook.Step{{Name: "stop", Duration: 1200 * time.Millisecond}, {Name: "apply", Duration: 75 * time.Second}, {Name: "start", Duration: 310 * time.Millisecond}}
	done.Phases = []rewind.PhaseDuration{{Phase: rewind.PhaseCopy, Duration: 71 * time.Second}, {Phase: rewind.PhaseSync, Duration: 4 * time.Second}}
	done.Streaming = &hook.Streaming{Timeline: 2, State: "streaming", SentLSN: 0x61000060, After: 800 * time.Millisecond}
	nothing := sampleReport(nil)
	nothing.Outcome, nothing.Standby = hook.OutcomeNothing, nil
	configured := sampleReport(nil)
	configured.Outcome = hook.OutcomeConfigured
	unfinished := sampleReport(samplePlan())
	unfinished.Outcome = ""
	for name, r := range map[string]*hook.Report{"rejoined": done, "nothing": nothing, "configured": configured, "unfinished": unfinished} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			renderReport(&b, r)
			golden(t, "report/"+name+".txt", b.String())
		})
	}
}

// TestOutputs takes the report through the whole program.
func TestOutputs(t *testing.T) {
	f := &fakeRejoiner{report: sampleReport(samplePlan())}
	got := run(t, f, nil, append(node(), "--dry-run")...)
	if got.code != 0 || !f.dry || !strings.HasSuffix(got.stdout, "Nothing was changed.\n") {
		t.Errorf("%+v", got)
	}
	got = run(t, f, nil, append(node(), "-n", "-o", "json")...)
	var r hook.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || r.Plan == nil || r.Plan.Lost.Commits != 1203 {
		t.Errorf("%v: %s", err, got.stdout)
	}
	if got := run(t, f, nil, append(node(), "-o", "xml")...); got.code != exitUsage || !strings.Contains(got.stderr, `--output: "xml" is neither text nor json`) {
		t.Errorf("%+v", got)
	}
	// A run that fails after its plan shows what was done, and the error.
	f = &fakeRejoiner{report: sampleReport(samplePlan()), errs: []error{hook.ErrNotStreaming}}
	f.report.Outcome = ""
	got = run(t, f, nil, node()...)
	if got.code != 21 || !strings.Contains(got.stdout, "n1 of main is not done.") || !strings.Contains(got.stderr, "not seen streaming") {
		t.Errorf("%+v", got)
	}
	got = run(t, f, nil, append(node(), "-o", "json")...)
	var e jsonError
	if err := json.Unmarshal([]byte(got.stdout), &e); err != nil || e.Error.Code != 21 || e.Report == nil || e.Report.Plan == nil {
		t.Errorf("%v: %s", err, got.stdout)
	}
}

func TestRounded(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234 * time.Microsecond: "1ms", 1260 * time.Millisecond: "1.3s", 75*time.Second + 400*time.Millisecond: "1m15s",
	} {
		if got := rounded(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"base/5/1": "base/5/1", "größe x": "größe x", "a\x1b[2J": `"a\x1b[2J"`, "a\xff": `"a\xff"`, "a\nb": `"a\nb"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
