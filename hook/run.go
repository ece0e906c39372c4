package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// run is one Rejoin or DryRun.
type run struct {
	h      *Hook
	cfg    Config
	log    *zap.Logger
	report *Report
	// facts are those of the last look.
	facts Facts
	// server is the local one; nil until it is known what to do.
	server *server
	// patience is what has been used up of it.
	patience patience
	// touched is what attempts have done to the node and not brought to an end,
	// atWork whether the present one does something to it.
	touched touched
	atWork  bool
	// queued is how long this attempt has waited in the queue, queue how things
	// stood there last; nil when it did not wait.
	queued time.Duration
	queue  *dcs.Queued
	// worked: some attempt has done something to the node; why is the decision's
	// reason at that time.
	worked bool
	why    string
	// telling is the lock whose record follows the work.
	telling telling
	// done: the directory was rewound, or made a standby, by this run.
	done bool
	// privileged: the user of source.conninfo was found to lack a privilege.
	privileged bool
	// viaManager: a manager that is alive is asked to do it.
	viaManager bool
	// paused is this run's hold on the pause of the cluster; nil for none.
	paused Pause
	// slotOn is the leader on which this run made the slot slotName; empty for none.
	slotOn, slotName string
}

// touched is what has been done to a node that may have to be told, or undone,
// when the run ends early.
type touched struct {
	// work: the server was told to stop, or the directory was to be changed.
	work bool
	// stopped: the server ran and was told to stop; down: it was seen to be.
	stopped, down bool
	// control is the image of the control file when the server was down and
	// nothing was changed yet.
	control []byte
}

func (h *Hook) begin() *run {
	cfg := h.Config.withDefaults()
	viaManager := cfg.Control == ControlPatroni
	if viaManager {
		cfg.Control = ControlPGCtl // while the manager is away or looks on
	}
	return &run{
		viaManager: viaManager,
		h:          h, cfg: cfg, log: h.Log.With(zap.String("member", cfg.Name)),
		report:   &Report{Started: time.Now(), Member: cfg.Name, Steps: []Step{}},
		patience: patience{limit: cfg.Wait, pauses: cmp.Or(h.pauses, standardPauses())},
	}
}

func (r *run) end(err error) (*Report, error) {
	r.report.Finished = time.Now()
	if err != nil {
		r.report.Outcome = ""
	}
	return r.report, err
}

// step runs a stretch of the run under a name, for the log and the report.
func (r *run) step(name string, fn func() error) error {
	// While something is waited for, that is what is to be seen, and not the
	// looks in between.
	r.telling.report(dcs.Progress{Phase: name})
	if r.h.OnStep != nil && r.patience.current == nil {
		r.h.OnStep(name)
	}
	begun := time.Now()
	err := fn()
	took := time.Since(begun)
	r.report.Steps = append(r.report.Steps, Step{Name: name, Duration: took})
	if err != nil {
		r.log.Debug("step ended early", zap.String("step", name), zap.Duration("took", took), zap.Error(err))
		return err
	}
	r.log.Debug("step done", zap.String("step", name), zap.Duration("took", took))
	return nil
}

// warn tells of what stops nothing, in the log and in the report; once, however
// many attempts there are.
func (r *run) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(r.report.Warnings, text) {
		return
	}
	r.report.Warnings = append(r.report.Warnings, text)
	r.log.Warn(text)
}

// check refuses what is wrong before anybody is asked anything.
func (r *run) check() error {
	if os.Geteuid() == 0 {
		return checkUser(0, r.cfg.PGData)
	}
	if err := r.h.Config.Validate(); err != nil {
		return err
	}
	return checkUser(os.Geteuid(), r.cfg.PGData)
}

// look reads etcd, the data directory and, where that does not decide, asks
// the leader's server; then it decides.
func (r *run) look(ctx context.Context) (Decision, error) {
	f := Facts{Name: r.cfg.Name}
	var err error
	if f.Topology, err = r.h.Cluster.Topology(ctx); err != nil {
		return Decision{}, err
	}
	if f.Local, err = ReadLocal(ctx, r.cfg.PGData); err != nil {
		return Decision{}, err
	}
	d := Decide(f)
	if d.Verb == VerbAsk {
		err = r.withServer(ctx, d.Source, func(s Server) error {
			u, err := s.Upstream(ctx, f.Name)
			f.Upstream = &u
			return err
		})
		if err != nil {
			return Decision{}, fmt.Errorf("ask the leader %s: %w", d.Source.Name, err)
		}
		if f.Topology.Config.StandbyCluster {
			if f.Origin, err = r.findPrimary(ctx, f.Topology.Config.Primary); err != nil {
				return Decision{}, err
			}
		}
		d = Decide(f)
	}
	r.facts = f
	before := r.report.Decision.Reason
	r.report.Scope, r.report.Topology, r.report.Local, r.report.Decision = f.Topology.Scope, f.Topology, &f.Local, d
	if f.Topology.Leader != nil {
		r.report.Leader = f.Topology.Leader.Name
	}
	level := zap.InfoLevel
	if d.Reason == before {
		level = zap.DebugLevel // it was said already
	}
	r.log.Log(level, "decided", zap.String("verb", string(d.Verb)), zap.String("reason", d.Reason),
		zap.Int64("revision", f.Topology.Revision))
	return d, nil
}

// withServer connects to a member's server for as long as fn takes. No
// connection is kept over the work: it may take hours, and firewalls forget.
//
// What the user lacks the privilege for is done once more as the privileged one,
// where there is one, and from then on everything that fn is for. A login that
// is refused then says less than the privilege that is missing.
func (r *run) withServer(ctx context.Context, m dcs.Member, fn func(Server) error) error {
	var lacking error
	if !r.privileged {
		lacking = r.asUser(ctx, "source.conninfo", r.cfg.SourceConninfo, m, fn)
		if !errors.Is(lacking, rewind.ErrSourcePrivilege) || r.cfg.PrivilegedConninfo == "" {
			return lacking
		}
		r.log.Info("asking the leader as the user of source.privileged_conninfo", zap.Error(lacking))
	}
	err := r.asUser(ctx, "source.privileged_conninfo", r.cfg.PrivilegedConninfo, m, fn)
	if lacking != nil && errors.Is(err, rewind.ErrSourceAuth) {
		return fmt.Errorf("%w (and source.privileged_conninfo: %v)", lacking, err) //nolint:errorlint // the first one decides
	}
	r.privileged = true
	return err
}

// asUser connects by one login.
func (r *run) asUser(ctx context.Context, key, login string, m dcs.Member, fn func(Server) error) error {
	conninfo, err := atLeader(key, login, m)
	if err != nil {
		return err
	}
	s, err := r.h.OpenServer(ctx, conninfo)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close())
}

// newEngine makes the engine that rewinds from src.
func (r *run) newEngine(src rewind.Source, opts rewind.Options) engine {
	opts.Workers, opts.Preserve, opts.OnEvent = r.cfg.Connections, r.cfg.Preserve, r.event
	opts.NoUndo, opts.KeepUndo = r.cfg.NoUndo, !r.cfg.Handover
	if opts.Salvage.Dir == "" {
		opts.Salvage = r.cfg.Salvage // of an earlier run's, before this one begins
	}
	e := &rewind.Engine{PGData: r.cfg.PGData, Source: src, Options: opts}
	if r.h.newEngine != nil {
		return r.h.newEngine(e)
	}
	return e
}

// plan asks the engine and puts the answer into the report.
func (r *run) plan(ctx context.Context, e engine) error {
	p, err := e.Plan(ctx)
	if err != nil {
		return err
	}
	r.report.Plan, r.report.DatabaseBytes = p, p.Source.Bytes
	return nil
}
