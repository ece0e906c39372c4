package hook

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Agent watches over one node for as long as it runs, and rejoins it when it was
// demoted, when it crashed and the cluster went on, when it is stuck on a dead
// timeline, and, if it may, when it runs as a second primary.
//
// It keeps nothing that it could not find again by looking: it may be killed and
// started at any time. It never touches a leader, nor a standby that somebody has
// shut down, and does nothing at all on what it cannot see: with etcd away it waits.
type Agent struct {
	// Hook does the work. Its OnWait is used by the agent as well.
	Hook   *Hook
	Config AgentConfig
	// Watch calls wake at each change of the leader key until ctx ends; an etcd
	// that cannot be reached is its own affair. May be nil: the agent looks from
	// time to time anyway.
	Watch func(ctx context.Context, wake func()) error
	// OnStatus is told what the agent does or waits for, when that changes; from
	// one goroutine at a time. May be nil.
	OnStatus func(AgentStatus)
	// OnReport receives the report of each rejoin that did something or failed;
	// may be nil.
	OnReport func(*Report, error)

	mu     sync.Mutex
	status AgentStatus
	beat   time.Time

	wake   chan struct{}
	finish chan struct{}
}

// AgentStatus is how an agent's node stands.
type AgentStatus struct {
	Condition Condition `json:"condition"`
	// Line is one sentence, without its full stop.
	Line string `json:"line"`
	// Working: a rejoin is under way.
	Working bool `json:"working,omitempty"`
}

// Wake makes the agent look now. It may be called from any goroutine, at any time
// after NewAgent.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Finish makes Run return nil when no work is under way, at the latest when what is
// under way has ended. It is called once at most.
func (a *Agent) Finish() { close(a.finish) }

// Alive tells whether the agent has looked, or been at work, within a time.
func (a *Agent) Alive(within time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status.Working || time.Since(a.beat) < within
}

// NewAgent makes an agent of a hook that is complete.
func NewAgent(h *Hook, c AgentConfig) *Agent {
	return &Agent{Hook: h, Config: c.withDefaults(), beat: time.Now(), wake: make(chan struct{}, 1), finish: make(chan struct{})}
}

// Run watches until ctx ends, and returns its cause, or until Finish. Errors of the configuration
// (Config.Validate, ErrRoot, ErrNotOwner) end it at once; nothing else does.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Hook.begin().check(); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	if a.Watch != nil {
		group.Go(func() { a.keepWatching(watching) })
	}
	a.Hook.OnWait = a.onWait(a.Hook.OnWait)
	var v vigil
	for {
		var st step
		var err error
		seen := a.look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v, st = a.Config.next(v, seen, time.Now())
		a.tell(AgentStatus{Condition: seen.condition(), Line: st.line, Working: st.rejoin})
		if st.rejoin {
			if v, err = a.work(ctx, v); err != nil {
				return err
			}
			select {
			case <-a.finish:
				return nil
			default:
			}
			continue
		}
		if done, err := a.await(ctx, st.within); done || err != nil {
			return err
		}
	}
}

// look is the first look of a run, without what comes after it.
func (a *Agent) look(ctx context.Context) sight {
	r := a.Hook.begin()
	r.log = zap.NewNop() // the agent says itself what is new
	d, err := r.look(ctx)
	return sight{facts: r.facts, decision: d, err: err}
}

// work rejoins the node, where that helps. The error is only that ctx has ended.
func (a *Agent) work(ctx context.Context, v vigil) (vigil, error) {
	if v.condition == ConditionStuck {
		r := a.Hook.begin()
		r.log = zap.NewNop()
		why, err := r.inVain(ctx)
		switch {
		case ctx.Err() != nil:
			return v, context.Cause(ctx)
		case err != nil:
			why = "whether a rejoin would help cannot be told: " + Briefly(err)
		}
		if why != "" {
			return v.failed(time.Now(), why), nil
		}
	}
	report, err := a.Hook.Rejoin(ctx)
	if a.OnReport != nil {
		a.OnReport(report, err)
	}
	if ctx.Err() != nil {
		return v, context.Cause(ctx)
	}
	if err != nil {
		return v.failed(time.Now(), "the last rejoin failed: "+Briefly(err)), nil
	}
	return v.succeeded(), nil
}

// await lets time pass until somebody calls; done when the agent is to end.
func (a *Agent) await(ctx context.Context, d time.Duration) (done bool, err error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.wake:
	case <-a.finish:
		return true, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	return false, nil
}

// keepWatching wakes the agent when the leader key changes. A watch that ends is
// begun again; why it ended shows when the agent looks.
func (a *Agent) keepWatching(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.Watch(ctx, a.Wake); err != nil && ctx.Err() == nil {
			a.Hook.Log.Debug("the watch of the leader key ended", zap.Error(err))
		}
		if sleep(ctx, a.Config.Interval) != nil {
			return
		}
	}
}

// tell passes on what is new. The time that is left changes each second and is no
// news, so that lines are told when their condition or their sense changes.
func (a *Agent) tell(s AgentStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beat = time.Now()
	if s == a.status {
		return
	}
	a.status = s
	if a.OnStatus != nil {
		a.OnStatus(s)
	}
}

// onWait tells of a run's waits as the agent's own, and of what it told before.
func (a *Agent) onWait(before func(Waiting)) func(Waiting) {
	return func(w Waiting) {
		if before != nil {
			before(w)
		}
		a.mu.Lock()
		condition := a.status.Condition
		a.mu.Unlock()
		a.tell(AgentStatus{Condition: condition, Line: w.String(), Working: true})
	}
}
