package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
)

// acquirePause is how often a lock is asked for again that a dead process of
// this host has left.
const acquirePause = time.Second

// acquire takes the lock, and waits for it in the queue where other nodes are at
// work or come first. Another process of this node is an error at once, with one
// exception: when that process is dead, its lease is on the way out, and a
// person who runs the command again after a kill should not have to wait for it
// by hand. Or it was this very process, which could not give the lock back while
// etcd was away.
func (r *run) acquire(ctx context.Context, leader dcs.Leader) (Lock, error) {
	req := dcs.LockRequest{
		Member: r.cfg.Name, Operation: "rejoin", Version: r.cfg.Version,
		Leader: leader, Limit: r.cfg.LockLimit, TTL: r.cfg.LockTTL,
	}
	if r.cfg.Wait > 0 {
		req.Wait = r.inQueue(time.Now())
	}
	begun, most := time.Now(), r.cfg.LockTTL+settle
	for told := false; ; told = true {
		lock, err := r.h.Cluster.Lock(ctx, req)
		if err == nil {
			r.leaveQueue()
			return lock, nil
		}
		var held *dcs.LockedError
		if !errors.As(err, &held) || held.Owner.Member != r.cfg.Name {
			return nil, err
		}
		if !diedHere(held.Owner) || time.Since(begun) > most {
			return nil, fmt.Errorf("%w: %w", ErrInProgress, err)
		}
		if !told {
			r.log.Info("waiting for the end of a lock that was left behind", zap.Int("pid", held.Owner.PID))
		}
		r.tellWait(Waiting{For: "the end of a lock", Why: fmt.Sprintf("left behind by process %d", held.Owner.PID), Elapsed: time.Since(begun), Limit: most})
		if err := sleep(ctx, acquirePause); err != nil {
			return nil, err
		}
	}
}

// diedHere tells whether the holder was a process of this host that is no more.
// One with our own number is: in a container that starts anew everybody has
// the number 1.
func diedHere(o dcs.Owner) bool {
	host, err := os.Hostname()
	if err != nil || o.Host != host || o.PID <= 0 {
		return false
	}
	return o.PID == os.Getpid() || errors.Is(syscall.Kill(o.PID, 0), syscall.ESRCH)
}
