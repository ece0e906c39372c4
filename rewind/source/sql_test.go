package source_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
	"github.com/failback-hook/failback-hook/rewind/source/sourcetest"
)

// grantsOnly makes a role with exactly the privileges that pg_rewind needs.
func grantsOnly(t testing.TB, n *rewindtest.Node) string {
	t.Helper()
	n.Must(t).Exec(
		"CREATE ROLE least LOGIN",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO least",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO least",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO least",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO least",
	)
	return "least"
}

func open(t testing.TB, c source.SQLConfig) *source.SQL {
	t.Helper()
	s, err := source.OpenSQL(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQL(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		n := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
		least := grantsOnly(t, n)
		conninfos := map[string]string{
			"superuser": n.Conninfo(),
			"least":     n.Conninfo("user=" + least),
		}
		for name, conninfo := range conninfos {
			t.Run(name, func(t *testing.T) {
				sourcetest.Run(t, func(t *testing.T) (rewind.Source, string) {
					return open(t, source.SQLConfig{Conninfo: conninfo}), n.Dir
				})
			})
		}
		// A database of another encoding judges names differently.
		n.Must(t).Exec("CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0")
		t.Run("latin1", func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) (rewind.Source, string) {
				return open(t, source.SQLConfig{Conninfo: n.Conninfo("dbname=latin1")}), n.Dir
			})
		})
	})
}
