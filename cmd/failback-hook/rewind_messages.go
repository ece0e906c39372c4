package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// rewindPrefix begins every line, however we were called: it is what callers
// look for.
const rewindPrefix = "pg_rewind: "

// rewindMessages prints what pg_rewind prints, to stderr as it does. The words
// are its own where people and programs are known to look for them.
type rewindMessages struct {
	w               io.Writer
	terminal        bool
	debug, progress bool

	mu   sync.Mutex
	last time.Time // of the last line of progress
}

func (m *rewindMessages) info(format string, args ...any) {
	fmt.Fprintf(m.w, rewindPrefix+format+"\n", args...)
}

// plan tells where the histories part and, for --debug, what will happen.
func (m *rewindMessages) plan(p *rewind.Plan) {
	if p.Fork.LSN == pg.MaxLSN {
		m.info("source and target cluster are on the same timeline")
	} else {
		m.info("servers diverged at WAL location %s on timeline %d", p.Fork.LSN, p.Fork.Timeline)
	}
	if p.Strategy == rewind.StrategyNone {
		m.info("no rewind required")
		return
	}
	m.info("rewinding from last common checkpoint at %s on timeline %d", p.Replay.LSN, p.Replay.Timeline)
	if m.progress {
		m.info("need to copy %d MB (total source directory size is %d MB)", p.Totals.FetchBytes>>20, p.Source.Bytes>>20)
	}
	if m.debug {
		m.files(p)
	}
}

// files prints one line for each file that the plan names.
func (m *rewindMessages) files(p *rewind.Plan) {
	for _, f := range p.WAL.Keep {
		m.info("Not removing file %q because it is required for recovery", f)
	}
	for _, f := range p.WAL.Fetch {
		m.info("%s (COPY)", f.Path)
	}
	for _, f := range p.WAL.Restore {
		m.info("%s (COPY)", f)
	}
	for _, f := range p.WAL.SetAside {
		m.info("%s (REMOVE)", f)
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		m.info("%s (%s)", e.Path, stockAction(e.Action))
		for _, r := range e.Blocks {
			for b := range r.Count {
				m.info("  block %d", uint32(r.First)+b)
			}
		}
	}
}

// stockAction is pg_rewind's name for an action.
func stockAction(a rewind.Action) string {
	switch a {
	case rewind.ActionSymlink, rewind.ActionMkdir:
		return "CREATE"
	case rewind.ActionCopy:
		return "COPY"
	case rewind.ActionTail:
		return "COPY_TAIL"
	case rewind.ActionTruncate:
		return "TRUNCATE"
	case rewind.ActionRemove:
		return "REMOVE"
	}
	return "NONE"
}

// event shows progress, where it is asked for, and warnings.
func (m *rewindMessages) event(e rewind.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e := e.(type) {
	case rewind.Warning:
		m.info("warning: %s", e.Text)
	case rewind.PhaseStarted:
		m.phase(e.Phase)
	case rewind.Progress:
		if m.progress && e.Phase == rewind.PhaseCopy {
			m.copied(e.Done, e.Total)
		}
	}
}

func (m *rewindMessages) phase(p rewind.Phase) {
	if !m.progress {
		return
	}
	switch p {
	case rewind.PhaseScanWAL:
		m.info("reading WAL in target")
	case rewind.PhaseList:
		m.info("reading source file list")
		m.info("reading target file list")
	case rewind.PhaseSync:
		m.info("syncing target data directory")
	case rewind.PhaseFinish:
		m.info("creating backup label and updating control file")
	}
}

// copied prints a line of progress, once a second and at the end.
func (m *rewindMessages) copied(done, total int64) {
	end := done >= total
	if now := time.Now(); end || now.Sub(m.last) >= time.Second {
		m.last = now
	} else {
		return
	}
	percent := int64(100)
	if total > 0 {
		percent = min(100, done*100/total)
	}
	all := fmt.Sprint(total >> 10)
	eol := "\n"
	if m.terminal && !end {
		eol = "\r"
	}
	fmt.Fprintf(m.w, "%*d/%s kB (%d%%) copied%s", len(all), done>>10, all, percent, eol)
}

// fail prints an error: the words that pg_rewind has for it, if it has any, as
// the error and ours as the detail.
func (m *rewindMessages) fail(err error, o rewindOptions) {
	var size *rewind.SizeError
	if errors.As(err, &size) {
		m.info("error: %s", size) // nothing may follow: tests look at the last line
		return
	}
	text := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if words := stockError(err, o); words != "" {
		text = append([]string{words}, text...)
	}
	m.info("error: %s", text[0])
	for _, line := range text[1:] {
		m.info("detail: %s", strings.TrimSpace(line))
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		m.info("hint: %s", h.Hint())
	}
	if errors.Is(err, rewind.ErrSourceWAL) && !o.restoreWAL {
		m.info("hint: with --restore-target-wal, WAL is looked for in the archive as well")
	}
}

// errNotCleanTarget: --no-ensure-shutdown was given, and the target's server
// did not end cleanly.
var errNotCleanTarget = errors.New("the server was not shut down cleanly")

// errSourceRunning: --source-pgdata is in use.
var errSourceRunning = errors.New("the source is in use")

// stockError is what pg_rewind would say. Patroni reads the name of a missing
// segment from it, fetches that and calls again.
func stockError(err error, o rewindOptions) string {
	var missing *rewind.MissingWALError
	switch {
	case errors.As(err, &missing):
		return fmt.Sprintf("could not open file \"%s\": No such file or directory", filepath.Join(o.target, "pg_wal", missing.Name))
	case errors.Is(err, errSourceRunning), o.sourceDir != "" && errors.Is(err, rewind.ErrSourceNotReady):
		return "source data directory must be shut down cleanly"
	case errors.Is(err, errNotCleanTarget), errors.Is(err, rewind.ErrTargetRunning):
		return "target server must be shut down cleanly"
	case errors.Is(err, rewind.ErrSystemID):
		return "source and target clusters are from different systems"
	case errors.Is(err, rewind.ErrHints):
		return `target server needs to use either data checksums or "wal_log_hints = on"`
	case errors.Is(err, rewind.ErrNoAncestor):
		return "could not find common ancestor of the source and target cluster's timelines"
	}
	return ""
}
