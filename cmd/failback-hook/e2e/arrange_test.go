package e2e

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

// What is arranged here is undone when the test ends, for the next one in the
// same scene.

// leaderFor makes a member the leader for the time of a test; nobody for "".
func (s *scene) leaderFor(t *testing.T, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	err := s.cluster.RemoveLeader(ctx)
	if err == nil && name != "" {
		err = s.cluster.SetLeader(ctx, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.SetLeader(ctx, s.leader.Name); err != nil {
			t.Error(err)
		}
	})
}

func (s *scene) memberFor(t *testing.T, m, after dcstest.Member) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.cluster.PutMember(ctx, m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.PutMember(ctx, after); err != nil {
			t.Error(err)
		}
	})
}

func (s *scene) initializeFor(t *testing.T, value string) {
	t.Helper()
	resp, err := s.admin.Get(t.Context(), s.cluster.Prefix+"initialize")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatal(err, resp)
	}
	s.keyFor(t, "initialize", value, string(resp.Kvs[0].Value))
}

func (s *scene) configFor(t *testing.T, value string) {
	t.Helper()
	s.keyFor(t, "config", value, `{"postgresql":{"use_slots":true}}`)
}

func (s *scene) keyFor(t *testing.T, key, value, after string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.cluster.Put(ctx, key, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.Put(ctx, key, after); err != nil {
			t.Error(err)
		}
	})
}

// lockFor holds the lock as another process, of this test, does.
func (s *scene) lockFor(t *testing.T, memberName string) *dcs.Lock {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	client, err := dcs.Open(ctx, dcs.ClientConfig{Endpoints: []string{s.etcd.Endpoint()}, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	topology, err := client.Topology(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := client.Acquire(ctx, dcs.LockRequest{Member: memberName, Operation: "test", Leader: *topology.Leader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lock.Release(ctx); err != nil {
			t.Error(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return lock
}

// fileFor changes a file of the stopped node for the time of a test.
func (s *scene) fileFor(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(s.old.Dir, name)
	was := readFile(t, path)
	writeFile(t, path, string(change([]byte(was))))
	t.Cleanup(func() { writeFile(t, path, was) })
}

// passfile writes a libpq password file for every server and user.
func (s *scene) passfile(t *testing.T, name, password string) string {
	t.Helper()
	path := filepath.Join(s.dir, "pgpass-"+name)
	writeFile(t, path, "*:*:*:*:"+password+"\n")
	return path
}
