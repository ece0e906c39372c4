package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/hook/patroniconf"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// toldCluster is a cluster as Patroni has told it by calling a replica method: where
// there is a server with the data, and nothing else. It stands in for etcd where
// Patroni keeps its keys in another store. There is no lock then, no queue, and no
// record but this node's own. Patroni itself leaves the node alone while it waits for
// its method, and the engine lets only one run into a data directory.
type toldCluster struct{ topology dcs.Topology }

var _ hook.Cluster = (*toldCluster)(nil)

// toldWait is the longest wait for what may pass by itself: a server that is no
// primary may be a replica, which Patroni names by its tag clonefrom, and stay one.
const toldWait = time.Minute

// withoutEtcd makes the cluster that stands in for etcd, and lets the configuration
// do without one; nil where it names an etcd.
func (c *configuration) withoutEtcd(connstring string) (*toldCluster, error) {
	if !errors.As(c.refused, new(*patroniconf.StoreError)) {
		return nil, nil
	}
	told, err := newToldCluster(&c.settings, connstring)
	if err != nil {
		return nil, &hinted{err: &inputError{err: fmt.Errorf("--connstring: %w", err)}, hint: "Patroni passes it unless no_params is set in the method's section"}
	}
	c.refused = nil
	c.settings.Wait = min(c.settings.Wait, toldWait)
	return told, nil
}

func newToldCluster(s *settings, connstring string) (*toldCluster, error) {
	ci, err := pg.ParseConninfo(connstring)
	if err != nil {
		return nil, err
	}
	host, _ := ci.Get("host")
	if host == "" || strings.Contains(host, ",") {
		return nil, errors.New("one host is wanted")
	}
	leader := dcs.Member{Role: dcs.RoleUnknown, Host: host}
	text, _ := ci.Get("port")
	if text == "" {
		text = "5432"
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return nil, errors.New("port: want a number from 1 to 65535")
	}
	leader.Port = uint16(port)
	leader.Name = net.JoinHostPort(host, text)
	return &toldCluster{dcs.Topology{
		Layout: dcs.LayoutPatroni, Scope: s.Scope, Leader: &dcs.Leader{Name: leader.Name}, Members: []dcs.Member{leader},
	}}, nil
}

// connstringOf finds what Patroni passes to reach a server; the last one counts.
func connstringOf(args []string) (connstring string) {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--connstring="); ok {
			connstring = value
		}
	}
	return connstring
}

// Topology is what was told.
func (t *toldCluster) Topology(context.Context) (dcs.Topology, error) { return t.topology, nil }

// Lock gives a lock that keeps nobody away.
func (t *toldCluster) Lock(ctx context.Context, _ dcs.LockRequest) (hook.Lock, error) {
	return noLock{ctx}, nil
}

// Locks is empty.
func (t *toldCluster) Locks(context.Context) ([]dcs.Owner, error) { return nil, nil }

// Remember does nothing: the node's own record is kept.
func (t *toldCluster) Remember(context.Context, dcs.PastRejoin) error { return nil }

// noLock is held for as long as the run lasts.
type noLock struct{ ctx context.Context } //nolint:containedctx // hook.Lock has a context of its own

func (l noLock) Context() context.Context      { return l.ctx }
func (l noLock) Check(context.Context) error   { return nil }
func (l noLock) Report(dcs.Progress)           {}
func (l noLock) Release(context.Context) error { return nil }
