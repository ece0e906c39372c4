package rewindtest

import (
	"fmt"
	"strconv"
	"testing"
)

// PgRewind runs stock pg_rewind on a stopped target. The error of a run that
// failed holds what it printed. It overwrites the target's configuration with the
// source's: see Node.RejoinByPgRewind, which does not. A source that wants a
// password takes it from extra or .pgpass; sourceConninfo shows in the process list.
func PgRewind(t testing.TB, pg Install, targetDir, sourceConninfo string, extra ...string) error {
	t.Helper()
	args := append([]string{"--target-pgdata", targetDir, "--source-server", sourceConninfo}, extra...)
	out, err := runProgram(pg, cleanEnviron(), "pg_rewind", args...)
	if err == nil {
		t.Logf("pg_rewind: %s", out)
	}
	return err
}

// RewindByPgRewind makes the stopped node a standby of source, but does not
// start it: pg_rewind -R, with the node's own configuration put back afterwards.
func (n *Node) RewindByPgRewind(source *Node) (output string, err error) {
	output, err = runProgram(n.Install, source.environ(), "pg_rewind", "--target-pgdata", n.Dir, "--no-sync",
		"--write-recovery-conf", "--source-server", source.plainConninfo("application_name="+quoteConninfo(n.Name)))
	if err != nil {
		return output, err
	}
	return output, n.WriteConf()
}

// RejoinByPgRewind makes the stopped node a standby of source as an operator
// would with PostgreSQL alone: RewindByPgRewind, then start and wait until it has
// caught up.
func (n *Node) RejoinByPgRewind(source *Node) error {
	out, err := n.RewindByPgRewind(source)
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return fmt.Errorf("%w\npg_rewind said:\n%s", err, out)
	}
	return n.WaitForCatchup(source)
}

// installAmcheck makes the extension in every database of a primary, template1
// included. An installation without the contrib module is no error.
func installAmcheck(n *Node) error {
	if !n.Install.HasExtension("amcheck") {
		return nil
	}
	databases, err := n.databases()
	if err != nil {
		return err
	}
	for _, db := range databases {
		if err := n.ExecIn(db, "CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
			return err
		}
	}
	return nil
}

// AmCheck verifies heaps and B-trees of every database by pg_amcheck with
// --heapallindexed, or by the functions that it calls where the program is missing
// (it came with 14). The extension is made first where the node is a primary; a
// standby has it from its leader. Where the contrib module is missing it says so
// in the test's log and checks nothing.
func AmCheck(t testing.TB, n *Node) {
	t.Helper()
	if !n.Install.HasExtension("amcheck") {
		t.Logf("indexes not checked: %s has no amcheck extension", n.Install)
		return
	}
	if err := n.AmCheck(); err != nil {
		t.Error(err)
	}
}

// AmCheck is the function of that name, for an installation with amcheck.
func (n *Node) AmCheck() error {
	standby, err := n.InRecovery()
	if err == nil && !standby {
		err = installAmcheck(n)
	}
	switch {
	case err != nil:
		return err
	case n.Install.Has("pg_amcheck"):
		return n.amCheck()
	}
	return n.amCheckBySQL()
}

func (n *Node) amCheck() error {
	_, err := n.run("pg_amcheck", "--all", "--heapallindexed", "--host=127.0.0.1",
		"--port="+strconv.Itoa(n.Port), "--username=postgres", "--maintenance-db=postgres")
	if err != nil {
		return fmt.Errorf("check indexes of %s: %w", n.Name, err)
	}
	return nil
}

const (
	checkIndexes = `SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND indisready AND indisvalid`
	checkHeaps = `SELECT c.oid::regclass, v.* FROM pg_class c, verify_heapam(c.oid) v
		WHERE c.relkind IN ('r', 'm', 't') AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'heap') AND c.relpersistence = 'p'`
)

// amCheckBySQL calls amcheck's functions; that for heaps came with 14.
func (n *Node) amCheckBySQL() error {
	databases, err := n.databases()
	if err != nil {
		return err
	}
	for _, db := range databases {
		there, err := n.QueryIn(db, "SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")
		if err != nil {
			return err
		}
		if len(there) == 0 {
			continue // of a database that was made after the extension was, as pg_amcheck does
		}
		if _, err := n.QueryIn(db, checkIndexes); err != nil {
			return fmt.Errorf("check indexes of database %s: %w", db, err)
		}
		if n.Install.Major < 14 {
			continue
		}
		if found, err := n.QueryIn(db, checkHeaps); err != nil || len(found) > 0 {
			return fmt.Errorf("check heaps of database %s on %s: found %v, error %w", db, n.Name, found, err)
		}
	}
	return nil
}

// Checksums verifies every page of a stopped directory with pg_checksums, or as
// it does where it is missing. It fails for a cluster without checksums or one
// that was not shut down cleanly.
func Checksums(t testing.TB, pg Install, dir string) {
	t.Helper()
	if err := VerifyChecksums(pg, dir); err != nil {
		t.Error(err)
	}
}

// VerifyChecksums is Checksums with an error.
func VerifyChecksums(pg Install, dir string) error {
	if !pg.Has("pg_checksums") {
		return checksumsByHand(pg, dir)
	}
	_, err := runProgram(pg, cleanEnviron(), "pg_checksums", "--check", "-D", dir)
	return err
}
