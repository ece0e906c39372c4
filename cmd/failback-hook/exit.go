package main

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/hook/patroniconf"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// exitRow is one exit code: what programs see, what people read, and which
// errors lead to it.
type exitRow struct {
	code int
	name string
	// errs are the sentinels; the first one met in an error, from the outside
	// in, decides.
	errs    []error
	meaning string
	// hint is for errors that have none of their own.
	hint string
	// retry: the same call may succeed later without anybody having changed
	// anything; a callback's worker waits for that.
	retry bool
}

// The rows that are referred to by code.
const (
	exitDone       = 0
	exitUnexpected = 1
	exitUsage      = 2
	exitTimeout    = 124
)

// exitTable is the only list of exit codes: the program, its help, its JSON
// errors and the README follow it.
func exitTable() []exitRow {
	return slices.Concat(clusterRows(), nodeRows(), endedRows())
}

// clusterRows are the codes 0 to 12: usage, the cluster, etcd and the leader's server.
func clusterRows() []exitRow {
	return []exitRow{
		{code: exitDone, name: "ok", meaning: "done, or nothing to do"},
		{code: exitUnexpected, name: "unexpected", meaning: "unexpected error",
			hint: "run it again with --log-level debug; the node is as the messages above say"},
		{code: exitUsage, name: "usage", meaning: "wrong usage or configuration",
			errs: []error{errInput, hook.ErrConfig, dcs.ErrNoCluster, rewind.ErrNotDataDir, rewind.ErrNotSalvage, source.ErrPooler},
			hint: "failback-hook config show prints every value and where it comes from"},
		{code: 3, name: "is_leader", meaning: "this node is the leader",
			errs: []error{hook.ErrIsLeader},
			hint: "nothing to bring back here: run it on the node that is to follow"},
		{code: 4, name: "no_leader", meaning: "there is no leader, or its address is not known", retry: true,
			errs: []error{hook.ErrNoLeader, hook.ErrUnknownLeader},
			hint: "wait until the cluster has elected a leader, then run it again"},
		{code: 5, name: "leader_not_ready", meaning: "the leader is not ready yet", retry: true,
			errs: []error{hook.ErrLeaderNotReady, rewind.ErrSourceNotReady},
			hint: "its promotion or the checkpoint after it has not ended; run it again in a minute"},
		{code: 6, name: "other_cluster", meaning: "this node belongs to another cluster",
			errs: []error{hook.ErrSystemID, rewind.ErrSystemID},
			hint: "check data_dir, scope and namespace; a directory from another initdb can never follow this leader"},
		{code: 7, name: "etcd_unreachable", meaning: "etcd cannot be reached", retry: true,
			errs: []error{dcs.ErrUnavailable},
			hint: "check etcd.endpoints, and etcd itself with: etcdctl endpoint health"},
		{code: 8, name: "etcd_access", meaning: "etcd refuses access, or TLS with it fails",
			errs: []error{dcs.ErrAuth, dcs.ErrTLS},
			hint: "check etcd.username, its password and role, and etcd.cacert, cert and key"},
		{code: 9, name: "locked", meaning: "another node, or another process here, is at work", retry: true,
			errs: []error{dcs.ErrLocked, hook.ErrInProgress, rewind.ErrBusy},
			hint: "wait until it is done; the lock of a dead one goes away by itself after lock.ttl"},
		{code: 10, name: "source_unreachable", meaning: "the leader's server cannot be reached", retry: true,
			errs: []error{rewind.ErrSourceUnavailable},
			hint: "check the network, and listen_addresses on the leader"},
		{code: 11, name: "source_login", meaning: "the leader's server refuses the login",
			errs: []error{rewind.ErrSourceAuth},
			hint: "check source.conninfo, ~/.pgpass, and pg_hba.conf on the leader"},
		{code: 12, name: "source_privilege", meaning: "the user lacks a privilege on the leader",
			errs: []error{rewind.ErrSourcePrivilege},
			hint: "grant EXECUTE on pg_ls_dir, pg_stat_file and both pg_read_binary_file to the user of source.conninfo"},
	}
}

// nodeRows are the codes 13 to 26: this node and the work on it.
func nodeRows() []exitRow {
	return []exitRow{
		{code: 13, name: "unsupported", meaning: "unsupported version, format or store, or nodes that do not match",
			errs: []error{rewind.ErrUnsupported, rewind.ErrIncompatible, patroniconf.ErrStore},
			hint: "compare pg_controldata on both nodes"},
		{code: 14, name: "wrong_user", meaning: "run as root, or not as the owner of the data directory",
			errs: []error{hook.ErrRoot, hook.ErrNotOwner},
			hint: "run it as the user that owns the data directory, usually: sudo -u postgres failback-hook"},
		{code: 15, name: "server_control", meaning: "the local server runs, or does not stop or start",
			errs: []error{hook.ErrServerControl, hook.ErrServerRunning, rewind.ErrTargetRunning},
			hint: "look into the server's own log; see postgresql.control for who stops and starts it"},
		{code: 16, name: "no_strategy", meaning: "no sound way to rewind: WAL, hint bits or a common history missing",
			errs: []error{rewind.ErrNoStrategy, rewind.ErrTargetWAL, rewind.ErrSourceWAL, rewind.ErrHints, rewind.ErrNoAncestor},
			hint: "what is missing has to be brought back, or this node made anew as a copy of the leader"},
		{code: 17, name: "leader_changed", meaning: "the lock was lost, or the leader changed during the work", retry: true,
			errs: []error{dcs.ErrLockLost, dcs.ErrLeaderChanged, rewind.ErrSourceChanged},
			hint: "run it again: it decides anew, against the leader of then"},
		{code: 18, name: "not_writable", meaning: "the data directory cannot be written, or has no space",
			errs: []error{rewind.ErrNotWritable, rewind.ErrNoSpace},
			hint: "make it writable, or make room, and run it again"},
		{code: 19, name: "journal", meaning: "the journal in the data directory cannot be used",
			errs: []error{rewind.ErrJournal, rewind.ErrUndoBegun, rewind.ErrUnfinished},
			hint: "do not start this server; use the program version that began the work"},
		{code: 20, name: "damaged", meaning: "damaged or malformed data",
			errs: []error{rewind.ErrDamaged, dcs.ErrMalformed},
			hint: "the message names file or key and position; do not go on before it is understood"},
		{code: 21, name: "not_streaming", meaning: "rejoined, but not seen streaming in time",
			errs: []error{hook.ErrNotStreaming},
			hint: "the directory is complete; look into this server's log for what the walreceiver says"},
		{code: 22, name: "standby_cluster", meaning: "this is a standby cluster, and its primary is not known",
			errs: []error{hook.ErrStandbyCluster},
			hint: "its nodes are rewound from the primary that standby_cluster.host names in the cluster's configuration; an archive alone does not do"},
		{code: 23, name: "managed", meaning: "the cluster's manager is in charge of the running server",
			errs: []error{hook.ErrManaged},
			hint: "with --pause the cluster is paused for the time of the work; or set postgresql.control to command"},
		{code: 24, name: "no_undo", meaning: "there is nothing to undo, or nothing of what was before is left",
			errs: []error{rewind.ErrNoUndo},
			hint: "nothing was changed; failback-hook --dry-run tells how this node stands"},
		{code: 25, name: "nothing_to_rewind", meaning: "nothing to rewind: no data here, or no history of its own",
			errs: []error{errNoData, hook.ErrNotDiverged},
			hint: "as a replica method: Patroni goes on to the next one; otherwise look into the server's log for why it does not stream"},
		{code: 26, name: "manager_refused", meaning: "the manager refused to bring the node back, or would remove its data",
			errs: []error{hook.ErrManagerRefused},
			hint: "check patroni.rest_url, patroni.username and the rest; the message has Patroni's answer"},
	}
}

// endedRows are for runs that were ended from outside; the codes are those of
// timeout(1) and of shells.
func endedRows() []exitRow {
	return []exitRow{
		{code: exitTimeout, name: "timeout", meaning: "not done within --timeout",
			errs: []error{errTimeout, context.DeadlineExceeded},
			hint: "run it again; the message says how the directory was left"},
		{code: 130, name: "interrupted", meaning: "interrupted (SIGINT)", errs: []error{signalError{syscall.SIGINT}},
			hint: "run it again; the message says how the directory was left"},
		{code: 141, name: "output_closed", meaning: "nobody reads standard output or error any more (SIGPIPE)",
			errs: []error{errOutputClosed},
			hint: "run it again; the message says how the directory was left"},
		{code: 143, name: "terminated", meaning: "terminated (SIGTERM, SIGHUP)",
			errs: []error{signalError{syscall.SIGTERM}, signalError{syscall.SIGHUP}},
			hint: "run it again; the message says how the directory was left"},
	}
}

// errTimeout is the cause of a context that --timeout ended.
var errTimeout = errors.New("the time given by --timeout is over")

// signalError is the cause of a context that a signal ended. Two of the same
// signal are equal, so errors.Is finds it.
type signalError struct{ signal syscall.Signal }

// Error names the signal.
func (e signalError) Error() string { return "received signal: " + e.signal.String() }

// exitFor finds the row of an error. When the context was ended from outside,
// that is the reason whatever the error says of it.
func exitFor(ctx context.Context, err error) exitRow {
	table := exitTable()
	if err == nil {
		return table[0]
	}
	var sig signalError
	if cause := context.Cause(ctx); errors.As(cause, &sig) || errors.Is(cause, errTimeout) || errors.Is(cause, errOutputClosed) {
		err = cause
	}
	if row, ok := matchRow(table, err); ok {
		return row
	}
	return table[exitUnexpected]
}

// matchRow walks the tree of wrapped errors from the outside in and takes the
// first sentinel it meets: what the outer layer says is nearer to what the
// caller has to do than what lies below.
func matchRow(table []exitRow, err error) (exitRow, bool) {
	if err == nil {
		return exitRow{}, false
	}
	for _, row := range table {
		for _, sentinel := range row.errs {
			if err == sentinel { //nolint:errorlint // this walks the tree itself
				return row, true
			}
		}
	}
	switch e := err.(type) { //nolint:errorlint // this walks the tree itself
	case interface{ Unwrap() error }:
		return matchRow(table, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if row, ok := matchRow(table, inner); ok {
				return row, true
			}
		}
	}
	return exitRow{}, false
}
