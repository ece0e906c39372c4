package rewindtest

import (
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

func TestOraclesFindCorruption(t *testing.T) {
	n := NewPrimary(t, Newest(t), Options{Conf: map[string]string{"ignore_checksum_failure": "on"}})
	m := n.Must(t)
	m.Exec("CREATE TABLE t (i int)", "INSERT INTO t SELECT generate_series(1, 100)", "CREATE INDEX ON t (i)", "CHECKPOINT")
	heap := filepath.Join(n.Dir, m.Value("SELECT pg_relation_filepath('t')"))

	said := func(oracle func(testing.TB)) string {
		v := &verdict{TB: t}
		oracle(v)
		return strings.Join(v.said, "\n")
	}
	amCheck := func(t testing.TB) { AmCheck(t, n) }
	checksums := func(t testing.TB) { Checksums(t, n.Install, n.Dir) }

	if got := said(amCheck); got != "" {
		t.Fatalf("pg_amcheck on a sound node: %s", got)
	}
	m.Stop(Fast)
	if got := said(checksums); got != "" {
		t.Fatalf("pg_checksums on a sound node: %s", got)
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
		t.Errorf("pg_checksums on a changed page: %q", got)
	}
	m.Start()
	if !n.Install.Has("pg_amcheck") || !n.Install.HasExtension("amcheck") {
		t.Skip("pg_amcheck is not installed")
	}
	if got := said(amCheck); !strings.Contains(got, "lacks matching index tuple") {
		t.Errorf("pg_amcheck on a row that its index does not know: %q", got)
	}
}
