package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var (
	errGone = errors.New("the node went away under the client before it should")
	errSlow = errors.New("the client did not get on within a minute")
)

// client writes on a node until it is stopped or the node is gone.
type client struct {
	cancel context.CancelFunc
	done   chan struct{}
	count  atomic.Int64
	tick   chan struct{}
}

func startClient(ctx context.Context, n *rewindtest.Node) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{cancel: cancel, done: make(chan struct{}), tick: make(chan struct{}, 1)}
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			if err := n.Exec(writing(n.Name)); err != nil {
				return // the node was killed under it: that is the story
			}
			c.count.Add(1)
			select {
			case c.tick <- struct{}{}:
			default:
			}
		}
	}()
	return c
}

// await returns when so many further transactions are done.
func (c *client) await(n int64) error {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for until := c.count.Load() + n; c.count.Load() < until; {
		select {
		case <-c.tick:
		case <-c.done:
			return errGone
		case <-deadline.C:
			return errSlow
		}
	}
	return nil
}

func (c *client) stop() error {
	c.cancel()
	<-c.done
	return nil
}
