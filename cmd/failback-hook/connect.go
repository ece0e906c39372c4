package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// connect opens etcd and puts the parts together. The leader's server is opened
// by the hook when it knows which one that is; an etcd that does not answer is
// opened by the hook's next question, so that it is waited for like one that
// goes away later.
func connect(ctx context.Context, req connectRequest) (rejoiner, func() error, error) {
	if req.without != nil {
		h := newHook(req)
		h.Cluster = req.without
		return h, func() error { return nil }, nil
	}
	h, etcd, err := connectHook(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	return h, etcd.close, nil
}

func connectHook(ctx context.Context, req connectRequest) (*hook.Hook, *cluster, error) {
	cfg, err := req.settings.dcsConfig()
	if err != nil {
		return nil, nil, err
	}
	etcd := &cluster{cfg: cfg}
	if _, err := etcd.open(ctx); err != nil && (!req.patient || !errors.Is(err, dcs.ErrUnavailable)) {
		return nil, nil, err
	}
	h := newHook(req)
	h.Cluster = etcd
	if req.settings.PostgreSQL.Control == hook.ControlPatroni {
		h.Manager = req.settings.manager()
	}
	if req.pause {
		h.Pauser = etcd
	}
	return h, etcd, nil
}

// newHook puts together all but the cluster.
func newHook(req connectRequest) *hook.Hook {
	cfg := req.settings.hookConfig(req.version)
	cfg.Salvage.Dir, cfg.StateDir, cfg.Handover = req.salvageDir, req.stateDir, req.handover
	return &hook.Hook{
		Config:     cfg,
		OpenSource: req.openSource,
		OpenServer: openServer,
		Log:        req.log,
		OnEvent:    req.onEvent,
		OnStep:     req.onStep,
		OnWait:     req.onWait,
	}
}

// cluster is etcd, opened at the next question where it is not open.
type cluster struct {
	cfg    dcs.ClientConfig
	mu     sync.Mutex
	client *dcs.Client
}

var (
	_ hook.Cluster = (*cluster)(nil)
	_ hook.Pauser  = (*cluster)(nil)
)

func (c *cluster) open(ctx context.Context) (hook.DCS, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return hook.DCS{Client: c.client}, nil
	}
	client, err := dcs.Open(ctx, c.cfg)
	if err != nil {
		if _, known := matchRow(exitTable(), err); !known && ctx.Err() == nil {
			// What is wrong without etcd having been asked is the configuration.
			err = &inputError{err: err}
		}
		return hook.DCS{}, err
	}
	c.client = client
	return hook.DCS{Client: client}, nil
}

func (c *cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil
	}
	return c.client.Close()
}

// watch calls wake at each change of the leader key.
func (c *cluster) watch(ctx context.Context, wake func()) error {
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	return d.Client.WatchLeader(ctx, 0, func(dcs.LeaderEvent) error {
		wake()
		return nil
	})
}

// Topology reads the cluster at one revision.
func (c *cluster) Topology(ctx context.Context) (dcs.Topology, error) {
	d, err := c.open(ctx)
	if err != nil {
		return dcs.Topology{}, err
	}
	return d.Topology(ctx)
}

// Lock takes the lock, or says who has it.
func (c *cluster) Lock(ctx context.Context, req dcs.LockRequest) (hook.Lock, error) {
	d, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	return d.Lock(ctx, req)
}

// Remember keeps the record of a rejoin that is over.
func (c *cluster) Remember(ctx context.Context, r dcs.PastRejoin) error {
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	return d.Remember(ctx, r)
}

// Locks lists who holds locks of this cluster.
func (c *cluster) Locks(ctx context.Context) ([]dcs.Owner, error) {
	d, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	return d.Locks(ctx)
}

// Pause pauses the cluster, or joins a pause that is there.
func (c *cluster) Pause(ctx context.Context, req dcs.PauseRequest) (hook.Pause, error) {
	d, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	return d.Pause(ctx, req)
}

// EndPause ends a pause that a killed run has left.
func (c *cluster) EndPause(ctx context.Context, dead func(dcs.Owner) bool) (dcs.Resumed, error) {
	d, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	return d.EndPause(ctx, dead)
}

// openSource connects to the leader to fetch from it. A connection that breaks
// is made anew by the source itself for a while, as that keeps what was fetched;
// after that it is the hook's to wait.
func (req connectRequest) openSource(ctx context.Context, conninfo string, connections int) (rewind.Source, error) {
	limit := min(source.DefaultRetryFor, req.settings.Wait)
	told := &rarely{every: waitLineEvery}
	return source.OpenSQL(ctx, source.SQLConfig{
		Conninfo: conninfo, Connections: connections,
		Silence: zeroIsNone(req.settings.Source.Silence), RetryFor: zeroIsNone(limit),
		OnRetry: func(err error, waited time.Duration) {
			if told.now() {
				req.log.Warn("the connection to the leader broke; trying again", zap.Error(err))
			}
			if req.onWait != nil {
				req.onWait(hook.Waiting{For: "the leader", Why: hook.Briefly(err), Elapsed: waited, Limit: limit})
			}
		},
	})
}

// rarely says yes once in a while, to several goroutines.
type rarely struct {
	every time.Duration
	mu    sync.Mutex
	last  time.Time
}

func (r *rarely) now() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && time.Since(r.last) < r.every {
		return false
	}
	r.last = time.Now()
	return true
}

func openServer(ctx context.Context, conninfo string) (hook.Server, error) {
	u, err := source.OpenUpstream(ctx, conninfo)
	if err != nil {
		return nil, err
	}
	return server{u}, nil
}

// upstream is another name for an embedded field: server has a method Upstream.
type upstream = source.Upstream

// server answers the hook's questions by a connection to the leader.
type server struct{ *upstream }

var _ hook.Server = server{}

// Upstream asks for identity and role, and whether the walsender of that name streams.
func (s server) Upstream(ctx context.Context, applicationName string) (hook.Upstream, error) {
	up := hook.Upstream{SystemID: s.SystemIdentifier()}
	var err error
	if up.InRecovery, err = s.InRecovery(ctx); err != nil {
		return hook.Upstream{}, err
	}
	if up.Timeline, err = s.Timeline(ctx); err != nil {
		return hook.Upstream{}, err
	}
	up.PIDFile, err = s.PIDFile(ctx)
	if err != nil && !errors.Is(err, rewind.ErrSourcePrivilege) && !errors.Is(err, fs.ErrNotExist) {
		return hook.Upstream{}, err
	}
	seen, ok, err := s.Streaming(ctx, applicationName)
	if err != nil {
		return hook.Upstream{}, err
	}
	up.Streaming = ok && seen.State == hook.StateStreaming
	return up, nil
}

// RelationNames tells what the files belong to.
func (s server) RelationNames(ctx context.Context, files []pg.RelFileLocator) (map[pg.RelFileLocator]hook.RelationName, error) {
	found, err := s.upstream.RelationNames(ctx, files)
	names := make(map[pg.RelFileLocator]hook.RelationName, len(found))
	for at, name := range found {
		names[at] = hook.RelationName(name)
	}
	return names, err
}

// DatabaseNames tells what databases and the schemas in them are called.
func (s server) DatabaseNames(ctx context.Context, databases []pg.Oid) (map[pg.Oid]hook.DatabaseNames, error) {
	found, err := s.upstream.DatabaseNames(ctx, databases)
	names := make(map[pg.Oid]hook.DatabaseNames, len(found))
	for at, name := range found {
		names[at] = hook.DatabaseNames(name)
	}
	return names, err
}

// Streaming finds the walsender of that name; of several, one that streams.
// The timeline is the server's own: a walsender of a primary has no other.
func (s server) Streaming(ctx context.Context, applicationName string) (hook.Streaming, bool, error) {
	standbys, err := s.Standbys(ctx)
	if err != nil {
		return hook.Streaming{}, false, err
	}
	var found *source.Standby
	for _, standby := range standbys {
		if standby.ApplicationName != applicationName {
			continue
		}
		if standby.Hidden {
			return hook.Streaming{}, false, &rewind.Error{
				Op: "look at pg_stat_replication of the leader", Err: rewind.ErrSourcePrivilege,
				Advice: "as a superuser on the leader: GRANT pg_read_all_stats TO the user of source.conninfo",
			}
		}
		if standby.State == hook.StateStreaming && !standby.Follows {
			standby.State = "on another history"
		}
		if found == nil || standby.State == hook.StateStreaming {
			found = &standby
		}
	}
	if found == nil {
		return hook.Streaming{}, false, nil
	}
	timeline, err := s.Timeline(ctx)
	if err != nil {
		return hook.Streaming{}, false, fmt.Errorf("look at walsender of %s: %w", applicationName, err)
	}
	return hook.Streaming{Timeline: timeline, State: found.State, SentLSN: found.SentLSN}, true, nil
}
