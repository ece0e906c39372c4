package dcs

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
)

// patience is how long an answer may take before the connection is looked at.
const patience = 300 * time.Millisecond

// retry runs a request that may be repeated until it succeeds, fails for
// another reason than ErrUnavailable, or the budget is used up. A part of the
// budget is kept back to find out which endpoint has which trouble: gRPC says
// "unavailable" of a refused connection and of a wrong certificate alike.
func retry[T any](ctx context.Context, c *Client, op string, budget time.Duration, request func(context.Context) (T, error)) (T, error) {
	spare := min(time.Second, budget/4)
	rctx, cancel := context.WithTimeout(ctx, budget-spare)
	defer cancel()
	each := (budget - spare) / time.Duration(min(len(c.shown), 3))
	var last error
	v, err := backoff.Retry(rctx, func() (T, error) {
		actx, cancel := context.WithTimeout(rctx, each)
		defer cancel()
		v, err := attempt(actx, c, request)
		var found *Error
		if errors.As(err, &found) {
			found.Op, last = op, found
			return v, backoff.Permanent(last)
		}
		if err == nil {
			return v, nil
		}
		last = c.wrap(ctx, op, err)
		if !errors.Is(last, ErrUnavailable) || ctx.Err() != nil {
			return v, backoff.Permanent(last)
		}
		last = c.diagnosed(ctx, op, spare, err)
		if !errors.Is(last, ErrUnavailable) {
			return v, backoff.Permanent(last)
		}
		return v, last
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 50 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.3, MaxInterval: time.Second,
	}))
	if err != nil && last != nil {
		return v, last
	}
	return v, c.wrap(ctx, op, err)
}

// attempt runs a request once. The etcd client waits silently for a connection
// for as long as it may, with a wrong certificate too; so a request that takes
// long is accompanied by a diagnosis, and ended by it with an *Error if waiting
// cannot help.
func attempt[T any](ctx context.Context, c *Client, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var companion errgroup.Group
	companion.Go(func() error {
		if !sleepUntil(ctx, time.Now().Add(patience)) {
			return nil
		}
		if e := c.prober.diagnose(ctx, context.DeadlineExceeded); !errors.Is(e.Kind, ErrUnavailable) {
			e.Endpoints = c.shown
			cancel(e)
		}
		return nil
	})
	v, err := request(ctx)
	var found *Error
	if err != nil && errors.As(context.Cause(ctx), &found) {
		err = found
	}
	cancel(nil)
	_ = companion.Wait() // the function returns no error
	return v, err
}

// diagnosed replaces an unavailable error by what the endpoints show one by
// one.
func (c *Client) diagnosed(ctx context.Context, op string, spare time.Duration, err error) error {
	ctx, cancel := context.WithTimeout(ctx, spare)
	defer cancel()
	e := c.prober.diagnose(ctx, err)
	e.Op, e.Endpoints = op, c.shown
	return e
}
