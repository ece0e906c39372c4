package hook

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How much of a log is read, and how many lines of it are told.
const (
	tailBytes = 32 << 10
	tailLines = 6
)

// logTail is what the server has logged last, as far as it tells of trouble:
// from the file that its start was logged to, and from the collector's file
// where there is one. Files that were last written before since do not count.
func (s *server) logTail(since time.Time) string {
	var lines []string
	for _, name := range append(s.collectorLogs(), s.cfg.StartLog) {
		lines = append(lines, trouble(tail(name, since))...)
	}
	if n := len(lines); n > tailLines {
		lines = lines[n-tailLines:]
	}
	return strings.Join(lines, "\n")
}

// collectorLogs are the files that a running logging collector writes, by its
// own account: current_logfiles has a format and a path on each line.
func (s *server) collectorLogs() []string {
	b, err := readBounded(filepath.Join(s.cfg.PGData, "current_logfiles"), 4<<10)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "stderr "); ok {
			if !filepath.IsAbs(name) {
				name = filepath.Join(s.cfg.PGData, name)
			}
			return []string{name}
		}
	}
	return nil
}

// tail returns the last lines of a file.
func tail(name string, since time.Time) []string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	// File times are coarser than the clock.
	if err != nil || fi.ModTime().Before(since.Add(-time.Second)) {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, fi.Size()-tailBytes), tailBytes))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// trouble keeps the lines that say what is wrong. Where none is recognised,
// the levels being translated, it keeps the last few of all. Statements are
// left out: they may hold passwords.
func trouble(lines []string) []string {
	var bad, last []string
	for _, l := range lines {
		switch {
		case strings.TrimSpace(l) == "" || hasLevel(l, "STATEMENT") || hasLevel(l, "QUERY"):
		case hasLevel(l, "FATAL"), hasLevel(l, "PANIC"), hasLevel(l, "ERROR"), hasLevel(l, "DETAIL"), hasLevel(l, "HINT"):
			bad = append(bad, l)
		default:
			last = append(last, l)
		}
	}
	if len(bad) > 0 {
		return bad
	}
	return last[max(0, len(last)-tailLines/2):]
}

func hasLevel(line, level string) bool { return strings.Contains(line, level+": ") }
