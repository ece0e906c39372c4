package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var bold, plain = func() (string, string) {
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return "\x1b[1m", "\x1b[0m"
	}
	return "", ""
}()

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func act(title string) { fmt.Printf("\n%s── %s%s\n\n", bold, title, plain) }

// play is the whole demo.
func (s *stage) play(ctx context.Context) error {
	start := time.Now()
	for _, a := range []func(context.Context) error{s.setUp, s.failover, s.failback, s.switchback, s.unattended} {
		if err := a(ctx); err != nil {
			return err
		}
	}
	act("That was it")
	say("%.0f seconds. Everything the demo made is removed now.", time.Since(start).Seconds())
	return nil
}

func (s *stage) setUp(ctx context.Context) (err error) {
	act("1. A cluster")
	if s.n1, err = rewindtest.CreatePrimary(s.root, s.install, rewindtest.Options{Name: "node1"}); err != nil {
		return err
	}
	say("node1 is the primary (PostgreSQL %s, port %d).", s.install.Version, s.n1.Port)
	if err := s.load(); err != nil {
		return err
	}
	if s.n2, err = s.n1.CreateStandby(rewindtest.StandbyOptions{Name: "node2"}); err != nil {
		return err
	}
	if err := s.n2.WaitForCatchup(s.n1); err != nil {
		return err
	}
	say("node2 is its standby (port %d) and streams.", s.n2.Port)
	sysid, err := s.n1.Value("SELECT system_identifier FROM pg_control_system()")
	if err != nil {
		return err
	}
	id, err := pg.ParseSystemID(sysid)
	if err != nil {
		return err
	}
	s.cluster, err = dcstest.PutCluster(ctx, s.client, dcstest.Spec{
		Scope: scope, SystemID: uint64(id), Leader: "node1",
		Members: []dcstest.Member{member(s.n1, "primary"), member(s.n2, "replica")},
	})
	if err == nil {
		say("etcd (embedded, %s) holds their keys as Patroni writes them; the leader is node1.", s.etcd.Endpoint())
	}
	return err
}

// load makes the data: big enough that copying all of it would be noticed.
func (s *stage) load() error {
	return s.n1.Exec(
		`CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, balance bigint NOT NULL)`,
		`INSERT INTO account SELECT i, 'owner ' || i, 1000 FROM generate_series(1, 2000000) i`,
		`CREATE INDEX ON account (owner)`,
		`CREATE TABLE transfer (id bigserial PRIMARY KEY, account bigint, amount bigint, at timestamptz DEFAULT now(), node text)`,
		`VACUUM ANALYZE`, `CHECKPOINT`)
}

// writing is a client's transaction: money moves, and the move is noted. As in
// life some accounts are busier than others: the first few hundredths of them.
func writing(node string) string {
	return fmt.Sprintf(`DO $$ DECLARE chosen bigint; BEGIN FOR i IN 1..100 LOOP
		chosen := 1 + floor(random() * 30000);
		UPDATE account SET balance = balance - 1 WHERE id = chosen;
		INSERT INTO transfer (account, amount, node) VALUES (chosen, 1, '%s');
	END LOOP; END $$`, node)
}

// failover kills the primary while it is written to, after the standby took over.
func (s *stage) failover(ctx context.Context) error {
	act("2. The failover")
	client := startClient(ctx, s.n1)
	if err := client.await(50); err != nil {
		return err
	}
	say("A client writes on node1. The network splits: node2 is promoted, node1 goes on for a while …")
	if err := s.promote(ctx, s.n2, s.n1); err != nil {
		return err
	}
	if err := client.await(100); err != nil {
		return err
	}
	if err := errors.Join(s.n1.Kill(), client.stop(), s.cluster.PutMember(ctx, stopped(s.n1))); err != nil {
		return err
	}
	for range 30 {
		if err := s.n2.Exec(writing("node2")); err != nil {
			return err
		}
	}
	say("… and is killed (SIGKILL) in the middle of it. node2 is the leader now, and has been written to as well.")
	say("node1 holds transactions that node2 never saw. PostgreSQL will not let it follow node2 like this.")
	return nil
}

// promote makes one node the leader, in PostgreSQL and in etcd.
func (s *stage) promote(ctx context.Context, up, down *rewindtest.Node) error {
	if err := up.Promote(); err != nil {
		return err
	}
	if err := up.Checkpoint(); err != nil {
		return err
	}
	return errors.Join(
		s.cluster.SetLeader(ctx, up.Name),
		s.cluster.PutMember(ctx, member(up, "primary")),
		s.cluster.PutMember(ctx, stopped(down)))
}

func (s *stage) failback(ctx context.Context) error {
	config, err := s.writeConfig(s.n1)
	if err != nil {
		return err
	}
	act("3. What would it take? (changes nothing)")
	if err := s.command(ctx, "--config", config, "--dry-run"); err != nil {
		return err
	}
	act("4. Bring node1 back")
	if err := s.command(ctx, "--config", config); err != nil {
		return err
	}
	return s.prove(s.n1, s.n2)
}

// switchback is the other case: a clean switchover after which nothing differs.
func (s *stage) switchback(ctx context.Context) error {
	act("5. The easy case: a clean switchover back to node1")
	if err := s.n2.Stop(rewindtest.Fast); err != nil {
		return err
	}
	if err := s.promote(ctx, s.n1, s.n2); err != nil {
		return err
	}
	say("node2 was stopped cleanly and node1 had received all of its WAL before it was promoted.")
	config, err := s.writeConfig(s.n2)
	if err != nil {
		return err
	}
	if err := s.command(ctx, "--config", config); err != nil {
		return err
	}
	return s.prove(s.n2, s.n1)
}

// prove shows that the node streams and that all tables are equal on both.
func (s *stage) prove(standby, leader *rewindtest.Node) error {
	act("Proof")
	if err := leader.Exec(writing(leader.Name)); err != nil {
		return err
	}
	if err := standby.WaitForCatchup(leader); err != nil {
		return err
	}
	rows, err := leader.Query(`SELECT application_name, state, sent_lsn = replay_lsn FROM pg_stat_replication`)
	if err != nil {
		return err
	}
	say("%s$ psql on %s: SELECT application_name, state, sent_lsn = replay_lsn FROM pg_stat_replication%s", bold, leader.Name, plain)
	for _, r := range rows {
		say("  %s | %s | %s", r[0], r[1], r[2])
	}
	for _, q := range []string{
		`SELECT count(*), sum(balance), sum(hashtextextended(account::text, 0)) FROM account`,
		`SELECT count(*), sum(amount), sum(hashtextextended(transfer::text, 0)) FROM transfer`,
	} {
		if err := showBoth(q, leader, standby); err != nil {
			return err
		}
	}
	differences, err := rewindtest.Compare(leader, standby)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		return fmt.Errorf("the nodes differ: %v", differences)
	}
	say("Every row of every table of every database, system catalogs included: equal on both nodes.")
	return nil
}

func showBoth(query string, nodes ...*rewindtest.Node) error {
	say("%s$ psql: %s%s", bold, query, plain)
	for _, n := range nodes {
		rows, err := n.Query(query)
		if err != nil {
			return err
		}
		say("  %s: %s rows | %s | %s", n.Name, rows[0][0], rows[0][1], rows[0][2])
	}
	return nil
}
