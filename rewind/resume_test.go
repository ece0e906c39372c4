package rewind

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBegun: what an interrupted run may have written is fetched again, however
// far it came. The length of a file tells nothing: of a tail that several
// workers write the end may be there and a hole before it.
func TestBegun(t *testing.T) {
	entries := []Entry{
		{Path: "tail", Action: ActionTail, TargetSize: 3*blockSize + 100, SourceSize: 9 * blockSize, Blocks: []BlockRun{{First: 1, Count: 1}}},
		{Path: "blocks", Action: ActionBlocks, TargetSize: 9 * blockSize, SourceSize: 9 * blockSize, Blocks: []BlockRun{{First: 2, Count: 3}}},
		{Path: "copy", Action: ActionCopy, SourceSize: 9 * blockSize},
	}
	b := (&resume{plans: []*Plan{{Entries: entries[:2]}, {Entries: entries[2:]}}}).begun()
	for _, c := range []struct {
		path   string
		own    []BlockRun // of the new plan
		blocks uint32
		want   []BlockRun
		whole  bool
	}{
		{"tail", nil, 9, []BlockRun{{First: 1, Count: 1}, {First: 3, Count: 6}}, false},
		{"tail", []BlockRun{{First: 2, Count: 1}}, 5, []BlockRun{{First: 1, Count: 4}}, false},
		{"blocks", []BlockRun{{First: 7, Count: 1}}, 9, []BlockRun{{First: 2, Count: 3}, {First: 7, Count: 1}}, false},
		{"copy", nil, 9, nil, true},
		{"other", []BlockRun{{First: 4, Count: 1}}, 9, []BlockRun{{First: 4, Count: 1}}, false},
	} {
		if diff := cmp.Diff(c.want, b.addBlocks(c.path, c.own, c.blocks)); diff != "" {
			t.Errorf("blocks of %s (-want +got):\n%s", c.path, diff)
		}
		if got := b.whole(c.path); got != c.whole {
			t.Errorf("%s was begun to be copied as a whole: %t, want %t", c.path, got, c.whole)
		}
	}
}

// TestOwnsWAL: segments behind the fork that the first run did not list came
// from a source.
func TestOwnsWAL(t *testing.T) {
	const size = 16 << 20
	plan := &Plan{WALSegSize: size, WAL: WALPlan{SetAside: []string{"pg_wal/000000010000000000000003", "pg_wal/000000020000000000000003"}}}
	plan.Fork.LSN, plan.Fork.Timeline = 3*size+100, 1
	later := &Plan{WALSegSize: size, Fork: plan.Fork, WAL: WALPlan{SetAside: []string{"pg_wal/000000020000000000000004"}}}
	r := &resume{plans: []*Plan{plan, later}}
	for name, want := range map[string]bool{
		"000000010000000000000002": true, // before the fork
		"000000010000000000000003": true,
		"000000020000000000000003": true,
		"000000020000000000000004": false, // the first run brought it
		"000000020000000000000005": false,
	} {
		if got := r.ownsWAL(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
	if !(*resume)(nil).ownsWAL("000000020000000000000005") {
		t.Error("without an interrupted run everything in pg_wal is the target's")
	}
}

// TestJournalledNames: names come back from the journal as they were, also those
// that are not UTF-8.
func TestJournalledNames(t *testing.T) {
	want := []Entry{{Path: "base/5/l\xfcst", Action: ActionCopy, Kind: KindFile}, {Path: "base/5/ü\n'\"", Action: ActionRemove, Kind: KindDir}}
	b, err := json.Marshal(journalled(want))
	if err != nil {
		t.Fatal(err)
	}
	var read []journalledEntry
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	for _, e := range read {
		got = append(got, e.entry())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s\nin the journal: %s", diff, b)
	}
}
