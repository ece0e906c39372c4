package main

import (
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind"
)

// rewindOptions are those of pg_rewind of PostgreSQL 18, and so of all before.
type rewindOptions struct {
	target, sourceDir, sourceServer string
	configFile, syncMethod          string

	writeConf, dryRun, noSync, progress, restoreWAL, debug, noEnsureShutdown, noUndo bool
}

// parseRewindOptions reads the options and checks them, in pg_rewind's order:
// nothing has been looked at by then. An error of the first kind, which getopt
// finds, is told apart from the checks' since the C library prints it.
func parseRewindOptions(args []string) (o rewindOptions, err error) {
	g := getopt{options: []longOption{
		{name: "help", check: firstOnly},
		{name: "target-pgdata", short: 'D', value: &o.target},
		{name: "write-recovery-conf", short: 'R', on: &o.writeConf},
		{name: "source-pgdata", value: &o.sourceDir},
		{name: "source-server", value: &o.sourceServer},
		{name: "no-ensure-shutdown", on: &o.noEnsureShutdown},
		{name: "config-file", value: &o.configFile},
		{name: "version", check: firstOnly},
		{name: "restore-target-wal", short: 'c', on: &o.restoreWAL},
		{name: "dry-run", short: 'n', on: &o.dryRun},
		{name: "no-sync", short: 'N', on: &o.noSync},
		{name: "progress", short: 'P', on: &o.progress},
		{name: "debug", on: &o.debug},
		{name: "sync-method", value: &o.syncMethod, check: checkSyncMethod},
		{name: "no-undo", on: &o.noUndo, whole: true}, // ours
	}}
	switch err := g.parse(args); {
	case err == nil:
		return o, o.check(g.rest)
	case errors.As(err, new(*valueError)), errors.As(err, new(*getoptError)):
		return o, err
	default:
		return o, &getoptError{err}
	}
}

// firstOnly is for what is of use as the first argument only, where this is not
// reached.
func firstOnly(string) error { return &getoptError{} }

func checkSyncMethod(value string) error {
	switch rewind.SyncMethod(value) {
	case rewind.SyncFiles, rewind.SyncFileSystems:
		return nil
	}
	return &valueError{fmt.Errorf("unrecognized sync method: %s", value)}
}

// valueError is about the value of an option: pg_rewind adds no hint to it.
type valueError struct{ error }

func (o *rewindOptions) check(rest []string) error {
	switch {
	case o.sourceServer == "" && o.sourceDir == "":
		return errors.New("no source specified (--source-pgdata or --source-server)")
	case o.sourceServer != "" && o.sourceDir != "":
		return errors.New("only one of --source-pgdata or --source-server can be specified")
	case o.target == "":
		return errors.New("no target data directory specified (--target-pgdata)")
	case o.writeConf && o.sourceServer == "":
		return errors.New("no source server information (--source-server) specified for --write-recovery-conf")
	case len(rest) > 0:
		return fmt.Errorf("too many command-line arguments (first is %q)", rest[0])
	}
	return nil
}

// getoptError is what the C library would have complained of; without a cause
// it says nothing.
type getoptError struct{ err error }

// Error is the complaint.
func (e *getoptError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// rewindHelp is in our own words; %s is the name under which we were called.
const rewindHelp = `%s rewinds the data directory of a former primary to a new one.

It takes the command line of PostgreSQL's pg_rewind and is part of failback-hook.
Files outside PostgreSQL's own directories, configuration included, become the
source's, as with pg_rewind; failback-hook without "rewind" leaves them alone.

Usage:
  %s [OPTION]...

Options:
  -c, --restore-target-wal       fetch WAL that the target lacks by its restore_command
  -D, --target-pgdata=DIRECTORY  data directory to rewind
      --source-pgdata=DIRECTORY  stopped data directory to rewind to
      --source-server=CONNSTR    running server to rewind to
  -n, --dry-run                  stop before anything is changed
  -N, --no-sync                  do not wait until data files are on the disk
  -P, --progress                 show progress
  -R, --write-recovery-conf      make the target a standby of --source-server
      --config-file=FILENAME     where restore_command is set, if not in the target
      --debug                    print what happens to each file
      --no-ensure-shutdown       refuse a target that was not shut down cleanly
                                 (otherwise its WAL is read as it is, without recovery)
      --sync-method=METHOD       fsync each file that was touched, or syncfs their file
                                 systems (otherwise whichever costs less)
  -V, --version                  print the version
  -?, --help                     print this help

After an error the target is given back as it was. A run that was killed leaves a
directory that no server can start on; the same command again finishes it, and
"failback-hook undo -D DIRECTORY" gives it back.

With FAILBACK_HOOK_CONFIG in the environment, the name of a configuration file of
failback-hook, the lock of the cluster in etcd is waited for and held.

One option is not pg_rewind's:
      --no-undo                  save nothing of what is overwritten; takes less room,
                                 and an error then leaves the target as a kill does
`
