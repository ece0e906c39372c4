// Package rewindtest runs real PostgreSQL clusters for tests and for the demo:
// it makes a primary and its standbys, loads them, lets them diverge as a
// failover does, and says whether two nodes hold the same data afterwards.
//
// # Method
//
// Nothing is simulated. Clusters are made by initdb and pg_basebackup, servers
// are the installed postgres programs, a crash is SIGKILL of every process of
// the server, and the oracle is PostgreSQL's own: pg_rewind on a copy, the rows
// that SQL returns, pg_amcheck, pg_checksums.
//
// An installation needs postgres and initdb. For other programs that a minimal
// package leaves out there are stand-ins: the backup functions of SQL for
// pg_basebackup, amcheck's functions for pg_amcheck, package pgpage for
// pg_checksums. There is none for pg_rewind: tests that want it ask Install.Has.
//
// PostgreSQL refuses root. A test package therefore has
//
//	func TestMain(m *testing.M) { os.Exit(rewindtest.Main(m)) }
//
// which, when root, runs the whole test binary once more as user postgres.
//
// Functions that take a testing.TB fail the test and clean up after it; each
// stands on a method or function that returns an error, for examples/demo.
//
// # Guarantees
//
//   - Servers do not outlive the process that started them with Node.Start: the
//     kernel sends them SIGQUIT when it dies, however it dies. Those that somebody
//     else started on a node (pg_ctl) end with Node.Close, or with Main when root.
//   - Ports are reserved machine-wide for as long as the node exists, so test
//     packages that run at the same time never meet.
//   - Only processes whose working directory is the node's data directory are
//     ever sent a signal.
//   - Every wait has a deadline and says what it saw last.
//   - Directories, System V memory of killed servers and ports are given back by
//     Node.Close, which the testing constructors call by themselves.
//
// Durability is switched off (fsync=off) unless Options.Conf says otherwise: a
// killed process loses nothing that it has written, only a lost machine does.
//
// A root that is itself killed by SIGKILL cannot remove its temporary directory,
// TMPDIR/failback-*; the servers in it end all the same.
//
// The package needs Linux 5.3: parent-death signals, pidfds and /proc.
package rewindtest
