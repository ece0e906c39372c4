package hook

import (
	"context"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Lock is the cluster-wide lock while it is held.
type Lock interface {
	// Context ends when the lock is lost or the leader changes, with the cause.
	Context() context.Context
	// Check compares lock and leader once more.
	Check(ctx context.Context) error
	// Report tells others how far the work is; it returns at once.
	Report(p dcs.Progress)
	// Release gives the lock back; also when the context has ended.
	Release(ctx context.Context) error
}

// Cluster is what the hook asks of etcd.
type Cluster interface {
	Topology(ctx context.Context) (dcs.Topology, error)
	Lock(ctx context.Context, req dcs.LockRequest) (Lock, error)
	// Locks lists who holds locks of this cluster.
	Locks(ctx context.Context) ([]dcs.Owner, error)
	// Remember keeps the record of a rejoin that is over.
	Remember(ctx context.Context, r dcs.PastRejoin) error
}

// Server is the leader's server, as far as questions go. Errors are of package
// rewind's kinds: rewind.ErrSourceUnavailable, ErrSourceAuth, ErrSourcePrivilege.
type Server interface {
	// Upstream asks for its identity and role, and whether it shows a walsender
	// in state "streaming" for that application_name.
	Upstream(ctx context.Context, applicationName string) (Upstream, error)
	// Streaming returns the walsender of that application_name, the youngest
	// where there are several; ok is false when there is none.
	Streaming(ctx context.Context, applicationName string) (s Streaming, ok bool, err error)
	// EnsureSlot makes the physical slot if it is not there.
	EnsureSlot(ctx context.Context, name string) (created bool, err error)
	// RelationNames tells what the files belong to in this server, now. What it
	// does not know is left out; next to an error there may be names.
	RelationNames(ctx context.Context, files []pg.RelFileLocator) (map[pg.RelFileLocator]RelationName, error)
	// DatabaseNames tells what databases are called, and the schemas in them, in
	// the same way.
	DatabaseNames(ctx context.Context, databases []pg.Oid) (map[pg.Oid]DatabaseNames, error)
	Close() error
}

// Manager is Patroni on this node.
type Manager interface {
	// Reinitialize asks for the node to be made anew by its replica methods, of
	// which this program is to be the first; it returns when that has begun.
	// apiURL is what the node's member key names.
	Reinitialize(ctx context.Context, apiURL string) error
}

// Hook brings one node back into its cluster.
type Hook struct {
	Config  Config
	Cluster Cluster
	// OpenSource connects to the leader to fetch from it, with so many
	// connections; OpenServer connects to ask it questions. They are functions
	// because only the program knows the driver: this package does not import pgx.
	OpenSource func(ctx context.Context, conninfo string, connections int) (rewind.Source, error)
	OpenServer func(ctx context.Context, conninfo string) (Server, error)
	// Pauser pauses the cluster for the time of the work; nil leaves it alone.
	Pauser Pauser
	// Manager is asked to bring the node back with Config.Control ControlPatroni.
	Manager Manager
	// Log receives what is done and why; must not be nil (zap.NewNop will do).
	Log *zap.Logger
	// OnEvent receives the engine's events; may be nil.
	OnEvent func(rewind.Event)
	// OnStep is told the name of each step of the run when it begins, as the
	// report names it; may be nil.
	OnStep func(name string)
	// OnWait is told each second what is waited for and for how long already,
	// while a run waits for something to pass; may be nil.
	OnWait func(Waiting)

	// pauses between attempts, for tests; zero for the standard ones.
	pauses pauses
	// newEngine stands between this package and the engine, for tests; nil is the engine.
	newEngine func(*rewind.Engine) engine
}

// engine is what a run needs of *rewind.Engine.
type engine interface {
	Plan(ctx context.Context) (*rewind.Plan, error)
	Lost(ctx context.Context) (*rewind.LostBranch, error)
	Apply(ctx context.Context, p *rewind.Plan) (*rewind.Report, error)
	Undo(ctx context.Context) (*rewind.Undone, error)
	Discard(ctx context.Context) (*rewind.Salvaged, error)
}

var _ engine = (*rewind.Engine)(nil)

// Rejoin brings the node back, or tells why not. The report is never nil: next
// to an error it holds what came to be known and done before it, and its
// Outcome is empty.
//
// What may pass by itself is waited out, each kind for Config.Wait: an etcd or a
// leader's server that does not answer, a leader that is missing or not ready,
// another node at work. When the leader changes or the lock is lost the run
// decides anew. Everything else is an error at once.
//
// Errors are those of this package, of dcs and of rewind, for errors.Is; see
// doc.go for what each exit leaves behind.
func (h *Hook) Rejoin(ctx context.Context) (*Report, error) {
	r := h.begin()
	err := r.rejoin(ctx)
	r.nameLost(ctx)
	r.remember(ctx, err)
	return r.end(err)
}

// DryRun says what Rejoin would do and changes nothing anywhere: it writes no
// file, takes no lock, makes no slot, and leaves a running server alone. What
// would make Rejoin wait or refuse is an error here, at once.
func (h *Hook) DryRun(ctx context.Context) (*Report, error) {
	r := h.begin()
	err := r.dryRun(ctx)
	r.nameLost(ctx)
	return r.end(err)
}
