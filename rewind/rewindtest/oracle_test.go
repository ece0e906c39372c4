package rewindtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// verdict stands in for the test, to see what an oracle says.
type verdict struct {
	testing.TB
	said []string
}

func (v *verdict) Error(args ...any) { v.said = append(v.said, fmt.Sprint(args...)) }
func (v *verdict) Helper()           {}

// Both ways to ask: PostgreSQL's programs, and what stands in for them.
func TestOraclesFindCorruption(t *testing.T) {
	ForEachMajor(t, func(t *testing.T, pg Install) {
		if pg.Has("pg_checksums") && pg.Has("pg_amcheck") {
			t.Run("programs", func(t *testing.T) {
				testOracles(t, pg, func(n *Node) func(testing.TB) { return func(t testing.TB) { AmCheck(t, n) } },
					func(n *Node) func(testing.TB) { return func(t testing.TB) { Checksums(t, pg, n.Dir) } })
			})
		}
		t.Run("by hand", func(t *testing.T) {
			testOracles(t, pg, func(n *Node) func(testing.TB) {
				return func(t testing.TB) { report(t, errors.Join(installAmcheck(n), n.amCheckBySQL())) }
			}, func(n *Node) func(testing.TB) { return func(t testing.TB) { report(t, checksumsByHand(pg, n.Dir)) } })
		})
	})
}

func report(t testing.TB, err error) {
	if err != nil {
		t.Error(err)
	}
}

// testOracles shows both oracles a sound node and one with a changed row.
func testOracles(t *testing.T, pg Install, amCheckOf, checksumsOf func(*Node) func(testing.TB)) {
	n := NewPrimary(t, pg, Options{Conf: map[string]string{"ignore_checksum_failure": "on"}})
	amCheck, checksums := amCheckOf(n), checksumsOf(n)
	m := n.Must(t)
	m.Exec("CREATE TABLE t (i int)", "INSERT INTO t SELECT generate_series(1, 100)", "CREATE INDEX ON t (i)", "CHECKPOINT")
	heap := filepath.Join(n.Dir, m.Value("SELECT pg_relation_filepath('t')"))

	said := func(oracle func(testing.TB)) string {
		v := &verdict{TB: t}
		oracle(v)
		return strings.Join(v.said, "\n")
	}
	if n.Install.HasExtension("amcheck") {
		if got := said(amCheck); got != "" {
			t.Fatalf("amcheck on a sound node: %s", got)
		}
	}
	m.Stop(Fast)
	if got := said(checksums); got != "" {
		t.Fatalf("checksums on a sound node: %s", got)
	}

	// The last bytes of the page are the first row, whose value gets another one.
	page, err := os.ReadFile(heap)
	if err != nil {
		t.Fatal(err)
	}
	first := page[pageSize-32+24:]
	if first[0] != 1 {
		t.Fatalf("the first row is not where it is thought to be: % x", page[pageSize-32:pageSize])
	}
	first[0] = 101
	if err := os.WriteFile(heap, page, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := said(checksums); !strings.Contains(got, "checksum verification failed") {
		t.Errorf("checksums on a changed page: %q", got)
	}
	m.Start()
	if !n.Install.HasExtension("amcheck") {
		t.Skip("amcheck is not installed")
	}
	if got := said(amCheck); !strings.Contains(got, "lacks matching index tuple") {
		t.Errorf("amcheck on a row that its index does not know: %q", got)
	}
}
