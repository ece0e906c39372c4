package main

import (
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/hook"
)

// settings are the effective values of everything that can be configured. The
// table in settings_table.go says for each field how it is called outside.
type settings struct {
	PatroniConfig string
	// replicaMethods are those of Patroni's file; nil where it was not read.
	replicaMethods *hook.ReplicaMethods

	Scope     string
	Namespace string
	Name      string
	Layout    string

	Etcd struct {
		Endpoints          []string
		CACert, Cert, Key  string
		InsecureSkipVerify bool
		Username, Password string
		PasswordFile       string
		DialTimeout        time.Duration
		RequestTimeout     time.Duration
		LockPrefix         string
	}
	PostgreSQL struct {
		DataDir, BinDir, ConfigFile string
		Control                     string
		StopCommand, StartCommand   string
		StopTimeout, StartTimeout   time.Duration
		StartLog                    string
		RestoreCommand              string
		StreamTimeout               time.Duration
		SettleTimeout               time.Duration
	}
	Source struct {
		Conninfo           string
		PrivilegedConninfo string
		Connections        int
		Silence            time.Duration
	}
	Replication struct {
		Conninfo, Slots string
	}
	Preserve  []string
	OnFailure string
	NoUndo    bool
	Salvage   struct {
		Dir    string
		Keep   int
		MaxAge time.Duration
	}
	StateDir string
	Lock     struct {
		Limit int
		TTL   time.Duration
	}
	Callback struct {
		Wait time.Duration
	}
	Agent struct {
		Interval, DownAfter, StuckAfter, FenceAfter time.Duration
	}
	Patroni struct {
		RESTURL            string
		Username, Password string
		CACert, Cert, Key  string
		InsecureSkipVerify bool
		KeepFailed         string
	}
	Log struct {
		Level, Format, File string
	}
	Wait    time.Duration
	Timeout time.Duration
}

// setting is one row of the table: the only place that knows a setting's
// names, default and meaning. Flags, environment, YAML, `config show`, the
// help text and the README's table are all generated from it.
type setting struct {
	// key is the path in the YAML file: "etcd.dial_timeout".
	key string
	// field points to the value; its type says how text is read:
	// *string, *bool, *int, *time.Duration or *[]string.
	field func(*settings) any
	// short are one-letter or familiar second names of the flag.
	short []string
	// foreign are other programs' environment variables that are understood.
	foreign []foreignEnv
	def     string
	// zero says what 0s means; without it 0s is refused.
	zero string
	// required: the default is not enough to run.
	required bool
	// oneOf lists the words allowed; nil for free text.
	oneOf []string
	// secret values are never shown and have no flag: everybody on the host
	// can read a process list.
	secret bool
	// conninfo values may carry a password inside.
	conninfo bool
	// flagName is the option's name where it is not made from the key.
	flagName string
	help     string
}

// foreignEnv is a variable of another program's, and which part of its value
// counts; nil for all of it.
type foreignEnv struct {
	name string
	part func(string) string
}

// envPrefix begins the names of this program's own environment variables.
const envPrefix = "FAILBACK_HOOK_"

// flag is the name of the command line option; empty for secrets.
func (s setting) flag() string {
	switch {
	case s.secret:
		return ""
	case s.flagName != "":
		return s.flagName
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.key)
}

// env is the name of the environment variable.
func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// userName and userPassword split etcdctl's "name:password".
func userName(s string) string {
	name, _, _ := strings.Cut(s, ":")
	return name
}

func userPassword(s string) string {
	_, password, _ := strings.Cut(s, ":")
	return password
}
