package torture

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// tally counts statements, and keeps a few errors to look at.
type tally struct {
	mu           sync.Mutex
	done, failed int
	errors       map[string]int
}

func (t *tally) count(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	if err == nil {
		return
	}
	t.failed++
	if t.errors == nil {
		t.errors = map[string]int{}
	}
	t.errors[err.Error()]++
}

// load is some writers at work until they are stopped or the server is gone.
type load struct {
	stop  chan struct{}
	steps atomic.Int64
	wg    sync.WaitGroup
	mu    sync.Mutex
	err   error
}

// startLoad starts count writers, with seeds that follow each other.
func startLoad(n *rewindtest.Node, t *tally, count int, writerOf func(i int) *writer) *load {
	l := &load{stop: make(chan struct{})}
	for i := range count {
		l.wg.Go(func() {
			h := newHand(n, t)
			defer h.close()
			w := writerOf(i)
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := h.do(w.step()); err != nil {
					l.fail(err)
					return
				}
				l.steps.Add(1)
			}
		})
	}
	return l
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !errors.Is(err, errGone) {
		l.err = errors.Join(l.err, err)
	}
}

// await returns when the writers have done so many further steps.
func (l *load) await(further int) error {
	want := l.steps.Load() + int64(further)
	return until(statementLimit, func() (bool, error) {
		return l.steps.Load() >= want, nil
	})
}

// end stops the writers after the step at hand.
func (l *load) end() error {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
	return l.err
}

// until polls for what announces itself in no other way.
func until(limit time.Duration, done func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s", limit)
		}
		time.Sleep(pause)
	}
}
