package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// errSilent: the server was asked for something and sent nothing for too long.
var errSilent = errors.New("the server has sent nothing")

// ear is a connection that knows when something was heard on it last.
// Keepalives notice a host that is gone; what they do not notice is a server
// whose kernel still answers while it does not: a proxy that has lost its other
// side, a stopped process, storage that hangs.
type ear struct {
	net.Conn
	made  time.Time
	heard atomic.Int64 // nanoseconds since made
}

// Read notes that something came.
func (e *ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if n > 0 {
		e.note()
	}
	return n, err
}

func (e *ear) note() { e.heard.Store(int64(time.Since(e.made))) }

// silence is how long nothing was heard.
func (e *ear) silence() time.Duration { return time.Since(e.made) - time.Duration(e.heard.Load()) }

// vigil watches over one statement.
type vigil struct {
	ear    *ear
	limit  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
	// away: the caller works on a row, and it is not the server's turn.
	away atomic.Bool
}

// watch begins a vigil; the context ends when the server was silent for too
// long. end gives the error that it then is, and must be called.
func (s *session) watch(ctx context.Context) (context.Context, *vigil) {
	ctx, cancel := context.WithCancelCause(ctx)
	v := &vigil{ear: s.ear, limit: s.silence, cancel: cancel}
	if v.limit > 0 && v.ear != nil {
		v.ear.note()
		v.timer = time.AfterFunc(v.limit, v.look)
	}
	return ctx, v
}

// look ends the statement, or comes back when it could be time.
func (v *vigil) look() {
	if v.away.Load() {
		v.timer.Reset(v.limit)
		return
	}
	if left := v.limit - v.ear.silence(); left > 0 {
		v.timer.Reset(left)
		return
	}
	v.cancel(errSilent)
}

// during runs what is the caller's to do with a row, however long it takes.
func (v *vigil) during(fn func() error) error {
	v.away.Store(true)
	err := fn()
	if v.ear != nil {
		v.ear.note()
	}
	v.away.Store(false)
	return err
}

// end ends the vigil. The driver only says that its context was cancelled.
func (v *vigil) end(ctx context.Context, err error) error {
	if v.timer != nil {
		v.timer.Stop()
	}
	silent := errors.Is(context.Cause(ctx), errSilent)
	v.cancel(nil)
	if err != nil && silent {
		return fmt.Errorf("%w for %s", errSilent, v.limit)
	}
	return err
}
