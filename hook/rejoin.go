package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// rejoin is the whole run; doc.go draws it. An attempt that fails is followed by
// another one as long as afterSetback says so. Each begins with a look and
// decides anew: whatever has happened meanwhile, and whatever the last attempt
// has left, is one of the states that a first attempt may find.
func (r *run) rejoin(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	defer r.resumeCluster(ctx)
	for {
		begun, steps := time.Now(), len(r.report.Steps)
		r.atWork, r.queued, r.queue = false, 0, nil
		err := r.attempt(ctx)
		if err == nil {
			r.overcome()
			r.forgottenSlot()
			r.discard(ctx)
			return nil
		}
		var idle time.Duration
		if !r.atWork {
			idle = time.Since(begun) - r.queued // which has a patience of its own
		}
		if r.paused != nil && obstacleOf(err) == obstacleNoLeader {
			r.letElect(ctx)
		}
		if err := r.waitOut(ctx, err, idle); err != nil {
			return r.explain(ctx, err)
		}
		if !r.atWork {
			r.foldSteps(steps, begun)
		}
	}
}

// letElect ends the pause when there is no leader: while it lasts there will be
// none. What was begun is given back first, so that the manager finds a whole
// directory; the next attempt pauses again.
func (r *run) letElect(ctx context.Context) {
	if _, err := r.giveBack(ctx); err != nil {
		r.warn("what was begun could not be given back: %v", err)
	}
	r.resumeCluster(ctx)
}

// foldSteps makes one step "wait" of an attempt that only found that there is
// trouble, of the pause behind it, and of such a step before it.
func (r *run) foldSteps(from int, begun time.Time) {
	r.report.Steps = r.report.Steps[:from]
	took := time.Since(begun)
	if from > 0 && r.report.Steps[from-1].Name == stepWait {
		r.report.Steps[from-1].Duration += took
		return
	}
	r.report.Steps = append(r.report.Steps, Step{Name: stepWait, Duration: took})
}

const stepWait = "wait"

// attempt goes the whole way once.
func (r *run) attempt(ctx context.Context) error {
	d, err := r.lookAs(ctx, "look")
	if err != nil {
		return err
	}
	if d.Verb == VerbRejoin && r.mayComeByItself() {
		err := r.step("settle", func() (err error) {
			d, err = r.settle(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	// A manager that has just been started calls back before it has told etcd
	// that it is there.
	if d.Verb == VerbRejoin && r.viaManager && r.facts.Local.Running && !managed(r.facts) {
		if d, err = r.lookAs(ctx, "look for the manager"); err != nil {
			return err
		}
	}
	switch d.Verb {
	case VerbNothing:
		return r.leave(ctx)
	case VerbRejoin:
	default:
		return d.error()
	}
	if err := r.pauseCluster(ctx); err != nil {
		return err
	}
	if r.viaManager && managed(r.facts) {
		return r.reinitialize(ctx)
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.locked(ctx); err != nil {
		return err
	}
	if r.report.Decision.Verb == VerbNothing {
		return r.leave(ctx)
	}
	r.done, r.touched = true, touched{}
	return r.bringUp(ctx)
}

// lookAs is look as a step of the report.
func (r *run) lookAs(ctx context.Context, step string) (d Decision, err error) {
	err = r.step(step, func() (err error) {
		d, err = r.look(ctx)
		return err
	})
	return d, err
}

// leave reports a node that is where it should be.
func (r *run) leave(ctx context.Context) error {
	r.report.Outcome = r.outcome()
	m, ok := leaderMember(r.facts.Topology)
	if !ok {
		return nil
	}
	err := r.withServer(ctx, m, func(s Server) error {
		st, ok, err := s.Streaming(ctx, r.cfg.Name)
		if ok && err == nil {
			r.report.Streaming = &st
		}
		return err
	})
	if err != nil { // it was seen streaming a moment ago
		r.warn("how far the node is was not to be learned: %v", err)
	}
	return nil
}

// prepare finds out, while the server is still up, whether it could be stopped
// and started.
func (r *run) prepare(ctx context.Context) (err error) {
	r.server, err = newServer(ctx, r.cfg, r.facts.Local.Major)
	if err != nil {
		return err
	}
	if err := r.mayStop(); err != nil {
		return err
	}
	r.warnOfName()
	r.warnOfManager()
	return nil
}

// locked does what needs the lock, and gives it back.
func (r *run) locked(ctx context.Context) error {
	leader := *r.facts.Topology.Leader
	var lock Lock
	err := r.step("lock", func() (err error) {
		lock, err = r.acquire(ctx, leader)
		return err
	})
	if err != nil {
		return err
	}
	r.overcome()
	r.telling.begin(lock)
	err = withCause(lock.Context(), r.underLock(lock.Context(), lock, leader))
	r.telling.end()
	if e := lock.Release(context.WithoutCancel(ctx)); e != nil {
		r.warn("the lock was not given back and ends by itself in %s: %v", r.cfg.LockTTL, e)
	}
	return err
}

// withCause puts the reason why ctx ended before an error that only says that
// it did.
func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// underLock decides once more, as others may have worked between the first look
// and the lock, and rewinds. ctx ends with the lock and with the leader's term.
func (r *run) underLock(ctx context.Context, lock Lock, leader dcs.Leader) (err error) {
	wasDown := !r.facts.Local.Running
	d, err := r.lookAs(ctx, "look again")
	// A start that an earlier run, killed since, had begun may end just now.
	if err == nil && d.Verb == VerbRejoin && wasDown && r.mayComeByItself() {
		err = r.step("settle", func() (err error) {
			d, err = r.settle(ctx)
			return err
		})
	}
	if err != nil {
		return err
	}
	if is := r.facts.Topology.Leader; is != nil && !is.Same(leader) {
		return fmt.Errorf("look again: %w: from %s to %s", dcs.ErrLeaderChanged, leader.Name, is.Name)
	}
	switch d.Verb {
	case VerbNothing:
		return nil
	case VerbRejoin:
	default:
		return d.error()
	}
	if r.viaManager && r.paused == nil && managed(r.facts) {
		return fmt.Errorf("look again: %w", errManagerCame)
	}
	if err := r.mayStop(); err != nil { // started, or no longer paused, since the first look
		return err
	}
	// Before the server is stopped: a login that fails costs nobody anything.
	src, err := r.openSource(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	r.atWork, r.worked, r.touched.work = true, true, true
	if r.why == "" {
		r.why = d.Reason
	}
	if r.facts.Local.Running {
		r.touched.stopped, r.touched.down = true, false
	}
	if err := r.step("stop", func() error { return r.server.stop(ctx) }); err != nil {
		return err
	}
	r.touched.down = true
	if r.touched.control == nil {
		r.touched.control, _ = os.ReadFile(filepath.Join(r.cfg.PGData, controlFile)) // only for comparing
	}
	return r.rewind(ctx, lock, src)
}

// rewind plans and applies. The slot is made in between: not before the plan,
// so that a plan that fails leaves nothing on the leader that holds back WAL
// for ever; not after the work, so that the WAL of that time is still there.
func (r *run) rewind(ctx context.Context, lock Lock, src rewind.Source) error {
	standby, err := r.standby()
	if err != nil {
		return err
	}
	e := r.newEngine(src, rewind.Options{Standby: standby, BeforeCommit: r.confirmed(lock), RestoreCommand: r.restoreCommand(ctx)})
	err = r.step("plan", func() error { return r.plan(ctx, e) })
	if errors.Is(err, rewind.ErrUndoBegun) { // and interrupted: it comes to its end first
		if err = r.undo(ctx, e); err == nil {
			err = r.step("plan", func() error { return r.plan(ctx, e) })
		}
	}
	if err != nil {
		return err
	}
	if r.cfg.Handover && r.report.Plan.Strategy == rewind.StrategyNone {
		return fmt.Errorf("plan: %w", ErrNotDiverged)
	}
	if standby.Slot != "" {
		err := r.step("slot", func() (err error) {
			standby.Slot, err = r.ensureSlot(ctx, standby.Slot)
			return err
		})
		if err != nil {
			return err
		}
	}
	if !standby.SignalOnly {
		if r.report.Standby, err = shown(standby); err != nil {
			return err
		}
	}
	return r.step("apply", func() error { return r.apply(ctx, e) })
}

// standby is what makes the node one.
func (r *run) standby() (*rewind.Standby, error) {
	if r.cfg.Handover {
		return &rewind.Standby{SignalOnly: true}, nil
	}
	return r.cfg.standby(r.report.Decision.followed(), r.cfg.slot(r.facts.Topology))
}

// ensureSlot returns the slot to use. Where slots are used only because the
// cluster does so, a user who may not make one is no obstacle: the cluster's
// manager makes its own.
func (r *run) ensureSlot(ctx context.Context, name string) (string, error) {
	var created bool
	err := r.withServer(ctx, r.report.Decision.followed(), func(s Server) (err error) {
		created, err = s.EnsureSlot(ctx, name)
		return err
	})
	switch {
	case err == nil:
		if created {
			r.forgottenSlot()
			r.report.SlotCreated, r.slotOn, r.slotName = true, r.report.Leader, name
		}
		r.log.Info("slot on the leader", zap.String("slot", name), zap.Bool("created", created))
		return name, nil
	case errors.Is(err, rewind.ErrSourcePrivilege) && r.cfg.Slots == SlotsAuto:
		r.warn("no slot is used: %v", err)
		return "", nil
	}
	return "", fmt.Errorf("make slot %q on the leader: %w", name, err)
}

func (r *run) apply(ctx context.Context, e engine) error {
	rep, err := e.Apply(ctx, r.report.Plan)
	if rep != nil {
		r.report.FetchedBytes += rep.FetchedBytes
		r.report.FetchedWALBytes += rep.FetchedWALBytes
		r.report.Phases = rep.Durations
	}
	return err
}

// confirmed asks lock and leader key once more, at the last moment. An etcd that
// does not answer just then is waited for as long as the lock is known to be
// ours: ctx ends with it. To give up at once would throw the work away for a
// restart of etcd that takes a few seconds.
func (r *run) confirmed(lock Lock) func(context.Context) error {
	return func(ctx context.Context) error {
		begun := time.Now()
		next := r.patience.pauses.backOff()
		for {
			err := lock.Check(ctx)
			if !errors.Is(err, dcs.ErrUnavailable) || time.Since(begun) >= r.patience.limit {
				return err
			}
			r.log.Debug("etcd cannot be asked for the lock", zap.Error(err))
			if e := sleep(ctx, next.NextBackOff()); e != nil {
				return fmt.Errorf("%w: %w", e, err)
			}
		}
	}
}

// bringUp starts the server and waits until it streams.
func (r *run) bringUp(ctx context.Context) error {
	if r.cfg.Control != ControlNone {
		if err := r.step("start", func() error { return r.server.start(ctx) }); err != nil {
			return err
		}
		begun := time.Now()
		if err := r.step("stream", func() error { return r.awaitStreaming(ctx, begun) }); err != nil {
			return err
		}
	}
	r.report.Outcome = r.outcome()
	return nil
}

// outcome is what this run has made of the node.
func (r *run) outcome() Outcome {
	switch {
	case !r.done:
		return OutcomeNothing
	case r.report.Plan.Strategy == rewind.StrategyNone:
		return OutcomeConfigured
	}
	return OutcomeRejoined
}

// sourceName is what the source is to a person.
func sourceName(d Decision) string {
	if d.Follow != nil {
		return "the " + d.Source.Name
	}
	return "the leader " + d.Source.Name
}

func (r *run) openSource(ctx context.Context) (rewind.Source, error) {
	m := r.report.Decision.Source
	conninfo, err := r.cfg.sourceConninfo(m)
	if err != nil {
		return nil, err
	}
	src, err := r.h.OpenSource(ctx, conninfo, r.cfg.Connections)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", sourceName(r.report.Decision), err)
	}
	return src, nil
}
