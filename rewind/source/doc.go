// Package source holds the places that blocks of the new primary come from:
// a running server over SQL (SQL) and a stopped data directory (Dir). Both
// implement rewind.Source and pass the conformance suite in sourcetest.
// Upstream, beside them, asks the new primary the few things that a standby
// needs to know of its leader.
//
// # SQL
//
// The server is read with the same four functions that pg_rewind uses
// (pg_ls_dir, pg_stat_file and pg_read_binary_file in two forms) and otherwise
// only with functions that everybody may call. A role with LOGIN, CONNECT and
// EXECUTE on those four is enough; OpenSQL says at once which grant is missing.
//
// A fixed number of connections is kept. Every call of a method borrows one for
// as long as it runs, so that many calls go on at the same time and further
// ones wait. A callback must therefore not call the same source again.
//
// Each piece of work is one statement without a name: nothing is prepared, so
// that nothing is lost with a connection. When a connection breaks, or the
// server restarts, it is made anew with growing pauses, and the call goes on
// after the last item that its callback was given: no item is given twice. The
// new connection must lead to the same network address and the same cluster,
// and, when the source is a primary, to the same timeline; otherwise the call
// ends with rewind.ErrSourceChanged. Connection poolers are refused
// (ErrPooler): behind one, two statements may reach two servers.
//
// File names are bytes in PostgreSQL's data directory and in Go, but text of
// the database's encoding in SQL. With client_encoding SQL_ASCII they leave the
// server as they are; on the way in the server insists on its encoding, so that
// a name that it might refuse is sent as bytea and looked up in its directory
// (names.go).
//
// The listing goes level by level, many directories in a statement, in the
// order of names. So it can be taken up again after any entry: after a broken
// connection, and after a directory that the server itself may not read (a
// root-owned lost+found makes a recursive statement fail as a whole). Symbolic
// links cannot be seen over SQL except for tablespaces: others look like what
// they point to. Since a link may lead out of the data directory, or round in a
// circle, nothing is listed below top-level directories that are not
// PostgreSQL's own, unless SQLConfig.ForeignDirs asks for it.
//
// What is not covered: the server cannot tell a named pipe from a file, and
// would block on reading one, as it does for pg_rewind.
//
// # Dir
//
// The directory is opened through os.Root, one for PGDATA, one for a linked
// pg_wal and one for each tablespace: no name and no link leads anywhere else.
// Nothing is written. A directory on which a server runs is refused.
package source
