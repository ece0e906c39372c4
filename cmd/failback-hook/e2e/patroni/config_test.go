package patroni

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// object is a part of a YAML file.
type object = map[string]any

func (n *node) configFile() string { return filepath.Join(n.dir, "patroni.yml") }
func (n *node) ownConfig() string  { return filepath.Join(n.dir, "failback-hook.yml") }

// example reads a file of examples/patroni, with its paths replaced by ours.
func (n *node) example(t *testing.T, name string) object {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(examples(t), name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"/usr/bin/failback-hook", rewindtest.Program(),
		"/etc/failback-hook/failback-hook.yml", n.ownConfig(),
		"/etc/patroni/config.yml", n.configFile(),
		"/usr/local/lib/failback-hook/bin", filepath.Join(n.dir, "bin"),
		"/var/lib/postgresql/failed", filepath.Join(n.dir, "failed"),
	).Replace(string(b))
	var o object
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return o
}

// examplesEnv is where the examples lie: the tests may run in a copy of their
// program, far from the checkout.
const examplesEnv = "E2E_EXAMPLES"

func examples(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(examplesEnv); dir != "" {
		return dir
	}
	t.Fatal(examplesEnv + " is not set")
	return ""
}

// configure writes patroni.yml: what every cluster has, and the pieces of the
// way that is tried.
func (n *node) configure(t *testing.T, pieces ...object) {
	t.Helper()
	host, port, _ := strings.Cut(n.rest, ":")
	conf := object{
		"scope": scope, "name": n.Name,
		"log":   object{"level": "INFO"},
		"etcd3": object{"host": n.cluster.address},
		"restapi": object{
			"listen": host + ":" + port, "connect_address": n.rest,
			"authentication": object{"username": restUser, "password": restPassword},
		},
		"bootstrap": object{
			"initdb": []any{object{"encoding": "UTF8"}, object{"locale": "C"}, "data-checksums", "no-sync"},
			"dcs": object{
				"ttl": 20, "loop_wait": 1, "retry_timeout": 5, "maximum_lag_on_failover": 1 << 30,
				"postgresql": object{
					"use_slots":  true,
					"parameters": object{"wal_log_hints": "on", "wal_keep_size": "512MB", "max_connections": 40, "max_wal_senders": 10},
				},
			},
		},
		"postgresql": object{
			"listen": "127.0.0.1:" + strconv.Itoa(n.Port), "connect_address": "127.0.0.1:" + strconv.Itoa(n.Port),
			"data_dir": n.Dir, "bin_dir": n.Install.Bin, "pgpass": filepath.Join(n.dir, "pgpass"),
			"authentication": object{
				"superuser":   object{"username": "postgres", "password": superPassword},
				"replication": object{"username": "replicator", "password": replicaPassword},
				"rewind":      object{"username": "rewind_user", "password": rewindPassword},
			},
			"parameters": object{
				"unix_socket_directories": n.SocketDir, "fsync": "off", "shared_buffers": "16MB", "dynamic_shared_memory_type": "mmap",
				"logging_collector": "on", "log_directory": filepath.Dir(n.LogFile()), "log_filename": filepath.Base(n.LogFile()),
				"log_line_prefix": "%m [%p] %b %a: ", "wal_retrieve_retry_interval": "200ms",
			},
			"basebackup": []any{object{"checkpoint": "fast"}, "no-sync"},
			"pg_hba": []any{
				"local all all trust", "host all all 127.0.0.1/32 scram-sha-256",
				"host replication replicator 127.0.0.1/32 scram-sha-256",
			},
		},
	}
	for _, piece := range pieces {
		merge(conf, piece)
	}
	n.write(t, n.configFile(), conf)
}

// configureOwn writes failback-hook.yml of an example, with this node's names.
func (n *node) configureOwn(t *testing.T, example object, more ...object) {
	t.Helper()
	passwords := filepath.Join(n.dir, "own-pgpass")
	text := "*:*:*:rewind_user:" + rewindPassword + "\n*:*:*:replicator:" + replicaPassword + "\n"
	if err := os.WriteFile(passwords, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := maps.Clone(example)
	merge(conf, object{
		"scope": scope, "name": n.Name,
		"etcd":        object{"endpoints": []any{n.cluster.address}},
		"postgresql":  object{"data_dir": n.Dir, "bin_dir": n.Install.Bin},
		"source":      object{"conninfo": "user=rewind_user dbname=postgres passfile=" + passwords},
		"replication": object{"conninfo": "user=replicator passfile=" + passwords},
	})
	for _, m := range more {
		merge(conf, m)
	}
	n.write(t, n.ownConfig(), conf)
}

func (n *node) write(t *testing.T, name string, o object) {
	t.Helper()
	b, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// merge lays one object over another; a nil takes a key out.
func merge(into, from object) {
	for key, value := range from {
		if value == nil {
			delete(into, key)
			continue
		}
		inner, ok := value.(object)
		if was, isObject := into[key].(object); ok && isObject {
			merge(was, inner)
			continue
		}
		into[key] = value
	}
}
