package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// sampleLost is an answer with all that there can be in one.
func sampleLost() *hook.LostReport {
	when := time.Date(2026, 11, 21, 9, 53, 6, 0, time.UTC)
	value := int64(133)
	l := rewind.Lost{
		From: 0x3000060, To: 0x5123458, Bytes: 34747384, Records: 123456, Commits: 1203, Aborts: 4, Prepared: 1, Open: 1,
		FirstCommit: when, LastCommit: when.Add(90 * time.Second),
		Changes: []rewind.LostChange{
			{Verb: "created", Kind: "table", Database: 5, DatabaseName: "shop", SchemaID: 2200, Schema: "public", OID: 16500, Name: "made", XID: 740, Time: when},
			{Verb: "renamed", Kind: "table", Database: 5, SchemaID: 16450, OID: 16501, Name: "old", NewName: "new\x1b[2J", XID: 741, Time: when},
			{Verb: "dropped", Kind: "database", OID: 16502, Name: "gone", XID: 742, Time: when},
			{Verb: "emptied", Kind: "table", Database: 7, SchemaID: 16999, OID: 16503, Name: "far", XID: 743, Time: when},
			{Verb: "rewritten", Kind: "system catalogs", Database: 5, XID: 744},
		},
		MoreChanges: 2, UnreadChanges: 3, MoreTransactions: 1200,
		Transactions: []rewind.LostTransaction{
			{XID: 740, State: rewind.TransactionCommitted, Time: when, LostRows: rewind.LostRows{Inserted: 10}, BeganBefore: true},
			{XID: 741, State: rewind.TransactionRolledBack, Time: when.Add(time.Second), LostRows: rewind.LostRows{Deleted: 1}},
			{XID: 742, State: rewind.TransactionPrepared, Time: when.Add(2 * time.Second), GID: "it's left", LostRows: rewind.LostRows{Updated: 2}},
			{XID: 743, State: rewind.TransactionOpen},
		},
		Rest: &rewind.LostRelation{LostRows: rewind.LostRows{Inserted: 9}, Records: 11},
	}
	table := lostFile(16384, 120000, 7, 2, 120345)
	table.RolledBack, table.Unfinished = rewind.LostRows{Inserted: 4}, rewind.LostRows{Updated: 2}
	moved := lostFile(16600, 5, 0, 0, 6) // the same table after TRUNCATE
	moved.Created, moved.Kind, moved.Database, moved.Schema, moved.Name = true, "table", "shop", "public", "account"
	made := lostFile(16700, 3, 0, 0, 4)
	made.Created, made.Kind, made.Database, made.SchemaID, made.Name = true, "table", "shop", 16450, "made here"
	sequence := lostFile(16800, 0, 0, 0, 2)
	sequence.Kind, sequence.Database, sequence.Schema, sequence.Name, sequence.LastValue = "sequence", "shop", "public", "counter", &value
	l.Relations = []rewind.LostRelation{table, moved, made, lostFile(17000, 2, 0, 0, 2), lostFile(17001, 1, 0, 0, 2), lostFile(1259, 4, 1, 0, 9), sequence}
	return &hook.LostReport{
		Scope: "main", Member: "n1", Leader: "n2", Directory: "/pgdata",
		LostBranch: &rewind.LostBranch{
			SystemID: 7382910465, Major: 15, Target: rewind.Side{Timeline: 1}, Source: &rewind.Side{Timeline: 2},
			Fork: pg.Fork{LSN: 0x3000060, Timeline: 1}, Resumed: true, Lost: l, Warnings: []string{"a server is running on the data directory and may write more"},
		},
		LostNames:  map[string]hook.RelationName{"base/5/16384": {Database: "shop", Schema: "public", Name: "account", Kind: "table"}},
		LostPlaces: map[pg.Oid]hook.DatabaseNames{5: {Name: "shop", Schemas: map[pg.Oid]string{16450: "sales"}}},
	}
}

func TestLostText(t *testing.T) {
	nothing := sampleLost()
	nothing.Lost, nothing.Fork.LSN, nothing.Resumed, nothing.Warnings = rewind.Lost{}, pg.MaxLSN, false, nil
	salvaged := sampleLost()
	salvaged.Salvage, salvaged.Source, salvaged.Directory, salvaged.Member, salvaged.Leader, salvaged.Scope = true, nil, "/salvage/1/1-0", "", "", ""
	for name, c := range map[string]struct {
		report *hook.LostReport
		args   []string
	}{
		"all":      {sampleLost(), []string{"--verbose", "--limit", "0"}},
		"short":    {sampleLost(), []string{"--limit", "2", "-v"}},
		"nothing":  {nothing, nil},
		"salvaged": {salvaged, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeRejoiner{lost: c.report}
			got := run(t, f, nil, append(append([]string{"lost"}, node()...), c.args...)...)
			if got.code != 0 || got.stderr != "" || f.calls != 1 {
				t.Fatalf("%+v, %d calls", got, f.calls)
			}
			if strings.Contains(got.stdout, "\x1b") {
				t.Error("an escape sequence came through")
			}
			golden(t, filepath.Join("lost", name+".txt"), got.stdout)
		})
	}
}

func TestLostJSON(t *testing.T) {
	got := run(t, &fakeRejoiner{lost: sampleLost()}, nil, append([]string{"lost", "-o", "json"}, node()...)...)
	var r struct {
		Leader string `json:"leader"`
		Fork   struct {
			LSN string `json:"lsn"`
		} `json:"fork"`
		Lost struct {
			Commits   int64 `json:"commits"`
			Relations []struct {
				Inserted   int64 `json:"inserted"`
				RolledBack struct {
					Inserted int64 `json:"inserted"`
				} `json:"rolled_back"`
			} `json:"relations"`
			Transactions []struct {
				GID string `json:"gid"`
			} `json:"transactions"`
		} `json:"lost"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	l := r.Lost
	if r.Leader != "n2" || r.Fork.LSN != "0/3000060" || l.Commits != 1203 || len(l.Relations) != 7 || l.Relations[0].Inserted != 120000 ||
		l.Relations[0].RolledBack.Inserted != 4 || len(l.Transactions) != 4 || l.Transactions[2].GID != "it's left" {
		t.Errorf("%+v", r)
	}
}

func TestLostHelp(t *testing.T) {
	got := run(t, nil, nil, "lost", "--help")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	golden(t, "help-lost.txt", got.stdout)
}

// TestLostWrong: wrong input ends before anything was connected to.
func TestLostWrong(t *testing.T) {
	empty, damaged, newer := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{damaged: `{"format":1,"fork":`, newer: `{"format":2}`} {
		if err := os.WriteFile(filepath.Join(dir, rewind.SalvageManifestName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"lost", exitUsage, "scope is not set"},
		{"lost elsewhere", exitUsage, `unexpected argument "elsewhere"; a salvage directory is named by --from`},
		{"lost --limit -1", exitUsage, "--limit: -1 is negative"},
		{"lost --limit many", exitUsage, "many"},
		{"lost --lmit 1", exitUsage, "unknown option --lmit; did you mean --limit?"},
		{"lost --from=", exitUsage, "is empty"},
		{"lost --from " + empty, exitUsage, "not a salvage directory"},
		{"lost --from " + filepath.Join(empty, "absent"), exitUsage, "not a salvage directory"},
		{"lost --from " + damaged, 20, "damaged"},
		{"lost --from " + newer, 13, "manifest of format 2"},
		{"lost --source-conninfo host=h", exitUsage, "postgresql.data_dir is not set"},
		{"lost -D /absent --source-conninfo postgres://h/?usr=d", exitUsage, `unknown option "usr"`},
	} {
		got := run(t, nil, nil, strings.Fields(c.args)...)
		if got.code != c.code || !strings.Contains(got.stderr, c.want) || got.stdout != "" {
			t.Errorf("%s: %+v, want code %d and %q", c.args, got, c.code, c.want)
		}
	}
	f := &fakeRejoiner{errs: []error{fmt.Errorf("look: %w", hook.ErrIsLeader)}}
	if got := run(t, f, nil, append([]string{"lost"}, node()...)...); got.code != 3 || got.stdout != "" {
		t.Errorf("on the leader: %+v", got)
	}
}
