package rewindtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// backUpByHand does what pg_basebackup does, for installations without it: the
// files of the running upstream between the two backup functions of one session,
// the control file last, and the WAL up to the backup's end. A slot is made where
// one is named.
func (n *Node) backUpByHand(upstream *Node, slot string) error {
	s, err := upstream.session("postgres")
	if err != nil {
		return err
	}
	defer s.close() // ends a backup that did not get to its end
	if slot != "" {
		if _, err := s.query("SELECT pg_create_physical_replication_slot('" + slot + "', true)"); err != nil {
			return err
		}
	}
	start, stop := "pg_backup_start('rewindtest', true)", "pg_backup_stop(false)"
	if n.Install.Major < 15 {
		start, stop = "pg_start_backup('rewindtest', true, false)", "pg_stop_backup(false, false)"
	}
	from, err := s.value("SELECT " + start)
	if err != nil {
		return err
	}
	if err := n.copyRunning(upstream); err != nil {
		return fmt.Errorf("back up %s: %w", upstream.Name, err)
	}
	rows, err := s.query("SELECT lsn, labelfile FROM " + stop)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "backup_label"), []byte(rows[0][1]), 0o600); err != nil {
		return err
	}
	if err := n.copyWAL(upstream, from, rows[0][0]); err != nil {
		return fmt.Errorf("back up the WAL of %s: %w", upstream.Name, err)
	}
	return n.follow(upstream, slot)
}

// copyRunning copies the files of a running server but for its WAL and what
// only that server can use.
func (n *Node) copyRunning(upstream *Node) error {
	const control = "global/pg_control"
	leaveOut := func(path string) bool { return path == control || notInBackup(path) }
	if err := copyLive(upstream.Dir, n.Dir, leaveOut); err != nil {
		return err
	}
	spaces, err := os.ReadDir(filepath.Join(upstream.Dir, "pg_tblspc"))
	if err != nil {
		return err
	}
	for _, space := range spaces {
		link := filepath.Join("pg_tblspc", space.Name())
		if space.IsDir() { // in place, allow_in_place_tablespaces
			if err := copyLive(filepath.Join(upstream.Dir, link), filepath.Join(n.Dir, link), notInBackup); err != nil {
				return err
			}
			continue
		}
		own := filepath.Join(n.base(), "tablespace", space.Name())
		if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
			return err
		}
		if err := copyLive(filepath.Join(upstream.Dir, link)+"/", own, notInBackup); err != nil {
			return err
		}
		if err := os.Symlink(own, filepath.Join(n.Dir, link)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(n.Dir, "pg_wal", "archive_status"), 0o700); err != nil {
		return err
	}
	return copyFile(filepath.Join(upstream.Dir, control), filepath.Join(n.Dir, control), 0o600)
}

// notInBackup tells what basebackup.c leaves out (excludeDirContents and
// excludeFiles there): the contents of some directories, and files of a running
// server.
func notInBackup(path string) bool {
	dir, name := filepath.Split(path)
	switch strings.TrimSuffix(dir, "/") {
	case "pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans", "pg_tblspc":
		return true
	}
	switch name {
	case "postmaster.pid", "postmaster.opts", "current_logfiles", "backup_label", "tablespace_map", "postgresql.auto.conf.tmp":
		return true
	}
	return strings.HasPrefix(name, "pgsql_tmp") || strings.HasPrefix(name, "pg_internal.init")
}

// copyLive copies a directory in which a server removes and adds files: what is
// gone by the time it is read is left out, as a backup may do.
func copyLive(from, to string, leaveOut func(path string) bool) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		path, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		switch {
		case path != "." && leaveOut(path) && d.IsDir():
			return fs.SkipDir
		case path != "." && leaveOut(path):
			return nil
		case d.Type()&fs.ModeSymlink != 0: // pg_wal elsewhere; tablespaces are copied by themselves
			return nil
		case d.IsDir():
			return os.Mkdir(filepath.Join(to, path), 0o700)
		}
		err = copyFile(name, filepath.Join(to, path), 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// copyWAL copies the segments from one position to another, and the histories of
// timelines.
func (n *Node) copyWAL(upstream *Node, from, to string) error {
	size, err := upstream.Value("SELECT setting::int8 * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END FROM pg_settings WHERE name = 'wal_segment_size'")
	if err != nil {
		return err
	}
	var segSize uint32
	if _, err := fmt.Sscan(size, &segSize); err != nil {
		return err
	}
	first, err := pg.ParseLSN(from)
	if err != nil {
		return err
	}
	last, err := pg.ParseLSN(to)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(upstream.Dir, "pg_wal"))
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, no, ok := pg.ParseSegmentName(e.Name(), segSize)
		inBackup := ok && no >= pg.SegmentOf(first, segSize) && no <= pg.SegmentOf(last-1, segSize)
		return !inBackup && !strings.HasSuffix(e.Name(), ".history")
	})
	for _, e := range entries {
		if err := copyFile(filepath.Join(upstream.Dir, "pg_wal", e.Name()), filepath.Join(n.Dir, "pg_wal", e.Name()), 0o600); err != nil {
			return err
		}
	}
	return nil
}
