package hook

import (
	"context"
	"errors"

	"github.com/failback-hook/failback-hook/rewind"
)

func (r *run) dryRun(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	d, err := r.lookAs(ctx, "look")
	if err != nil {
		return err
	}
	r.showLocks(ctx)
	switch d.Verb {
	case VerbNothing:
		return r.leave(ctx)
	case VerbRejoin:
	default:
		return d.error()
	}
	r.foresee(ctx)
	if err := r.step("plan", func() error { return r.planOnly(ctx) }); err != nil {
		return err
	}
	r.report.Outcome = OutcomePlanned
	return nil
}

// planOnly makes the plan, on a running server as well as can be.
func (r *run) planOnly(ctx context.Context) (err error) {
	src, err := r.openSource(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	standby, err := r.cfg.standby(r.report.Decision.followed(), r.cfg.slot(r.facts.Topology))
	if err != nil {
		return err
	}
	if r.report.Standby, err = shown(standby); err != nil {
		return err
	}
	opts := rewind.Options{Standby: standby, AllowRunning: r.facts.Local.Running, RestoreCommand: r.restoreCommand(ctx)}
	return r.plan(ctx, r.newEngine(src, opts))
}

// showLocks puts into the report who is at work on this cluster. A user that
// may not read them only misses that.
func (r *run) showLocks(ctx context.Context) {
	locks, err := r.h.Cluster.Locks(ctx)
	if err != nil {
		r.warn("who holds the locks is not known: %v", err)
		return
	}
	r.report.Locks = locks
}

// foresee warns of what Rejoin would stumble over after the plan.
func (r *run) foresee(ctx context.Context) {
	if r.viaManager && managed(r.facts) {
		r.warn("for real the manager of %s would be asked to do this, and would call its replica method", r.cfg.Name)
		if why := wouldCopy(r.cfg.ReplicaMethods, r.facts.Topology.Config); why != "" {
			r.warn("for real this would be refused now: %s", why)
		}
	} else if err := r.mayStop(); err != nil {
		r.warn("for real this would be refused now: %v", err)
	}
	if _, err := newServer(ctx, r.cfg, r.facts.Local.Major); err != nil {
		r.warn("the server cannot be stopped or started: %v", err)
	}
	r.warnOfName()
	r.warnOfManager()
}
