package dcs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

func TestSurvey(t *testing.T) {
	l := newLab(t)
	if err := l.cluster.Put(t.Context(), "history", `[[1,53697000,"no recovery target specified"]]`); err != nil {
		t.Fatal(err)
	}
	lock := l.acquire(t, "n1", 30*time.Second)
	defer lock.Release(context.Background())
	w := l.waits(t.Context(), l.request("n3", 30*time.Second))
	w.queued(t, 1)
	// Somebody's hand: a key that no lease will remove.
	if _, err := l.admin.Put(t.Context(), "/failback/lab/nodes/n9", "{"); err != nil {
		t.Fatal(err)
	}
	s, err := l.client.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Stands) != 2 || s.Stands[0].Standing != dcs.StandingDiverged || *s.Stands[0].Diverged != 8 || s.Stands[1].Standing != dcs.StandingLeads {
		t.Errorf("stands: %+v", s.Stands)
	}
	if len(s.AtWork) != 2 || s.AtWork[0].Member != "n1" || s.AtWork[0].Forgotten || s.AtWork[1].Member != "n9" || !s.AtWork[1].Forgotten {
		t.Errorf("at work: %+v", s.AtWork)
	}
	if len(s.Queue) != 1 || s.Queue[0].Member != "n3" || s.Queue[0].Leader != "n2" {
		t.Errorf("queue: %+v", s.Queue)
	}
	// A history that cannot be read is said, and hides nothing else.
	if err := l.cluster.Put(t.Context(), "history", `[[1]]`); err != nil {
		t.Fatal(err)
	}
	if s, err = l.client.Survey(t.Context()); err != nil || s.HistoryProblem == "" || s.Stands[0].Standing != dcs.StandingUnknown {
		t.Errorf("got %+v, %v", s, err)
	}
}

// Read access to the manager's keys is enough for what they tell.
func TestSurveyWithoutOurKeys(t *testing.T) {
	s := dcstest.Start(t, dcstest.WithAuth("root-pw"))
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	if err := s.AddUser(t.Context(), "viewer", "viewer-pw", dcstest.Grants{Read: []string{"/service/lab/"}}); err != nil {
		t.Fatal(err)
	}
	cfg := configFor(s)
	cfg.Username, cfg.Password = "viewer", "viewer-pw"
	got, err := open(t, cfg).Survey(t.Context())
	if err != nil || got.OursProblem == "" || len(got.Members) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWatchSurvey(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	inside := s.Inside(t)
	cluster := dcstest.MustPutCluster(t, inside, twoNodes())
	cfg := configFor(s)
	cfg.RequestTimeout = time.Second
	c := open(t, cfg)
	type seen struct {
		s   dcs.Survey
		err error
	}
	told := make(chan seen, 100)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.WatchSurvey(ctx, func(s dcs.Survey, err error) error { told <- seen{s, err}; return nil })
	}()
	next := func(what string, ok func(seen) bool) {
		t.Helper()
		timeout := time.After(20 * time.Second)
		for {
			select {
			case got := <-told:
				if ok(got) {
					return
				}
			case err := <-done:
				t.Fatalf("%s: it ended: %v", what, err)
			case <-timeout:
				t.Fatalf("never told: %s", what)
			}
		}
	}
	next("the state", func(g seen) bool { return g.err == nil && g.s.Leader.Name == "n2" })
	if err := cluster.SetLeader(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	next("another leader", func(g seen) bool { return g.s.Leader != nil && g.s.Leader.Name == "n1" })
	grant, err := inside.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Put(t.Context(), "/failback/lab/queue/n1/n2", "{}", clientv3.WithLease(grant.ID)); err != nil {
		t.Fatal(err)
	}
	next("a waiter", func(g seen) bool { return len(g.s.Queue) == 1 })
	s.Cut()
	next("etcd is away", func(g seen) bool { return errors.Is(g.err, dcs.ErrUnavailable) && len(g.s.Queue) == 1 })
	s.Reconnect()
	next("etcd is back", func(g seen) bool { return g.err == nil })
	why := errors.New("signal")
	cancel(why)
	wantIs(t, <-done, why)
}
