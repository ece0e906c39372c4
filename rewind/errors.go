package rewind

import (
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// What can be wrong, as values to be asked for with errors.Is.
var (
	// ErrTargetRunning: a server is running on the target directory.
	ErrTargetRunning = errors.New("a server is running on the data directory")
	// ErrBusy: another process is rewinding the same data directory.
	ErrBusy = errors.New("another rewind of this data directory is at work")
	// ErrNotDataDir: the target is not a data directory that can be worked on.
	ErrNotDataDir = errors.New("not a usable PostgreSQL data directory")
	// ErrUnsupported: a PostgreSQL version or format that this build does not know.
	ErrUnsupported = errors.New("unsupported PostgreSQL version or format")
	// ErrDamaged: bytes that fail their checksum or contradict each other.
	ErrDamaged = errors.New("damaged data")
	// ErrSystemID: target and source come from different initdb runs.
	ErrSystemID = errors.New("the system identifiers differ")
	// ErrIncompatible: block sizes, checksum settings or versions of target and source differ.
	ErrIncompatible = errors.New("target and source are not compatible")
	// ErrNoAncestor: the histories share no timeline.
	ErrNoAncestor = errors.New("no common ancestor in the timeline histories")
	// ErrTargetWAL: WAL of the target that is needed to find what changed is gone.
	ErrTargetWAL = errors.New("the target's WAL does not reach back far enough")
	// ErrSourceWAL: the source no longer has the WAL that the rewound node would need.
	ErrSourceWAL = errors.New("the source no longer has the WAL that is needed")
	// ErrHints: changes that leave no trace in the WAL were possible.
	ErrHints = errors.New("hint bits were not WAL-logged")
	// ErrNoStrategy: no strategy is sound here.
	ErrNoStrategy = errors.New("no sound strategy")
	// ErrSourceNotReady: the source is still in recovery or has not finished its promotion.
	ErrSourceNotReady = errors.New("the source is not ready")
	// ErrSourceChanged: the source became another one during the work.
	ErrSourceChanged = errors.New("the source changed during the work")
	// ErrSourceUnavailable: the source cannot be reached; may be tried again.
	ErrSourceUnavailable = errors.New("the source cannot be reached")
	// ErrSourceAuth: the source refuses the user or the password.
	ErrSourceAuth = errors.New("the source refuses the login")
	// ErrSourcePrivilege: the user lacks a privilege on the source.
	ErrSourcePrivilege = errors.New("missing privilege on the source")
	// ErrNotWritable: a file or directory of the target cannot be written.
	ErrNotWritable = errors.New("the target cannot be written")
	// ErrNoSpace: a file system of the target is too full for the plan.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrNotSalvage: the directory holds no salvaged WAL.
	ErrNotSalvage = errors.New("not a salvage directory")
	// ErrUndoBegun: an undo was interrupted; it has to be finished first.
	ErrUndoBegun = errors.New("the directory was being given back its old state")
	// ErrNoUndo: there is nothing to undo, or it cannot be undone (any more).
	ErrNoUndo = errors.New("nothing that could be undone")
	// ErrUnfinished: the directory holds a rewind that has not been finished.
	ErrUnfinished = errors.New("the rewind is not finished")
	// ErrJournal: the journal in the target is damaged, newer, or of another cluster.
	ErrJournal = errors.New("the journal cannot be used")
)

// Error says what was being done to what when an error came up.
type Error struct {
	// Op is a verb and its object: "read control file".
	Op string
	// Path is the file, relative to PGDATA where it lies there; may be empty.
	Path string
	// LSN is the WAL position at which it happened; zero where there is none.
	LSN pg.LSN
	// Advice is a sentence for the operator: what to do now; may be empty.
	Advice string
	// Err is the cause.
	Err error
}

// Error prints "op path at LSN: cause".
func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		s += fmt.Sprintf(" %q", e.Path)
	}
	if e.LSN != 0 {
		s += " at " + e.LSN.String()
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint gives the advice for the operator, the cause's where this error has
// none of its own; empty where there is none.
func (e *Error) Hint() string {
	if e.Advice != "" {
		return e.Advice
	}
	var cause interface{ Hint() string }
	if errors.As(e.Err, &cause) {
		return cause.Hint()
	}
	return ""
}

// MissingWALError names a file of the target's WAL that is neither in pg_wal nor
// in the archive. It matches fs.ErrNotExist.
type MissingWALError struct {
	// Name is the file's name in pg_wal.
	Name string
	// Err is the cause.
	Err error
}

// Error prints the name and the cause.
func (e *MissingWALError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *MissingWALError) Unwrap() error { return e.Err }

// SizeError says that a file of a stopped source was not as long when it was
// copied as when it was listed. It matches ErrSourceChanged.
type SizeError struct {
	Path string
	// Listed and Copied in bytes.
	Listed, Copied int64
}

// Error prints the file and both sizes.
func (e *SizeError) Error() string {
	return fmt.Sprintf("size of source file %q changed concurrently: %d bytes expected, %d copied", e.Path, e.Listed, e.Copied)
}

// Is matches ErrSourceChanged.
func (e *SizeError) Is(target error) bool { return target == ErrSourceChanged }

// Retryable tells whether the same call may succeed later without anybody
// having changed anything.
func Retryable(err error) bool {
	return errors.Is(err, ErrSourceUnavailable) || errors.Is(err, ErrSourceNotReady)
}
