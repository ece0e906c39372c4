package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

// Pauser pauses the cluster, so that its managers leave the servers alone.
type Pauser interface {
	// Pause pauses it, or joins a pause that is there.
	Pause(ctx context.Context, req dcs.PauseRequest) (Pause, error)
	// EndPause ends a pause that a killed run of this program has left; dead
	// tells of holders whose process is gone.
	EndPause(ctx context.Context, dead func(dcs.Owner) bool) (dcs.Resumed, error)
}

// Pause is a hold on the pause of a cluster.
type Pause interface {
	// Foreign tells whether somebody else had paused it.
	Foreign() bool
	// Resume ends the hold, and the pause where it is ours and nobody else needs
	// it; also when the context has ended.
	Resume(ctx context.Context, dead func(dcs.Owner) bool) (dcs.Resumed, error)
}

// pauseTimeout is how long the managers may take to see a pause. They look once
// in each of their loops, which take 10 seconds by default.
const pauseTimeout = time.Minute

// pauseCluster pauses the cluster before anything is done to a server in the hands of a
// manager, and waits until all managers that are alive have seen it: the one of
// this node would start the server again, that of the leader drop the slot.
func (r *run) pauseCluster(ctx context.Context) error {
	if r.h.Pauser == nil || r.paused != nil {
		return nil
	}
	return r.step("pause", func() error {
		p, err := r.h.Pauser.Pause(ctx, dcs.PauseRequest{Member: r.cfg.Name, Version: r.cfg.Version, TTL: r.cfg.LockTTL})
		if err != nil {
			return err
		}
		r.paused = p
		if p.Foreign() {
			r.warn("the cluster was paused already, and stays so")
		}
		return r.awaitPause(ctx)
	})
}

func (r *run) awaitPause(ctx context.Context) error {
	var blind []string
	err := poll(ctx, pauseTimeout, func() (bool, error) {
		t, err := r.h.Cluster.Topology(ctx)
		if errors.Is(err, dcs.ErrUnavailable) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		blind = notPaused(t)
		r.facts.Topology = t
		return t.Config.Paused && len(blind) == 0, nil
	})
	if !errors.Is(err, errTooLong) {
		return err
	}
	return &Error{Op: "pause the cluster",
		Err:    fmt.Errorf("%w: within %s no manager said that it has seen the pause on: %s", ErrManaged, pauseTimeout, strings.Join(blind, ", ")),
		Advice: "look at the managers of these members; patronictl list shows what they last said"}
}

// notPaused are the members whose managers are alive and have not seen the pause.
func notPaused(t dcs.Topology) []string {
	var names []string
	for _, m := range t.Members {
		if m.Lease != 0 && m.State != "stopped" && !m.Paused {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// resumeCluster gives the cluster back to its managers: at the end of the run, however
// it ends, and while a leader is waited for, since a paused cluster elects none.
// It also ends a pause that a killed run has left.
func (r *run) resumeCluster(ctx context.Context) {
	if r.h.Pauser == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseTimeout)
	defer cancel()
	end := r.h.Pauser.EndPause
	if r.paused != nil {
		end = r.paused.Resume
	}
	var done dcs.Resumed
	err := r.step("resume", func() (err error) {
		done, err = r.endPause(ctx, end)
		return err
	})
	held := r.paused != nil
	r.paused = nil
	switch {
	case err != nil && held:
		r.warn("the cluster may still be paused: %v; run failback-hook --pause again, or patronictl resume %s", err, r.report.Scope)
	case err != nil:
		r.warn("whether a killed run has left the cluster paused is not known: %v", err)
	case done == dcs.ResumedNow && !held:
		r.warn("a run that was killed had left the cluster paused: it was resumed")
	case done == dcs.ResumedForeign && held:
		r.warn("the cluster stays paused: somebody else has paused it")
	case done == dcs.ResumedHeld:
		r.warn("the cluster stays paused until the other run that needs it has ended")
	}
}

// endPause tries for as long as etcd does not answer, and for as long as another
// process holds the pause that may be dead: a host that is lost takes its hold
// with it only when the lease ends.
func (r *run) endPause(ctx context.Context, end func(context.Context, func(dcs.Owner) bool) (dcs.Resumed, error)) (dcs.Resumed, error) {
	begun, next := time.Now(), r.patience.pauses.backOff()
	for {
		done, err := end(ctx, diedHere)
		held := r.paused != nil && err == nil && done == dcs.ResumedHeld && time.Since(begun) < r.cfg.LockTTL+settle
		if !held && !errors.Is(err, dcs.ErrUnavailable) {
			return done, err
		}
		if sleep(ctx, next.NextBackOff()) != nil {
			return done, err
		}
	}
}
