package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestYAMLErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "scope: a\nendpoint: b\n", "FILE:2: endpoint: unknown key"},
		{"slip of the finger", "etcd:\n  endpoint: b\n", "FILE:2: etcd.endpoint: unknown key; did you mean etcd.endpoints?"},
		{"unknown section", "postgres:\n  data_dir: b\n", "FILE:1: postgres: unknown key"},
		{"twice", "scope: a\nname: b\nscope: c\n", "FILE:3: scope: given already on line 1"},
		{"duration without unit", "lock:\n  ttl: 30\n", `FILE:2: lock.ttl: "30" is not a duration: give a number and a unit`},
		{"duration too short", "lock:\n  ttl: 0s\n", `FILE:2: lock.ttl: "0s" is too short`},
		{"negative", "timeout: -1s\n", `FILE:1: timeout: "-1s" is too short`},
		{"number", "source:\n  connections: many\n", `FILE:2: source.connections: "many" is not a whole number`},
		{"boolean", "etcd:\n  insecure_skip_verify: maybe\n", `FILE:2: etcd.insecure_skip_verify: "maybe" is neither true nor false`},
		{"word", "replication:\n  slots: perhaps\n", `FILE:2: replication.slots: "perhaps" is not one of auto, on, off`},
		{"list for text", "name: [a, b]\n", "FILE:1: name: takes one value, not a list"},
		{"boolean for text", "name: true\n", `FILE:1: name: want text: write it in quotes, "true"`},
		{"keys for a value", "name:\n  first: a\n", "FILE:2: name: want a value, not further keys"},
		{"value for keys", "etcd: localhost\n", "FILE:1: etcd: want keys and values here"},
		{"list of lists", "preserve: [[a]]\n", "FILE:1: preserve: a list of plain values is wanted"},
		{"no value", "name:\n", "FILE:1: name: has no value"},
		{"merge key", "etcd:\n  <<: {cert: a}\n", "FILE:2: etcd.<<: unknown key"},
		{"a list", "- a\n", "FILE:1: the file: want keys and values here"},
		{"not YAML", "a: b: c\n", "FILE: yaml: "},
		{"alias of nothing", "etcd:\n  password: *secret\n", "FILE: an alias stands for no anchor: text that begins with * has to be quoted"},
		{"two documents", "scope: a\n---\nscope: b\n", "FILE: holds more than one YAML document"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := writeConfig(t, tt.text)
			_, err := load(sources{file: file})
			if err == nil {
				t.Fatal("no error")
			}
			if got, want := err.Error(), strings.ReplaceAll(tt.want, "FILE", file); !strings.HasPrefix(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if got := exitFor(t.Context(), err).code; got != exitUsage {
				t.Errorf("exit code %d, want %d", got, exitUsage)
			}
		})
	}
}

func TestYAMLAccepted(t *testing.T) {
	file := writeConfig(t, "# comment\nname: 7\netcd:\n  # all of it commented out\nreplication: {slots: on}\npreserve: &p [a, b]\nlock:\n  ttl: 45s\n")
	c, err := load(sources{file: file})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.settings.Name, c.settings.Replication.Slots, c.settings.Preserve, c.settings.Lock.TTL}
	if diff := cmp.Diff([]any{"7", "on", []string{"a", "b"}, 45 * time.Second}, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigFileErrors(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yml")
	if err := os.WriteFile(large, make([]byte, maxConfigFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "absent.yml"): "no such file",
		dir:                              "is a directory",
		large:                            "is larger than",
	} {
		_, err := load(sources{file: file})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
}
