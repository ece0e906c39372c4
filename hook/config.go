package hook

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Config is what one node needs to know to rejoin its cluster. The zero value
// of a field means its default; Validate names what is missing.
type Config struct {
	// Name is this node's member name. It becomes application_name, and the
	// slot is named after it.
	Name string
	// PGData is the data directory, BinDir where postgres and pg_ctl are; an
	// empty BinDir is looked up by PGData's major version, then in PATH.
	PGData string
	BinDir string
	// ConfigFile is a postgresql.conf outside PGData (Debian's layout); may be empty.
	ConfigFile string
	// RestoreCommand fetches WAL from the archive that this node or the leader
	// no longer has: a shell command as the server's restore_command;
	// RestoreAuto takes the server's, RestoreCluster where that is none the one
	// that the cluster's manager keeps in etcd, RestoreNever none.
	RestoreCommand string
	// SourceConninfo is what connects to any leader but for host and port:
	// user, password or passfile, dbname, TLS options. The database is
	// DefaultDatabase and the connect timeout DefaultConnectTimeout where it
	// says nothing else.
	SourceConninfo string
	// PrivilegedConninfo is the same for what that user may not ask the leader or
	// do on it: to see who streams, to make a slot. Nobody does it when empty.
	// Nothing is fetched by this login.
	PrivilegedConninfo string
	// ReplicationConninfo is the same for primary_conninfo; SourceConninfo's
	// login and TLS options when empty.
	ReplicationConninfo string
	// Slots: SlotsAuto (as the cluster's configuration says), SlotsOn or SlotsOff.
	Slots string
	// Control: ControlPGCtl, ControlCommand or ControlNone: who stops and
	// starts the server.
	Control string
	// Handover: whoever has called, Patroni, makes the node a standby and starts
	// it when the work is done. So no settings are written but standby.signal, no
	// slot is made, and what could take the work back goes at its end. Control
	// must be ControlNone.
	Handover bool
	// StopCommand and StartCommand are run by /bin/sh when Control is
	// ControlCommand. StartCommand has to return when the server is on its
	// way, not when the server ends.
	StopCommand  string
	StartCommand string
	// StartLog is the file for what the server and pg_ctl print while the
	// server's own log is not open, and for the whole log of a server without
	// a logging collector. It is appended to; a relative name lies in PGData.
	// A file, and never our own output: the server outlives this program.
	StartLog string
	// StopTimeout, StartTimeout and StreamTimeout bound the waits for the
	// server to stop, to accept connections, and to stream.
	StopTimeout   time.Duration
	StartTimeout  time.Duration
	StreamTimeout time.Duration
	// SettleTimeout is how long a standby that runs but does not stream may
	// take to begin by itself before it is taken for one that cannot. After a
	// clean switchover the former primary needs no help, only a moment.
	// Negative: no such patience.
	SettleTimeout time.Duration
	// Wait is how long one kind of trouble that may pass by itself is waited
	// out. Negative: not at all, the first error is the result.
	Wait time.Duration
	// OnFailure is what becomes of a data directory that a run which gives up
	// has begun to change: FailureUndo gives it back as it was, FailureKeep
	// leaves it, unable to start, to the next run.
	OnFailure string
	// Salvage is where the WAL goes that only this node has.
	Salvage rewind.Salvage
	// NoUndo saves nothing of what is overwritten, for where there is no room:
	// neither a failure nor Undo can give it back then.
	NoUndo bool
	// Connections that fetch at the same time.
	Connections int
	// Preserve are further paths in PGDATA that stay the node's own.
	Preserve []string
	// LockLimit is how many nodes may rejoin from one leader at a time.
	LockLimit int
	// LockTTL is the lease time of the lock.
	LockTTL time.Duration
	// StateDir is where records of this node's rejoins are kept; empty for nowhere.
	StateDir string
	// Version of this program, for the lock's record.
	Version string
	// ReplicaMethods are those of the manager on this node; nil where they are not known.
	ReplicaMethods *ReplicaMethods
}

// The values of Config.OnFailure.
const (
	FailureUndo = "undo"
	FailureKeep = "keep"

	DefaultOnFailure = FailureUndo
)

// The values of Config.RestoreCommand that are no commands.
const (
	RestoreAuto    = "auto"
	RestoreCluster = "cluster"
	RestoreNever   = "never"
)

// The values of Config.Slots.
const (
	SlotsAuto = "auto"
	SlotsOn   = "on"
	SlotsOff  = "off"
)

// The values of Config.Control.
const (
	ControlPGCtl   = "pg_ctl"
	ControlCommand = "command"
	ControlNone    = "none"
	// ControlPatroni: a server whose Patroni is alive and not paused is brought
	// back by Patroni, which is asked to; otherwise it is as ControlPGCtl.
	ControlPatroni = "patroni"
)

// What the zero values of a Config stand for.
const (
	DefaultRestoreCommand = RestoreAuto
	DefaultSlots          = SlotsAuto
	DefaultControl        = ControlPGCtl
	DefaultStartLog       = "log/failback-hook-start.log"
	DefaultStopTimeout    = time.Minute
	DefaultStartTimeout   = time.Minute
	DefaultStreamTimeout  = time.Minute
	DefaultSettleTimeout  = 5 * time.Second
	DefaultWait           = 5 * time.Minute
	DefaultConnections    = 4
	DefaultLockLimit      = 1
	DefaultLockTTL        = 30 * time.Second
	DefaultDatabase       = "postgres"
	DefaultConnectTimeout = 5 * time.Second
)

// Bounds of what is let through. More connections than that load a leader that
// has other work to do, and a shorter lease ends at the first hiccup of etcd.
const (
	maxConnections = 32
	minLockTTL     = 2 * time.Second
)

// withDefaults fills in what the zero values stand for.
func (c Config) withDefaults() Config {
	c.RestoreCommand = cmp.Or(c.RestoreCommand, DefaultRestoreCommand)
	c.Slots = cmp.Or(c.Slots, DefaultSlots)
	c.OnFailure = cmp.Or(c.OnFailure, DefaultOnFailure)
	c.Control = cmp.Or(c.Control, DefaultControl)
	c.StartLog = cmp.Or(c.StartLog, DefaultStartLog)
	c.StopTimeout = cmp.Or(c.StopTimeout, DefaultStopTimeout)
	c.StartTimeout = cmp.Or(c.StartTimeout, DefaultStartTimeout)
	c.StreamTimeout = cmp.Or(c.StreamTimeout, DefaultStreamTimeout)
	c.SettleTimeout = cmp.Or(c.SettleTimeout, DefaultSettleTimeout)
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	c.Connections = cmp.Or(c.Connections, DefaultConnections)
	c.LockLimit = cmp.Or(c.LockLimit, DefaultLockLimit)
	c.LockTTL = cmp.Or(c.LockTTL, DefaultLockTTL)
	if c.PGData != "" {
		c.PGData = filepath.Clean(c.PGData)
		if !filepath.IsAbs(c.StartLog) {
			c.StartLog = filepath.Join(c.PGData, c.StartLog)
		}
	}
	return c
}

// FieldError is one thing that is wrong with a Config.
type FieldError struct {
	// Key is the setting as the configuration file names it.
	Key     string
	Problem string
}

// Error prints "key: problem".
func (e *FieldError) Error() string { return e.Key + ": " + e.Problem }

// Validate checks the configuration by itself, without a look at the node. All
// that is wrong is joined, each a *FieldError; errors.Is finds ErrConfig.
func (c Config) Validate() error {
	var v validation
	c.validateNode(&v)
	c.validateConnections(&v)
	c.validateServer(&v)
	c.validateLimits(&v)
	if len(v.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, errors.Join(v.errs...))
}

// validation collects what is wrong.
type validation struct{ errs []error }

func (v *validation) require(ok bool, key, format string, args ...any) {
	if !ok {
		v.errs = append(v.errs, &FieldError{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
}

func (v *validation) oneOf(key, value string, allowed ...string) {
	for _, a := range append(allowed, "") {
		if value == a {
			return
		}
	}
	v.require(false, key, "%q is none of %s", value, strings.Join(allowed, ", "))
}

func (v *validation) absolute(key, value string) {
	v.require(value == "" || filepath.IsAbs(value), key, "%q is not an absolute path", value)
	v.require(!strings.ContainsAny(value, "\x00\n"), key, "a path cannot hold line ends or zero bytes")
}

func (c Config) validateNode(v *validation) {
	v.require(c.Name != "", "name", "the member name of this node is needed")
	v.require(!strings.ContainsAny(c.Name, "/\x00\n"), "name", "%q is not a member name", c.Name)
	v.require(c.PGData != "", "postgresql.data_dir", "the data directory is needed")
	v.absolute("postgresql.data_dir", c.PGData)
	v.absolute("postgresql.bin_dir", c.BinDir)
	v.absolute("postgresql.config_file", c.ConfigFile)
	v.require(!strings.ContainsAny(c.StartLog, "\x00\n"), "postgresql.start_log", "a path cannot hold line ends or zero bytes")
	v.require(!strings.Contains(c.RestoreCommand, "\x00"), "postgresql.restore_command", "a command cannot hold zero bytes")
	for _, p := range c.Preserve {
		v.require(preservable(p), "preserve", "%q is not a path or pattern below the data directory", p)
	}
}

// preservable: a pattern of path.Match that stays below PGDATA.
func preservable(p string) bool {
	if _, err := path.Match(p, ""); err != nil {
		return false
	}
	return pg.SafePath(p) == nil
}

func (c Config) validateConnections(v *validation) {
	for key, conninfo := range map[string]string{
		"source.conninfo": c.SourceConninfo, "source.privileged_conninfo": c.PrivilegedConninfo,
		"replication.conninfo": c.ReplicationConninfo,
	} {
		if _, err := pg.ParseConninfo(conninfo); err != nil {
			v.require(false, key, "%v", err)
		}
	}
	v.absolute("salvage.dir", c.Salvage.Dir)
	v.absolute("state_dir", c.StateDir)
	v.require(c.Salvage.Keep >= 0, "salvage.keep", "%d is negative", c.Salvage.Keep)
	v.require(c.Salvage.MaxAge >= 0, "salvage.max_age", "%s is negative", c.Salvage.MaxAge)
	v.oneOf("on_failure", c.OnFailure, FailureUndo, FailureKeep)
	v.oneOf("replication.slots", c.Slots, SlotsAuto, SlotsOn, SlotsOff)
	v.require(c.Connections >= 0 && c.Connections <= maxConnections, "source.connections",
		"%d is not between 1 and %d", c.Connections, maxConnections)
}

func (c Config) validateServer(v *validation) {
	v.oneOf("postgresql.control", c.Control, ControlPGCtl, ControlCommand, ControlNone, ControlPatroni)
	if c.Control == ControlCommand {
		v.require(c.StopCommand != "", "postgresql.stop_command", "needed when postgresql.control is %s", ControlCommand)
		v.require(c.StartCommand != "", "postgresql.start_command", "needed when postgresql.control is %s", ControlCommand)
	} else {
		v.require(c.StopCommand == "", "postgresql.stop_command", "of use only when postgresql.control is %s", ControlCommand)
		v.require(c.StartCommand == "", "postgresql.start_command", "of use only when postgresql.control is %s", ControlCommand)
	}
	v.require(c.StopTimeout >= 0, "postgresql.stop_timeout", "%s is negative", c.StopTimeout)
	v.require(c.StartTimeout >= 0, "postgresql.start_timeout", "%s is negative", c.StartTimeout)
	v.require(c.StreamTimeout >= 0, "postgresql.stream_timeout", "%s is negative", c.StreamTimeout)
}

func (c Config) validateLimits(v *validation) {
	v.require(c.LockLimit >= 0, "lock.limit", "%d is negative", c.LockLimit)
	v.require(c.LockTTL == 0 || c.LockTTL >= minLockTTL, "lock.ttl", "%s is below %s", c.LockTTL, minLockTTL)
}
