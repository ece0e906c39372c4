package hook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// The pace of the waits for streaming: how often the leader is asked, and how
// often the slot is made anew there.
const (
	streamPoll = 200 * time.Millisecond
	slotPoll   = 2 * time.Second
)

// StateStreaming is the walsender state of a standby that has caught up
// (pg_stat_replication).
const StateStreaming = "streaming"

// mayComeByItself: a standby that runs and does not stream may have been
// started a second ago, as every standby is when its manager calls us.
func (r *run) mayComeByItself() bool {
	l := r.facts.Local
	return l.Running && l.StandbySignal && r.cfg.SettleTimeout > 0
}

// settle gives such a standby a moment, and decides again when it used it.
func (r *run) settle(ctx context.Context) (Decision, error) {
	ctx2, cancel := context.WithTimeoutCause(ctx, r.cfg.SettleTimeout, errTooLong)
	defer cancel()
	_, err := r.watchStreaming(ctx2, r.report.Decision.followed(), func(context.Context) error { return nil })
	if err != nil && !errors.Is(err, errTooLong) {
		return Decision{}, err
	}
	if err != nil {
		r.log.Info("the standby does not stream by itself", zap.Duration("waited", r.cfg.SettleTimeout))
		return r.report.Decision, nil
	}
	return r.look(ctx)
}

// awaitStreaming waits until the leader shows this node streaming. Until then
// the work may be done, but nobody knows.
func (r *run) awaitStreaming(ctx context.Context, begun time.Time) error {
	m := r.report.Decision.followed()
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.StreamTimeout, errTooLong)
	defer cancel()
	slotMade := time.Now()
	s, err := r.watchStreaming(ctx, m, func(ctx context.Context) error {
		if time.Since(slotMade) > slotPoll {
			if err := r.sameLeader(ctx); err != nil {
				return err
			}
			r.keepSlot(ctx, m)
			slotMade = time.Now()
		}
		return r.stillThere(begun)
	})
	switch {
	case errors.Is(err, rewind.ErrSourcePrivilege), errors.Is(err, rewind.ErrSourceAuth):
		return fmt.Errorf("%w: the leader does not tell: %w", ErrNotStreaming, err)
	case errors.Is(err, errTooLong):
		why := fmt.Errorf("%w from %s within %s", ErrNotStreaming, m.Name, r.cfg.StreamTimeout)
		if err != errTooLong { //nolint:errorlint // a wrapped one also says why the leader could not be asked
			why = fmt.Errorf("%w: %w", why, err)
		}
		return &Error{Op: "wait for streaming", Err: fmt.Errorf("%w%s", why, quoted(r.server.logTail(begun))),
			Advice: "the data directory is complete and the server was started; look at its log for what the walreceiver says"}
	case err != nil:
		return err
	}
	s.After = time.Since(begun)
	r.report.Streaming = &s
	r.log.Info("the node streams", zap.String("leader", m.Name), zap.Uint32("timeline", uint32(s.Timeline)),
		zap.Stringer("sent", s.SentLSN), zap.Duration("after", s.After))
	return nil
}

// watchStreaming asks the leader until it shows this node streaming on its own
// timeline, calling also before each question. A leader that cannot be asked
// is asked again, as it may only have restarted; one that refuses to tell is
// not. When ctx ends, the error holds its cause and, where there was one, why
// the leader could not be asked.
func (r *run) watchStreaming(ctx context.Context, m dcs.Member, also func(context.Context) error) (Streaming, error) {
	var found Streaming
	watch := func(s Server) error {
		for {
			if err := also(ctx); err != nil {
				return stopWatching{err}
			}
			st, ok, err := s.Streaming(ctx, r.cfg.Name)
			if err != nil {
				return err
			}
			if ok && st.State == StateStreaming && (st.Timeline == 0 || st.Timeline >= r.facts.Upstream.Timeline) {
				found = st
				return nil
			}
			if err := sleep(ctx, streamPoll); err != nil {
				return stopWatching{err}
			}
		}
	}
	for {
		err := r.withServer(ctx, m, watch)
		var stop stopWatching
		switch {
		case err == nil:
			return found, nil
		case errors.As(err, &stop):
			return Streaming{}, stop.error
		case errors.Is(err, rewind.ErrSourcePrivilege), errors.Is(err, rewind.ErrSourceAuth):
			return Streaming{}, err
		}
		r.log.Debug("the leader cannot be asked", zap.Error(err))
		if e := also(ctx); e != nil {
			return Streaming{}, e
		}
		if sleep(ctx, streamPoll) != nil {
			return Streaming{}, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// stopWatching ends watchStreaming; other errors only end one connection.
type stopWatching struct{ error }

// keepSlot makes the slot anew when it has gone: a manager on the leader drops
// the slots of members that it does not see, and this one's manager may be
// down. Without its slot the standby would never stream.
func (r *run) keepSlot(ctx context.Context, m dcs.Member) {
	s := r.report.Standby
	if s == nil || s.PrimarySlotName == "" {
		return
	}
	err := r.withServer(ctx, m, func(srv Server) error {
		created, err := srv.EnsureSlot(ctx, s.PrimarySlotName)
		if created {
			r.warn("the slot %q had gone from the leader and was made again", s.PrimarySlotName)
		}
		return err
	})
	if err != nil {
		r.log.Debug("the slot cannot be looked after", zap.Error(err))
	}
}

// sameLeader ends the wait when somebody else leads: the node would stream from
// the one that it was set up for until the end of time. An etcd that does not
// answer, or a cluster without a leader, says nothing about that.
func (r *run) sameLeader(ctx context.Context) error {
	was := r.facts.Topology.Leader
	t, err := r.h.Cluster.Topology(ctx)
	if err != nil || t.Leader == nil || was == nil || t.Leader.Name == was.Name {
		return nil
	}
	return fmt.Errorf("wait for streaming: %w: from %s to %s", dcs.ErrLeaderChanged, was.Name, t.Leader.Name)
}

// stillThere ends the wait when the server has died. One that is under
// somebody else's control may be started again by that.
func (r *run) stillThere(begun time.Time) error {
	if r.cfg.Control != ControlPGCtl {
		return nil
	}
	pid, err := postmaster.Find(r.cfg.PGData)
	if err != nil || pid != 0 {
		return err
	}
	return &Error{Op: "wait for streaming", Err: fmt.Errorf("%w: it ended after its start%s", ErrServerControl, quoted(r.server.logTail(begun))),
		Advice: "the data directory is complete: when what the log says is put right, start the server"}
}
