package rewind

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func link() *File { return &File{Kind: KindLink, Link: "/elsewhere"} }

// TestMirror decides about files outside PostgreSQL's directories as pg_rewind
// does; links of the node's own stay.
func TestMirror(t *testing.T) {
	m := &fileMap{files: map[string]*joined{}}
	add := func(p string, src, dst *File) { m.files[p] = &joined{path: p, src: src, dst: dst} }
	add("postgresql.conf", file(10), file(20))
	add("pg_hba.conf", file(10), file(10))
	add("server.crt", file(10), nil)
	add("mine.txt", nil, file(5))
	add("standby.signal", nil, file(0))
	add("dir", dir(), nil)
	add("dir/.DS_Store", file(1), nil)
	add("dir/file 'x'", file(3), nil)
	add("gone", nil, dir())
	add("gone/file", nil, file(7))
	add("both", dir(), dir())
	add("both/backup_label", nil, file(4))
	add("both/pgsql_tmp_x", file(4), nil)
	add("log", dir(), link())
	add("log/a.log", file(9), nil)
	add("log-2", file(1), nil)
	add("lost+found", dir(), &File{Kind: KindOther})
	add("lost+found/x", file(1), nil)
	add("socket", &File{Kind: KindOther}, nil)
	add(".s.PGSQL.5432", file(0), nil)
	add(".s.PGSQL.5432.lock", file(70), nil)
	add("pg_tblspc/16390/PG_14_202107181/1", nil, file(1))
	add("conf.d", link(), nil)
	add(JournalDir, dir(), nil)
	add(JournalDir+"/pg_control", file(8192), nil)
	add("postmaster.pid", file(9), file(9))

	entries, compare, kept, err := m.entries(&decider{blocksPerSegment: blocksPerSegment, pages: newPageMap(), mirror: true})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		got[e.Path] = e.Action.String()
	}
	for _, e := range compare {
		got[e.Path] = "compare"
	}
	for _, p := range kept {
		got[p] = "kept"
	}
	want := map[string]string{
		"postgresql.conf": "copy", "pg_hba.conf": "compare", "server.crt": "copy", "mine.txt": "remove", "standby.signal": "remove",
		"dir": "mkdir", "dir/file 'x'": "copy", "gone": "remove", "gone/file": "remove", "both/backup_label": "remove",
		"log": "kept", "log-2": "copy", "lost+found": "kept", "pg_tblspc/16390/PG_14_202107181/1": "kept", "conf.d": "symlink", "postmaster.pid": "remove",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}

	half := &begun{entries: map[string][]Entry{"postgresql.conf": {{Path: "postgresql.conf", Action: ActionCopy}}}}
	v, err := (&decider{begun: half}).decide(m.files["postgresql.conf"])
	if err != nil || v.entry.Action != ActionCopy {
		t.Errorf("a file that a run with Mirror began to copy, without Mirror: got %+v, %v", v, err)
	}

	m.files = map[string]*joined{}
	add("x", dir(), file(1))
	if _, _, _, err := m.entries(&decider{mirror: true}); !errors.Is(err, ErrIncompatible) {
		t.Errorf("a file here and a directory there: got %v, want ErrIncompatible", err)
	}
}
