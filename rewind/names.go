package rewind

import "fmt"

// Where the engine keeps its own files, relative to PGDATA. PostgreSQL knows
// neither: the journal directory is none of its own, and in pg_wal it looks
// only at names that are segments or histories.
const (
	// JournalDir holds the journal and the target's control file while a rewind is under way.
	JournalDir = "failback_hook.journal"
	// walDir holds the WAL files that were moved aside and those that wait to
	// be moved in. It is inside pg_wal, not in JournalDir, so that moving is a
	// rename also where pg_wal is a link to another file system.
	walDir     = "pg_wal/failback_hook"
	asideDir   = walDir + "/aside"
	stagedDir  = walDir + "/staged"
	controlRel = "global/pg_control"
)

// In the journal directory.
const (
	// journalControl is the target's own control file while the journal has it.
	journalControl = JournalDir + "/pg_control"
	// newControl is that of a finished run which is being undone.
	newControl = JournalDir + "/pg_control.new"
	// reserve takes up some room that an undo on a full disk needs.
	reserve     = JournalDir + "/reserve"
	reserveSize = 64 << 10
	// unpublished is a small file before it gets its place.
	unpublished = JournalDir + "/unpublished"
)

var actionNames = [...]string{"", "symlink", "mkdir", "copy", "tail", "blocks", "truncate", "remove"}

// String gives the action's name in lower case: "copy".
func (a Action) String() string {
	if int(a) < len(actionNames) && a > 0 {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText makes JSON carry the name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the name.
func (a *Action) UnmarshalText(b []byte) error {
	for i, n := range actionNames {
		if i > 0 && n == string(b) {
			*a = Action(i)
			return nil
		}
	}
	return fmt.Errorf("read action: unknown name %q", b)
}

var kindNames = [...]string{"", "file", "directory", "link", "other"}

// String gives the kind's name: "file".
func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText makes JSON carry the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name.
func (k *Kind) UnmarshalText(b []byte) error {
	for i, n := range kindNames {
		if i > 0 && n == string(b) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("read kind of file: unknown name %q", b)
}
