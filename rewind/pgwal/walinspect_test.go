package pgwal_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var zonedRE = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00\b`)

// likeWaldump prints the times of a server, whose zone is UTC, as pg_waldump does.
func likeWaldump(desc string) string {
	return zonedRE.ReplaceAllStringFunc(desc, func(s string) string {
		at, err := time.Parse("2006-01-02 15:04:05-07", s)
		if err != nil {
			return s
		}
		return at.Format("2006-01-02 15:04:05.000000 UTC")
	})
}

// walinspect asks the extension pg_walinspect (from 15 on) what pg_waldump would
// say of the records between two positions. The stopped node runs meanwhile.
func walinspect(t testing.TB, n *rewindtest.Node, from, to pg.LSN) []dumped {
	t.Helper()
	m := n.Must(t)
	m.Start()
	defer m.Stop(rewindtest.Fast)
	m.Exec("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
	rows := m.Query(fmt.Sprintf(`SELECT resource_manager, record_length - fpi_length, record_length, xid, start_lsn, prev_lsn,
		record_type, coalesce(description, ''), coalesce(block_ref, '') FROM pg_get_wal_records_info('%s', '%s')`, from, to))
	ds := make([]dumped, len(rows))
	for i, row := range rows {
		line := fmt.Sprintf("rmgr: %s len (rec/tot): %s/%s, tx: %s, lsn: %s, prev %s, desc: %s",
			row[0], row[1], row[2], row[3], row[4], row[5], strings.TrimSpace(row[6]+" "+likeWaldump(row[7])))
		if row[8] != "" {
			line += ", " + strings.TrimSpace(row[8])
		}
		var ok bool
		if ds[i], ok = parseDump(t, line); !ok {
			t.Fatalf("not understood: %q", line)
		}
	}
	return ds
}
