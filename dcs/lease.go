package dcs

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// lease is one of etcd's leases with what we may believe about it: it lives at
// least until sent+ttl by our own clock, because etcd renewed it after we sent
// the request.
type lease struct {
	id   clientv3.LeaseID
	ttl  time.Duration
	sent time.Time
}

// margin is kept between the end that we believe in and the real one: time for
// the holder to stop what it is doing.
func (l lease) margin() time.Duration { return l.ttl / 10 }

// end is when the lease must be counted as gone. time.Time carries the
// monotonic clock, so that setting the clock does not matter.
func (l lease) end() time.Time { return l.sent.Add(l.ttl - l.margin()) }

// grant makes a lease; etcd may make its life longer than asked.
func (c *Client) grant(ctx context.Context, ttl time.Duration) (lease, error) {
	gctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	sent := time.Now()
	resp, err := c.etcd.Grant(gctx, seconds)
	if err != nil {
		return lease{}, c.wrap(ctx, "grant lease", err)
	}
	return lease{id: resp.ID, ttl: time.Duration(resp.TTL) * time.Second, sent: sent}, nil
}

// revoke removes the lease and with it our keys, also when ctx has ended. A
// lease that is gone already is no error.
func (c *Client) revoke(ctx context.Context, id clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RequestTimeout)
	defer cancel()
	_, err := c.etcd.Revoke(ctx, id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return c.wrap(ctx, "revoke lease", err)
}

// renew sends one keep-alive and waits for its answer. The etcd client's own
// KeepAlive does not tell when a request was sent, and its KeepAliveOnce
// repeats without a pause while etcd is down.
func (c *Client) renew(ctx context.Context, l lease) (lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.sent = time.Now()
	stream, err := c.leases.LeaseKeepAlive(ctx)
	if err != nil {
		return l, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.id)}); err != nil {
		return l, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return l, err
	}
	if resp.TTL <= 0 {
		return l, fmt.Errorf("%w: its lease has expired or was revoked", ErrLockLost)
	}
	l.ttl = time.Duration(resp.TTL) * time.Second
	return l, nil
}

// keepAlive renews the lease three times in its life until ctx ends, then it
// returns nil. It returns ErrLockLost as soon as the lease must be counted as
// gone: etcd said so, or no answer came in time. Outages that end before that
// are ridden out.
func (c *Client) keepAlive(ctx context.Context, l lease) error {
	next := l.sent.Add(l.ttl / 3)
	var last error
	for {
		if !sleepUntil(ctx, earlier(next, l.end())) {
			return nil
		}
		if !time.Now().Before(l.end()) {
			return fmt.Errorf("%w: no keep-alive was answered for %s: last error: %w",
				ErrLockLost, time.Since(l.sent).Round(time.Millisecond), orNone(last))
		}
		rctx, cancel := context.WithDeadline(ctx, earlier(time.Now().Add(l.ttl/3), l.end()))
		renewed, err := c.renew(rctx, l)
		cancel()
		switch {
		case err == nil:
			l, last = renewed, nil
			next = l.sent.Add(l.ttl / 3)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrLockLost):
			return err
		default:
			last = err
			next = time.Now().Add(min(time.Second, l.ttl/20))
		}
	}
}

// orNone keeps a message whole where there is no error to report: the process
// itself was stopped for longer than the lease lives.
func orNone(err error) error {
	if err == nil {
		return errors.New("none, this process or its machine was paused")
	}
	return err
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// sleepUntil waits; false when ctx ended before.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
