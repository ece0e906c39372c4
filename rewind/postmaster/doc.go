// Package postmaster tells whether a PostgreSQL server is alive on a data
// directory of this machine.
//
// # Method
//
// postmaster.pid is not believed. A server that was killed leaves it behind, its
// number may belong to another program by now, and a copy of a running server's
// directory holds it too. A process counts when it is alive (a zombie is not),
// is a PostgreSQL program, and works in the data directory, as all processes of
// a server do; where the kernel does not show the last, when it is as old as the
// file says. Processes are looked through without a pid file as well.
//
// # Guarantees
//
// In doubt the answer is that a server is alive: rather a stopped directory is
// refused than a running one written to. Nothing is ever sent a signal other
// than 0. Without /proc only the pid file and signal 0 are left.
package postmaster
