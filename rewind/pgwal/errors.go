package pgwal

import (
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// The three ends of the log, to be asked for with errors.Is.
var (
	// ErrEndOfWAL matches an EndError of kind EndClean.
	ErrEndOfWAL = errors.New("end of WAL")
	// ErrDamaged matches an EndError of kind EndDamaged.
	ErrDamaged = errors.New("damaged WAL")
	// ErrMissing matches an EndError of kind EndMissing.
	ErrMissing = errors.New("missing WAL")
)

// ErrNoRecord is returned by Reader.SeekSegment for a segment that lies wholly
// within one record: none begins in it.
var ErrNoRecord = errors.New("no record begins in the segment")

// ErrUnknownChange is returned by FileChanges for a record that changes
// relation files in a way that this package does not know.
var ErrUnknownChange = errors.New("WAL record changes relation files in an unknown way")

// ErrMalformed is returned where the body of a record, whose checksum is right,
// does not have the layout that its kind has in this version.
var ErrMalformed = errors.New("malformed WAL record")

// EndKind tells the ends of the log apart.
type EndKind uint8

const (
	// EndClean: zeros, or the page or record of an older use of the segment.
	EndClean EndKind = iota + 1
	// EndDamaged: something was written here that is not a valid record. That
	// includes the last record of a server that crashed while writing it.
	EndDamaged
	// EndMissing: the segment is not there.
	EndMissing
)

// String names the kind in a word.
func (k EndKind) String() string {
	switch k {
	case EndClean:
		return "clean"
	case EndDamaged:
		return "damaged"
	case EndMissing:
		return "missing"
	}
	return fmt.Sprintf("EndKind(%d)", uint8(k))
}

// EndError says where and why the log cannot be read on.
type EndError struct {
	// LSN is the end of what could be read: where the next record would begin.
	LSN pg.LSN
	// At is where the obstacle lies: LSN, or a later page where a record that
	// begins at LSN is broken off. It may lie in a later segment than LSN.
	At   pg.LSN
	Kind EndKind
	// Reason says in words what was found.
	Reason string
	// Err is the cause where there is one, such as fs.ErrNotExist.
	Err error
}

// Error prints kind, position and reason.
func (e *EndError) Error() string {
	s := fmt.Sprintf("%s at %s: %s", e.sentinel(), e.LSN, e.Reason)
	if e.At != e.LSN && e.At != 0 {
		s += " (at " + e.At.String() + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches the sentinel of the kind.
func (e *EndError) Is(target error) bool { return target == e.sentinel() }

// Unwrap gives the cause.
func (e *EndError) Unwrap() error { return e.Err }

func (e *EndError) sentinel() error {
	switch e.Kind {
	case EndClean:
		return ErrEndOfWAL
	case EndMissing:
		return ErrMissing
	}
	return ErrDamaged
}

// end makes an EndError whose LSN Reader.Next fills in.
func end(kind EndKind, at pg.LSN, format string, args ...any) *EndError {
	return &EndError{At: at, Kind: kind, Reason: fmt.Sprintf(format, args...)}
}
