package source_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// locator is where a relation's file is, by the server's own account.
func locator(t *testing.T, n *rewindtest.Node, relation string) pg.RelFileLocator {
	t.Helper()
	path := n.Must(t).Value("SELECT pg_relation_filepath('" + relation + "')")
	f, ok := pg.ParseRelPath(path, pg.Major(n.Install.Major))
	if !ok {
		t.Fatalf("%s is in %q", relation, path)
	}
	return f.RelFileLocator
}

func TestRelationNames(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		n.Must(t).Exec(
			`CREATE SCHEMA "Böse Namen"`,
			`CREATE TABLE "Böse Namen"."a.b" (id int PRIMARY KEY, txt text)`,
			`CREATE SEQUENCE s`,
			`CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one`,
			`CREATE TABLE gone (a int)`,
			`CREATE TABLE rewritten (a int)`,
			`CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
			`CREATE DATABASE closed`,
			`CREATE ROLE few LOGIN`,
			`REVOKE CONNECT ON DATABASE closed FROM PUBLIC`,
			`VACUUM FULL pg_proc`,
			"CREATE TABLESPACE elsewhere LOCATION '"+t.TempDir()+"'",
			`CREATE TABLE far (a int) TABLESPACE elsewhere`,
		)
		db := n.Must(t).Value("SELECT current_database()")
		toast := n.Must(t).Value(`SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '"Böse Namen"."a.b"'::regclass`)
		toastIndex := toast + "_index"
		want := map[pg.RelFileLocator]source.RelationName{
			locator(t, n, `"Böse Namen"."a.b"`): {Database: db, Schema: "Böse Namen", Name: "a.b", Kind: "table"},
			locator(t, n, `"Böse Namen"."a.b_pkey"`): {Database: db, Schema: "Böse Namen", Name: "a.b_pkey", Kind: "index",
				Of: "Böse Namen.a.b"},
			locator(t, n, toast): {Database: db, Schema: "pg_toast", Name: strings.TrimPrefix(toast, "pg_toast."), Kind: "TOAST",
				Of: "Böse Namen.a.b"},
			locator(t, n, toastIndex): {Database: db, Schema: "pg_toast", Name: strings.TrimPrefix(toastIndex, "pg_toast."), Kind: "TOAST",
				Of: "Böse Namen.a.b"},
			locator(t, n, "s"):         {Database: db, Schema: "public", Name: "s", Kind: "sequence"},
			locator(t, n, "mv"):        {Database: db, Schema: "public", Name: "mv", Kind: "materialized view"},
			locator(t, n, "far"):       {Database: db, Schema: "public", Name: "far", Kind: "table"},
			locator(t, n, "pg_class"):  {Database: db, Schema: "pg_catalog", Name: "pg_class", Kind: "table", System: true},
			locator(t, n, "pg_proc"):   {Database: db, Schema: "pg_catalog", Name: "pg_proc", Kind: "table", System: true},
			locator(t, n, "pg_authid"): {Schema: "pg_catalog", Name: "pg_authid", Kind: "table", System: true},
		}
		ask := []pg.RelFileLocator{locator(t, n, "gone"), locator(t, n, "rewritten"), {Spc: pg.DefaultTablespace, DB: 4000000000, Rel: 1259}}
		for l := range want {
			ask = append(ask, l)
		}
		n.Must(t).Exec("DROP TABLE gone", "TRUNCATE rewritten")
		latin := databaseOid(t, n, "latin")
		ask = append(ask, pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: latin, Rel: 1249})
		want[ask[len(ask)-1]] = source.RelationName{Database: "latin", Schema: "pg_catalog", Name: "pg_attribute", Kind: "table", System: true}

		u := openUpstream(t, n.Conninfo("user=few"))
		got, err := u.RelationNames(t.Context(), ask)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}

		// A database that does not let us in costs its own names only.
		ask = append(ask, pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: databaseOid(t, n, "closed"), Rel: 1249})
		got, err = u.RelationNames(t.Context(), ask)
		if !errors.Is(err, rewind.ErrSourcePrivilege) || len(got) != len(want) {
			t.Errorf("got %d names of %d and %v, want rewind.ErrSourcePrivilege", len(got), len(want), err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if got, err := u.RelationNames(ended, ask); !errors.Is(err, context.Canceled) || len(got) != 0 {
			t.Errorf("cancelled: got %v, %v", got, err)
		}
		if got, err := u.RelationNames(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("nothing asked: got %v, %v", got, err)
		}
	})
}

// TestDatabaseNames: the databases that are there, with their schemas; one that
// is closed to the user has a name only, and one that is not there nothing.
func TestDatabaseNames(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		n.Must(t).Exec("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", "CREATE DATABASE closed",
			"CREATE ROLE few LOGIN", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
		n.Must(t).ExecIn("latin", "SET client_encoding = 'UTF8'", `CREATE SCHEMA "Böse Namen"`)
		latin, closed := databaseOid(t, n, "latin"), databaseOid(t, n, "closed")
		u := openUpstream(t, n.Conninfo("user=few"))
		got, err := u.DatabaseNames(t.Context(), []pg.Oid{latin, closed, 4000000000})
		if !errors.Is(err, rewind.ErrSourcePrivilege) || len(got) != 2 || got[closed].Name != "closed" || got[closed].Schemas != nil {
			t.Errorf("got %v and %v, want two and rewind.ErrSourcePrivilege for one", got, err)
		}
		found := ""
		for oid, name := range got[latin].Schemas {
			if oid >= 16384 {
				found += name
			}
		}
		if got[latin].Name != "latin" || found != "Böse Namen" || got[latin].Schemas[2200] != "public" {
			t.Errorf("got %+v", got[latin])
		}
	})
}

func databaseOid(t *testing.T, n *rewindtest.Node, name string) pg.Oid {
	t.Helper()
	oid, err := strconv.ParseUint(n.Must(t).Value("SELECT oid FROM pg_database WHERE datname = '"+name+"'"), 10, 32)
	must(t, err)
	return pg.Oid(oid)
}
