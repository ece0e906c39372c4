package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// lostScene is a cluster whose old primary was started once more after the
// failover, and did what is known.
func lostScene(t *testing.T, install rewindtest.Install) *scene {
	t.Helper()
	s := newScene(t, install, rewindtest.Opts{Seed: 131, Rows: 100, Steps: 5, Clean: true, OldRunning: true,
		Cluster: rewindtest.Options{WalSegSize: 1, Conf: map[string]string{"autovacuum": "off"}},
		Before: func(old, _ *rewindtest.Node) error {
			return old.Exec("CREATE SCHEMA app", "CREATE TABLE app.account(i int)", "CREATE TABLE app.emptied AS SELECT 1 AS i", "CREATE SEQUENCE app.counter")
		}})
	s.old.Must(t).Exec(
		"INSERT INTO app.account SELECT generate_series(1, 1007)", "DELETE FROM app.account WHERE i <= 3", "UPDATE app.account SET i = 0 WHERE i = 7",
		"BEGIN; INSERT INTO app.account SELECT generate_series(1, 5); ROLLBACK",
		"BEGIN; INSERT INTO app.account VALUES (1); PREPARE TRANSACTION 'still there'",
		"CREATE TABLE app.made AS SELECT generate_series(1, 12) i", "TRUNCATE app.emptied",
		"SELECT nextval('app.counter')",
		"CREATE TABLESPACE far LOCATION '"+t.TempDir()+"'", "ALTER TABLE app.made SET TABLESPACE far")
	return s
}

// answer is what programs read of lost --output json.
type answer struct {
	Member string `json:"member"`
	Leader string `json:"leader"`
	Fork   struct {
		LSN string `json:"lsn"`
	} `json:"fork"`
	Lost struct {
		Commits   int64 `json:"commits"`
		Aborts    int64 `json:"aborts"`
		Prepared  int64 `json:"prepared"`
		Open      int64 `json:"open"`
		Relations []struct {
			Path       string                   `json:"path"`
			Inserted   int64                    `json:"inserted"`
			Updated    int64                    `json:"updated"`
			Deleted    int64                    `json:"deleted"`
			RolledBack struct{ Inserted int64 } `json:"rolled_back"`
			Unfinished struct{ Inserted int64 } `json:"unfinished"`
		} `json:"relations"`
		Transactions []struct {
			State string `json:"state"`
			GID   string `json:"gid"`
		} `json:"transactions"`
	} `json:"lost"`
	LostNames map[string]struct{ Schema, Name string } `json:"lost_names"`
}

// check compares an answer with what was done.
func (a answer) check(t *testing.T, path string) {
	t.Helper()
	l := a.Lost
	if l.Commits < 6 || l.Aborts != 1 || l.Prepared != 1 || l.Open != 0 || int64(len(l.Transactions)) != l.Commits+2 {
		t.Errorf("%d commits, %d aborts, %d prepared, %d open, %d in the list", l.Commits, l.Aborts, l.Prepared, l.Open, len(l.Transactions))
	}
	for _, r := range l.Relations {
		if r.Path != path {
			continue
		}
		if r.Inserted != 1007 || r.Updated != 1 || r.Deleted != 3 || r.RolledBack.Inserted != 5 || r.Unfinished.Inserted != 1 {
			t.Errorf("app.account: %+v", r)
		}
		return
	}
	t.Errorf("%s is not in the answer", path)
}

// readAnswer reads standard output.
func (r result) readAnswer(t *testing.T) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(r.stdout), &a); err != nil {
		t.Fatalf("standard output is not JSON: %v\n%s", err, r.stdout)
	}
	return a
}

// TestLost: what the old primary did alone is told with the names that only the
// leader or only the WAL knows, from a server that runs and from one that was
// killed, with etcd and without, and from a salvage directory. Neither the
// directory nor etcd changes.
func TestLost(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		s := lostScene(t, install)
		account := s.old.Must(t).Value("SELECT pg_relation_filepath('app.account')")
		keys := s.etcdState(t)
		s.run(t, s.old, "lost", "-o", "json").must(t, 0).readAnswer(t).check(t, account)
		s.old.Must(t).Kill()
		before := takeSnapshot(t, s.old.Dir)
		killed := s.run(t, s.old, "lost", "-o", "json").must(t, 0)
		a := killed.readAnswer(t)
		a.check(t, account)
		if a.Member != s.old.Name || a.Leader != s.leader.Name || a.Fork.LSN != s.pair.Fork.String() || a.LostNames[account].Name != "account" {
			t.Errorf("%+v", a)
		}
		s.lostText(t, s.run(t, s.old, "lost", "--verbose", "--limit", "0").must(t, 0).stdout)
		s.withoutEtcd(t).must(t, 0).readAnswer(t).check(t, account)
		before.unchanged(t, s.old.Dir)
		if now := s.etcdState(t); now != keys {
			t.Errorf("etcd went from %+v to %+v", keys, now)
		}
		s.lostSalvaged(t, account, killed.stdout)
		if got := s.run(t, s.leader, "lost"); got.code != 3 || !strings.Contains(got.stderr, "leader") {
			t.Errorf("on the leader: %+v", got)
		}
	})
}

// lostText looks for names: of a table that both have, of one that was made here
// in a schema that the WAL does not name, of one that has another file now.
func (s *scene) lostText(t *testing.T, text string) {
	t.Helper()
	for _, want := range []string{
		"What only " + s.old.Name + " has", "postgres app.account ", "postgres app.made ",
		"created table postgres app.made", "created tablespace far", "moved table postgres app.made", "emptied table postgres app.emptied",
		"postgres app.counter: up to 33", "'still there', since ", "prepared 'still there' ", "1 aborted, 1 prepared and not finished\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}

// withoutEtcd asks the leader that a connection string names.
func (s *scene) withoutEtcd(t *testing.T) result {
	t.Helper()
	return s.plain(t, "lost", "-o", "json", "-D", s.old.Dir, "--source-conninfo", s.leader.Conninfo())
}

// plain runs the program without a configuration file.
func (s *scene) plain(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rewindtest.Program(), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C", "FAILBACK_HOOK_CONFIG="}
	cmd.Dir = "/"
	var r result
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.stderr = string(exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	r.code, r.stdout = cmd.ProcessState.ExitCode(), string(out)
	return r
}

// lostSalvaged puts the WAL and the report into a salvage directory, and reads
// it while neither etcd nor the leader are asked.
func (s *scene) lostSalvaged(t *testing.T, account, report string) {
	t.Helper()
	src, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: s.leader.Conninfo()})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	p, err := (&rewind.Engine{PGData: s.old.Dir, Source: src}).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := rewind.NewSalvageManifest(p, 8192, time.Now())
	dir := filepath.Join(s.dir, m.SalvageDir())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	add := func(name, content string) {
		t.Helper()
		writeFile(t, filepath.Join(dir, name), content)
		if err := m.AddFile(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range p.WAL.SetAside {
		if _, _, ok := pg.ParseSegmentName(filepath.Base(path), p.WALSegSize); ok {
			add(filepath.Base(path), readFile(t, filepath.Join(s.old.Dir, path)))
		}
	}
	add(rewind.SalvageReportName, report)
	if err := rewind.WriteSalvageManifest(dir, m); err != nil {
		t.Fatal(err)
	}
	s.plain(t, "lost", "-o", "json", "--from", dir).must(t, 0).readAnswer(t).check(t, account)
	if text := s.plain(t, "lost", "--from", dir).must(t, 0).stdout; !strings.Contains(text, "postgres app.account ") || !strings.Contains(text, "in salvaged WAL") {
		t.Errorf("from the salvage directory:\n%s", text)
	}
	if got := s.plain(t, "lost", "--from", filepath.Dir(dir)); got.code != 2 || !strings.Contains(got.stderr, "not a salvage directory") {
		t.Errorf("the directory above: %+v", got)
	}
	if err := os.Remove(filepath.Join(dir, pg.SegmentName(m.Timeline, pg.SegmentOf(m.EndOfWAL-1, m.WALSegSize), m.WALSegSize))); err != nil {
		t.Fatal(err)
	}
	if got := s.plain(t, "lost", "--from", dir); got.code != 20 || got.stdout != "" {
		t.Errorf("with a segment missing: %+v", got)
	}
}
