package rewind

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// Options say how to plan and to apply. The zero value is usable.
type Options struct {
	// Workers is how many ranges are fetched at the same time; DefaultWorkers if zero.
	Workers int
	// Preserve are paths or patterns (path.Match, relative to PGDATA) that stay
	// the node's own, besides everything outside PostgreSQL's own directories.
	Preserve []string
	// Mirror treats files outside PostgreSQL's own directories as pg_rewind
	// does: they become the source's, configuration included, and what only the
	// target has is removed. The source must list them (ForeignDirs).
	Mirror bool
	// NoSync leaves it to the operating system when data files reach the disk;
	// the journal and pg_control are synced all the same.
	NoSync bool
	// SyncMethod is how data files are brought to the disk; the cheaper one if empty.
	// A run that continues another one syncs file systems whatever it says.
	SyncMethod SyncMethod
	// NoUndo saves nothing of what is overwritten: an error leaves a directory
	// that cannot start until the work is finished. For where the room is missing.
	NoUndo bool
	// KeepUndo leaves the journal, and all that was saved, in place when the work
	// is done, so that Undo can still take it back, until Discard removes it.
	KeepUndo bool
	// Salvage says where the WAL goes that only this node has.
	Salvage Salvage
	// RestoreCommand fetches WAL that the target no longer has from its archive,
	// as the server's setting restore_command does; empty for none.
	RestoreCommand string
	// AllowRunning lets Plan look at a directory whose server runs. Such a plan
	// is an estimate; Apply refuses it.
	AllowRunning bool
	// Standby is written before the directory becomes startable again; nil
	// writes no standby settings.
	Standby *Standby
	// BeforeCommit is called once, after everything else is durable and before
	// pg_control appears: the last chance to say no. May be nil.
	BeforeCommit func(context.Context) error
	// OnEvent receives events, from one goroutine at a time. May be nil.
	OnEvent func(Event)
}

// SyncMethod is a way to bring data files to the disk; names as of pg_rewind 17.
type SyncMethod string

// The ways. The journal, pg_control and what else is small are synced one by one
// with either.
const (
	// SyncFiles syncs each file and directory that was touched.
	SyncFiles SyncMethod = "fsync"
	// SyncFileSystems syncs each file system that PGDATA, its pg_wal or its
	// tablespaces lie on, with all that others have written there.
	SyncFileSystems SyncMethod = "syncfs"
)

// Standby is what makes the rewound directory a standby of the new primary.
type Standby struct {
	// Conninfo is primary_conninfo, unquoted.
	Conninfo string
	// Slot is primary_slot_name; empty for none.
	Slot string
	// ConninfoOnly leaves all other settings as they are, Slot included.
	ConninfoOnly bool
	// SignalOnly writes standby.signal and no setting at all: whoever starts the
	// server has the settings.
	SignalOnly bool
}

// DefaultWorkers is the number of connections that fetch.
const DefaultWorkers = 4

// Engine rewinds one data directory from one source. Its methods must not be
// called at the same time.
type Engine struct {
	// PGData is the target's data directory.
	PGData  string
	Source  Source
	Options Options

	beforeWrite func(op, path string) error // see writer.before
}

// open opens the target as the options say.
func (e *Engine) open() (*target, error) {
	t, err := openTarget(e.PGData)
	if err != nil {
		return nil, err
	}
	t.foreign = e.Options.Mirror
	if e.Options.RestoreCommand != "" {
		t.archive = &archive{command: e.Options.RestoreCommand, pgdata: e.PGData}
	}
	return t, nil
}

func (e *Engine) newWriter(t *target) *writer {
	w := newWriter(t)
	w.before, w.noSync, w.syncMethod = e.beforeWrite, e.Options.NoSync, e.Options.SyncMethod
	return w
}

func (e *Engine) workers() int {
	if e.Options.Workers > 0 {
		return e.Options.Workers
	}
	return DefaultWorkers
}

// localWorkers is for work that only this machine's disk and cores do.
func localWorkers() int { return max(2, min(8, runtime.NumCPU())) }

// run is one call of Plan or Apply: its clock and its events.
type run struct {
	mu      sync.Mutex
	onEvent func(Event)
	phase   Phase
	since   time.Time
	done    int64
	total   int64
	told    int64
	times   []PhaseDuration
}

func (e *Engine) newRun() *run { return &run{onEvent: e.Options.OnEvent} }

// begin ends the phase before and starts another.
func (r *run) begin(p Phase, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end()
	r.phase, r.since, r.done, r.total, r.told = p, time.Now(), 0, total, 0
	r.emit(PhaseStarted{Phase: p, Total: total})
}

// end closes the current phase; r.mu is held.
func (r *run) end() {
	if r.phase != "" {
		r.times = append(r.times, PhaseDuration{Phase: r.phase, Duration: time.Since(r.since)})
	}
	r.phase = ""
}

// finish closes the last phase and returns the durations.
func (r *run) finish() []PhaseDuration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end()
	return r.times
}

// progressStep is how much must have happened for an event to be worth it.
const progressStep = 1 << 20

// advance counts n more bytes of the current phase.
func (r *run) advance(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += n
	if r.done-r.told >= progressStep || r.done == r.total {
		r.told = r.done
		r.emit(Progress{Phase: r.phase, Done: r.done, Total: r.total})
	}
}

// advanceTo sets the count of the current phase.
func (r *run) advanceTo(done int64) {
	r.mu.Lock()
	n := done - r.done
	r.mu.Unlock()
	if n > 0 {
		r.advance(n)
	}
}

func (r *run) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emit(Warning{Text: text})
}

func (r *run) emit(ev Event) {
	if r.onEvent != nil {
		r.onEvent(ev)
	}
}

// closing runs a Close and joins its error to the one that is returned.
func closing(err *error, c func() error) { *err = errors.Join(*err, c()) }
