package hook

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		keys   []string
	}{
		{"minimal", func(*Config) {}, nil},
		{"nothing", func(c *Config) { *c = Config{} }, []string{"name", "postgresql.data_dir"}},
		{"everything", func(c *Config) {
			*c = Config{
				Name: "n1", PGData: "/data", BinDir: "/bin", ConfigFile: "/etc/pg.conf", StartLog: "start.log",
				SourceConninfo: "user=rewinder", ReplicationConninfo: "user=replicator", Slots: SlotsOn, Control: ControlCommand,
				StopCommand: "systemctl stop pg", StartCommand: "systemctl start pg", StopTimeout: time.Second, StartTimeout: time.Second,
				StreamTimeout: time.Second, SettleTimeout: -1, Connections: 8, Preserve: []string{"my.conf", "certs/*.pem"}, LockLimit: 2,
				LockTTL: time.Minute,
			}
		}, nil},
		{"name of a path", func(c *Config) { c.Name = "../n1" }, []string{"name"}},
		{"relative paths", func(c *Config) { c.PGData, c.BinDir, c.ConfigFile = "data", "bin", "x.conf" },
			[]string{"postgresql.bin_dir", "postgresql.config_file", "postgresql.data_dir"}},
		{"path with a line end", func(c *Config) { c.ConfigFile, c.StartLog = "/a\nb", "a\x00b" }, []string{"postgresql.config_file", "postgresql.start_log"}},
		{"connection strings", func(c *Config) { c.SourceConninfo, c.ReplicationConninfo = "user", "=" }, []string{"replication.conninfo", "source.conninfo"}},
		{"words", func(c *Config) { c.Slots, c.Control = "yes", "systemd" }, []string{"postgresql.control", "replication.slots"}},
		{"commands are missing", func(c *Config) { c.Control = ControlCommand }, []string{"postgresql.start_command", "postgresql.stop_command"}},
		{"commands without control", func(c *Config) { c.StopCommand, c.StartCommand = "a", "b" }, []string{"postgresql.start_command", "postgresql.stop_command"}},
		{"negative", func(c *Config) {
			c.StopTimeout, c.StartTimeout, c.StreamTimeout, c.LockTTL, c.LockLimit, c.Connections = -1, -1, -1, -1, -1, -1
		}, []string{"lock.limit", "lock.ttl", "postgresql.start_timeout", "postgresql.stop_timeout", "postgresql.stream_timeout", "source.connections"}},
		{"too many connections", func(c *Config) { c.Connections = 33 }, []string{"source.connections"}},
		{"too short a lease", func(c *Config) { c.LockTTL = time.Second }, []string{"lock.ttl"}},
		{"preserve", func(c *Config) { c.Preserve = []string{"ok", "/etc/passwd"} }, []string{"preserve"}},
		{"preserve leaves PGDATA", func(c *Config) { c.Preserve = []string{"a/../../b"} }, []string{"preserve"}},
		{"preserve is no pattern", func(c *Config) { c.Preserve = []string{"a[b"} }, []string{"preserve"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Name: "n1", PGData: "/data"}
			tt.change(&c)
			err := c.Validate()
			if (err != nil) != (len(tt.keys) > 0) || err != nil && !errors.Is(err, ErrConfig) {
				t.Fatalf("got %v, want errors for %v", err, tt.keys)
			}
			if got := fieldKeys(err); !slices.Equal(got, tt.keys) {
				t.Errorf("got errors for %v, want %v\n%v", got, tt.keys, err)
			}
		})
	}
}

// fieldKeys are the keys of all the FieldErrors in an error, sorted.
func fieldKeys(err error) []string {
	var keys []string
	switch e := err.(type) {
	case nil:
	case *FieldError:
		keys = append(keys, e.Key)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			keys = append(keys, fieldKeys(inner)...)
		}
	case interface{ Unwrap() error }:
		keys = fieldKeys(e.Unwrap())
	}
	slices.Sort(keys)
	return keys
}

func TestValidateKeepsSecrets(t *testing.T) {
	c := Config{Name: "n1", PGData: "/data", SourceConninfo: "password=hunter2 user", ReplicationConninfo: "postgres://u:hunter2@h:badport/%zz"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func TestWithDefaults(t *testing.T) {
	got := Config{Name: "n1", PGData: "/data/"}.withDefaults()
	want := Config{
		Name: "n1", PGData: "/data", RestoreCommand: RestoreAuto, Slots: SlotsAuto, Control: ControlPGCtl, StartLog: "/data/log/failback-hook-start.log",
		StopTimeout: time.Minute, StartTimeout: time.Minute, StreamTimeout: time.Minute, SettleTimeout: 5 * time.Second,
		Wait: 5 * time.Minute, OnFailure: FailureUndo, Connections: 4, LockLimit: 1, LockTTL: 30 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got := (Config{PGData: "/data", StartLog: "/var/log/x.log"}).withDefaults().StartLog; got != "/var/log/x.log" {
		t.Errorf("got start log %s, want the absolute one", got)
	}
}
