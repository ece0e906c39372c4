package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// writers write over several connections, each to relations of its own, until
// the server goes away. steps counts what was committed.
type writers struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	steps int
	err   error
}

func startWriters(t *testing.T, n *rewindtest.Node, count int) *writers {
	t.Helper()
	w := &writers{}
	for i := range count {
		w.wg.Go(func() {
			ctx := context.Background()
			conn, err := pgconn.Connect(ctx, n.Conninfo())
			for step := 0; err == nil; step++ {
				sql := fmt.Sprintf(`INSERT INTO many%d_%d SELECT g, repeat('%d', 100) FROM generate_series(1, 200) g;
					UPDATE many%[1]d_%[2]d SET v = 'new' WHERE i %% 9 = 0; DELETE FROM many%[1]d_%[4]d WHERE i %% 5 = 0`,
					i, step%20, step%10, (step+7)%20)
				_, err = conn.Exec(ctx, sql).ReadAll()
				w.mu.Lock()
				w.steps++
				w.mu.Unlock()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if conn == nil || !conn.IsClosed() {
				w.err = errors.Join(w.err, err)
			}
		})
	}
	return w
}

// manyTables makes the writers' relations.
func manyTables(n rewindtest.MustNode, count int) {
	n.Exec(fmt.Sprintf(`DO $$ BEGIN FOR c IN 0..%d LOOP FOR i IN 0..19 LOOP
		EXECUTE format('CREATE TABLE many%%s_%%s(i int, v text); CREATE INDEX ON many%%1$s_%%2$s(i)', c, i); END LOOP; END LOOP; END $$`, count-1))
}

func (w *writers) await(t *testing.T, steps int) {
	t.Helper()
	w.mu.Lock()
	want := w.steps + steps
	w.mu.Unlock()
	await(t, "writers", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.steps >= want || w.err != nil
	})
}

// ended waits for the writers after their server was killed.
func (w *writers) ended(t *testing.T) {
	t.Helper()
	w.wg.Wait()
	if w.err != nil {
		t.Error(w.err)
	}
}

// TestHistoryKilledUnderLoad: SIGKILL in the middle of writing over several
// connections to many relations, in the middle of a checkpoint as well, with
// prepared transactions from before and behind the fork on both sides.
func TestHistoryKilledUnderLoad(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		const clients = 3
		opts := quietCluster()
		// Checkpoints by the amount of WAL, one after the other, each a slow one.
		opts.Conf["max_wal_size"], opts.Conf["checkpoint_completion_target"] = "4MB", "0.9"
		old := newPrimaryOn(t, install, opts)
		manyTables(old.Must(t), clients)
		prepared := func(gid string) []string {
			return []string{"CREATE TABLE prepared_" + gid + "(i int)",
				"BEGIN; INSERT INTO prepared_" + gid + " SELECT generate_series(1, 1000); PREPARE TRANSACTION '" + gid + "'"}
		}
		leader := old.Standby(t, "leader")
		for _, gid := range []string{"both", "committed_there", "rolled_back_there", "committed_here"} {
			old.Must(t).Exec(prepared(gid)...)
			if gid == "committed_there" {
				old.Must(t).Checkpoint() // the first two are in files of pg_twophase now
			}
		}
		load := startWriters(t, old, clients)
		load.await(t, 10)
		leader.Must(t).Promote()
		leader.Must(t).Exec("COMMIT PREPARED 'committed_there'", "ROLLBACK PREPARED 'rolled_back_there'")
		leader.Must(t).Exec(prepared("there")...)
		leader.Must(t).Checkpoint()
		old.Must(t).Exec(prepared("here")...)
		old.Must(t).Exec("COMMIT PREPARED 'committed_here'")
		load.await(t, 20)
		await(t, "a checkpoint in progress", func() bool {
			b, err := os.ReadFile(old.LogFile())
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(b), "checkpoint starting") > strings.Count(string(b), "checkpoint complete")
		})
		old.Must(t).Kill()
		load.ended(t)
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		const gids = "SELECT string_agg(gid, ' ' ORDER BY gid) FROM pg_prepared_xacts"
		want := leader.Must(t).Value(gids)
		if want != "both committed_here there" {
			t.Errorf("prepared on the leader: %s", want)
		}
		leader.Must(t).Stop(rewindtest.Immediate)
		old.Must(t).Promote()
		if got := old.Must(t).Value(gids); got != want {
			t.Errorf("prepared here: %s, on the leader: %s", got, want)
		}
		old.Must(t).Exec("COMMIT PREPARED 'both'", "COMMIT PREPARED 'there'", "ROLLBACK PREPARED 'committed_here'")
		rows := "SELECT (SELECT count(*) FROM prepared_both) || ' ' || (SELECT count(*) FROM prepared_there) || ' ' || (SELECT count(*) FROM prepared_committed_here)"
		if got := old.Must(t).Value(rows); got != "1000 1000 0" {
			t.Errorf("rows of prepared transactions: %s", got)
		}
	})
}

// TestHistoryKilledInRecovery: the old primary was killed, came up again, and was
// killed in the middle of its own recovery.
func TestHistoryKilledInRecovery(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		old, leader := splitBrain{
			common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t(i int primary key, v text)") },
			old: func(n rewindtest.MustNode) {
				n.Exec("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 200000) i")
			},
			leader: func(n rewindtest.MustNode) {
				n.Exec("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 1000) i")
			},
			kill: true, install: install,
		}.make(t)
		cmd := exec.Command(install.Path("postgres"), "-D", old.Dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		await(t, "recovery to begin", func() bool {
			return controlOf(t, old).State == pgcontrol.StateInCrashRecovery && old.PID() == cmd.Process.Pid
		})
		old.Must(t).Kill()
		<-ended
		if got := controlOf(t, old).State; got != pgcontrol.StateInCrashRecovery {
			t.Fatalf("state %s: recovery was over before the kill", got)
		}
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
	})
}

// TestHistoryKilledAfterPromotion: the target was promoted too, and killed before its
// first checkpoint: its control file has the standby's last restartpoint.
func TestHistoryKilledAfterPromotion(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		target, leader := primary.Standby(t, "target"), primary.Standby(t, "leader")
		for _, n := range []*rewindtest.Node{target, leader} {
			n.Must(t).WaitForCatchup(primary)
		}
		leader.Must(t).Promote() // at another position
		leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0", "CREATE TABLE yours(i int)")
		primary.Must(t).Exec("DELETE FROM t WHERE i < 100")
		target.Must(t).WaitForCatchup(primary)
		halt(t, target, "checkpointer")
		target.Must(t).Promote()
		target.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CREATE TABLE mine AS SELECT generate_series(1, 5000) i")
		target.Must(t).Kill()
		c := controlOf(t, target)
		if c.State != pgcontrol.StateInProduction || c.CheckPointCopy.ThisTimeLineID != 1 || c.MinRecoveryPointTLI != 2 {
			t.Errorf("state %s, checkpoint on timeline %d, minimum recovery point on %d", c.State, c.CheckPointCopy.ThisTimeLineID, c.MinRecoveryPointTLI)
		}
		p := rejoin(t, target, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		if p.Lost.Commits == 0 || len(p.Target.History) != 2 {
			t.Errorf("%d commits lost, history %v", p.Lost.Commits, p.Target.History)
		}
	})
}

// halt stops one of a server's processes until it is killed.
func halt(t *testing.T, n *rewindtest.Node, backendType string) {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(n.Must(t).Value("SELECT pid FROM pg_stat_activity WHERE backend_type = '"+backendType+"'"), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// TestHistorySourceJustPromoted: the source makes no checkpoint after its promotion.
// Its control file is the standby's that it was; stock pg_rewind up to 15 takes
// that for the timeline it is on.
func TestHistorySourceJustPromoted(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		old := newPrimaryOn(t, install, quietCluster())
		old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		leader := old.Standby(t, "leader")
		leader.Must(t).WaitForCatchup(old)
		halt(t, leader, "checkpointer")
		leader.Must(t).Promote()
		old.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CHECKPOINT")
		leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0")
		old.Must(t).Stop(rewindtest.Fast)
		if got := controlOf(t, leader).CheckPointCopy.ThisTimeLineID; got != 1 {
			t.Errorf("the leader's checkpoint is on timeline %d", got)
		}
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		leader.Must(t).Kill() // a halted process does not end by itself
	})
}

// TestHistoryTornPages: pages that were written when the machine went down are half old,
// half new: one that changed before the fork and one that changed behind it.
func TestHistoryTornPages(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		var before, behind string
		old, leader := splitBrain{
			common: func(n rewindtest.MustNode) {
				n.Exec("CREATE TABLE before AS SELECT generate_series(1, 5000) i", "CREATE TABLE behind AS SELECT generate_series(1, 5000) i", "CHECKPOINT")
				before, behind = n.Value("SELECT pg_relation_filepath('before')"), n.Value("SELECT pg_relation_filepath('behind')")
			},
			fork:   func(n rewindtest.MustNode) { n.Exec("UPDATE before SET i = i + 1") },
			old:    func(n rewindtest.MustNode) { n.Exec("UPDATE behind SET i = i + 1") },
			leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM behind WHERE i % 5 = 0") },
			kill:   true, install: install,
		}.make(t)
		for _, path := range []string{before, behind} {
			f, err := os.OpenFile(filepath.Join(old.Dir, path), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte(strings.Repeat("torn", 1024)), 2*8192+4096)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		stopAll(t, true, leader, old)
	})
}

// TestHistoryExclusiveBackup: the server died while it was backed up in the exclusive
// mode of 14 and older, and its backup_label looks as that of a backup does.
func TestHistoryExclusiveBackup(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		if install.Major > 14 {
			t.Skip("15 and later have no exclusive backups")
		}
		old, leader := splitBrain{
			common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i") },
			old: func(n rewindtest.MustNode) {
				n.Exec("SELECT pg_start_backup('test', true)", "DELETE FROM t WHERE i % 2 = 0")
			},
			leader: func(n rewindtest.MustNode) { n.Exec("UPDATE t SET i = -i WHERE i % 3 = 0") },
			kill:   true, install: install,
		}.make(t)
		e := engineFor(t, old, leader)
		_, err := e.Plan(context.Background())
		var hint interface{ Hint() string }
		if !errors.Is(err, rewind.ErrNotDataDir) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "remove backup_label") {
			t.Errorf("plan: %v, %v", err, hint)
		}
		remove(t, filepath.Join(old.Dir, "backup_label"))
		rejoin(t, old, leader)
	})
}
