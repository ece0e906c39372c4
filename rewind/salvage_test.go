package rewind_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// sampleManifest is one that can be written.
func sampleManifest() *rewind.SalvageManifest {
	return &rewind.SalvageManifest{
		Format: 1, SystemID: 7382910465, Major: 15, WALSegSize: 1 << 20, WALPageSize: 8192, Checksums: true,
		Timeline: 2, History: pg.History{{Timeline: 1, End: 0x100000}, {Timeline: 2, Begin: 0x100000, End: pg.MaxLSN}},
		Fork: pg.Fork{LSN: 0x250028, Timeline: 2}, From: 0x200028, EndOfWAL: 0x3000A0, Time: time.Unix(1763720000, 0).UTC(),
		Files: []rewind.SalvageFile{
			{Name: "00000002.history", Size: 40, SHA256: strings.Repeat("cd", 32)},
			{Name: "000000020000000000000002", Size: 1 << 20, SHA256: strings.Repeat("ab", 32)},
			{Name: "000000020000000000000003", Size: 1 << 20, SHA256: strings.Repeat("0c", 32)},
			{Name: "report.json", Size: 5000, SHA256: strings.Repeat("ef", 32)},
		},
	}
}

func TestSalvageManifest(t *testing.T) {
	dir := t.TempDir()
	want := sampleManifest()
	if err := rewind.WriteSalvageManifest(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := rewind.ReadSalvageManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	if got, want := want.SalvageDir(), "7382910465/2-0000000000250028"; got != want {
		t.Errorf("directory %s, want %s", got, want)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v in the directory, %v; want the manifest", entries, err)
	}
}

// TestSalvageManifestRefused: what cannot be true is neither written nor read.
func TestSalvageManifestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *rewind.SalvageManifest)
		want   error
	}{
		"a newer format":       {func(m *rewind.SalvageManifest) { m.Format = 2 }, rewind.ErrUnsupported},
		"another major":        {func(m *rewind.SalvageManifest) { m.Major = 19 }, rewind.ErrUnsupported},
		"another page size":    {func(m *rewind.SalvageManifest) { m.WALPageSize = 4096 }, rewind.ErrUnsupported},
		"segment size":         {func(m *rewind.SalvageManifest) { m.WALSegSize = 3 << 20 }, rewind.ErrDamaged},
		"other timeline":       {func(m *rewind.SalvageManifest) { m.Timeline = 3 }, rewind.ErrDamaged},
		"history with a gap":   {func(m *rewind.SalvageManifest) { m.History[1].Begin++ }, rewind.ErrDamaged},
		"history without end":  {func(m *rewind.SalvageManifest) { m.History[1].End = 0x900000 }, rewind.ErrDamaged},
		"no fork":              {func(m *rewind.SalvageManifest) { m.Fork.LSN = pg.MaxLSN }, rewind.ErrDamaged},
		"fork behind the end":  {func(m *rewind.SalvageManifest) { m.EndOfWAL = m.Fork.LSN }, rewind.ErrDamaged},
		"fork elsewhere":       {func(m *rewind.SalvageManifest) { m.Fork.Timeline = 1 }, rewind.ErrDamaged},
		"from behind the fork": {func(m *rewind.SalvageManifest) { m.From = m.Fork.LSN + 8 }, rewind.ErrDamaged},
		"a path":               {func(m *rewind.SalvageManifest) { m.Files[1].Name = "../000000020000000000000002" }, rewind.ErrDamaged},
		"a foreign name":       {func(m *rewind.SalvageManifest) { m.Files[3].Name = "shadow" }, rewind.ErrDamaged},
		"a name twice":         {func(m *rewind.SalvageManifest) { m.Files[1].Name = m.Files[0].Name }, rewind.ErrDamaged},
		"a short segment":      {func(m *rewind.SalvageManifest) { m.Files[1].Size-- }, rewind.ErrDamaged},
		"a huge history":       {func(m *rewind.SalvageManifest) { m.Files[0].Size = 1 << 40 }, rewind.ErrDamaged},
		"a short hash":         {func(m *rewind.SalvageManifest) { m.Files[0].SHA256 = "abcd" }, rewind.ErrDamaged},
	} {
		dir := t.TempDir()
		m := sampleManifest()
		c.change(m)
		if err := rewind.WriteSalvageManifest(dir, m); !errors.Is(err, c.want) {
			t.Errorf("%s: written: %v, want %v", name, err, c.want)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		readBad(t, name, string(b), c.want)
	}
	for name, text := range map[string]string{
		"empty": "", "no object": "[]", "an unknown field": `{"format":1,"host":"a"}`, "broken off": `{"format":1,`,
	} {
		readBad(t, name, text, rewind.ErrDamaged)
	}
	if _, err := rewind.ReadSalvageManifest(t.TempDir()); !errors.Is(err, rewind.ErrNotSalvage) {
		t.Errorf("no manifest: %v, want ErrNotSalvage", err)
	}
}

func readBad(t *testing.T, name, manifest string, want error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, rewind.SalvageManifestName), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rewind.ReadSalvageManifest(dir); !errors.Is(err, want) {
		t.Errorf("%s: read: %v, want %v", name, err, want)
	}
	if _, err := rewind.ReadSalvage(t.Context(), dir); !errors.Is(err, want) {
		t.Errorf("%s: salvage read: %v, want %v", name, err, want)
	}
}

// FuzzSalvageManifest: what is read can be written, and is then read the same.
func FuzzSalvageManifest(f *testing.F) {
	b, err := json.Marshal(sampleManifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, rewind.SalvageManifestName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := rewind.ReadSalvageManifest(dir)
		if err != nil {
			return
		}
		if err := rewind.WriteSalvageManifest(dir, m); err != nil {
			t.Fatalf("read, and not to be written: %v", err)
		}
		again, err := rewind.ReadSalvageManifest(dir)
		if d := cmp.Diff(m, again); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
	})
}

// salvaged puts the WAL of a node that is down into a directory as Discard would.
func salvaged(t *testing.T, n *rewindtest.Node, p *rewind.Plan, from pg.SegmentNo) (string, *rewind.SalvageManifest) {
	t.Helper()
	m := rewind.NewSalvageManifest(p, 8192, time.Now())
	dir := filepath.Join(t.TempDir(), m.SalvageDir())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(n.Dir, "pg_wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		_, no, ok := pg.ParseSegmentName(e.Name(), p.WALSegSize)
		if !ok || no < from {
			continue
		}
		b, err := os.ReadFile(filepath.Join(n.Dir, "pg_wal", e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600)
		}
		if err == nil {
			err = m.AddFile(dir, e.Name())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := rewind.WriteSalvageManifest(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// salvage: the WAL in a salvage directory says by itself what the node
// said; also when nothing from before the fork is there; and damage is found.
func (s *lostScene) salvage(t *testing.T, p *rewind.Plan, want rewind.Lost) {
	t.Helper()
	dir, m := salvaged(t, s.old, p, 0)
	got, err := rewind.ReadSalvage(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.Lost); d != "" {
		t.Errorf("from the salvage directory (-want +got):\n%s", d)
	}
	s.damaged(t, dir, m)
	late, _ := salvaged(t, s.old, p, pg.SegmentOf(p.Fork.LSN, p.WALSegSize))
	fork, err := rewind.ReadSalvage(t.Context(), late)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"created table postgres public.made", "created role somebody"} { // new rows need no old ones
		if got := words(fork.Lost.Changes); !slices.Contains(got, word) {
			t.Errorf("from the fork on: %q is not among %q; %d not read", word, got, fork.Lost.UnreadChanges)
		}
	}
	if named := len(want.Changes) - len(fork.Lost.Changes); fork.Lost.UnreadChanges == 0 || named <= 0 {
		t.Errorf("from the fork on: %d changes, %d not read; it should know less", len(fork.Lost.Changes), fork.Lost.UnreadChanges)
	}
	if fork.Lost.Commits != want.Commits || fork.Lost.Bytes != want.Bytes || fork.Lost.Records != want.Records {
		t.Errorf("from the fork on: %d commits, %d bytes, %d records; want %d, %d, %d",
			fork.Lost.Commits, fork.Lost.Bytes, fork.Lost.Records, want.Commits, want.Bytes, want.Records)
	}
}

// damaged changes the first byte behind the fork, then takes the segment away.
func (s *lostScene) damaged(t *testing.T, dir string, m *rewind.SalvageManifest) {
	t.Helper()
	name := filepath.Join(dir, pg.SegmentName(m.Timeline, pg.SegmentOf(m.Fork.LSN, m.WALSegSize), m.WALSegSize))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[m.Fork.LSN%pg.LSN(m.WALSegSize)] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = rewind.ReadSalvage(t.Context(), dir)
	if !errors.Is(err, rewind.ErrDamaged) || !strings.Contains(err.Error(), "is not the file that was salvaged") {
		t.Errorf("a byte changed: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := rewind.ReadSalvage(t.Context(), dir); !errors.Is(err, rewind.ErrDamaged) {
		t.Errorf("a segment missing: %v", err)
	}
}
