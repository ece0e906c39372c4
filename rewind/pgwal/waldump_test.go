package pgwal_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// dumped is a line of pg_waldump, or one that is made of what pg_walinspect says.
type dumped struct {
	// record has what every line says, in the form that describe gives it.
	record string
	// desc is the resource manager's description, without block references.
	desc string
	lsn  pg.LSN
	text string
}

var (
	lineRE   = regexp.MustCompile(`^rmgr: (\S+)\s+len \(rec/tot\):\s*(\d+)/\s*(\d+), tx:\s*(\d+), lsn: (\S+), prev (\S+), desc: (.*)$`)
	blkrefRE = regexp.MustCompile(`blkref #(\d+): rel (\d+/\d+/\d+)(?: fork (\w+))? blk (\d+)( \(?FPW)?`)
)

// parseDump reads one line; ok is false for lines that are no records.
func parseDump(t testing.TB, line string) (d dumped, ok bool) {
	t.Helper()
	m := lineRE.FindStringSubmatch(line)
	if m == nil {
		return d, false
	}
	lsn, prev := mustLSN(t, m[5]), mustLSN(t, m[6])
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%s tx %s lsn %s prev %s", m[1], m[2], m[3], m[4], lsn, prev)
	desc := m[7]
	// Descriptions of some records have "blkref" neither: cut at the first.
	if i := strings.Index(desc, ", blkref #"); i >= 0 {
		for _, r := range blkrefRE.FindAllStringSubmatch(desc[i:], -1) {
			fork := r[3]
			if fork == "" {
				fork = "main"
			}
			fmt.Fprintf(&b, " #%s %s %s %s", r[1], r[2], fork, r[4])
			if r[5] != "" {
				b.WriteString(" FPW")
			}
		}
		desc = desc[:i]
	}
	return dumped{record: b.String(), desc: strings.TrimSpace(desc), lsn: lsn, text: line}, true
}

func mustLSN(t testing.TB, s string) pg.LSN {
	t.Helper()
	l, err := pg.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// describe prints a record as parseDump does.
func describe(r *pgwal.Record) string {
	images := uint32(0)
	var refs strings.Builder
	for _, b := range r.Blocks {
		images += uint32(b.ImageLen)
		fork := [...]string{"main", "fsm", "vm", "init"}[b.Fork]
		fmt.Fprintf(&refs, " #%d %s %s %d", b.ID, b.Locator, fork, b.Block)
		if b.HasImage {
			refs.WriteString(" FPW")
		}
	}
	return fmt.Sprintf("%s %d/%d tx %d lsn %s prev %s%s",
		r.Rmgr, r.TotalLen-images, r.TotalLen, r.XID, r.LSN, r.Prev, refs.String())
}

// waldump runs pg_waldump from the beginning of a segment to the end of the log.
func waldump(t testing.TB, install rewindtest.Install, dir, segment string, segSize uint32) []dumped {
	t.Helper()
	tli, no, ok := pg.ParseSegmentName(segment, segSize)
	if !ok {
		t.Fatalf("%q is no segment", segment)
	}
	cmd := exec.Command(install.Path("pg_waldump"), "-p", dir, "-t", fmt.Sprint(tli), "-s", no.Start(segSize).String())
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// At the end of the log it always fails: with an error in a record, or a file
	// that is not there.
	if err != nil && len(out) == 0 {
		t.Fatalf("pg_waldump: %v\n%s", err, stderr.String())
	}
	var ds []dumped
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		if d, ok := parseDump(t, s.Text()); ok {
			ds = append(ds, d)
		}
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return ds
}

// compareRecord compares what the record says with the line of pg_waldump.
func compareRecord(t testing.TB, r *pgwal.Record, d dumped) {
	t.Helper()
	if got := describe(r); got != d.record {
		t.Errorf("record\n got %s\nwant %s", got, d.record)
	}
	compareDesc(t, r, d)
}

// compareDesc compares what is read from the body with the description.
func compareDesc(t testing.TB, r *pgwal.Record, d dumped) {
	t.Helper()
	var got, want string
	x, isXact, err := r.XactEnd()
	running, isRunning, err2 := r.RunningXacts()
	changes, err3 := pgwal.FileChanges(r)
	if err != nil || err2 != nil || err3 != nil {
		t.Errorf("%v %v %v, reading %s", err, err2, err3, d.text)
		return
	}
	switch p, isParam := r.Parameters(); {
	case isXact:
		got, want = xactText(x, r.Major), dumpedXact(d.desc)
		compareDropped(t, x, changes, d)
	case isRunning:
		got = fmt.Sprintf("RUNNING_XACTS nextXid %d latestCompletedXid %d oldestRunningXid %d", running.NextXID, running.LatestCompleted, running.OldestRunning)
		got += counted("xacts", running.XIDs)
		if running.Overflowed {
			got += "; subxid overflowed"
		}
		if r.Major >= 16 { // pg_waldump before it does not print them
			got += counted("subxacts", running.SubXIDs)
		}
		want = d.desc
	case isParam:
		level := [...]string{"minimal", "replica", "logical"}[p.WALLevel]
		got = fmt.Sprintf("wal_level=%s wal_log_hints=%s", level, onOff(p.WALLogHints))
		want = strings.Join(regexp.MustCompile(`wal_level=\w+|wal_log_hints=\w+`).FindAllString(d.desc, -1), " ")
	case r.Rmgr == pgwal.RmgrStorage, r.Rmgr == pgwal.RmgrDatabase:
		got, want = changeText(r, changes), dumpedChange(d.desc)
	case r.Rmgr == pgwal.RmgrHeap, r.Rmgr == pgwal.RmgrHeap2:
		kind, n := r.RowChange()
		got, want = rowText(kind, n), dumpedRows(d.desc)
	}
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", d.text, got, want)
	}
}

// counted prints transactions as pg_waldump does: "; 2 xacts: 836 834".
func counted(what string, ids []pg.XID) string {
	if len(ids) == 0 {
		return ""
	}
	s := fmt.Sprintf("; %d %s:", len(ids), what)
	for _, id := range ids {
		s += fmt.Sprintf(" %d", id)
	}
	return s
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// xactText prints what dumpedXact keeps.
func xactText(x pgwal.XactEnd, major pg.Major) string {
	s := fmt.Sprintf("%s %s", x.Kind, x.Time.Format("2006-01-02 15:04:05.000000 MST"))
	if x.Kind == pgwal.XactCommitPrepared || x.Kind == pgwal.XactAbortPrepared {
		s = fmt.Sprintf("%s %d: %s", x.Kind, x.XID, x.Time.Format("2006-01-02 15:04:05.000000 MST"))
	}
	for i, l := range x.DroppedRels {
		if i == 0 {
			s += "; rels:"
		}
		s += " " + pg.RelPath(l, pg.MainFork, 0, major)
	}
	for i, id := range x.SubXIDs {
		if i == 0 {
			s += "; subxacts:"
		}
		s += fmt.Sprintf(" %d", id)
	}
	return s
}

var (
	timeRE     = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC`)
	preparedRE = regexp.MustCompile(`^\w+_PREPARED \d+: `)
	relsRE     = regexp.MustCompile(`; rels: [^;]*`)
	subxactsRE = regexp.MustCompile(`; subxacts: [^;]*`)
)

// dumpedXact keeps kind, id, time, relations and subtransactions. Of a prepare
// the relations are left out: they go with its commit or abort.
func dumpedXact(desc string) string {
	kind := preparedRE.FindString(desc)
	if kind == "" {
		word, _, _ := strings.Cut(desc, " ")
		kind = word + " "
	}
	return kind + timeRE.FindString(desc) + relsRE.FindString(desc) + subxactsRE.FindString(desc)
}

func compareDropped(t testing.TB, x pgwal.XactEnd, changes []pgwal.FileChange, d dumped) {
	t.Helper()
	var main []pg.RelFileLocator
	for _, c := range changes {
		if c.Kind == pgwal.ChangeFrom && c.Fork == pg.MainFork && c.Block == 0 {
			main = append(main, c.Locator)
		}
	}
	if !slices.Equal(main, x.DroppedRels) || len(changes) != 4*len(main) {
		t.Errorf("%s\n file changes %v", d.text, changes)
	}
}

// changeText prints file changes as dumpedChange does the description.
func changeText(r *pgwal.Record, changes []pgwal.FileChange) string {
	var parts []string
	for _, c := range changes {
		switch c.Kind {
		case pgwal.ChangeDatabase:
			parts = append(parts, fmt.Sprintf("%d/%d", c.Spc, c.DB))
		case pgwal.ChangeFrom:
			parts = append(parts, fmt.Sprintf("%s from %d", pg.RelPath(c.Locator, c.Fork, 0, r.Major), c.Block))
		}
	}
	return strings.Join(parts, ", ")
}

var (
	truncateRE = regexp.MustCompile(`^TRUNCATE (\S+) to (\d+) blocks flags (\d+)$`)
	copyRE     = regexp.MustCompile(`copy dir \S+ to (\S+)$`)
	dirRE      = regexp.MustCompile(`(?: |/)(\d+/\d+)`)
)

func dumpedChange(desc string) string {
	if m := truncateRE.FindStringSubmatch(desc); m != nil {
		parts := []string{m[1] + " from " + m[2]}
		flags, _ := strconv.Atoi(m[3])
		if flags&2 != 0 {
			parts = append(parts, m[1]+"_vm from 0")
		}
		if flags&4 != 0 {
			parts = append(parts, m[1]+"_fsm from 0")
		}
		return strings.Join(parts, ", ")
	}
	if m := copyRE.FindStringSubmatch(desc); m != nil {
		return m[1]
	}
	if path, ok := strings.CutPrefix(desc, "CREATE "); ok {
		return path + " from 0"
	}
	var dirs []string
	for _, m := range dirRE.FindAllStringSubmatch(desc, -1) {
		dirs = append(dirs, m[1])
	}
	return strings.Join(dirs, ", ")
}

func rowText(kind pgwal.RowKind, n int) string {
	if kind == pgwal.RowNone {
		return ""
	}
	return fmt.Sprintf("%s %d", [...]string{"", "insert", "update", "delete", "truncate"}[kind], n)
}

var tuplesRE = regexp.MustCompile(`^MULTI_INSERT(?:\+INIT)? (?:ntuples: )?(\d+)`)

func dumpedRows(desc string) string {
	word, _, _ := strings.Cut(desc, " ")
	switch strings.TrimSuffix(word, "+INIT") {
	case "INSERT":
		return "insert 1"
	case "UPDATE", "HOT_UPDATE":
		return "update 1"
	case "DELETE":
		return "delete 1"
	case "TRUNCATE":
		m := regexp.MustCompile(`(\d+) relids|nrelids:? (\d+)`).FindStringSubmatch(desc)
		return "truncate " + m[1] + m[2]
	}
	if m := tuplesRE.FindStringSubmatch(desc); m != nil {
		return "insert " + m[1]
	}
	return ""
}

// segments lists the WAL segments in a directory, oldest first.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9A-F]", 24)))
	if err != nil || len(names) == 0 {
		t.Fatalf("no WAL in %s: %v", dir, err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	slices.Sort(names)
	return names
}
