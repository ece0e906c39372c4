package rewindtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Options says how a cluster is made. The zero value is the usual one.
type Options struct {
	// Name is the primary's directory and application_name; "primary" if empty.
	Name string
	// Template is a stopped data directory to begin with a copy of, instead of
	// running initdb; InitArgs, WalSegSize and NoChecksums must be those of it.
	Template string
	// InitArgs are further arguments for initdb.
	InitArgs []string
	// Conf holds settings for postgresql.conf that add to the harness's own or
	// replace them: {"fsync": "on"}. Values are plain, they get quoted.
	Conf map[string]string
	// WalSegSize in MB; 0 is PostgreSQL's 16.
	WalSegSize int
	// NoChecksums makes a cluster without data checksums.
	NoChecksums bool
	// Password of the superuser. Where set, clients log in by scram-sha-256;
	// otherwise everybody is trusted.
	Password string
	// LogInside writes the server log to PGDATA/log instead of beside PGDATA.
	LogInside bool
}

// StandbyOptions says how a standby is made.
type StandbyOptions struct {
	// Name is the standby's directory and application_name. Required.
	Name string
	// Slot is a physical slot to create on the upstream and to stream through;
	// none if empty.
	Slot string
	// Conf holds settings in which the standby differs from its upstream.
	Conf map[string]string
}

func (o Options) initArgs(dir, pwfile string, major int) []string {
	args := []string{
		"-D", dir, "--no-sync", "--username=postgres", "--encoding=UTF8", "--no-locale",
	}
	if pwfile == "" {
		args = append(args, "--auth=trust")
	} else {
		args = append(args, "--auth=scram-sha-256", "--pwfile="+pwfile)
	}
	switch {
	case !o.NoChecksums:
		args = append(args, "--data-checksums")
	case major >= 18: // they are the default from there on
		args = append(args, "--no-data-checksums")
	}
	if o.WalSegSize != 0 {
		args = append(args, "--wal-segsize="+strconv.Itoa(o.WalSegSize))
	}
	return append(args, o.InitArgs...)
}

// settings are the contents of a node's postgresql.conf.
func (n *Node) settings() map[string]string {
	conf := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(n.Port),
		"unix_socket_directories": n.SocketDir,
		// So that a kill needs no disk; see doc.go.
		"fsync":                 "off",
		"wal_level":             "replica",
		"wal_log_hints":         "on",
		"hot_standby":           "on",
		"max_wal_senders":       "10",
		"max_replication_slots": "10",
		"max_connections":       "40",
		// 13 has md5 by default, which the tests' pg_hba.conf does not let in.
		"password_encryption":       "scram-sha-256",
		"max_prepared_transactions": "10",
		// Old WAL stays, on both sides of a fork; tests of lost WAL set it to 0.
		"wal_keep_size":  "2GB",
		"shared_buffers": "16MB",
		// A killed server would leave POSIX shared memory in /dev/shm behind.
		"dynamic_shared_memory_type": "mmap",
		"log_line_prefix":            "%m [%p] %b %a: ",
		"log_checkpoints":            "on",
		// Whoever starts the server, pg_ctl included, the log is in one place.
		"logging_collector":        "on",
		"log_directory":            n.logDir(),
		"log_filename":             logName,
		"log_truncate_on_rotation": "off",
		// Reconnect to a new upstream in tests at once instead of after 5 s.
		"wal_retrieve_retry_interval": "100ms",
	}
	if mb := n.opts.WalSegSize; mb > 16 { // min_wal_size must hold two segments
		conf["min_wal_size"] = fmt.Sprintf("%dMB", 5*mb)
		conf["max_wal_size"] = fmt.Sprintf("%dMB", 64*mb)
	}
	maps.Copy(conf, n.opts.Conf)
	return conf
}

// confText prints settings, sorted, as postgresql.conf.
func confText(settings map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteConf(settings[name]))
	}
	return b.String()
}

// quoteConf makes a literal of postgresql.conf: the lexer of guc-file.l doubles
// quotes and knows backslash escapes.
func quoteConf(value string) string {
	return "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(value) + "'"
}

// quoteConninfo makes a value of a libpq connection string.
func quoteConninfo(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
