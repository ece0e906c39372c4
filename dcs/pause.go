package dcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Pause is a hold on the pause of a cluster: while there is one, Patroni leaves
// the servers alone. It is made by Client.Pause and ended by Resume.
//
// Whose a pause is, is a question of revisions. A pause of ours and the key
// "pause/ours" below our own prefix are written in one transaction, so the two
// have the same modification revision; as soon as somebody else has touched the
// configuration they have not, and the pause is nobody's to end but theirs. That
// outlives a process that is killed, which a lease would not.
//
// Each process that works under a pause of ours has a key of its own beside it,
// with a lease. The last one to leave ends the pause.
type Pause struct {
	client *Client
	// foreign: somebody else had paused the cluster.
	foreign bool
	holder  string
	lease   clientv3.LeaseID
	stop    context.CancelFunc
	running *errgroup.Group
}

// PauseRequest says who pauses the cluster.
type PauseRequest struct {
	// Member is this node, Version that of this program: for others to see.
	Member, Version string
	// TTL is how long a hold outlives its process; zero means DefaultLockTTL.
	TTL time.Duration
}

// Resumed is what the end of a hold has done to the cluster's pause.
type Resumed string

// What Resume and EndPause may have done.
const (
	// ResumedNow: the pause was ours and has been ended.
	ResumedNow Resumed = "resumed"
	// ResumedNot: the cluster is not paused.
	ResumedNot Resumed = "not paused"
	// ResumedForeign: the pause is, or has become, somebody else's and stays.
	ResumedForeign Resumed = "somebody else's"
	// ResumedHeld: another process works under it and will end it.
	ResumedHeld Resumed = "still needed"
)

// pauseKeys are the names of the keys of a pause.
type pauseKeys struct{ config, mark, holders string }

func (c *Client) pauseKeys() pauseKeys {
	root := c.cfg.lockRoot() + "pause/"
	return pauseKeys{config: c.prefix + "config", mark: root + "ours", holders: root + "holders/"}
}

// pauseState is the configuration and our keys at one revision.
type pauseState struct {
	config      []byte
	configAt    int64
	markAt      int64
	paused      bool
	holders     map[string]Owner
	holderLease map[string]clientv3.LeaseID
}

// ours tells whether the pause that is there was made by this program.
func (s pauseState) ours() bool { return s.paused && s.markAt != 0 && s.markAt == s.configAt }

func (c *Client) readPause(ctx context.Context, keys pauseKeys) (pauseState, error) {
	const op = "read pause"
	s := pauseState{holders: map[string]Owner{}, holderLease: map[string]clientv3.LeaseID{}}
	resp, err := retry(ctx, c, op, c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return c.etcd.Txn(ctx).Then(clientv3.OpGet(keys.config), clientv3.OpGet(keys.mark), clientv3.OpGet(keys.holders, clientv3.WithPrefix())).Commit()
	})
	if err != nil {
		return s, err
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		s.config, s.configAt = kv.Value, kv.ModRevision
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		s.markAt = kv.ModRevision
	}
	for _, kv := range resp.Responses[2].GetResponseRange().Kvs {
		key := string(kv.Key)
		s.holders[key], s.holderLease[key] = decodeOwner(key, kv.Value), clientv3.LeaseID(kv.Lease)
	}
	if s.configAt == 0 {
		return s, nil
	}
	cfg, err := parseConfig(s.config)
	if err != nil {
		return s, malformed(keys.config, err)
	}
	s.paused = cfg.Paused
	return s, nil
}

// Pause pauses the cluster as patronictl does, by its dynamic configuration, and
// returns at once: the managers see it within their next loop, and say so in
// their member keys. A cluster that somebody else has paused is left as it is.
// The caller must call Resume.
//
// It needs the right to write the key "config" of the cluster: ErrAuth where
// there is none.
func (c *Client) Pause(ctx context.Context, req PauseRequest) (*Pause, error) {
	keys := c.pauseKeys()
	state, err := c.readPause(ctx, keys) // before a lease is made
	if err != nil {
		return nil, err
	}
	if state.configAt == 0 {
		return nil, fmt.Errorf("pause cluster: %w: %s has no configuration", ErrNoCluster, c.prefix)
	}
	if state.paused && !state.ours() {
		return &Pause{client: c, foreign: true}, nil
	}
	ttl := req.TTL
	if ttl == 0 {
		ttl = DefaultLockTTL
	}
	granted, err := c.grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	p := &Pause{
		client: c, lease: granted.id,
		holder: keys.holders + url.PathEscape(req.Member) + "/" + strconv.FormatInt(int64(granted.id), 16),
	}
	if err := p.take(ctx, keys, req, state); err != nil {
		return nil, errors.Join(err, c.revoke(ctx, granted.id))
	}
	if p.foreign {
		return p, c.revoke(ctx, granted.id)
	}
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop, p.running = stop, new(errgroup.Group)
	// A hold that is lost, because etcd was away for too long, ends nothing: at
	// worst another process resumes, which whoever works here finds out.
	p.running.Go(func() error { return c.keepAlive(inner, granted) })
	return p, nil
}

// take writes the keys, until nobody is faster.
func (p *Pause) take(ctx context.Context, keys pauseKeys, req PauseRequest, state pauseState) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	record, err := json.Marshal(Owner{
		Member: req.Member, Host: host, PID: os.Getpid(), Operation: "rejoin under pause", Version: req.Version,
		Since: time.Now().UTC().Truncate(time.Millisecond),
	})
	if err != nil {
		return fmt.Errorf("pause cluster: write record: %w", err)
	}
	for {
		held := clientv3.OpPut(p.holder, string(record), clientv3.WithLease(p.lease))
		ops := []clientv3.Op{held}
		switch {
		case state.ours():
		case state.paused:
			p.foreign = true
			return nil
		default:
			paused, err := withPause(state.config, true)
			if err != nil {
				return malformed(keys.config, err)
			}
			ops = append(ops, clientv3.OpPut(keys.config, string(paused)), clientv3.OpPut(keys.mark, string(record)))
		}
		done, err := p.client.commitPause(ctx, keys, state, nil, ops...)
		if err != nil || done {
			return err
		}
		if state, err = p.client.readPause(ctx, keys); err != nil {
			return err
		}
	}
}

// commitPause writes if configuration and mark are still what was read.
func (c *Client) commitPause(ctx context.Context, keys pauseKeys, s pauseState, also []clientv3.Cmp, ops ...clientv3.Op) (bool, error) {
	cmps := append([]clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(keys.config), "=", s.configAt),
		clientv3.Compare(clientv3.ModRevision(keys.mark), "=", s.markAt),
	}, also...)
	ctx2, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	resp, err := c.etcd.Txn(ctx2).If(cmps...).Then(ops...).Commit()
	if err != nil {
		err = c.wrap(ctx, "write the cluster's pause", err)
		var e *Error
		if errors.As(err, &e) && errors.Is(err, ErrAuth) {
			e.hint = "give the user in etcd readwrite on " + keys.config + " and on the lock prefix; or pause by hand: patronictl pause --wait"
		}
		return false, err
	}
	return resp.Succeeded, nil
}

// Foreign tells whether somebody else had paused the cluster.
func (p *Pause) Foreign() bool { return p.foreign }

// Resume ends the hold, and the pause if it is ours and nobody else holds it. It
// works, within RequestTimeout, also when ctx has ended, and may be called again
// after an error. dead tells of holders whose process is known to be gone.
func (p *Pause) Resume(ctx context.Context, dead func(Owner) bool) (Resumed, error) {
	if p.foreign {
		return ResumedForeign, nil
	}
	ctx = context.WithoutCancel(ctx)
	if p.stop != nil {
		p.stop()
		_ = p.running.Wait() // that the hold was lost matters to nobody any more
		p.stop = nil
	}
	if err := p.client.revoke(ctx, p.lease); err != nil {
		return "", fmt.Errorf("resume cluster: %w", err)
	}
	return p.client.EndPause(ctx, dead)
}

// EndPause ends a pause of ours that nobody holds: one that a process has left
// which was killed. A pause of somebody else's stays.
func (c *Client) EndPause(ctx context.Context, dead func(Owner) bool) (Resumed, error) {
	keys := c.pauseKeys()
	for {
		s, err := c.readPause(ctx, keys)
		if err != nil {
			return "", err
		}
		for key, owner := range s.holders {
			if dead == nil || !dead(owner) {
				continue
			}
			if err := c.revoke(ctx, s.holderLease[key]); err != nil {
				return "", fmt.Errorf("resume cluster: %w", err)
			}
			delete(s.holders, key)
		}
		answer, ops := ResumedNow, []clientv3.Op{clientv3.OpDelete(keys.mark)}
		var also []clientv3.Cmp
		switch {
		case s.ours() && len(s.holders) > 0:
			return ResumedHeld, nil
		case s.ours():
			resumed, err := withPause(s.config, false)
			if err != nil {
				return "", malformed(keys.config, err)
			}
			ops = append(ops, clientv3.OpPut(keys.config, string(resumed)))
			// True of a range without keys, and of no key that there is.
			also = []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(keys.holders), "=", 0).WithPrefix()}
		default:
			answer = ResumedNot
			if s.paused {
				answer = ResumedForeign
			}
			if s.markAt == 0 {
				return answer, nil
			}
		}
		done, err := c.commitPause(ctx, keys, s, also, ops...)
		if err != nil || done {
			return answer, err
		}
	}
}

// withPause is the configuration with "pause": true at its end, as Patroni's own
// interface writes it, or without. Everything else stays, byte by byte and in
// its order.
func withPause(config []byte, paused bool) ([]byte, error) {
	fields, err := orderedObject(config)
	if err != nil {
		return nil, err
	}
	out := []byte{'{'}
	add := func(key string, value []byte) error {
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), value...)
		return nil
	}
	for _, f := range fields {
		if f.key == "pause" {
			continue
		}
		if err := add(f.key, f.value); err != nil {
			return nil, err
		}
	}
	if paused {
		if err := add("pause", []byte("true")); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}
