package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReplicaArgs: what Patroni passes, as it was observed, and what it might.
func TestReplicaArgs(t *testing.T) {
	for _, test := range []struct {
		name           string
		args           []string
		known, ignored []string
	}{
		{"as observed", []string{"--keep_data=True", "--foo=bar", "--scope=lab", "--role=replica", "--datadir=/n2/data",
			"--connstring=dbname=postgres user=replicator host=127.0.0.1 port=6501"},
			[]string{"--scope=lab", "--data-dir=/n2/data"}, []string{"--keep_data", "--foo", "--role", "--connstring"}},
		{"with options of ours", []string{"--config", "/etc/x.yml", "-o", "json", "--name=n1", "--no-undo", "--scope=a=b"},
			[]string{"--config", "/etc/x.yml", "-o", "json", "--name=n1", "--no-undo", "--scope=a=b"}, nil},
		{"a password does not show", []string{"--password=secret", "--no_leader=1", "word"}, nil, []string{"--password", "--no_leader", "word"}},
		{"nothing after an option", []string{"--scope"}, []string{"--scope"}, nil},
		{"spaces, as shells split", []string{"--datadir=/a b/c", "--data-dir", "/d"}, []string{"--data-dir=/a b/c", "--data-dir", "/d"}, nil},
	} {
		known, ignored := replicaArgs(test.args)
		if diff := cmp.Diff(test.known, known); diff != "" {
			t.Errorf("%s: known (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.ignored, ignored); diff != "" {
			t.Errorf("%s: ignored (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestNoData(t *testing.T) {
	dir := t.TempDir()
	for _, empty := range []string{dir, filepath.Join(dir, "missing")} {
		if err := hasData(empty); !errors.Is(err, errNoData) {
			t.Errorf("%s: %v", empty, err)
		}
		got := run(t, nil, nil, "create-replica", "--scope=main", "--name=n1", "--datadir="+empty, "--role=replica", "--connstring=x", "--keep_data=True", "--source-conninfo=user=u")
		if got.code != 25 {
			t.Errorf("%+v", got)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "global"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "global", "pg_control"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hasData(dir); err != nil {
		t.Error(err)
	}
}
