package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/failback-hook/failback-hook/rewind"
)

// Dir is a stopped data directory as a source. It is read and never written.
type Dir struct {
	// ForeignDirs makes List go below directories of the top level that are
	// not PostgreSQL's own, as the field of SQLConfig does. To be set before
	// the first call.
	ForeignDirs bool

	path string
	data *os.Root

	mu     sync.Mutex
	mounts map[string]*os.Root // of links: "pg_wal", "pg_tblspc/<oid>"
}

var _ rewind.Source = (*Dir)(nil)

// OpenDir opens a data directory. One on which a server runs is refused with
// rewind.ErrTargetRunning, one that is none with rewind.ErrNotDataDir. Whether
// the server was stopped cleanly is for the reader of pg_control to judge.
func OpenDir(path string) (*Dir, error) {
	const op = "open source data directory"
	data, err := os.OpenRoot(path)
	if err != nil {
		return nil, &rewind.Error{Op: op, Path: path, Err: &kindError{rewind.ErrNotDataDir, err}}
	}
	d := &Dir{path: path, data: data, mounts: make(map[string]*os.Root)}
	for _, name := range []string{"PG_VERSION", "global", "pg_wal"} {
		if _, err := data.Lstat(name); err != nil {
			_ = d.Close()
			return nil, &rewind.Error{Op: op, Path: path, Err: &kindError{rewind.ErrNotDataDir, err}}
		}
	}
	if err := refuseRunning(path); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// LocalDir is the directory; see rewind.Engine, which asks for it so as not to
// write where the source lies.
func (d *Dir) LocalDir() string { return d.path }

// Close closes the directories.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.data.Close()
	for _, root := range d.mounts {
		err = errors.Join(err, root.Close())
	}
	clear(d.mounts)
	return err
}

// State tells a standby by its signal files. Nothing writes to the directory,
// so that full_page_writes does not matter and counts as on.
func (d *Dir) State(ctx context.Context) (rewind.SourceState, error) {
	state := rewind.SourceState{FullPageWrites: true}
	if ctx.Err() != nil {
		return state, context.Cause(ctx)
	}
	if err := refuseRunning(d.path); err != nil {
		return state, err
	}
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		_, err := d.data.Lstat(name)
		if err == nil {
			state.InRecovery = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return state, fileError("look for signal file", name, err)
		}
	}
	return state, nil
}

// ReadFile returns a whole file of at most 64 MiB; fs.ErrNotExist if missing.
func (d *Dir) ReadFile(ctx context.Context, path string) ([]byte, error) {
	const op = "read file of the source"
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := d.open(path)
	if err != nil {
		return nil, fileError(op, path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errTooLarge
	}
	if err != nil {
		return nil, fileError(op, path, err)
	}
	return data, nil
}

// ReadRanges reads ranges; see rewind.Source.
func (d *Dir) ReadRanges(ctx context.Context, ranges []rewind.Range, fn func(rewind.Chunk) error) error {
	if err := checkRanges(ranges); err != nil {
		return err
	}
	r := reader{dir: d}
	defer r.close()
	for _, want := range ranges {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data, missing, err := r.read(want)
		if err != nil {
			return fileError("read blocks of the source", want.Path, err)
		}
		if err := fn(rewind.Chunk{Range: want, Data: data, Missing: missing}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// HashRanges hashes ranges; see rewind.Source.
func (d *Dir) HashRanges(ctx context.Context, ranges []rewind.Range) ([]rewind.Sum, error) {
	sums := make([]rewind.Sum, 0, len(ranges))
	err := d.ReadRanges(ctx, ranges, func(c rewind.Chunk) error {
		if c.Missing {
			sums = append(sums, rewind.Sum{Missing: true})
			return nil
		}
		sums = append(sums, rewind.Sum{SHA256: sha256.Sum256(c.Data)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

// reader keeps the file of the last range open, since ranges come by file.
type reader struct {
	dir  *Dir
	path string
	file *os.File
	buf  []byte
}

func (r *reader) read(want rewind.Range) (data []byte, missing bool, err error) {
	if r.file == nil || r.path != want.Path {
		r.close()
		f, err := r.dir.open(want.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		r.file, r.path = f, want.Path
	}
	if int64(cap(r.buf)) < want.Length {
		r.buf = make([]byte, want.Length)
	}
	n, err := r.file.ReadAt(r.buf[:want.Length], want.Offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return r.buf[:n], false, err
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close() // opened for reading
		r.file = nil
	}
}

// open opens a regular file. A pipe must not block, so that nothing else is
// opened for good.
func (d *Dir) open(path string) (*os.File, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	root, name, err := d.locate(path)
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// locate finds the root that a path lies in, and its name there: a linked
// pg_wal and tablespaces have roots of their own, since os.Root follows no link
// that leads out of it.
func (d *Dir) locate(path string) (*os.Root, string, error) {
	mount, rest := "", ""
	parts := strings.SplitN(path, "/", 3)
	switch {
	case parts[0] == "pg_wal":
		mount, rest = "pg_wal", strings.TrimPrefix(strings.TrimPrefix(path, "pg_wal"), "/")
	case len(parts) > 1 && parts[0] == "pg_tblspc" && digits(parts[1]):
		mount = "pg_tblspc/" + parts[1]
		if len(parts) == 3 {
			rest = parts[2]
		}
	default:
		return d.data, path, nil
	}
	target, err := d.data.Readlink(mount)
	if errors.Is(err, syscall.EINVAL) {
		return d.data, path, nil // no link: in-place tablespace, plain pg_wal
	}
	if err != nil {
		return nil, "", err
	}
	root, err := d.mount(mount, target)
	if rest == "" {
		rest = "."
	}
	return root, rest, err
}

// mount opens the directory that a link points to, once.
func (d *Dir) mount(name, target string) (*os.Root, error) {
	if !filepath.IsAbs(target) {
		target = filepath.Join(d.path, filepath.Dir(filepath.FromSlash(name)), target)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if root, ok := d.mounts[name]; ok {
		return root, nil
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return nil, fmt.Errorf("follow link to %q: %w", target, err)
	}
	d.mounts[name] = root
	return root, nil
}

// fileError sorts the errors of local files.
func fileError(op, path string, err error) error {
	if _, ok := errors.AsType[*rewind.Error](err); ok {
		return err
	}
	advice := ""
	if errors.Is(err, fs.ErrPermission) {
		err = &kindError{rewind.ErrSourcePrivilege, err}
		advice = "run as the user that owns the data directory"
	}
	return &rewind.Error{Op: op, Path: path, Advice: advice, Err: err}
}
