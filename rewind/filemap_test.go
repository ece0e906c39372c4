package rewind

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func file(size int64) *File { return &File{Kind: KindFile, Size: size} }
func dir() *File            { return &File{Kind: KindDir} }

func TestDecide(t *testing.T) {
	pages := newPageMap()
	pages.addBlock(pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 100}, 1)
	pages.addBlock(pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 100}, 8)
	pages.addDatabase(pg.DefaultTablespace, 7)
	const kB8 = blockSize

	tests := []struct {
		name     string
		path     string
		src, dst *File
		unlogged bool
		begun    *begun
		want     Entry // Path, Kind and sizes are filled in
		compare  bool
		kept     bool
	}{
		{name: "control file", path: "global/pg_control", src: file(8192), dst: file(8192)},
		{name: "WAL is planned elsewhere", path: "pg_wal/000000010000000000000001", src: file(1), dst: file(1)},
		{name: "own configuration", path: "postgresql.conf", src: file(10), dst: file(20), kept: true},
		{name: "source's own certificate", path: "server.crt", src: file(10)},
		{name: "own log directory", path: "log", src: dir(), dst: dir(), kept: true},
		{name: "stale pid file", path: "postmaster.pid", src: file(90), dst: file(90), want: Entry{Action: ActionRemove, Reason: "not to be carried over"}},
		{name: "source's pid file", path: "postmaster.pid", src: file(90)},
		{name: "old label", path: "backup_label", dst: file(200), want: Entry{Action: ActionRemove, Reason: "not to be carried over"}},
		{name: "slot", path: "pg_replslot/s1/state", dst: file(200), want: Entry{Action: ActionRemove, Reason: "not to be carried over"}},
		{name: "source's slot", path: "pg_replslot/s2", src: dir()},
		{name: "the slots' directory stays", path: "pg_replslot", src: dir(), dst: dir()},
		{name: "preserved by name", path: "base/mine", dst: file(3), kept: true},
		{name: "preserved directory's content", path: "pg_logical/keep/x", dst: file(3), kept: true},
		{name: "temporary relation here", path: "base/5/t3_777", dst: file(kB8), want: Entry{Action: ActionRemove, Reason: "temporary relation"}},
		{name: "temporary relation there", path: "base/5/t3_777", src: file(kB8)},
		{name: "unlogged relation", path: "base/5/300", src: file(kB8), dst: file(2 * kB8), unlogged: true},
		{name: "init fork of it", path: "base/5/300_init", src: file(0), unlogged: true, want: Entry{Action: ActionCopy, Reason: "only on the source"}},
		{name: "relation only here", path: "base/5/200", dst: file(kB8), want: Entry{Action: ActionRemove, Reason: "only on the target"}},
		{name: "relation only there", path: "base/5/200", src: file(kB8), want: Entry{Action: ActionCopy, Reason: "only on the source"}},
		{name: "database directory only there", path: "base/9", src: dir(), want: Entry{Action: ActionMkdir, Reason: "only on the source"}},
		{name: "PG_VERSION", path: "base/5/PG_VERSION", src: file(3), dst: file(3)},
		{name: "free space map, equally long", path: "base/5/100_fsm", src: file(24576), dst: file(24576), compare: true,
			want: Entry{Action: ActionCopy, Reason: "no WAL tells what changed in it"}},
		{name: "free space map, longer there", path: "base/5/100_fsm", src: file(32768), dst: file(24576),
			want: Entry{Action: ActionCopy, Reason: "no WAL tells what changed in it"}},
		{name: "unchanged relation", path: "base/5/101", src: file(kB8), dst: file(kB8)},
		{name: "changed block", path: "base/5/100", src: file(4 * kB8), dst: file(4 * kB8),
			want: Entry{Action: ActionBlocks, Blocks: []BlockRun{{1, 1}}, Reason: "changed after the last common checkpoint"}},
		{name: "longer there", path: "base/5/100", src: file(10 * kB8), dst: file(4 * kB8),
			want: Entry{Action: ActionTail, Blocks: []BlockRun{{1, 1}}, Reason: "longer on the source, changed after the last common checkpoint"}},
		{name: "shorter there", path: "base/5/100", src: file(kB8), dst: file(4 * kB8),
			want: Entry{Action: ActionTruncate, Reason: "shorter on the source"}},
		{name: "torn end here", path: "base/5/101", src: file(2 * kB8), dst: file(kB8 + 100),
			want: Entry{Action: ActionTail, Reason: "longer on the source"}},
		{name: "database made anew", path: "base/7/500", src: file(3 * kB8), dst: file(3 * kB8),
			want: Entry{Action: ActionBlocks, Blocks: []BlockRun{{0, 3}}, Reason: "changed after the last common checkpoint"}},
		{name: "interrupted copy", path: "base/5/101", src: file(kB8), dst: file(kB8), compare: true,
			begun: &begun{entries: map[string][]Entry{"base/5/101": {{Action: ActionCopy}}}},
			want:  Entry{Action: ActionCopy, Reason: "an interrupted run began to copy it"}},
		{name: "interrupted tail", path: "base/5/101", src: file(5 * kB8), dst: file(5 * kB8),
			begun: &begun{entries: map[string][]Entry{"base/5/101": {{Action: ActionTail, TargetSize: 2*kB8 + 7, Blocks: []BlockRun{{0, 1}}}}}},
			want:  Entry{Action: ActionBlocks, Blocks: []BlockRun{{0, 1}, {2, 3}}, Reason: "changed after the last common checkpoint"}},
		{name: "socket", path: "base/.s.PGSQL.5432", dst: &File{Kind: KindOther}},
		{name: "pipe in a file's place", path: "base/mine2", src: file(3), dst: &File{Kind: KindOther}},
		{name: "empty on both sides", path: "pg_logical/x", src: file(0), dst: file(0)},
		{name: "tablespace linked here, in place there", path: "pg_tblspc/16390", src: dir(), dst: &File{Kind: KindLink}},
		{name: "tablespace in place here, linked there", path: "pg_tblspc/16390", src: &File{Kind: KindLink}, dst: dir()},
		{name: "another major in a tablespace", path: "pg_tblspc/16390/PG_14_202107181/5/1", dst: file(kB8), kept: true},
		{name: "another major in a tablespace there", path: "pg_tblspc/16390/PG_14_202107181/5/1", src: file(kB8)},
		{name: "a file system's root here", path: "pg_tblspc/16390/lost+found", dst: dir(), kept: true},
		{name: "a file system's root there", path: "pg_wal/lost+found", src: dir()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &decider{major: 15, blocksPerSegment: blocksPerSegment, pages: pages, preserve: []string{"base/mine", "pg_logical/keep"}, begun: tt.begun}
			j := &joined{path: tt.path, src: tt.src, dst: tt.dst, unlogged: tt.unlogged}
			j.rel, j.isRel = pg.ParseRelPath(tt.path, 15)
			got, err := d.decide(j)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want.Action != 0 {
				want.Path, want.Kind = tt.path, kindOf(tt.src, tt.dst)
				want.SourceSize, want.TargetSize = sizeOf(tt.src), sizeOf(tt.dst)
				if want.Action == ActionRemove {
					want.SourceSize = 0
				}
			} else if got.entry.Action == 0 {
				got.entry = Entry{}
			}
			if diff := cmp.Diff(want, got.entry); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
			if got.compare != tt.compare || got.kept != tt.kept {
				t.Errorf("compare %v, kept %v; want %v, %v", got.compare, got.kept, tt.compare, tt.kept)
			}
		})
	}
}

func kindOf(src, dst *File) Kind {
	if src != nil {
		return src.Kind
	}
	return dst.Kind
}

func sizeOf(f *File) int64 {
	if f == nil {
		return 0
	}
	return f.Size
}

func TestDecideRefusesAnotherKind(t *testing.T) {
	d := &decider{major: 15, blocksPerSegment: blocksPerSegment, pages: newPageMap()}
	other := &File{Kind: KindOther}
	for _, j := range []*joined{
		{path: "pg_xact", src: dir(), dst: file(1)},
		{path: "base/5/16384", src: file(8192), dst: link()},
		{path: "base/5/16384", src: file(8192), dst: other},
		{path: "base/5/16384", src: other, dst: file(8192)},
		{path: "base/5/16384", src: other},
		{path: "pg_tblspc/16384", src: dir(), dst: file(1)},
	} {
		j.rel, j.isRel = pg.ParseRelPath(j.path, 15)
		if v, err := d.decide(j); !errors.Is(err, ErrIncompatible) {
			t.Errorf("%s: got %+v, %v, want ErrIncompatible", j.path, v, err)
		} else {
			t.Log(err)
		}
	}
}

// TestKeptDirectories: a directory is not removed when something stays in it.
func TestKeptDirectories(t *testing.T) {
	m := &fileMap{major: 15, files: map[string]*joined{}}
	add := func(p string, dst *File) { m.files[p] = &joined{path: p, dst: dst} }
	add("base/16999", dir())
	add("base/16999/1", file(8192))
	add("base/16999/pipe", &File{Kind: KindOther})
	add("base/17000", dir())
	add("base/17000/below", dir())
	add("base/17000/below/mine", file(8192))
	add("base/17001", dir())
	add("base/17001/2", file(8192))
	add("pg_tblspc/16390", link())
	add("pg_tblspc/16390/lost+found", dir())
	add("pg_tblspc/16391", dir())
	add("pg_tblspc/16391/lost+found", dir())
	add("pg_tblspc/16391/"+pg.TablespaceDir(15), dir())
	entries, _, _, err := m.entries(&decider{major: 15, pages: newPageMap(), preserve: []string{"base/17000/below/mine"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Action.String()+" "+e.Path)
	}
	want := []string{
		"remove base/16999/1", "remove base/17001", "remove base/17001/2", "remove pg_tblspc/16390", "remove pg_tblspc/16391/" + pg.TablespaceDir(15),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestEntriesAreInTheOrderOfExecution(t *testing.T) {
	es := []Entry{
		{Action: ActionRemove, Path: "base/1"}, {Action: ActionRemove, Path: "base/1/2"}, {Action: ActionTruncate, Path: "a"},
		{Action: ActionCopy, Path: "z"}, {Action: ActionCopy, Path: "b"}, {Action: ActionMkdir, Path: "base/3/x"}, {Action: ActionMkdir, Path: "base/3"},
	}
	sortEntries(es)
	var got []string
	for _, e := range es {
		got = append(got, e.Action.String()+" "+e.Path)
	}
	want := []string{"mkdir base/3", "mkdir base/3/x", "copy b", "copy z", "truncate a", "remove base/1/2", "remove base/1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
