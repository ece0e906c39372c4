package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// replicatorPassword is what Patroni's replication user logs in with.
const replicatorPassword = "pN3-replicator-secret"

// patroniRoles are those that Patroni makes. Its rewind user may execute four
// functions, but see nobody in pg_stat_replication and make no slot.
var patroniRoles = []string{
	"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '" + replicatorPassword + "'",
	"ALTER ROLE rewind_user NOREPLICATION",
	"REVOKE pg_monitor FROM rewind_user",
}

// TestPatroniConfig: a Patroni's configuration is all that the program is given,
// with an etcd that wants TLS and a login, and servers that want passwords; what
// of it comes by variables goes before the file. Nothing secret is printed.
func TestPatroniConfig(t *testing.T) {
	t.Parallel()
	ca := dcstest.NewCA(t)
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 167, Rows: 500, KillOld: true, Cluster: rewindtest.Options{Password: superuserPassword},
		Before: func(old, _ *rewindtest.Node) error {
			return old.Exec(patroniRoles...)
		},
	}, dcstest.WithTLS(ca.Server(t, nil)), dcstest.WithAuth("root-"+etcdPassword))
	err := s.etcd.AddUser(t.Context(), "patroni", etcdPassword, dcstest.Grants{ReadWrite: []string{"/service/", lockPrefix}})
	if err != nil {
		t.Fatal(err)
	}
	s.patroni = filepath.Join(s.dir, "patroni.yml")
	text := fmt.Sprintf(`scope: %s
name: %s
restapi: {listen: '0.0.0.0:8008'}
etcd3:
  hosts: 127.0.0.1:1   # the environment knows better
  protocol: https
  cacert: %s
postgresql:
  listen: 0.0.0.0:%d
  data_dir: %s
  bin_dir: %s
  authentication:
    superuser: {username: postgres, password: %s}
    replication: {username: replicator, password: %s}
    rewind: {username: rewind_user, password: in the environment}
`, scope, s.old.Name, ca.File, s.old.Port, s.old.Dir, s.old.Install.Bin, superuserPassword, replicatorPassword)
	writeFile(t, s.patroni, text)
	s.env = append(s.env, "PATRONI_ETCD3_HOSTS="+s.etcd.Address(), "PATRONI_ETCD3_USERNAME=patroni", "PATRONI_ETCD3_PASSWORD="+etcdPassword,
		"PATRONI_REWIND_PASSWORD="+userPassword, "ETCDCTL_USER=somebody:else", "PGDATA=/nonexistent")

	t.Run("on another store", func(t *testing.T) { s.otherStore(t, text) })
	s.secretRun(t)

	rows := s.leader.Must(t).Query("SELECT usename, application_name FROM pg_stat_replication")
	if len(rows) != 1 || rows[0][0] != "replicator" || rows[0][1] != s.old.Name {
		t.Errorf("pg_stat_replication: %v, want replicator as %s", rows, s.old.Name)
	}
	// As Patroni writes it, or Patroni would set it once more.
	got := s.old.Must(t).Value("SHOW primary_conninfo")
	for _, want := range []string{"user=replicator", "application_name=" + s.old.Name, fmt.Sprintf("port=%d", s.leader.Port),
		"sslmode=prefer", "gssencmode=prefer", "channel_binding=prefer", "dbname=postgres"} {
		if !strings.Contains(got, want) {
			t.Errorf("primary_conninfo lacks %s", want)
		}
	}
}

// otherStore: a Patroni on consul is recognised; what needs no etcd works.
func (s *scene) otherStore(t *testing.T, text string) {
	t.Helper()
	was, env := s.patroni, s.env
	defer func() { s.patroni, s.env = was, env }()
	s.patroni = filepath.Join(s.dir, "consul.yml")
	before, after, _ := strings.Cut(text, "etcd3:")
	_, after, _ = strings.Cut(after, "postgresql:")
	writeFile(t, s.patroni, before+"consul: {host: '127.0.0.1:8500'}\npostgresql:"+after)
	s.env = []string{"PATRONI_REWIND_PASSWORD=" + userPassword}
	res := s.run(t, s.old, "--dry-run").must(t, 13)
	if !strings.Contains(res.stderr, "keeps this cluster in consul") || !strings.Contains(res.stderr, "\nhint: ") {
		t.Errorf("got %s", res.stderr)
	}
	leader := fmt.Sprintf("host=localhost port=%d user=rewind_user passfile=%s", s.leader.Port, s.passfile(t, "consul", userPassword))
	if res := s.run(t, s.old, "lost", "--source-conninfo", leader).must(t, 0); !strings.Contains(res.stdout, s.pair.Fork.String()) {
		t.Errorf("lost without etcd: %s", res.stdout)
	}
}
