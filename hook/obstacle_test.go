package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

func TestObstacleOf(t *testing.T) {
	tests := []struct {
		err  error
		want obstacle
	}{
		{dcs.ErrUnavailable, obstacleEtcd},
		{ErrNoLeader, obstacleNoLeader},
		{ErrUnknownLeader, obstacleNoLeader},
		{ErrLeaderNotReady, obstacleLeader},
		{rewind.ErrSourceUnavailable, obstacleLeader},
		{rewind.ErrSourceNotReady, obstacleLeader},
		{&dcs.LockedError{Owner: dcs.Owner{Member: "n3"}}, obstacleLocked},
		{dcs.ErrLockLost, obstacleTerm},
		{dcs.ErrLeaderChanged, obstacleTerm},
		{rewind.ErrSourceChanged, obstacleTerm},
		{fmt.Errorf("%w: fetch blocks: %w", dcs.ErrLeaderChanged, rewind.ErrSourceUnavailable), obstacleTerm},
		{fmt.Errorf("%w: no answer: %w", dcs.ErrLockLost, dcs.ErrUnavailable), obstacleTerm},

		{ErrConfig, obstacleNone},
		{ErrRoot, obstacleNone},
		{ErrNotOwner, obstacleNone},
		{ErrIsLeader, obstacleNone},
		{ErrSystemID, obstacleNone},
		{ErrStandbyCluster, obstacleNone},
		{ErrServerControl, obstacleNone},
		{ErrServerRunning, obstacleNone},
		{ErrManaged, obstacleNone},
		{ErrNotStreaming, obstacleNone},
		{fmt.Errorf("%w: %w", ErrNotStreaming, rewind.ErrSourceUnavailable), obstacleNone},
		{fmt.Errorf("%w: %w", ErrInProgress, &dcs.LockedError{}), obstacleNone},
		{dcs.ErrAuth, obstacleNone},
		{dcs.ErrTLS, obstacleNone},
		{dcs.ErrNoCluster, obstacleNone},
		{dcs.ErrMalformed, obstacleNone},
		{rewind.ErrSourceAuth, obstacleNone},
		{rewind.ErrSourcePrivilege, obstacleNone},
		{rewind.ErrSystemID, obstacleNone},
		{rewind.ErrIncompatible, obstacleNone},
		{rewind.ErrUnsupported, obstacleNone},
		{rewind.ErrNoSpace, obstacleNone},
		{rewind.ErrNotWritable, obstacleNone},
		{rewind.ErrDamaged, obstacleNone},
		{rewind.ErrJournal, obstacleNone},
		{rewind.ErrBusy, obstacleNone},
		{rewind.ErrTargetRunning, obstacleNone},
		{rewind.ErrSourceWAL, obstacleNone},
		{errors.New("anything else"), obstacleNone},
	}
	for _, tt := range tests {
		if got := obstacleOf(fmt.Errorf("do it: %w", tt.err)); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestAfterSetback(t *testing.T) {
	const limit = 5 * time.Minute
	away, term := rewind.ErrSourceUnavailable, dcs.ErrLeaderChanged
	tests := []struct {
		name string
		is   setback
		act  action
		wait time.Duration
	}{
		{"the first time", setback{err: away, limit: limit, pause: time.Second}, tryAgain, time.Second},
		{"later", setback{err: away, limit: limit, tries: 9, waited: time.Minute, pause: 5 * time.Second}, tryAgain, 5 * time.Second},
		{"the last pause is cut", setback{err: away, limit: limit, tries: 60, waited: limit - time.Second, pause: 5 * time.Second}, tryAgain, time.Second},
		{"the time is over", setback{err: away, limit: limit, tries: 61, waited: limit, pause: 5 * time.Second}, giveUp, 0},
		{"nobody waits", setback{err: away, limit: -1, pause: time.Second}, giveUp, 0},
		{"told to end", setback{err: away, limit: limit, ended: errTest, pause: time.Second}, giveUp, 0},
		{"does not pass", setback{err: rewind.ErrSourceAuth, limit: limit, pause: time.Second}, giveUp, 0},
		{"another leader", setback{err: term, limit: limit, pause: time.Second}, decideAnew, 0},
		{"another leader, and nobody waits", setback{err: term, limit: -1}, giveUp, 0},
		{"another leader, and told to end", setback{err: term, limit: limit, ended: errTest}, giveUp, 0},
		{"another leader again", setback{err: term, limit: limit, tries: 1, pause: time.Second}, tryAgain, time.Second},
		{"another leader again and again", setback{err: term, limit: limit, tries: 90, waited: limit, pause: time.Second}, giveUp, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := afterSetback(tt.is)
			if got.act != tt.act || got.pause != tt.wait || got.act == giveUp && got.reason == "" {
				t.Errorf("got %+v, want %s after %s", got, tt.act, tt.wait)
			}
		})
	}
}

func TestBriefly(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}
	tests := []struct {
		err  error
		want string
	}{
		{fmt.Errorf("ask the leader n2: %w", &rewind.Error{Op: "connect", Err: fmt.Errorf("%w: %w", rewind.ErrSourceUnavailable, refused)}), "connection refused"},
		{fmt.Errorf("%w: %w", dcs.ErrUnavailable, context.DeadlineExceeded), "no answer in time"},
		{&net.OpError{Op: "read", Err: context.DeadlineExceeded}, "no answer in time"},
		{fmt.Errorf("%w: read: %w", rewind.ErrSourceUnavailable, io.ErrUnexpectedEOF), "connection closed"},
		{fmt.Errorf("%w: %w", rewind.ErrSourceNotReady, errors.New("FATAL: the database system is starting up")), "FATAL: the database system is starting up"},
		{errors.New(strings.Repeat("ä", 100)), strings.Repeat("ä", 79) + "…"},
	}
	for _, tt := range tests {
		if got := Briefly(tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestWaitingString(t *testing.T) {
	for _, tt := range []struct {
		elapsed, limit time.Duration
		want           string
	}{
		{12*time.Second + 300*time.Millisecond, 5 * time.Minute, "12 s of 5 min"},
		{0, 90 * time.Second, "0 s of 1 min 30 s"},
		{time.Hour + time.Second, 2 * time.Hour, "60 min 1 s of 120 min"},
	} {
		w := Waiting{For: "the leader n2", Why: "connection refused", Elapsed: tt.elapsed, Limit: tt.limit}
		if got, want := w.String(), "waiting for the leader n2 (connection refused), "+tt.want; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
