package e2e

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// refusal is a state of the world in which the program must not begin.
type refusal struct {
	name string
	code int
	// says are parts of the message on stderr, hint one of the line after it.
	says []string
	hint string
	// prepare makes the state, has it undone with the test, and returns
	// options for the program.
	prepare func(t *testing.T, s *scene) []string
}

// TestRefusals: each refusal has its exit code, a message and a hint, and leaves
// the data directory and etcd as they were. They share one scene, on one major:
// what is refused here hangs on etcd, logins and names.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 109, Rows: 100, Steps: 10, OldRunning: true,
		Cluster: rewindtest.Options{Password: "postgres-" + userPassword},
	})
	s.conninfo = "user=rewind_user dbname=postgres passfile=" + s.passfile(t, "good", userPassword)
	s.leader.Must(t).Exec("CREATE ROLE poor LOGIN PASSWORD '" + userPassword + "'")

	refuse(t, s, refusal{
		name: "the server runs and nobody may stop it", code: 15, says: []string{"is running"}, hint: "stop the server",
		prepare: func(*testing.T, *scene) []string { return []string{"--control", "none"} },
	}, false)
	refuse(t, s, refusal{
		name: "the server runs under a manager", code: 23, says: []string{"manager is in charge", "not paused"}, hint: "failback-hook --pause",
		prepare: func(*testing.T, *scene) []string { return nil },
	}, false)
	refuse(t, s, refusal{
		name: "the server runs under its manager", code: 23, says: []string{"manager is in charge"}, hint: "failback-hook --pause",
		prepare: func(*testing.T, *scene) []string { return nil },
	}, false)
	if !s.old.Running() {
		t.Error("the server was stopped")
	}
	refuse(t, s, refusal{
		name: "the leader itself, under a wrong name", code: 3, says: []string{"that of " + s.leader.Name, "right name"}, hint: "on the node that is to follow",
		prepare: func(*testing.T, *scene) []string { return []string{"--name", "nodde2", "--data-dir", s.leader.Dir} },
	}, false)
	s.old.Must(t).Kill()
	standby := s.leader.Standby(t, "node3")
	for _, r := range concat(leaderRefusals(standby), clusterRefusals(), etcdRefusals(), loginRefusals(), directoryRefusals()) {
		refuse(t, s, r, true)
	}
	if strings.Contains(s.said.String(), userPassword) {
		t.Error("a password was printed")
	}
}

func concat(lists ...[]refusal) (all []refusal) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// refuse runs one case. The directory of a running server changes by itself,
// and is not compared.
func refuse(t *testing.T, s *scene, r refusal, still bool) {
	t.Run(r.name, func(t *testing.T) {
		args := r.prepare(t, s)
		var before snapshot
		if still {
			before = takeSnapshot(t, s.old.Dir)
		}
		locks := s.locks(t)
		res := s.run(t, s.old, args...)
		if still {
			before.unchanged(t, s.old.Dir)
		}
		if got := s.locks(t); strings.Join(got, " ") != strings.Join(locks, " ") {
			t.Errorf("locks %v, before they were %v", got, locks)
		}
		res.must(t, r.code)
		_, message, _ := strings.Cut(res.stderr, "failback-hook: error: ") // behind the log
		message, hint, found := strings.Cut(message, "\nhint: ")
		if !found || !strings.Contains(hint, r.hint) {
			t.Errorf("no hint with %q in\n%s", r.hint, res.stderr)
		}
		for _, want := range r.says {
			if !strings.Contains(message, want) {
				t.Errorf("message lacks %q:\n%s", want, res.stderr)
			}
		}
		if res.stdout != "" {
			t.Errorf("standard output holds\n%s", res.stdout)
		}
		asJSON(t, s.run(t, s.old, append(args, "--output", "json")...), r.code)
	})
}

// asJSON: programs find the same refusal on standard output.
func asJSON(t *testing.T, res result, code int) {
	t.Helper()
	var doc struct {
		Error struct {
			Code                int
			Name, Message, Hint string
		}
	}
	if err := json.Unmarshal([]byte(res.stdout), &doc); err != nil {
		t.Fatalf("standard output is not JSON: %v\n%s", err, res.stdout)
	}
	if e := doc.Error; res.code != code || e.Code != code || e.Name == "" || e.Message == "" || e.Hint == "" {
		t.Errorf("exit code %d, want %d, and as JSON %+v", res.code, code, e)
	}
}

func leaderRefusals(standby *rewindtest.Node) []refusal {
	return []refusal{
		{name: "this node is the leader", code: 3, says: []string{"this node is the leader"}, hint: "on the node that is to follow",
			prepare: func(t *testing.T, s *scene) []string {
				s.leaderFor(t, s.old.Name)
				return nil
			}},
		{name: "no leader", code: 4, says: []string{"no leader"}, hint: "wait until",
			prepare: func(t *testing.T, s *scene) []string {
				s.leaderFor(t, "")
				return nil
			}},
		{name: "a leader without a member key", code: 4, says: []string{"node9", "no member key"}, hint: "wait until",
			prepare: func(t *testing.T, s *scene) []string {
				s.leaderFor(t, "node9")
				return nil
			}},
		{name: "checkpoint after promotion not done", code: 5, says: []string{"checkpoint after its promotion"}, hint: "again in a minute",
			prepare: func(t *testing.T, s *scene) []string {
				m := member(s.leader, "primary")
				m.Checkpoint = new(bool)
				s.memberFor(t, m, member(s.leader, "primary"))
				return nil
			}},
		{name: "leader is being promoted", code: 5, says: []string{"being promoted"}, hint: "again in a minute",
			prepare: func(t *testing.T, s *scene) []string {
				s.memberFor(t, member(s.leader, "replica"), member(s.leader, "primary"))
				return nil
			}},
		{name: "leader in recovery", code: 5, says: []string{"node3", "in recovery"}, hint: "again in a minute",
			prepare: func(t *testing.T, s *scene) []string {
				s.memberFor(t, member(standby, "primary"), member(standby, "replica"))
				s.leaderFor(t, standby.Name)
				return nil
			}},
		{name: "leader's server does not answer", code: 10, says: []string{"node9"}, hint: "network",
			prepare: func(t *testing.T, s *scene) []string {
				gone := dcstest.Member{Name: "node9", ConnURL: "postgres://" + dcstest.FreeAddress(t) + "/postgres", State: "running", Role: "primary"}
				s.memberFor(t, gone, gone)
				s.leaderFor(t, gone.Name)
				return nil
			}},
		{name: "a leader whose address is a socket and a list", code: 20, says: []string{"members/node2", "conn_url", "neither a name nor an address"}, hint: "names file or key",
			prepare: func(t *testing.T, s *scene) []string {
				m := member(s.leader, "primary")
				m.ConnURL = "postgres://%2Ftmp%2C10.0.0.9/postgres"
				s.memberFor(t, m, member(s.leader, "primary"))
				return nil
			}},
	}
}

func clusterRefusals() []refusal {
	return []refusal{
		{name: "another system identifier", code: 6, says: []string{"system identifier", "4711"}, hint: "another initdb",
			prepare: func(t *testing.T, s *scene) []string {
				s.initializeFor(t, "4711")
				return nil
			}},
		{name: "no cluster under the prefix", code: 2, says: []string{"no cluster", "/service/elsewhere/"}, hint: scope,
			prepare: func(*testing.T, *scene) []string { return []string{"--scope", "elsewhere"} }},
		{name: "a standby cluster without a primary", code: 22, says: []string{"standby cluster"}, hint: "standby_cluster.host",
			prepare: func(t *testing.T, s *scene) []string {
				s.configFor(t, `{"standby_cluster":{"restore_command":"cp /archive/%f %p"}}`)
				return nil
			}},
		{name: "locked by another process of this node", code: 9, says: []string{"node1", "test"}, hint: "wait until",
			prepare: func(t *testing.T, s *scene) []string {
				s.lockFor(t, s.old.Name)
				return nil
			}},
		{name: "another node is at work", code: 9, says: []string{"node9", "test"}, hint: "wait until",
			prepare: func(t *testing.T, s *scene) []string {
				s.lockFor(t, "node9")
				return nil
			}},
		{name: "unknown key in the configuration", code: 2, says: []string{"node1.yml:", "scoop"}, hint: "config show",
			prepare: func(t *testing.T, s *scene) []string {
				s.lines = "scoop: demo\n"
				t.Cleanup(func() { s.lines = "" })
				return nil
			}},
	}
}

func etcdRefusals() []refusal {
	return []refusal{
		{name: "etcd refuses connections", code: 7, says: []string{"etcd cannot be reached"}, hint: "etcd",
			prepare: func(t *testing.T, s *scene) []string {
				return []string{"--etcd-endpoints", dcstest.FreeAddress(t), "--etcd-dial-timeout", "500ms"}
			}},
		{name: "etcd does not answer", code: 7, says: []string{"etcd cannot be reached"}, hint: "etcd",
			prepare: func(t *testing.T, s *scene) []string {
				s.etcd.Stall()
				t.Cleanup(s.etcd.Resume)
				return []string{"--etcd-dial-timeout", "1s", "--etcd-request-timeout", "1s"}
			}},
	}
}

func loginRefusals() []refusal {
	source := func(format string) func(*testing.T, *scene) []string {
		return func(t *testing.T, s *scene) []string {
			return []string{"--source-conninfo", strings.ReplaceAll(format, "PASSFILE", s.passfile(t, "case", userPassword))}
		}
	}
	return []refusal{
		{name: "no privilege on the leader", code: 12, says: []string{"poor"}, hint: "GRANT",
			prepare: source("user=poor dbname=postgres passfile=PASSFILE")},
		{name: "no such role", code: 11, says: []string{"nobody_knows"}, hint: "pg_hba.conf",
			prepare: source("user=nobody_knows dbname=postgres passfile=PASSFILE")},
		{name: "wrong password", code: 11, says: []string{"rewind_user"}, hint: "password file",
			prepare: func(t *testing.T, s *scene) []string {
				return []string{"--source-conninfo", "user=rewind_user dbname=postgres passfile=" + s.passfile(t, "wrong", "wrong-"+userPassword)}
			}},
		{name: "password on the command line", code: 2, says: []string{"--source-conninfo", "password"}, hint: "process list",
			prepare: source("user=rewind_user password=" + userPassword)},
	}
}

func directoryRefusals() []refusal {
	return []refusal{
		{name: "PG_VERSION is of an unknown version", code: 13, says: []string{"PG_VERSION"}, hint: "pg_controldata",
			prepare: func(t *testing.T, s *scene) []string {
				s.fileFor(t, "PG_VERSION", func([]byte) []byte { return []byte("99\n") })
				return nil
			}},
		{name: "pg_control is of an unknown version", code: 13, says: []string{"pg_control", "9900"}, hint: "pg_controldata",
			prepare: func(t *testing.T, s *scene) []string {
				s.fileFor(t, "global/pg_control", func(b []byte) []byte { return futureControl(b, s.old.Install.Major) })
				return nil
			}},
		{name: "pg_control is damaged", code: 20, says: []string{"pg_control"}, hint: "position",
			prepare: func(t *testing.T, s *scene) []string {
				s.fileFor(t, "global/pg_control", func(b []byte) []byte {
					b[40] ^= 1
					return b
				})
				return nil
			}},
		{name: "not a data directory", code: 2, says: []string{"PG_VERSION"}, hint: "data_dir",
			prepare: func(t *testing.T, s *scene) []string { return []string{"-D", t.TempDir()} }},
	}
}

// futureControl is a control file of a version to come, with the right checksum.
func futureControl(b []byte, major int) []byte {
	const version = 8 // ControlFileData.pg_control_version
	crc := 288        // and crc, which is behind the other fields (catalog/pg_control.h)
	if major >= 18 {
		crc = 292
	}
	binary.NativeEndian.PutUint32(b[version:], 9900)
	binary.NativeEndian.PutUint32(b[crc:], crc32.Checksum(b[:crc], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestStalledEtcdEndsInTime: etcd accepts connections and says nothing more.
// The run ends within the times that are configured for it.
func TestStalledEtcdEndsInTime(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	install := rewindtest.Newest(t)
	root := rewindtest.NewRoot(t)
	s := &scene{dir: t.TempDir(), etcd: dcstest.Start(t)}
	n := &rewindtest.Node{Name: "node1", Dir: root, Install: install}
	res := s.run(t, n, "--etcd-endpoints", mute.Addr().String(), "--etcd-dial-timeout", "1s", "--etcd-request-timeout", "1s").must(t, 7)
	if res.took > 5*time.Second {
		t.Errorf("it took %s with timeouts of 1s", res.took)
	}
}

// TestRefusesRoot is about a run that TestMain has made while it still was root.
func TestRefusesRoot(t *testing.T) {
	encoded := os.Getenv(rootTrialEnv)
	if encoded == "" {
		t.Skip("the tests were not started by root, and so the program cannot be")
	}
	var got trial
	if err := json.Unmarshal([]byte(encoded), &got); err != nil {
		t.Fatal(err)
	}
	if got.Code != 14 || !strings.Contains(got.Stderr, "cannot be run as root") || !strings.Contains(got.Stderr, "\nhint: ") {
		t.Errorf("as root: exit code %d, want 14\n%s", got.Code, got.Stderr)
	}
	if len(got.Left) > 0 {
		t.Errorf("it left %v in the data directory", got.Left)
	}
}
