package dcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// What the zero values of a LockRequest stand for.
const (
	DefaultLockTTL       = 30 * time.Second
	DefaultLockLimit     = 1
	DefaultProgressEvery = 2 * time.Second
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
	// Wait: where the lock cannot be had, wait for it in the queue. It is told
	// at once, at each change and at least every second how things stand; an
	// error from it ends the waiting. Nil: do not wait.
	Wait func(Queued) error
	// ProgressEvery is how often the record in etcd follows what Lock.Report is
	// told, at most; zero means DefaultProgressEvery.
	ProgressEvery time.Duration
}

// validate fills in the defaults and refuses what cannot be meant.
func (r *LockRequest) validate() error {
	if r.Limit == 0 {
		r.Limit = DefaultLockLimit
	}
	if r.TTL == 0 {
		r.TTL = DefaultLockTTL
	}
	if r.ProgressEvery <= 0 {
		r.ProgressEvery = DefaultProgressEvery
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

// owner is the record of this process.
func (r LockRequest) owner() Owner {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Owner{
		Member: r.Member, Host: host, PID: os.Getpid(), Operation: r.Operation,
		Leader: r.Leader.Name, Version: r.Version, Since: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// Acquire takes the lock of a node together with one of the leader's slots, in
// one transaction that holds only if the leader key is still req.Leader and
// nobody waits in front of us. Without req.Wait it does not wait: the error is
// ErrLeaderChanged, or a *LockedError with who holds the node or, when all slots
// are taken, the first slot, or who waits for it. On every error nothing of ours
// is left in etcd, at the latest when the TTL is over.
//
// The caller must call Release.
func (c *Client) Acquire(ctx context.Context, req LockRequest) (*Lock, error) {
	if err := req.validate(); err != nil {
		return nil, fmt.Errorf("acquire lock: %w", err)
	}
	p := &pursuit{client: c, req: req, claim: claim{
		keys: c.lockKeys(req.Member, req.Leader.Name), leader: req.Leader, limit: req.Limit,
		queue: req.Wait != nil, state: claimLooking,
	}}
	if err := p.run(ctx); err != nil {
		if p.lock != nil {
			err = errors.Join(err, p.lock.Release(ctx))
		}
		return nil, err
	}
	return p.lock, nil
}

// pursuit drives a claim against etcd.
type pursuit struct {
	client *Client
	req    LockRequest
	owner  Owner
	claim  claim
	// lock is there, and its lease kept alive, as soon as there is a lease.
	lock *Lock
	line line
}

// run goes on until the lock is held.
func (p *pursuit) run(ctx context.Context) error {
	defer p.line.leave()
	for p.claim.state != claimHeld {
		var err error
		switch p.claim.state {
		case claimGranting:
			err = p.grant(ctx)
		case claimWaiting:
			if err = p.line.wait(p.lock.Context()); err == nil {
				p.claim = p.claim.again()
			}
		default:
			err = p.ask(ctx)
		}
		if err != nil {
			return err
		}
	}
	p.lock.take(p.claim, p.owner, p.req.ProgressEvery)
	return nil
}

func (p *pursuit) grant(ctx context.Context) error {
	granted, err := p.client.grant(ctx, p.req.TTL)
	if err != nil {
		return err
	}
	p.lock = p.client.newLock(ctx, granted)
	p.claim = p.claim.granted(int64(granted.id))
	return nil
}

// ask carries out the claim's transaction once, or, where it only reads, until
// it is answered. One who waits looks again where an answer was lost, as long as
// the lease lives; one who does not gives up, as before anything was begun.
func (p *pursuit) ask(ctx context.Context) error {
	const op = "acquire lock"
	// Anew for each: one who has waited is at work since now, not since then.
	p.owner = p.req.owner()
	record, err := json.Marshal(p.owner)
	if err != nil {
		return fmt.Errorf("%s: write record: %w", op, err)
	}
	p.claim.record = string(record)
	request := p.claim.request()
	var a answer
	if p.claim.state == claimLooking {
		a, err = p.client.read(ctx, "read lock", request)
	} else {
		tctx, cancel := context.WithTimeout(ctx, p.client.cfg.RequestTimeout)
		a, err = p.client.commit(tctx, request)
		cancel()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return fmt.Errorf("%s: %w: its lease has expired", op, ErrLockLost)
		}
		err = p.client.wrap(ctx, op, err)
	}
	if err != nil {
		if p.lock == nil || p.req.Wait == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		if !sleepUntil(p.lock.Context(), time.Now().Add(watchPause)) {
			return fmt.Errorf("%s: %w", op, context.Cause(p.lock.Context()))
		}
		p.claim = p.claim.again()
		return nil
	}
	next, seen, err := p.claim.answered(a)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	p.claim = next
	if next.state == claimWaiting {
		return p.line.look(ctx, p, seen, a.revision)
	}
	return nil
}

// read carries out a transaction that changes nothing until it is answered.
func (c *Client) read(ctx context.Context, op string, t txn) (answer, error) {
	return retry(ctx, c, op, c.cfg.RequestTimeout, func(ctx context.Context) (answer, error) { return c.commit(ctx, t) })
}
