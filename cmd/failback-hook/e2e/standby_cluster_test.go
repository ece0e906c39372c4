package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestStandbyCluster: the leader that etcd names is a standby itself and follows a
// primary elsewhere. A node of it is rewound from that primary, and streams from the
// leader; the leader's own directory is not touched.
func TestStandbyCluster(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{Seed: 239, Rows: 2000, KillOld: true})
		primary := s.leader
		leader, err := primary.CreateStandby(rewindtest.StandbyOptions{Name: "node3"})
		if err != nil {
			t.Fatal(err)
		}
		closeWith(t, leader)
		rewindtest.WaitStreaming(t, primary, leader.Name, 2)
		ctx := t.Context()
		for _, err := range []error{
			s.cluster.PutMember(ctx, member(leader, "standby_leader")), s.cluster.SetLeader(ctx, leader.Name),
			s.cluster.Crash(ctx, s.old.Name), s.cluster.Crash(ctx, primary.Name),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		follow := func(ports string) {
			t.Helper()
			if err := s.cluster.Put(ctx, "config", fmt.Sprintf(`{"standby_cluster":{"host":"localhost","port":%q}}`, ports)); err != nil {
				t.Fatal(err)
			}
		}
		follow(fmt.Sprint(leader.Port)) // which is none
		if res := s.run(t, s.old).must(t, 5); !strings.Contains(res.stderr, fmt.Sprintf("primary at localhost:%d is in recovery", leader.Port)) {
			t.Errorf("it says:\n%s", res.stderr)
		}
		if err := s.cluster.Put(ctx, "config", fmt.Sprintf(`{"standby_cluster":{"host":"localhost,localhost","port":"%d,%d"}}`, leader.Port, primary.Port)); err != nil {
			t.Fatal(err)
		}
		if plan := s.run(t, s.old, "--dry-run").must(t, 0); !strings.Contains(plan.stdout, fmt.Sprintf("rewound from the primary at localhost:%d, following node3", primary.Port)) {
			t.Errorf("the plan does not say where from:\n%s", plan.stdout)
		}
		rep := s.run(t, s.old, "--output", "json").must(t, 0).report(t)
		if rep.Outcome != "rejoined" || rep.Leader != leader.Name {
			t.Errorf("outcome %q, leader %q", rep.Outcome, rep.Leader)
		}
		primary.Must(t).Exec("CREATE TABLE came_back AS SELECT now() AS at")
		until(t, "node1 to have what the primary has written", func() bool {
			v, err := s.old.Value("SELECT to_regclass('came_back')")
			return err == nil && v != ""
		})
		rewindtest.CompareTables(t, s.old, primary)
		if n := leader.Must(t).Value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'node1'"); n != "1" {
			t.Errorf("the leader shows %s walsenders of node1", n)
		}
		if rep := s.run(t, s.old, "--output", "json").must(t, 0).report(t); rep.Outcome != "nothing to do" {
			t.Errorf("once more: outcome %q", rep.Outcome)
		}
		s.run(t, leader).must(t, 3) // this is the leader
	})
}
