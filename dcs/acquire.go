package dcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What the zero values of a LockRequest stand for.
const (
	DefaultLockTTL   = 30 * time.Second
	DefaultLockLimit = 1
)

// LockRequest says what a lock is wanted for.
type LockRequest struct {
	// Member is the node that is to be rejoined.
	Member string
	// Operation and Version are shown to others who find the lock taken: what
	// is going on, and the version of this program.
	Operation string
	Version   string
	// Leader is the term of leadership that was decided on.
	Leader Leader
	// Limit is how many nodes may rejoin from this leader at a time;
	// zero means DefaultLockLimit.
	Limit int
	// TTL is how long the lock outlives its holder, in whole seconds rounded
	// up; zero means DefaultLockTTL. etcd may make it longer.
	TTL time.Duration
}

// validate fills in the defaults and refuses what cannot be meant.
func (r *LockRequest) validate() error {
	if r.Limit == 0 {
		r.Limit = DefaultLockLimit
	}
	if r.TTL == 0 {
		r.TTL = DefaultLockTTL
	}
	var errs []error
	if r.Member == "" {
		errs = append(errs, errors.New("no member is named"))
	}
	if r.Leader.Name == "" || r.Leader.CreateRevision == 0 {
		errs = append(errs, errors.New("no leader is named"))
	}
	if r.Limit < 0 {
		errs = append(errs, fmt.Errorf("the limit %d is negative", r.Limit))
	}
	if r.TTL < time.Second {
		errs = append(errs, fmt.Errorf("the TTL %s is below one second", r.TTL))
	}
	return errors.Join(errs...)
}

// record is the value of both keys.
func (r LockRequest) record() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	value, err := json.Marshal(Owner{
		Member: r.Member, Host: host, PID: os.Getpid(), Operation: r.Operation,
		Leader: r.Leader.Name, Version: r.Version, Since: time.Now().UTC().Truncate(time.Millisecond),
	})
	return string(value), err
}

// Acquire takes the lock of a node together with one of the leader's slots, in
// one transaction that holds only if the leader key is still req.Leader. It
// does not wait: the error is ErrLeaderChanged, or a *LockedError with who
// holds the node or, when all slots are taken, the first slot. On every error
// nothing of ours is left in etcd, at the latest when the TTL is over.
//
// The caller must call Release.
func (c *Client) Acquire(ctx context.Context, req LockRequest) (*Lock, error) {
	if err := req.validate(); err != nil {
		return nil, fmt.Errorf("acquire lock: %w", err)
	}
	value, err := req.record()
	if err != nil {
		return nil, fmt.Errorf("acquire lock: write record: %w", err)
	}
	keys := c.lockKeys(req.Member, req.Leader.Name)
	// First only a look: a lock that is held costs no lease.
	seen, err := c.look(ctx, keys)
	if err != nil {
		return nil, err
	}
	if keys.slot, err = keys.refusal(seen, req.Leader, req.Limit); err != nil {
		return nil, fmt.Errorf("acquire lock: %w", err)
	}
	lease, err := c.grant(ctx, req.TTL)
	if err != nil {
		return nil, err
	}
	keys, token, err := c.take(ctx, keys, lease.id, value, req)
	if err != nil {
		if rerr := c.revoke(ctx, lease.id); rerr != nil {
			err = fmt.Errorf("%w; %w", err, rerr)
		}
		return nil, err
	}
	return c.newLock(ctx, keys, token, lease, req.Leader), nil
}

// look reads leader, node and slots at one revision.
func (c *Client) look(ctx context.Context, keys lockKeys) (observed, error) {
	resp, err := retry(ctx, c, "read lock", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return c.etcd.Txn(ctx).Then(keys.observe()...).Commit()
	})
	if err != nil {
		return observed{}, err
	}
	o, err := keys.readObserved(resp)
	return o, c.wrap(ctx, "read lock", err)
}

// take puts both keys. Where another one was faster it goes for the next free
// slot; each such round means that somebody else got one, so it ends.
func (c *Client) take(ctx context.Context, keys lockKeys, lease clientv3.LeaseID, value string, req LockRequest) (lockKeys, int64, error) {
	for {
		free := append(keys.sameTerm(req.Leader),
			clientv3.Compare(clientv3.CreateRevision(keys.node), "=", 0),
			clientv3.Compare(clientv3.CreateRevision(keys.slot), "=", 0))
		tctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		resp, err := c.etcd.Txn(tctx).If(free...).
			Then(clientv3.OpPut(keys.node, value, clientv3.WithLease(lease)), clientv3.OpPut(keys.slot, value, clientv3.WithLease(lease))).
			Else(keys.observe()...).Commit()
		cancel()
		if err != nil {
			return keys, 0, c.wrap(ctx, "acquire lock", err)
		}
		if resp.Succeeded {
			return keys, resp.Header.Revision, nil
		}
		seen, err := keys.readObserved(resp)
		if err != nil {
			return keys, 0, c.wrap(ctx, "acquire lock", err)
		}
		if keys.slot, err = keys.refusal(seen, req.Leader, req.Limit); err != nil {
			return keys, 0, fmt.Errorf("acquire lock: %w", err)
		}
	}
}
