package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// lockPause is how often a lock is asked for that another node has.
const lockPause = time.Second

// locked runs fn under the cluster's lock, where FAILBACK_HOOK_CONFIG names a
// configuration that says where it is; a drop-in has no option for it. Without
// the variable nobody is asked: PostgreSQL's pg_rewind knows no etcd.
//
// A lock that another node has is waited for, at most for the setting wait:
// whoever calls pg_rewind takes a failure for the end.
func (d *rewindDoor) locked(ctx context.Context, m *rewindMessages, e *rewind.Engine, fn func(context.Context) error) error {
	file := d.env[envPrefix+"CONFIG"]
	if file == "" {
		return fn(ctx)
	}
	conf, err := load(sources{env: d.env, file: file})
	if err != nil {
		return fmt.Errorf("read the configuration for the lock: %w", err)
	}
	s := &conf.settings
	cfg, err := s.dcsConfig()
	if err == nil {
		err = cfg.Validate()
	}
	if err == nil && s.Name == "" {
		err = errors.New("name is not set")
	}
	if err != nil {
		return fmt.Errorf("read the configuration for the lock: %w", err)
	}
	lock, closer, err := d.acquire(ctx, m, s, cfg)
	if err != nil {
		return err
	}
	e.Options.BeforeCommit = lock.Check
	err = fn(lock.Context())
	if cause := context.Cause(lock.Context()); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if e := errors.Join(lock.Release(ctx), closer()); e != nil {
		m.info("warning: the lock ends by itself in %s: %v", s.Lock.TTL, e)
	}
	return err
}

// acquire takes the lock for the term of whoever leads, and waits for it.
func (d *rewindDoor) acquire(ctx context.Context, m *rewindMessages, s *settings, cfg dcs.ClientConfig) (*dcs.Lock, func() error, error) {
	client, err := dcs.Open(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	for end, told := time.Now().Add(s.Wait), false; ; told = true {
		lock, err := tryLock(ctx, client, s)
		if err == nil {
			return lock, client.Close, nil
		}
		passing := errors.Is(err, dcs.ErrLocked) || errors.Is(err, dcs.ErrLeaderChanged) || errors.Is(err, dcs.ErrUnavailable) || errors.Is(err, errNoLeader)
		if !passing || time.Now().After(end) {
			return nil, nil, errors.Join(err, client.Close())
		}
		if !told {
			m.info("waiting for the lock: %v", err)
		}
		if err := wait(ctx, lockPause); err != nil {
			return nil, nil, errors.Join(err, client.Close())
		}
	}
}

// errNoLeader: nobody holds the leader key.
var errNoLeader = errors.New("the cluster has no leader")

func tryLock(ctx context.Context, client *dcs.Client, s *settings) (*dcs.Lock, error) {
	t, err := client.Topology(ctx)
	switch {
	case err != nil:
		return nil, err
	case t.Leader == nil:
		return nil, errNoLeader
	case t.Leader.Name == s.Name:
		return nil, fmt.Errorf("take the lock: %s is the leader", s.Name)
	}
	return client.Acquire(ctx, dcs.LockRequest{
		Member: s.Name, Operation: "rewind", Version: buildVersion().Version, Leader: *t.Leader, Limit: s.Lock.Limit, TTL: s.Lock.TTL,
	})
}
