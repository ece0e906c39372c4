package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
)

// pool is a fixed number of connections to one server, kept as a free list.
type pool struct {
	config  *pgconn.Config
	options poolOptions
	first   server // what the first connection found
	// slots holds one entry for each connection that may exist; nil where it
	// has yet to be made.
	slots   chan *session
	stopped context.Context
	stop    context.CancelFunc
	closing sync.Once
}

// poolOptions are those of SQLConfig, with their defaults.
type poolOptions struct {
	size     int
	retryFor time.Duration
	silence  time.Duration
	onRetry  func(err error, waited time.Duration)
}

// openPool makes the first connection and binds the pool to the server that it
// reached. It does not retry: the caller knows better whether to wait.
func openPool(ctx context.Context, config *pgconn.Config, o poolOptions) (*pool, error) {
	address := &pinned{dial: config.DialFunc}
	config.DialFunc = address.dialContext
	s, err := newSession(ctx, config, o.silence)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	address.pin()
	p := &pool{config: config, options: o, first: s.server, slots: make(chan *session, o.size)}
	p.stopped, p.stop = context.WithCancel(context.Background())
	p.slots <- s
	for range o.size - 1 {
		p.slots <- nil
	}
	return p, nil
}

// do borrows a connection and runs call on it, again and again on a new
// connection as long as the errors are passing ones. call must go on where it
// was; *done counts what it has delivered. Pauses grow while nothing is
// delivered; retryFor bounds their sum.
func (p *pool) do(ctx context.Context, op string, done *int, call func(context.Context, *session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.stopped, func() { cancel(errClosed) })()

	s, err := p.borrow(ctx)
	if err != nil {
		return err
	}
	defer func() { p.slots <- s }()
	for {
		pauses := newPauses(p.options.retryFor)
		progressed, err := backoff.Retry(ctx, func() (bool, error) {
			before := *done
			err := p.attempt(ctx, &s, call)
			_, own := errors.AsType[*callbackError](err)
			switch {
			case err == nil:
				return false, nil
			case own:
				return false, backoff.Permanent(err)
			case ctx.Err() != nil:
				return false, backoff.Permanent(context.Cause(ctx))
			case rewind.Retryable(describe(op, "", err)):
				if *done > before {
					return true, nil // the patience begins anew
				}
				return false, err
			}
			return false, backoff.Permanent(err)
		}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
			if p.options.onRetry != nil {
				p.options.onRetry(describe(op, "", err), pauses.sum)
			}
		}))
		if callback, ok := errors.AsType[*callbackError](err); ok {
			return callback.err
		}
		if err != nil || !progressed {
			return describe(op, "", err)
		}
	}
}

// borrow waits for a free connection.
func (p *pool) borrow(ctx context.Context) (*session, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case s := <-p.slots:
		if ctx.Err() != nil {
			p.slots <- s
			return nil, context.Cause(ctx)
		}
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// attempt runs call once, on a new connection if there is none.
func (p *pool) attempt(ctx context.Context, s **session, call func(context.Context, *session) error) error {
	if *s == nil || (*s).conn.IsClosed() {
		*s = nil
		fresh, err := newSession(ctx, p.config, p.options.silence)
		if err != nil {
			return err
		}
		if err := p.first.same(fresh.server); err != nil {
			fresh.close()
			return &rewind.Error{Op: "connect to the source again", Err: &kindError{rewind.ErrSourceChanged, err}}
		}
		*s = fresh
	}
	return call(ctx, *s)
}

// close ends running calls and gives back all connections.
func (p *pool) close() {
	p.closing.Do(func() {
		p.stop()
		for range cap(p.slots) {
			if s := <-p.slots; s != nil {
				s.close()
			}
		}
		for range cap(p.slots) {
			p.slots <- nil // a late call finds the pool stopped
		}
	})
}

// pauses is an exponential back-off that stops when the pauses add up to limit.
type pauses struct {
	backoff.BackOff
	limit, sum time.Duration
}

func newPauses(limit time.Duration) *pauses {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	return &pauses{BackOff: b, limit: limit}
}

func (p *pauses) NextBackOff() time.Duration {
	next := p.BackOff.NextBackOff()
	if p.sum += next; p.sum > p.limit {
		return backoff.Stop
	}
	return next
}

func (p *pauses) Reset() {
	p.sum = 0
	p.BackOff.Reset()
}

// pinned dials whatever it is told until pin is called, and from then on only
// the address that was reached last. A name may stand for several addresses,
// and a connection string for several hosts, but one source is one server.
type pinned struct {
	dial pgconn.DialFunc

	mu      sync.Mutex
	reached string
	fixed   bool
}

func (p *pinned) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	fixed, reached := p.fixed, p.reached
	p.mu.Unlock()
	if fixed && address != reached {
		return nil, &net.OpError{Op: "dial", Net: network,
			Err: fmt.Errorf("%s is not the address %s that the work began with", address, reached)}
	}
	conn, err := p.dial(ctx, network, address)
	if err == nil && !fixed {
		p.mu.Lock()
		p.reached = address
		p.mu.Unlock()
	}
	return conn, err
}

func (p *pinned) pin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fixed = true
}
