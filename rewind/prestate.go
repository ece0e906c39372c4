package rewind

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// preState is what lay at one path before the first change to it: all that is
// needed to tell what undoing has to do there. It is in the journal, and
// durable, before anything happens to the path.
type preState struct {
	Path string `json:"path"`
	// Kind is zero where nothing was.
	Kind Kind `json:"kind,omitempty"`
	// Size, Mode and Time (of the last modification) of a file; Mode of a directory.
	Size int64       `json:"size,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"`
	Time time.Time   `json:"time,omitzero"`
	// Link is where a link pointed to.
	Link string `json:"link,omitempty"`
	// Saved is where a file goes that is replaced or removed.
	Saved string `json:"saved,omitempty"`
	// Outside are directories outside PGDATA that are made for the link of a new
	// tablespace, outermost first.
	Outside []string `json:"outside,omitempty"`
}

// preStateJSON is a preState as the journal has it: JSON has no strings that are
// not UTF-8, and would give back another name than it was given. Saved is a name
// of ours, or one of a WAL file.
type preStateJSON struct {
	preStateFields
	// Bytes of Path and Link, where those are not UTF-8.
	PathBytes []byte `json:"path_bytes,omitempty"`
	LinkBytes []byte `json:"link_bytes,omitempty"`
}

// preStateFields is a preState without its methods.
type preStateFields preState

// MarshalJSON implements json.Marshaler.
func (s preState) MarshalJSON() ([]byte, error) {
	j := preStateJSON{preStateFields: preStateFields(s)}
	if !utf8.ValidString(s.Path) {
		j.PathBytes = []byte(s.Path)
	}
	if !utf8.ValidString(s.Link) {
		j.LinkBytes = []byte(s.Link)
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *preState) UnmarshalJSON(b []byte) error {
	var j preStateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*s = preState(j.preStateFields)
	if j.PathBytes != nil {
		s.Path = string(j.PathBytes)
	}
	if j.LinkBytes != nil {
		s.Link = string(j.LinkBytes)
	}
	return nil
}

// Where files are kept that were replaced or removed, so that they can be given
// back. They are moved, not copied, so each file system has a place of its own:
// what lies in a tablespace is kept in the tablespace's directory, beside the
// one that bears the server's version, where the server does not look.
const (
	undoDir = JournalDir + "/undo"
	// spaceUndoDir is the name of that place in a tablespace.
	spaceUndoDir = "failback_hook.undo"
)

// ours tells whether a path, here or at the source, is the engine's own.
func ours(p string) bool {
	if p == JournalDir || strings.HasPrefix(p, JournalDir+"/") || p == walDir || strings.HasPrefix(p, walDir+"/") {
		return true
	}
	rest, ok := strings.CutPrefix(p, "pg_tblspc/")
	if !ok {
		return false
	}
	_, rest, _ = strings.Cut(rest, "/")
	return rest == spaceUndoDir || strings.HasPrefix(rest, spaceUndoDir+"/")
}

// savedPath is where the n-th file that is kept goes.
func (t *target) savedPath(p string, n int) string {
	m, _ := t.at(p)
	if strings.HasPrefix(m.prefix, "pg_tblspc/") {
		return m.prefix + "/" + spaceUndoDir + "/" + strconv.Itoa(n)
	}
	return undoDir + "/" + strconv.Itoa(n)
}

// preStateOf looks at what lies at p now.
func (t *target) preStateOf(p string) (preState, error) {
	s := preState{Path: p}
	m, name := t.at(p)
	if p == m.prefix && p != "" { // the link itself, not what it leads to
		m, name = t.mounts[len(t.mounts)-1], p
	}
	fi, err := m.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, &Error{Op: "look at", Path: p, Err: err}
	}
	s.Mode, s.Time = fi.Mode().Perm(), fi.ModTime()
	switch {
	case fi.Mode().IsRegular():
		s.Kind, s.Size = KindFile, fi.Size()
	case fi.IsDir():
		s.Kind = KindDir
	case fi.Mode()&fs.ModeSymlink != 0:
		s.Kind = KindLink
		if s.Link, err = m.root.Readlink(name); err != nil {
			return s, &Error{Op: "read link", Path: p, Err: err}
		}
	default:
		s.Kind = KindOther
	}
	return s, nil
}

// spaces are the links of the tablespaces that the plan makes, and where they lead.
func (p *Plan) spaces() map[string]string {
	out := map[string]string{}
	for i := range p.Entries {
		if e := &p.Entries[i]; e.Action == ActionSymlink && path.Dir(e.Path) == "pg_tblspc" {
			out[e.Path] = e.Link
		}
	}
	return out
}

// missingDirs are the directories that making dir would make, outermost first.
func missingDirs(dir string) []string {
	if !filepath.IsAbs(dir) {
		return nil
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return append(missingDirs(filepath.Dir(dir)), dir)
}

// touchedPaths are the paths that carrying out the plan changes, in no order.
func (p *Plan) touchedPaths() []string {
	// What finish writes, or removes.
	out := []string{"backup_label", autoConf, standbySignal, recoverySignal}
	for i := range p.Entries {
		out = append(out, p.Entries[i].Path)
	}
	out = append(out, p.WAL.SetAside...)
	return append(out, p.WAL.in()...)
}

// in are the files that are moved into pg_wal.
func (w *WALPlan) in() []string {
	var out []string
	out = append(out, w.Restore...)
	for _, f := range w.Fetch {
		out = append(out, f.Path)
	}
	if w.Trim != nil {
		out = append(out, w.Trim.Path)
	}
	return out
}

// savedWAL is where a file in pg_wal goes that is replaced: aside, with all the
// others that recovery must not find, and where a later run looks for it.
func savedWAL(p string) string { return asideDir + "/" + path.Base(p) }
