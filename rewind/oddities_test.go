package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// The odd names of this file: bytes that are not UTF-8, line breaks, quotes.
const (
	oddFile = "it's a\n\"file\" \xfc\xff"
	oddDir  = "l\xfcst $x;\n"
)

func write(t *testing.T, path string, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// litter puts into a data directory what has no place there. Database 1 is template1.
func litter(t *testing.T, n *rewindtest.Node, side string) {
	t.Helper()
	at := func(p string) string { return filepath.Join(n.Dir, p) }
	for _, p := range []string{
		oddFile, "conf.d/00 " + side + ".conf", oddDir + "/" + oddFile, "backup_manifest", "pgsql_tmp/x", "base/pgsql_tmp/pgsql_tmp77.0",
		"base/pgsql_tmp/pgsql_tmp77.fileset/x", "global/pg_internal.init", "base/1/pg_internal.init.77", "base/1/t7_88888", "base/1/t7_88888_fsm",
		"base/" + oddDir + "/" + oddFile, "base/" + oddFile, "pg_logical/" + oddDir + "/" + side + oddFile, "postgresql.auto.conf.tmp", "tablespace_map",
		"log/growing.log", "base/" + oddDir + "/empty" + side,
	} {
		write(t, at(p), side)
	}
	must(t, os.Truncate(at("base/"+oddDir+"/empty"+side), 0))
	write(t, at("base/1/88880"), strings.Repeat("\x00", 8192*len(side))) // orphans of a crash
	write(t, at("base/1/88881"+map[string]string{"old": "", "leader": ".1"}[side]), strings.Repeat("\x00", 8192))
	for _, p := range []string{"pipe", "base/pipe", "base/" + oddDir + "/pipe" + side, "base/" + side + "/below/pipe"} {
		must(t, os.MkdirAll(filepath.Dir(at(p)), 0o700))
		must(t, syscall.Mkfifo(at(p), 0o600))
	}
	for _, p := range []string{"lost+found", "base/lost+found", "pg_xact/lost+found"} {
		must(t, os.Mkdir(at(p), 0o000))
	}
	for _, p := range []string{"loop", "base/loop"} {
		must(t, os.Symlink("loop", at(p)))
	}
	for _, p := range []string{"dangling", "base/dangling"} {
		must(t, os.Symlink("nowhere", at(p)))
	}
	must(t, os.Symlink(n.Dir, at("myself")))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(n.SocketDir, "s"), Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	must(t, os.Rename(filepath.Join(n.SocketDir, "s"), at(".s.PGSQL.1")))
	write(t, at(".s.PGSQL.1.lock"), side)
}

// grow lets a file become longer until the test ends.
func grow(t *testing.T, path string) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				if _, err := f.WriteString(strings.Repeat("one more line\n", 50)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}

// own is the part of a snapshot that is the node's: outside of PostgreSQL's
// directories, and without what a rewind is meant to change.
func own(t *testing.T, n *rewindtest.Node) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(n.Dir)
	must(t, err)
	for _, e := range entries {
		switch p := e.Name(); p {
		case "base", "global", "PG_VERSION", "standby.signal", "postgresql.auto.conf", "log", "myself", "recovery.signal",
			"backup_label", "backup_manifest", "tablespace_map", "postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp":
		default:
			if strings.HasPrefix(p, "pg_") && e.IsDir() {
				continue
			}
			fi, err := os.Lstat(filepath.Join(n.Dir, p))
			must(t, err)
			out[p] = fi.Mode().String()
			if fi.Mode().IsRegular() || fi.IsDir() && fi.Mode().Perm() != 0 {
				for name, is := range snapshot(t, filepath.Join(n.Dir, p)) {
					out[filepath.Join(p, name)] = is
				}
			}
		}
	}
	return out
}

// TestOddities: names of any bytes, pipes, sockets, links that lead nowhere or in
// circles, directories that cannot be read, logs that grow, what crashes and
// backups leave behind: on both sides, none of it hinders the work, and what is
// the node's own stays. (Stock pg_rewind ends, or waits for the pipe for ever.)
func TestOddities(t *testing.T) {
	t.Parallel()
	old := newPrimary(t)
	old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i", "CREATE DATABASE \"it's a\n\"\"name\"\"\"")
	leader := old.Standby(t, "leader")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	openTransaction(t, old, "CREATE TEMP TABLE mine(v text); INSERT INTO mine SELECT repeat('x', 10000) FROM generate_series(1, 200)") // leaves files, most times
	old.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 10000)", "CREATE DATABASE \"only\there\"")
	leader.Must(t).Exec("CHECKPOINT", "DELETE FROM t WHERE i < 100", "CREATE DATABASE \"only\nthere\" TEMPLATE template0")
	old.Must(t).Kill()
	mirrored := old.Clone(t, "mirrored")
	litter(t, leader, "leader")
	grow(t, filepath.Join(leader.Dir, "log/growing.log"))

	for _, c := range []struct {
		name   string
		node   *rewindtest.Node
		mirror bool
	}{{"own files stay", old, false}, {"mirror", mirrored, true}} {
		t.Run(c.name, func(t *testing.T) {
			litter(t, c.node, "old")
			grow(t, filepath.Join(c.node.Dir, "log/growing.log"))
			write(t, filepath.Join(c.node.Dir, "recovery.signal"), "")
			write(t, filepath.Join(c.node.Dir, "standby.signal"), "")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // a pipe that is opened would be waited for
			defer cancel()
			src, err := source.OpenSQL(ctx, source.SQLConfig{Conninfo: leader.Conninfo(), ForeignDirs: c.mirror})
			must(t, err)
			defer src.Close()
			e := &rewind.Engine{PGData: c.node.Dir, Source: src, Options: rewind.Options{
				Mirror: c.mirror, Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + c.node.Name)},
			}}
			if !c.mirror {
				elsewhere := filepath.Join(rewindtest.NewRoot(t), "hba")
				must(t, os.Rename(filepath.Join(c.node.Dir, "pg_hba.conf"), elsewhere))
				must(t, os.Symlink(elsewhere, filepath.Join(c.node.Dir, "pg_hba.conf")))
				chmod(t, filepath.Join(c.node.Dir, "postgresql.conf"), 0o444)
				t.Cleanup(func() { chmod(t, filepath.Join(c.node.Dir, "postgresql.conf"), 0o600) })
			}
			before := own(t, c.node)
			p, err := e.Plan(ctx)
			must(t, err)
			_, err = e.Apply(ctx, p)
			must(t, err)
			noOwnFiles(t, c.node.Dir)
			for _, gone := range []string{
				"recovery.signal", "backup_manifest", "tablespace_map", "base/1/t7_88888", "base/1/t7_88888_fsm", "base/pgsql_tmp", "base/1/88881",
				"base/1/pg_internal.init.77", "base/dangling", "pg_logical/" + oddDir + "/old" + oddFile, "base/" + oddDir + "/emptyold",
			} {
				if _, err := os.Lstat(filepath.Join(c.node.Dir, gone)); err == nil {
					t.Errorf("%q is still there", gone)
				}
			}
			for path, want := range map[string]string{
				"base/" + oddDir + "/" + oddFile: "leader", "base/" + oddFile: "leader", "pg_logical/" + oddDir + "/leader" + oddFile: "leader",
				"base/1/88880": strings.Repeat("\x00", 6*8192), "base/1/88881.1": strings.Repeat("\x00", 8192), "base/" + oddDir + "/emptyleader": "",
			} {
				if got, err := os.ReadFile(filepath.Join(c.node.Dir, path)); err != nil || string(got) != want {
					t.Errorf("%q: %d bytes, %v; want %d", path, len(got), err, len(want))
				}
			}
			if fi, err := os.Lstat(filepath.Join(c.node.Dir, "base/pipe")); err != nil || fi.Mode()&fs.ModeNamedPipe == 0 {
				t.Errorf("the pipe in base: %v, %v", fi, err)
			}
			if c.mirror {
				if got, err := os.ReadFile(filepath.Join(c.node.Dir, oddFile)); err != nil || string(got) != "leader" {
					t.Errorf("a mirrored file: %q, %v", got, err)
				}
				must(t, c.node.WriteConf())
			} else {
				sameSnapshot(t, "the node's own files", own(t, c.node), before)
			}
			prove(t, c.node, leader)
		})
	}
}

// TestAccessRights: what is made gets the rights that PGDATA has, for the owner
// alone or for its group too, from the first file of the journal on.
func TestAccessRights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		args      []string
		file, dir fs.FileMode
	}{{"owner", nil, 0o600, 0o700}, {"group", []string{"--allow-group-access"}, 0o640, 0o750}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := quietCluster()
			opts.InitArgs = c.args
			pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 44, Rows: 100, Steps: 15, KillOld: true, Cluster: opts})
			pair.New.Must(t).Exec("CREATE DATABASE made", "CREATE TABLE made AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
			modes := func() map[string]fs.FileMode {
				out := map[string]fs.FileMode{}
				must(t, filepath.WalkDir(pair.Old.Dir, func(p string, d fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					fi, err := d.Info()
					out[strings.TrimPrefix(p, pair.Old.Dir)] = fi.Mode()
					return err
				}))
				return out
			}
			before := modes()
			check := func(when string) {
				t.Helper()
				made := 0
				for p, mode := range modes() {
					if was, there := before[p]; there && p != "/standby.signal" {
						if was != mode {
							t.Errorf("%s: %s was %v and is %v", when, p, was, mode)
						}
						continue
					}
					made++
					if want := map[bool]fs.FileMode{false: c.file, true: c.dir | fs.ModeDir}[mode.IsDir()]; mode != want {
						t.Errorf("%s: %s is %v, want %v", when, p, mode, want)
					}
				}
				if made < 10 {
					t.Errorf("%s: only %d files are new", when, made)
				}
			}
			// What the harness has written counts as it is in the group's case.
			for p, mode := range before {
				if want := map[bool]fs.FileMode{false: c.file, true: c.dir}[mode.IsDir()]; mode.Perm() != want {
					chmod(t, filepath.Join(pair.Old.Dir, p), want)
				}
			}
			before = modes()
			e := engineFor(t, pair.Old, pair.New)
			e.BeforeWrite(func(op, path string) error {
				if op == "publish" && path == "global/pg_control" {
					check("before the end")
				}
				return nil
			})
			run(t, e)
			check("at the end")
			prove(t, pair.Old, pair.New)
		})
	}
}

// TestRefusesRights: what cannot be read or written is found before the first
// change, and named. What needs no right needs none.
func TestRefusesRights(t *testing.T) {
	t.Parallel()
	r := newRefusals(t)
	rel := r.pair.New.Must(t).Value("SELECT pg_relation_filepath('w.rows')")
	database := filepath.Dir(rel)
	for name, spoil := range map[string]func(n *rewindtest.Node) string{
		"unreadable map": func(n *rewindtest.Node) string { return rel + "_fsm" },
		"unreadable directory": func(n *rewindtest.Node) string {
			must(t, os.Mkdir(filepath.Join(n.Dir, database, "closed"), 0o700))
			return database + "/closed"
		},
		"directory of the status files": func(n *rewindtest.Node) string {
			behind := pg.SegmentName(1, pg.SegmentOf(r.pair.Fork, 1<<20)+1, 1<<20)
			write(t, filepath.Join(n.Dir, "pg_wal/archive_status", behind+".ready"), "")
			return "pg_wal/archive_status"
		},
		"data directory": func(*rewindtest.Node) string { return "." }, // the clone's, whose name the error has
	} {
		t.Run(name, func(t *testing.T) {
			n := r.pair.Old.Clone(t, fmt.Sprint("spoilt", len(name)))
			path := spoil(n)
			e := engineFor(t, n, r.pair.New)
			full := filepath.Join(n.Dir, path)
			fi, err := os.Stat(full)
			must(t, err)
			mode := map[bool]fs.FileMode{true: 0o500, false: 0o000}[fi.IsDir() && !strings.HasSuffix(path, "closed")]
			chmod(t, full, mode)
			t.Cleanup(func() { chmod(t, full, fi.Mode().Perm()) })
			_, err = e.Plan(t.Context())
			wantNotWritable(t, err, strings.TrimSuffix(path, "."))
		})
	}
	t.Run("empty file that becomes longer", func(t *testing.T) {
		n := r.pair.Old.Clone(t, "empty")
		path := filepath.Join(n.Dir, rel+"_vm")
		must(t, os.Truncate(path, 0))
		chmod(t, path, 0o400)
		_, err := engineFor(t, n, r.pair.New).Plan(t.Context())
		wantNotWritable(t, err, rel+"_vm")
	})
}

func wantNotWritable(t *testing.T, err error, path string) {
	t.Helper()
	t.Log(err)
	if !isNotWritable(err) || !strings.Contains(err.Error(), path) {
		t.Errorf("plan: %v; want ErrNotWritable that names %s", err, path)
	}
}

func isNotWritable(err error) bool {
	var hint interface{ Hint() string }
	return errors.Is(err, rewind.ErrNotWritable) && errors.As(err, &hint) && hint.Hint() != ""
}
