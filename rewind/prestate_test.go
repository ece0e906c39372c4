package rewind

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPreStateJSON: names come back from the journal as they were, whatever their bytes.
func TestPreStateJSON(t *testing.T) {
	for _, want := range []preState{
		{Path: "base/5/1249", Kind: KindFile, Size: 8192, Mode: 0o600, Time: time.Unix(1, 2).UTC(), Saved: undoDir + "/0"},
		{Path: "caf\xe9", Kind: KindFile, Saved: undoDir + "/1"},
		{Path: "pg_tblspc/16390", Kind: KindLink, Link: "/space/\xff\"\n"},
		{Path: "pg_tblspc/16391", Outside: []string{"/space/new"}},
	} {
		b, err := json.Marshal([]preState{want})
		if err != nil {
			t.Fatal(err)
		}
		var got []preState
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]preState{want}, got); diff != "" {
			t.Errorf("%s", diff)
		}
	}
}
