package hook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// The whole path on real servers: a former primary that still runs beside the
// new one is stopped, rewound, started and seen streaming. Only etcd is a fake,
// and the engine is PostgreSQL's own pg_rewind: what is tested here is this
// package. The Server asks as package source does, by pg_stat_replication.
func TestRejoinRealServers(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		if !install.Has("pg_rewind") {
			t.Skipf("%s has no pg_rewind; the end-to-end tests go this way with our own engine", install)
		}
		pair := rewindtest.Diverged(t, install, rewindtest.Opts{OldRunning: true})
		h := realHook(t, pair)
		report, err := h.Rejoin(t.Context())
		must(t, err)
		if report.Outcome != OutcomeRejoined || report.Decision.Reason != "the server runs as a primary beside the leader leader" {
			t.Errorf("got outcome %q, reason %q", report.Outcome, report.Decision.Reason)
		}
		if report.Streaming == nil || report.Streaming.State != "streaming" {
			t.Errorf("got %+v", report.Streaming)
		}
		pair.Old.Must(t).WaitForCatchup(pair.New)
		if got := pair.New.Must(t).Value("SELECT active FROM pg_replication_slots WHERE slot_name = '" + pg.SlotName(pair.Old.Name) + "'"); got != "t" {
			t.Errorf("the slot is active: %q", got)
		}
		l, err := ReadLocal(t.Context(), pair.Old.Dir)
		must(t, err)
		if !l.Running || !l.StandbySignal {
			t.Errorf("got %+v", l)
		}

		// And once more, with nothing left to do.
		report, err = h.Rejoin(t.Context())
		must(t, err)
		if report.Outcome != OutcomeNothing || report.Local.PID != l.PID {
			t.Errorf("the second time: got outcome %q, pid %d, was %d", report.Outcome, report.Local.PID, l.PID)
		}
	})
}

func realHook(t *testing.T, pair rewindtest.Pair) *Hook {
	t.Helper()
	l, err := ReadLocal(t.Context(), pair.New.Dir)
	must(t, err)
	s := &stage{fail: map[string]error{}, on: map[string]func(){}}
	s.facts.Topology = dcs.Topology{
		Scope: "main", SystemID: l.SystemID, Leader: &dcs.Leader{Name: "leader", CreateRevision: 5},
		Members: []dcs.Member{{Name: "leader", Role: dcs.RolePrimary, State: "running", Host: "127.0.0.1", Port: uint16(pair.New.Port)}},
		Config:  dcs.Config{UseSlots: true},
	}
	cfg := nodeConfig(pair.Old)
	cfg.SourceConninfo, cfg.StreamTimeout = "user=postgres", 20*time.Second
	return &Hook{
		Config: cfg, Cluster: realCluster{s}, Log: zap.NewNop(),
		OpenServer: func(context.Context, string) (Server, error) { return realServer{pair.New, l.SystemID}, nil },
		OpenSource: func(context.Context, string, int) (rewind.Source, error) { return fakeSource{s: s}, nil },
		newEngine:  func(e *rewind.Engine) engine { return stockEngine{t, e, pair} },
	}
}

// realCluster gives its lock to this test's node.
type realCluster struct{ *stage }

func (c realCluster) Lock(ctx context.Context, _ dcs.LockRequest) (Lock, error) {
	l := &fakeLock{s: c.stage}
	l.ctx, l.lose = context.WithCancelCause(ctx)
	return l, nil
}

// realServer asks a node.
type realServer struct {
	node *rewindtest.Node
	id   pg.SystemID
}

func (r realServer) Close() error { return nil }

func (r realServer) Upstream(ctx context.Context, name string) (Upstream, error) {
	recovering, err := r.node.Value("SELECT pg_is_in_recovery()")
	if err != nil {
		return Upstream{}, err
	}
	s, ok, err := r.Streaming(ctx, name)
	return Upstream{SystemID: r.id, InRecovery: recovering == "t", Timeline: 2, Streaming: ok && s.State == StateStreaming}, err
}

func (r realServer) Streaming(_ context.Context, name string) (Streaming, bool, error) {
	rows, err := r.node.Query(fmt.Sprintf("SELECT state, sent_lsn FROM pg_stat_replication WHERE application_name = '%s'", name))
	if err != nil || len(rows) == 0 {
		return Streaming{}, false, err
	}
	lsn, err := pg.ParseLSN(rows[0][1])
	return Streaming{State: rows[0][0], SentLSN: lsn, Timeline: 2}, true, err
}

func (r realServer) RelationNames(context.Context, []pg.RelFileLocator) (map[pg.RelFileLocator]RelationName, error) {
	return nil, nil
}

func (r realServer) DatabaseNames(context.Context, []pg.Oid) (map[pg.Oid]DatabaseNames, error) {
	return nil, nil
}

func (r realServer) EnsureSlot(_ context.Context, name string) (bool, error) {
	return true, r.node.Exec(fmt.Sprintf("SELECT pg_create_physical_replication_slot('%s', true)", name))
}

// stockEngine is pg_rewind, with what it leaves to the operator.
type stockEngine struct {
	t    *testing.T
	e    *rewind.Engine
	pair rewindtest.Pair
}

func (s stockEngine) Lost(context.Context) (*rewind.LostBranch, error) {
	panic("not asked of pg_rewind")
}

func (s stockEngine) Undo(context.Context) (*rewind.Undone, error) { return nil, rewind.ErrNoUndo }

func (s stockEngine) Discard(context.Context) (*rewind.Salvaged, error) { return nil, nil }

func (s stockEngine) Plan(context.Context) (*rewind.Plan, error) {
	return &rewind.Plan{Strategy: rewind.StrategyWAL}, nil
}

func (s stockEngine) Apply(ctx context.Context, _ *rewind.Plan) (*rewind.Report, error) {
	old, standby := s.pair.Old, s.e.Options.Standby
	if err := rewindtest.PgRewind(s.t, old.Install, old.Dir, s.pair.New.Conninfo()); err != nil {
		return nil, err
	}
	if err := old.WriteConf(); err != nil {
		return nil, err
	}
	auto := fmt.Sprintf("primary_conninfo = %s\nprimary_slot_name = %s\n", pg.QuoteConf(standby.Conninfo), pg.QuoteConf(standby.Slot))
	if err := os.WriteFile(filepath.Join(old.Dir, "postgresql.auto.conf"), []byte(auto), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(old.Dir, "standby.signal"), nil, 0o600); err != nil {
		return nil, err
	}
	return &rewind.Report{}, s.e.Options.BeforeCommit(ctx)
}
