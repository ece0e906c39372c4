package hook

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// stage is a whole world without etcd, leader and engine: only the data
// directory and the processes on it are real.
type stage struct {
	hook *Hook
	mu   sync.Mutex
	// did is what was done to the world, in order.
	did []string
	// facts are what etcd and the leader's server say; change them with set.
	facts Facts
	// fail are errors by what is to be done, as it stands in did.
	fail map[string]error
	// on is called when something is done, outside of mu.
	on   map[string]func()
	lock *fakeLock
	// queue is how things stand in the queue, one after the other, before the
	// lock is had, eachTakes how long each lasts; told is what the lock was told of the work.
	queue     []dcs.Queued
	eachTakes time.Duration
	// past are the records of rejoins.
	past []dcs.PastRejoin
	told []dcs.Progress
	// slotThere: the leader has the slot already.
	slotThere bool
	// walsender is what the leader shows of this node.
	walsender *Streaming
	// options are those of the engine that was made last.
	options  rewind.Options
	conninfo string
	plan     rewind.Plan
	// asked are the files that names were asked for.
	asked []pg.RelFileLocator
}

func newStage(t *testing.T) *stage {
	t.Helper()
	srv := commandServer(t)
	f := sound()
	f.Topology.SystemID, f.Upstream.SystemID = fixtureID, fixtureID
	f.Topology.Members = append(f.Topology.Members, dcs.Member{Name: "n1", Role: dcs.RoleReplica, State: "stopped"})
	s := &stage{facts: f, fail: map[string]error{}, on: map[string]func(){}, plan: rewind.Plan{Strategy: rewind.StrategyWAL, Source: rewind.Side{Bytes: 1000}}}
	cfg := srv.cfg
	cfg.SettleTimeout, cfg.StreamTimeout = 300*time.Millisecond, 2*time.Second
	cfg.Wait = -1
	cfg.SourceConninfo = "user=rewinder password=hunter2"
	cfg.RestoreCommand = RestoreNever
	s.hook = &Hook{
		Config: cfg, Cluster: s, Log: zap.NewNop(),
		OpenServer: func(_ context.Context, conninfo string) (Server, error) {
			s.conninfo = conninfo
			return fakeServer{s}, s.do("connect")
		},
		OpenSource: func(context.Context, string, int) (rewind.Source, error) {
			return fakeSource{s: s}, s.do("open source")
		},
		newEngine: func(e *rewind.Engine) engine {
			s.options = e.Options
			return fakeEngine{s}
		},
	}
	return s
}

// do notes that something was done, and fails if it should.
func (s *stage) do(what string) error {
	s.mu.Lock()
	s.did = append(s.did, what)
	err, on := s.fail[what], s.on[what]
	s.mu.Unlock()
	if on != nil {
		on()
	}
	return err
}

// failTimes makes something fail so many times.
func (s *stage) failTimes(what string, n int, err error) {
	s.fail[what] = err
	s.on[what] = func() {
		if s.count(what) == n {
			s.set(func() { delete(s.fail, what) })
		}
	}
}

// patient lets the stage's runs wait that long, with short pauses.
func (s *stage) patient(limit time.Duration) {
	s.hook.Config.Wait, s.hook.pauses = limit, pauses{first: time.Millisecond, longest: 10 * time.Millisecond}
}

// set changes the world.
func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// seen is what was done that changes anything anywhere, in order.
func (s *stage) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.did), func(what string) bool {
		return slices.Contains([]string{"topology", "connect", "upstream", "streaming", "locks", "open source", "names", "remember"}, what)
	})
}

func (s *stage) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.did {
		if d == what {
			n++
		}
	}
	return n
}

func (s *stage) running() bool {
	pid, err := postmaster.Find(s.hook.Config.PGData)
	return err == nil && pid != 0
}

// startServer makes a server run, as in a node that is up.
func (s *stage) startServer(t *testing.T) {
	t.Helper()
	must(t, (&server{cfg: s.hook.Config.withDefaults()}).start(t.Context()))
}

func (s *stage) Topology(context.Context) (dcs.Topology, error) {
	err := s.do("topology")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts.Topology, err
}

func (s *stage) Locks(context.Context) ([]dcs.Owner, error) {
	return []dcs.Owner{{Member: "n3", Operation: "rejoin"}}, s.do("locks")
}

func (s *stage) Lock(ctx context.Context, req dcs.LockRequest) (Lock, error) {
	failed := s.do("lock")
	for _, q := range s.queue {
		time.Sleep(s.eachTakes)
		if err := req.Wait(q); err != nil {
			return nil, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	if req.Member != "n1" || req.Leader.Name == "" || req.Operation == "" || req.TTL == 0 || req.Limit == 0 {
		return nil, errors.New("the request says too little")
	}
	s.lock = &fakeLock{s: s}
	s.lock.ctx, s.lock.lose = context.WithCancelCause(ctx)
	return s.lock, nil
}

func (s *stage) Remember(_ context.Context, r dcs.PastRejoin) error {
	s.set(func() { s.past = append(s.past, r) })
	return s.do("remember")
}

type fakeLock struct {
	s    *stage
	ctx  context.Context
	lose context.CancelCauseFunc
}

func (l *fakeLock) Context() context.Context    { return l.ctx }
func (l *fakeLock) Check(context.Context) error { return l.s.do("check lock") }
func (l *fakeLock) Report(p dcs.Progress)       { l.s.set(func() { l.s.told = append(l.s.told, p) }) }
func (l *fakeLock) Release(ctx context.Context) error {
	if ctx.Err() != nil {
		return errors.New("released with a context that has ended")
	}
	l.lose(nil)
	return l.s.do("release")
}

type fakeServer struct{ s *stage }

func (f fakeServer) Upstream(ctx context.Context, name string) (Upstream, error) {
	err := f.s.do("upstream")
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	u := *f.s.facts.Upstream
	u.Streaming = f.s.walsender != nil && name == "n1"
	return u, errors.Join(err, ctx.Err())
}

func (f fakeServer) Streaming(ctx context.Context, name string) (Streaming, bool, error) {
	err := f.s.do("streaming")
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.walsender == nil || name != "n1" {
		return Streaming{}, false, errors.Join(err, ctx.Err())
	}
	return *f.s.walsender, true, errors.Join(err, ctx.Err())
}

func (f fakeServer) EnsureSlot(_ context.Context, name string) (bool, error) {
	err := f.s.do("slot " + name)
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return !f.s.slotThere, err
}

// RelationNames knows one relation.
func (f fakeServer) RelationNames(ctx context.Context, files []pg.RelFileLocator) (map[pg.RelFileLocator]RelationName, error) {
	f.s.set(func() { f.s.asked = files })
	err := f.s.do("names")
	return map[pg.RelFileLocator]RelationName{account: {Database: "shop", Schema: "public", Name: "account", Kind: "table"}}, errors.Join(err, ctx.Err())
}

// DatabaseNames knows one database, with one schema.
func (f fakeServer) DatabaseNames(context.Context, []pg.Oid) (map[pg.Oid]DatabaseNames, error) {
	return map[pg.Oid]DatabaseNames{5: {Name: "shop", Schemas: map[pg.Oid]string{16500: "sales"}}}, f.s.do("names")
}

// account is the relation that the leader knows.
var account = pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16400}

func (f fakeServer) Close() error { return nil }

type fakeSource struct {
	rewind.Source
	s *stage
}

func (f fakeSource) Close() error { return nil }

type fakeEngine struct{ s *stage }

func (f fakeEngine) Plan(ctx context.Context) (*rewind.Plan, error) {
	if f.s.running() && !f.s.options.AllowRunning {
		return nil, rewind.ErrTargetRunning
	}
	if err := errors.Join(f.s.do("plan"), ctx.Err()); err != nil {
		return nil, err
	}
	return &f.s.plan, nil
}

func (f fakeEngine) Lost(ctx context.Context) (*rewind.LostBranch, error) {
	if err := errors.Join(f.s.do("lost"), ctx.Err()); err != nil {
		return nil, err
	}
	return &rewind.LostBranch{Lost: f.s.plan.Lost}, nil
}

func (f fakeEngine) Apply(ctx context.Context, _ *rewind.Plan) (*rewind.Report, error) {
	if f.s.running() {
		return nil, rewind.ErrTargetRunning
	}
	if err := errors.Join(f.s.do("apply"), ctx.Err()); err != nil {
		return nil, err
	}
	if err := f.s.options.BeforeCommit(ctx); err != nil {
		return nil, err
	}
	return &rewind.Report{FetchedBytes: 77, Durations: []rewind.PhaseDuration{{Phase: rewind.PhaseCopy, Duration: 1}}}, nil
}

func (f fakeEngine) Undo(context.Context) (*rewind.Undone, error) { return nil, f.s.do("undo") }

func (f fakeEngine) Discard(context.Context) (*rewind.Salvaged, error) { return nil, f.s.do("discard") }

// streams makes the leader show this node streaming on a timeline.
func (s *stage) streams(timeline pg.Timeline) func() {
	return func() {
		s.set(func() { s.walsender = &Streaming{Timeline: timeline, State: "streaming", SentLSN: 0x3000000} })
	}
}
