package hook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// errManagerCame: the manager was away when the lock was taken, and is there now.
var errManagerCame = errors.New("the cluster's manager has come, and is to be asked")

// managerPoll is how often is looked how far the manager is.
const managerPoll = time.Second

// reinitialize has the manager bring the node back: it stops the server, calls
// this program as its replica method, and starts the server. A manager removes
// the data directory when its method fails, so it is asked only when the plan of
// a rewind shows that one is needed and possible.
func (r *run) reinitialize(ctx context.Context) error {
	if r.h.Manager == nil {
		return &Error{Op: "ask the manager", Err: fmt.Errorf("%w: there is none to ask", ErrManagerRefused)}
	}
	if err := r.step("plan", func() error { return r.planOnly(ctx) }); err != nil {
		return err
	}
	r.report.Standby = nil // that is the manager's
	if r.report.Plan.Strategy == rewind.StrategyNone {
		return &Error{Op: fmt.Sprintf("bring %s back from %s", r.cfg.Name, r.report.Leader), Err: ErrNotDiverged,
			Advice: "look into this server's log for why it does not stream: WAL that the leader no longer has, a login, a slot"}
	}
	if why := wouldCopy(r.cfg.ReplicaMethods, r.facts.Topology.Config); why != "" {
		return &Error{Op: "ask the manager", Err: fmt.Errorf("%w: %s", ErrManagerRefused, why),
			Advice: "put this program's method first, with keep_data: examples/patroni/replica-method; in a standby cluster in its create_replica_methods too"}
	}
	me, _ := r.facts.Topology.Member(r.cfg.Name)
	err := r.step("ask the manager", func() error { return r.h.Manager.Reinitialize(ctx, me.APIURL) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManagerRefused, err)
	}
	r.log.Info("the manager was asked to bring the node back", zap.String("strategy", string(r.report.Plan.Strategy)))
	if err := r.step("manager", func() error { return r.awaitManager(ctx) }); err != nil {
		return err
	}
	r.report.Outcome = OutcomeReinitialized
	return nil
}

// awaitManager waits until the node streams. The work of a manager may take
// hours, and it says so by the node's state; what is bounded is the time for
// which it has nothing to do and the node does not stream.
func (r *run) awaitManager(ctx context.Context) error {
	begun, idle := time.Now(), time.Now()
	for {
		if err := sleep(ctx, managerPoll); err != nil {
			return err
		}
		t, err := r.h.Cluster.Topology(ctx)
		switch {
		case errors.Is(err, dcs.ErrUnavailable):
			idle = time.Now()
			continue
		case err != nil:
			return err
		}
		if t.Leader != nil && t.Leader.Name == r.cfg.Name {
			return fmt.Errorf("wait for the manager: %w: from %s to %s", dcs.ErrLeaderChanged, r.report.Leader, r.cfg.Name)
		}
		leader, ok := leaderMember(t)
		if me, there := t.Member(r.cfg.Name); !ok || !there || busy(me) {
			idle = time.Now()
			continue
		}
		var seen Streaming
		var streams bool
		err = r.withServer(ctx, leader, func(s Server) (err error) {
			seen, streams, err = s.Streaming(ctx, r.cfg.Name)
			return err
		})
		switch {
		case errors.Is(err, rewind.ErrSourcePrivilege), errors.Is(err, rewind.ErrSourceAuth):
			return fmt.Errorf("%w: the leader does not tell: %w", ErrNotStreaming, err)
		case err == nil && streams && seen.State == StateStreaming:
			seen.After = time.Since(begun)
			r.report.Streaming, r.report.Leader = &seen, leader.Name
			return nil
		case time.Since(idle) > r.cfg.StreamTimeout:
			return &Error{Op: "wait for the manager", Err: fmt.Errorf("%w from %s within %s", ErrNotStreaming, leader.Name, r.cfg.StreamTimeout),
				Advice: "the manager's log says what became of its replica method"}
		}
	}
}

// busy tells whether a member's manager is at work on its server. The first look
// may come before it has begun: then the server still runs, and does not stream.
func busy(m dcs.Member) bool {
	return m.Lease == 0 || !strings.HasPrefix(m.State, "running") && m.State != "streaming"
}
