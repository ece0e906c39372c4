package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// TestLost: a node is compared with the leader, and nothing is done besides:
// no lock, no slot, no change of a server.
func TestLost(t *testing.T) {
	s := newStage(t)
	file := func(rel pg.Oid, change func(*rewind.LostRelation)) rewind.LostRelation {
		loc := account
		loc.Rel = rel
		l := rewind.LostRelation{Locator: loc, Path: pg.RelPath(loc, pg.MainFork, 0, 15)}
		change(&l)
		return l
	}
	s.plan.Lost = rewind.Lost{Commits: 7, Relations: []rewind.LostRelation{
		file(account.Rel, func(*rewind.LostRelation) {}),
		file(16600, func(l *rewind.LostRelation) { l.Created, l.Name, l.SchemaID = true, "made", 16500 }),
	}}
	got, err := s.hook.Lost(t.Context())
	must(t, err)
	if got.Lost.Commits != 7 || got.Leader != "n2" || got.Member != "n1" || got.Directory != s.hook.Config.PGData {
		t.Errorf("%+v", got)
	}
	if d := cmp.Diff(map[string]RelationName{"base/5/16400": {Database: "shop", Schema: "public", Name: "account", Kind: "table"}}, got.LostNames); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[pg.Oid]DatabaseNames{5: {Name: "shop", Schemas: map[pg.Oid]string{16500: "sales"}}}, got.LostPlaces); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"lost"}, s.seen()); d != "" {
		t.Errorf("done (-want +got):\n%s", d)
	}
	if !strings.Contains(s.conninfo, "hunter2") || !s.options.AllowRunning {
		t.Errorf("connected by %q, options %+v", s.conninfo, s.options)
	}
}

// TestLostErrors: what decides against a rejoin for good or for now is the same
// error here, and a server that does not tell names is none.
func TestLostErrors(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		change func(*stage)
		want   error
	}{
		"the leader itself":    {func(s *stage) { s.facts.Topology.Leader.Name = "n1" }, ErrIsLeader},
		"no leader":            {func(s *stage) { s.facts.Topology.Leader = nil }, ErrNoLeader},
		"another cluster":      {func(s *stage) { s.facts.Topology.SystemID++ }, ErrSystemID},
		"leader not reachable": {func(s *stage) { s.fail["open source"] = rewind.ErrSourceUnavailable }, rewind.ErrSourceUnavailable},
		"the engine fails":     {func(s *stage) { s.fail["lost"] = boom }, boom},
		"no names": {func(s *stage) {
			s.plan.Lost.Relations = []rewind.LostRelation{{Locator: account}}
			s.fail["names"] = boom
		}, nil},
	} {
		s := newStage(t)
		c.change(s)
		if _, err := s.hook.Lost(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestLostAgainst: neither name nor etcd are asked for.
func TestLostAgainst(t *testing.T) {
	s := newStage(t)
	s.plan.Lost.Commits = 3
	s.hook.Config.Name, s.hook.Cluster = "", nil
	got, err := s.hook.LostAgainst(t.Context(), "host=other")
	must(t, err)
	if got.Lost.Commits != 3 || got.Leader != "" {
		t.Errorf("%+v", got)
	}
	s.hook.Config.PGData = t.TempDir()
	if _, err := s.hook.LostAgainst(t.Context(), "host=other"); !errors.Is(err, rewind.ErrNotDataDir) {
		t.Errorf("an empty directory: %v", err)
	}
}

// TestLostNamesOfPlaces: only databases are asked for of which the WAL leaves
// something open, and none where what it told could not be read.
func TestLostNamesOfPlaces(t *testing.T) {
	lost := &rewind.Lost{
		Changes: []rewind.LostChange{
			{Database: 5, DatabaseName: "shop", SchemaID: 2200, Schema: "public"}, {Database: 6, DatabaseName: "known", SchemaID: 16500},
			{Database: 7}, {Kind: "role"}, {Database: 7, SchemaID: 3},
		},
		Relations: []rewind.LostRelation{
			{Locator: pg.RelFileLocator{DB: 8}, Name: "t", Database: "db", Schema: "s"}, {Locator: pg.RelFileLocator{DB: 9}},
			{Locator: pg.RelFileLocator{DB: 10}, Name: "t", Schema: "s"},
		},
	}
	if d := cmp.Diff([]pg.Oid{6, 7, 10}, unknownPlaces(lost)); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	lost.UnreadChanges = 1
	if got := unknownPlaces(lost); len(got) > 0 {
		t.Errorf("asked for %v although not all was read", got)
	}
}

// TestLostSalvagedNames: the names are those of the saved report; one that
// cannot be read makes a warning, and none at all not even that.
func TestLostSalvagedNames(t *testing.T) {
	dir := t.TempDir()
	l := &LostReport{}
	must(t, l.readSaved(dir))
	write := func(text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, rewind.SalvageReportName), []byte(text), 0o600))
	}
	write(`{"scope":"main","member":"n1","leader":"n2","plan":{},"lost_names":{"base/5/16400":{"database":"shop","schema":"public","name":"account","kind":"table"}},"lost_places":{"5":{"name":"shop"}}}`)
	must(t, l.readSaved(dir))
	if l.Scope != "main" || l.Member != "n1" || l.LostNames["base/5/16400"].Name != "account" || l.LostPlaces[5].Name != "shop" {
		t.Errorf("%+v", l)
	}
	write(`{"scope":`)
	if err := l.readSaved(dir); err == nil {
		t.Error("a report that is broken off was read")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := LostSalvaged(ctx, dir); !errors.Is(err, rewind.ErrNotSalvage) {
		t.Errorf("without a manifest: %v", err)
	}
}
