package hook

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// obstacle is a kind of what stands against a run and may pass by itself. Each
// kind has its own patience: an etcd that is back after two minutes has used up
// nothing of the time that the leader may take for its restart.
type obstacle string

// The kinds.
const (
	// obstacleNone: it will not pass by itself.
	obstacleNone obstacle = ""
	// obstacleEtcd: etcd does not answer, or has no leader of its own.
	obstacleEtcd obstacle = "etcd"
	// obstacleNoLeader: nobody leads the cluster, or nobody knows where.
	obstacleNoLeader obstacle = "a leader"
	// obstacleLeader: the leader's server does not answer, or is not ready.
	obstacleLeader obstacle = "the leader"
	// obstacleLocked: another node is at work.
	obstacleLocked obstacle = "the lock"
	// obstacleTerm: what was decided on has ended: the lock was lost, or the
	// leader or its timeline is another one. There is nothing to wait for.
	obstacleTerm obstacle = "the cluster to settle"
)

// final are the errors that decide whatever lies below them in the chain: the
// work is done and only not seen, a person or another process is needed, or is
// at it. To try again would be of no use, or would undo what they do.
func final() []error {
	return []error{
		ErrNotStreaming, ErrServerControl, ErrServerRunning, ErrManaged, ErrInProgress,
		rewind.ErrBusy, rewind.ErrTargetRunning,
	}
}

// passing lists what may pass by itself, by kind. An error may hold several: a
// lost lock explains a broken connection, and a server that was not reached
// explains nothing about the leader key; so the order is that of explanation.
func passing() []struct {
	kind obstacle
	errs []error
} {
	return []struct {
		kind obstacle
		errs []error
	}{
		{obstacleTerm, []error{dcs.ErrLockLost, dcs.ErrLeaderChanged, rewind.ErrSourceChanged, errManagerCame}},
		{obstacleEtcd, []error{dcs.ErrUnavailable}},
		{obstacleLocked, []error{dcs.ErrLocked}},
		{obstacleNoLeader, []error{ErrNoLeader, ErrUnknownLeader}},
		{obstacleLeader, []error{ErrLeaderNotReady, rewind.ErrSourceUnavailable, rewind.ErrSourceNotReady}},
	}
}

// obstacleOf tells which kind an error is. What is not listed does not pass: a
// refused login, a missing privilege, another cluster, a full disk.
func obstacleOf(err error) obstacle {
	for _, f := range final() {
		if errors.Is(err, f) {
			return obstacleNone
		}
	}
	for _, p := range passing() {
		for _, e := range p.errs {
			if errors.Is(err, e) {
				return p.kind
			}
		}
	}
	return obstacleNone
}

// setback is what is known when an attempt has failed.
type setback struct {
	err error
	// ended is the cause of the run's context, when that has ended: a signal, or
	// the end of the time for the whole run.
	ended error
	// tries and waited are of this kind of trouble, in this run: how often it was
	// met before, and how much time went by because of it.
	tries  int
	waited time.Duration
	// limit is how long one kind of trouble is waited out; not at all when it is
	// not positive.
	limit time.Duration
	// pause is the next one of the back-off.
	pause time.Duration
}

// action is what to do after a failed attempt.
type action string

// The actions.
const (
	// giveUp: the error is the result.
	giveUp action = "give up"
	// tryAgain: after a pause; every attempt decides anew.
	tryAgain action = "try again"
	// decideAnew: at once, because what was decided on is no longer so.
	decideAnew action = "decide anew"
)

// answer is what to do after a failed attempt, and why.
type answer struct {
	act    action
	kind   obstacle
	pause  time.Duration
	reason string
}

// afterSetback decides about another attempt. It is pure.
//
// The last pause is cut so that the last attempt is made when the time is over,
// and not a pause before. The first new decision is taken without any pause;
// further ones take one, as a cluster whose leader changes with every attempt
// is not helped by haste.
func afterSetback(s setback) answer {
	kind := obstacleOf(s.err)
	switch {
	case s.ended != nil:
		return answer{act: giveUp, reason: "this run was told to end"}
	case kind == obstacleNone:
		return answer{act: giveUp, reason: "it does not pass by itself"}
	case s.limit <= 0:
		return answer{act: giveUp, kind: kind, reason: "nothing is to be waited for"}
	case s.waited >= s.limit:
		return answer{act: giveUp, kind: kind, reason: "it was waited for long enough"}
	case kind == obstacleTerm && s.tries == 0:
		return answer{act: decideAnew, kind: kind}
	}
	return answer{act: tryAgain, kind: kind, pause: min(s.pause, s.limit-s.waited)}
}

// Briefly gives the heart of an error, short enough for a line that also has other
// things to say: of "ask the leader: connect: dial tcp …: connect: connection
// refused" the last part. Where several errors are joined the last one is
// followed: kinds stand before causes.
func Briefly(err error) string {
	const most = 80
	var errno syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	text := []rune(innermost(err).Error())
	if len(text) > most {
		text = append(text[:most-1], '…')
	}
	return string(text)
}

func innermost(err error) error {
	for {
		var next error
		switch e := err.(type) { //nolint:errorlint // this walks the tree itself
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[len(all)-1]
			}
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		}
		if next == nil {
			return err
		}
		err = next
	}
}
