package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/hook"
)

func TestToldCluster(t *testing.T) {
	for _, test := range []struct{ connstring, name, wrong string }{
		{"dbname=postgres user=replicator host=127.0.0.1 port=6501", "127.0.0.1:6501", ""},
		{`host=fe80::1 application_name=it\'s`, "[fe80::1]:5432", ""},
		{"postgres://u@h:1/d", "h:1", ""},
		{"", "", "one host"},
		{"host=a,b port=1", "", "one host"},
		{"host=a port=0", "", "port"},
		{"host=a port=65536", "", "port"},
		{"host='a", "", "parse connection string"},
	} {
		told, err := newToldCluster(&settings{Scope: "main"}, test.connstring)
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%q: %v", test.connstring, err)
			}
			continue
		}
		if err != nil || told.topology.Leader.Name != test.name || told.topology.Members[0].Name != test.name {
			t.Errorf("%q: %+v, %v", test.connstring, told, err)
		}
	}
	if got := connstringOf([]string{"--connstring=a", "--role=x", "--connstring=b=c"}); got != "b=c" {
		t.Errorf("connstring %q", got)
	}
}

// TestReplicaWithoutEtcd: only a Patroni on another store makes the server count
// that it names; and what it names has to be one.
func TestReplicaWithoutEtcd(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data", "global"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "global", "pg_control"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "patroni.yml")
	replica := func(f *fakeRejoiner, connstring string) outcome {
		t.Helper()
		return run(t, f, nil, "create-replica", "--patroni-config="+config, "--source-conninfo=user=u", "--scope=main", "--name=n1",
			"--datadir="+filepath.Join(dir, "data"), "--role=replica", "--connstring="+connstring, "--keep_data=True")
	}
	for _, test := range []struct {
		store, connstring, says string
		code                    int
	}{
		{"consul: {host: localhost}", "", "--connstring: one host is wanted", 2},
		{"consul: {host: localhost}", "host=localhost port=1", "there is no lock, and the leader is the server that Patroni names", 0},
		{"etcd: {host: localhost}", "host=localhost port=1", "there is no lock, and the leader is the server that Patroni names", 0},
	} {
		if err := os.WriteFile(config, []byte("scope: main\nname: n1\n"+test.store+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &fakeRejoiner{report: &hook.Report{Outcome: hook.OutcomeRejoined}}
		got := replica(f, test.connstring)
		if !strings.Contains(got.stderr, test.says) || got.code != test.code {
			t.Errorf("%s, %q: code %d\n%s", test.store, test.connstring, got.code, got.stderr)
		}
		for _, command := range []string{"status", "history"} { // without an etcd there is nothing to show
			if got := run(t, f, nil, command, "--patroni-config="+config); got.code != 13 || !strings.Contains(got.stderr, "create-replica") {
				t.Errorf("%s, %s: code %d\n%s", test.store, command, got.code, got.stderr)
			}
		}
		if without := f.request.without; (test.code == 0) != (without != nil) {
			t.Errorf("%s, %q: connected with %+v", test.store, test.connstring, without)
		}
	}
}
