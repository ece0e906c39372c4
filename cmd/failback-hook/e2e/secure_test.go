package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// The secrets that must not appear anywhere but where they were put.
const (
	etcdPassword      = "zQ4-etcd-secret"
	superuserPassword = "vB7-postgres-secret"
)

var secrets = []string{userPassword, etcdPassword, superuserPassword, replicatorPassword}

// TestTLSAndCertificates: etcd by TLS with a client certificate, a user and a
// password that may not do more than the README asks for; PostgreSQL by
// verify-full with a client certificate in the place of a password, also for
// the walreceiver.
func TestTLSAndCertificates(t *testing.T) {
	t.Parallel()
	ca := dcstest.NewCA(t)
	own, admin, login := ca.Client(t, "failback"), ca.Client(t, "root"), ca.Client(t, "rewind_user")
	server := ca.Server(t, nil)
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 158, Rows: 500, KillOld: true,
		Cluster: rewindtest.Options{Password: superuserPassword, Conf: map[string]string{
			"ssl": "on", "ssl_cert_file": server.CertFile, "ssl_key_file": server.KeyFile, "ssl_ca_file": ca.File,
		}},
		Before: func(old, standby *rewindtest.Node) error {
			return errors.Join(prependHBA(old, certRules), prependHBA(standby, certRules))
		},
	}, dcstest.WithTLS(ca.Server(t, nil)), dcstest.WithClientCerts(ca, admin), dcstest.WithAuth("root-"+etcdPassword))
	err := s.etcd.AddUser(t.Context(), "failback", etcdPassword, dcstest.Grants{Read: []string{"/service/" + scope + "/"}, ReadWrite: []string{lockPrefix}})
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(s.dir, "etcd-password")
	writeFile(t, secret, etcdPassword+"\n")
	s.env = append(s.env,
		"ETCDCTL_CACERT="+ca.File, "ETCDCTL_CERT="+own.CertFile, "ETCDCTL_KEY="+own.KeyFile, "ETCDCTL_USER=failback",
		"FAILBACK_HOOK_ETCD_PASSWORD_FILE="+secret)
	s.conninfo = fmt.Sprintf("user=rewind_user dbname=postgres sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
		ca.File, login.CertFile, login.KeyFile)

	s.secretRun(t)
	rows := s.leader.Must(t).Query(`SELECT ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE application_name = 'node1'`)
	if len(rows) != 1 || rows[0][0] != "t" || !strings.Contains(rows[0][1], "CN=rewind_user") {
		t.Errorf("the walreceiver's connection: %v, want TLS with the certificate of rewind_user", rows)
	}

	t.Run("another CA", func(t *testing.T) {
		s.env = append(s.env, "FAILBACK_HOOK_ETCD_CACERT="+dcstest.NewCA(t).File)
		res := s.run(t, s.old).must(t, 8)
		if !strings.Contains(res.stderr, "\nhint: ") {
			t.Errorf("no hint in\n%s", res.stderr)
		}
	})
}

// certRules let rewind_user in by its certificate alone, as itself and for replication.
const certRules = "hostssl all,replication rewind_user all cert\nhost all,replication rewind_user all reject\n"

// prependHBA puts rules before all others.
func prependHBA(n *rewindtest.Node, rules string) error {
	name := filepath.Join(n.Dir, "pg_hba.conf")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, append([]byte(rules), b...), 0o600); err != nil {
		return err
	}
	return n.Exec("SELECT pg_reload_conf()")
}

// TestPasswords: the password is in a file that primary_conninfo refers to, or
// in the configuration file, or in the environment; it works in each place and
// is printed in none.
func TestPasswords(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 163, Rows: 500, KillOld: true, Cluster: rewindtest.Options{Password: superuserPassword},
	}, dcstest.WithAuth("root-"+etcdPassword))
	err := s.etcd.AddUser(t.Context(), "failback", etcdPassword, dcstest.Grants{Read: []string{"/service/" + scope + "/"}, ReadWrite: []string{lockPrefix}})
	if err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "FAILBACK_HOOK_ETCD_USERNAME=failback", "ETCDCTL_PASSWORD="+etcdPassword)
	passfile := s.passfile(t, "node1", userPassword)
	s.conninfo = "user=rewind_user dbname=postgres passfile=" + passfile
	pristine := rewindtest.Copy(t, s.old.Dir)

	s.secretRun(t)
	if got := s.old.Must(t).Value("SHOW primary_conninfo"); !strings.Contains(got, "passfile="+passfile) {
		t.Errorf("primary_conninfo = %q, want the password file in it", got)
	}
	s.run(t, s.old, "--log-level", "debug", "on_start", "replica", scope).must(t, 0)
	until(t, "the worker to be done", func() bool {
		log, err := os.ReadFile(s.workerLog())
		return err == nil && strings.Contains(string(log), "Nothing to do")
	})
	mustNotHold(t, "the worker's log", readFile(t, s.workerLog()))
	for name, content := range readTree(t, s.old.Dir, "postgresql.auto.conf", "log", "failback_hook.journal") {
		mustNotHold(t, name, content)
	}

	t.Run("in the configuration file", func(t *testing.T) {
		s.restore(t, pristine)
		s.conninfo = "user=rewind_user dbname=postgres password=" + userPassword
		s.secretRun(t)
		if got := s.old.Must(t).Value("SHOW primary_conninfo"); !strings.Contains(got, "password="+userPassword) {
			t.Error("primary_conninfo lacks the password without which it is of no use")
		}
	})
}

// secretRun dry-runs, rejoins and prints the configuration, all with the most
// talkative log, and looks for secrets in everything that came out of it.
func (s *scene) secretRun(t *testing.T) {
	t.Helper()
	begun := s.etcdState(t).revision
	for _, args := range [][]string{
		{"config", "show"}, {"config", "show", "--output", "json"},
		{"--dry-run"}, {"--dry-run", "--output", "json"},
		{"--source-connections", "2"}, // for real
		{"--output", "json"},
	} {
		s.run(t, s.old, append([]string{"--log-level", "debug"}, args...)...).must(t, 0)
	}
	s.noLocks(t)
	follows(t, s.old, s.leader)
	mustNotHold(t, "what was printed", s.said.String())
	events := s.etcdEvents(t, begun)
	if len(events) == 0 {
		t.Error("no lock was seen in etcd")
	}
	for _, ev := range events {
		mustNotHold(t, "etcd key "+string(ev.Kv.Key), string(ev.Kv.Value))
	}
}

func mustNotHold(t *testing.T, where, content string) {
	t.Helper()
	for _, secret := range secrets {
		if at := strings.Index(content, secret); at >= 0 {
			t.Errorf("%s holds a password: %q", where, content[max(0, at-80):min(len(content), at+40)])
		}
	}
}

// readTree reads some files, and all files below some directories, of a data directory.
func readTree(t *testing.T, dir string, names ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		matches, err := filepath.Glob(filepath.Join(dir, name, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range append(matches, filepath.Join(dir, name)) {
			if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() {
				files[m] = readFile(t, m)
			}
		}
	}
	if len(files) == 0 {
		t.Fatalf("none of %v in %s", names, dir)
	}
	return files
}
