package sourcetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/failback-hook/failback-hook/rewind"
)

// Mem is a source in memory. The zero value is an empty stopped directory. What
// it holds may be changed at any time, also while it is being read.
type Mem struct {
	// Before, where set, is called before anything else is done: once for each
	// call of a method, and for each range of ReadRanges and HashRanges. An
	// error of it ends the call. It may change the contents.
	Before func(Step) error

	mu    sync.Mutex
	files map[string][]byte
	links map[string]string
	dirs  map[string]bool
	state rewind.SourceState
	step  int
}

// Step is what a Mem is about to do.
type Step struct {
	// N counts the steps of a Mem from 1.
	N int
	// Method is the name of the method of rewind.Source.
	Method string
	// Range is set before a range is read or hashed; its Path alone in ReadFile.
	Range rewind.Range
}

var _ rewind.Source = (*Mem)(nil)

// NewMem makes a source that holds these files.
func NewMem(files map[string][]byte) *Mem {
	m := &Mem{state: rewind.SourceState{FullPageWrites: true}}
	for path, data := range files {
		m.Put(path, data)
	}
	return m
}

// FailAt makes the n-th step, counted from 1, fail with err.
func (m *Mem) FailAt(n int, err error) {
	m.Before = func(s Step) error {
		if s.N == n {
			return err
		}
		return nil
	}
}

// Put adds or replaces a file and the directories above it.
func (m *Mem) Put(path string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.makeDirs(parentOf(path))
	if m.files == nil {
		m.files = make(map[string][]byte)
	}
	m.files[path] = bytes.Clone(data)
	if m.files[path] == nil {
		m.files[path] = []byte{}
	}
}

// PutDir adds a directory and those above it.
func (m *Mem) PutDir(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.makeDirs(path)
}

// PutLink adds a symbolic link. Files put below its path lie where it points to.
func (m *Mem) PutLink(path, target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.makeDirs(parentOf(path))
	if m.links == nil {
		m.links = make(map[string]string)
	}
	m.links[path] = target
	delete(m.dirs, path)
}

func (m *Mem) makeDirs(path string) {
	if m.dirs == nil {
		m.dirs = make(map[string]bool)
	}
	for ; path != ""; path = parentOf(path) {
		if _, link := m.links[path]; !link {
			m.dirs[path] = true
		}
	}
}

// Remove takes away a file, link or directory, and what lies below it.
func (m *Mem) Remove(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	below := func(p string) bool { return p == path || strings.HasPrefix(p, path+"/") }
	maps.DeleteFunc(m.files, func(p string, _ []byte) bool { return below(p) })
	maps.DeleteFunc(m.links, func(p, _ string) bool { return below(p) })
	maps.DeleteFunc(m.dirs, func(p string, _ bool) bool { return below(p) })
}

// SetState sets what State answers.
func (m *Mem) SetState(s rewind.SourceState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

// Load replaces the contents by those of a data directory, links to
// tablespaces and a linked pg_wal included. What cannot be read is left out.
func (m *Mem) Load(dir string) error {
	m.mu.Lock()
	m.files, m.links, m.dirs = nil, nil, nil
	m.mu.Unlock()
	return m.load(dir, "")
}

func (m *Mem) load(dir, path string) error {
	entries, err := os.ReadDir(filepath.Join(dir, path))
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		below, full := filepath.Join(path, e.Name()), filepath.Join(dir, path, e.Name())
		followed := path == "pg_tblspc" || below == "pg_wal"
		switch {
		case e.IsDir(), followed && e.Type()&fs.ModeSymlink != 0:
			if target, err := os.Readlink(full); err == nil && path == "pg_tblspc" {
				m.PutLink(below, target)
			} else {
				m.PutDir(below)
			}
			err = m.load(dir, below)
		case e.Type()&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(full); err == nil {
				m.PutLink(below, target)
			}
		case e.Type().IsRegular():
			var data []byte
			if data, err = os.ReadFile(full); err == nil {
				m.Put(below, data)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// begin counts a step and asks Before and the context.
func (m *Mem) begin(ctx context.Context, method string, r rewind.Range) error {
	m.mu.Lock()
	m.step++
	n, before := m.step, m.Before
	m.mu.Unlock()
	if before != nil {
		if err := before(Step{N: n, Method: method, Range: r}); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Close does nothing.
func (m *Mem) Close() error { return nil }

// State returns what SetState set.
func (m *Mem) State(ctx context.Context) (rewind.SourceState, error) {
	if err := m.begin(ctx, "State", rewind.Range{}); err != nil {
		return rewind.SourceState{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

// List lists in the order of paths, as they were when it was called. As the
// real sources do, it leaves out what lies below foreign directories.
func (m *Mem) List(ctx context.Context, fn func(rewind.File) error) error {
	if err := m.begin(ctx, "List", rewind.Range{}); err != nil {
		return err
	}
	m.mu.Lock()
	var files []rewind.File
	for path, data := range m.files {
		files = append(files, rewind.File{Path: path, Kind: rewind.KindFile, Size: int64(len(data)), Mode: 0o600})
	}
	for path, target := range m.links {
		files = append(files, rewind.File{Path: path, Kind: rewind.KindLink, Link: target})
	}
	for path := range m.dirs {
		files = append(files, rewind.File{Path: path, Kind: rewind.KindDir, Mode: 0o700})
	}
	m.mu.Unlock()
	slices.SortFunc(files, func(a, b rewind.File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if top, _, below := strings.Cut(f.Path, "/"); below && top != "base" && top != "global" && !strings.HasPrefix(top, "pg_") {
			continue
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ReadFile returns a copy of a file.
func (m *Mem) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if err := m.begin(ctx, "ReadFile", rewind.Range{Path: path}); err != nil {
		return nil, err
	}
	if !validPath(path) {
		return nil, &rewind.Error{Op: "check file name", Path: path, Err: rewind.ErrDamaged}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[path]
	switch {
	case !ok && m.dirs[path]:
		return nil, &rewind.Error{Op: "read file", Path: path, Err: errors.New("is a directory")}
	case !ok:
		return nil, &rewind.Error{Op: "read file", Path: path, Err: fs.ErrNotExist}
	case len(data) > 64<<20:
		return nil, &rewind.Error{Op: "read file", Path: path, Err: errors.New("is larger than 64 MiB")}
	}
	return append([]byte{}, data...), nil
}

// ReadRanges reads ranges.
func (m *Mem) ReadRanges(ctx context.Context, ranges []rewind.Range, fn func(rewind.Chunk) error) error {
	return m.each(ctx, "ReadRanges", ranges, fn)
}

// HashRanges hashes ranges.
func (m *Mem) HashRanges(ctx context.Context, ranges []rewind.Range) ([]rewind.Sum, error) {
	var sums []rewind.Sum
	err := m.each(ctx, "HashRanges", ranges, func(c rewind.Chunk) error {
		sum := rewind.Sum{Missing: c.Missing}
		if !c.Missing {
			sum.SHA256 = sha256.Sum256(c.Data)
		}
		sums = append(sums, sum)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

func (m *Mem) each(ctx context.Context, method string, ranges []rewind.Range, fn func(rewind.Chunk) error) error {
	if err := m.begin(ctx, method, rewind.Range{}); err != nil {
		return err
	}
	for _, r := range ranges {
		if !validPath(r.Path) || r.Offset < 0 || r.Length < 0 || r.Length > rewind.MaxRange {
			return &rewind.Error{Op: "check range", Path: r.Path, Err: fmt.Errorf("offset %d, length %d", r.Offset, r.Length)}
		}
	}
	for _, r := range ranges {
		if err := m.begin(ctx, method, r); err != nil {
			return err
		}
		if err := fn(m.chunk(r)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) chunk(r rewind.Range) rewind.Chunk {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[r.Path]
	from := min(r.Offset, int64(len(data)))
	to := min(from+r.Length, int64(len(data)))
	return rewind.Chunk{Range: r, Data: bytes.Clone(data[from:to]), Missing: !ok}
}

// validPath tells whether a path stays inside of a data directory.
func validPath(path string) bool {
	return !strings.Contains(path, "\x00") && path != "." && filepath.IsLocal(path) && filepath.Clean(path) == path
}
