package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/failback-hook/failback-hook/rewind"
)

// List calls fn for every entry, a directory before what lies in it; see
// rewind.Source. Links other than a linked pg_wal and those of tablespaces are
// reported as links and not followed.
func (d *Dir) List(ctx context.Context, fn func(rewind.File) error) error {
	pending := []string{""}
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		below, err := d.listOne(ctx, dir, fn)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != "":
			continue // went away
		case errors.Is(err, errUnreadable) && !needed(dir):
			continue
		case err != nil:
			return err
		}
		pending = append(pending, below...)
	}
	return ctx.Err()
}

// errUnreadable marks errors of opening a directory, as against those of fn.
var errUnreadable = errors.New("the directory cannot be read")

// listOne hands over the entries of a directory and returns those to go into.
func (d *Dir) listOne(ctx context.Context, dir string, fn func(rewind.File) error) ([]string, error) {
	f, err := d.openDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &rewind.Error{Op: "list files of the source", Path: dir,
			Err: errors.Join(rewind.ErrSourcePrivilege, errUnreadable, err)}
	}
	if err != nil {
		return nil, fileError("list files of the source", dir, err)
	}
	defer f.Close()
	var below []string
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			file, ok, err := d.file(dir, e)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			if d.goInto(file) {
				below = append(below, file.Path)
			}
			if err := fn(file); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			return below, nil
		}
		if err != nil {
			return nil, fileError("list files of the source", dir, err)
		}
	}
}

// goInto tells whether to list what lies below an entry.
func (d *Dir) goInto(f rewind.File) bool {
	_, isTablespace := tablespace(f.Path)
	return (f.Kind == rewind.KindDir || f.Kind == rewind.KindLink && isTablespace) && descend(f.Path, d.ForeignDirs)
}

func (d *Dir) openDir(dir string) (*os.File, error) {
	if dir == "" {
		return d.data.Open(".")
	}
	root, name, err := d.locate(dir)
	if err != nil {
		return nil, err
	}
	return root.Open(name)
}

// file describes one entry; it is not ok when it has gone away meanwhile.
func (d *Dir) file(dir string, e fs.DirEntry) (f rewind.File, ok bool, err error) {
	path := join(dir, e.Name())
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		// Readable but not searchable: its name is all that can be said of it.
		return rewind.File{Path: path, Kind: rewind.KindOther}, true, nil
	}
	f = rewind.File{Path: path, Mode: info.Mode().Perm()}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		f.Kind, f.Size = rewind.KindFile, info.Size()
	case mode.IsDir():
		f.Kind = rewind.KindDir
	case mode&fs.ModeSymlink != 0 && path == "pg_wal":
		f.Kind = rewind.KindDir
	case mode&fs.ModeSymlink != 0:
		f.Kind = rewind.KindLink
		if f.Link, err = d.readlink(path); errors.Is(err, fs.ErrNotExist) {
			return f, false, nil
		} else if err != nil {
			return f, false, fileError("read link", path, err)
		}
	default:
		f.Kind = rewind.KindOther
	}
	return f, true, nil
}

// readlink gives an absolute target for the link of a tablespace.
func (d *Dir) readlink(path string) (string, error) {
	if oid, ok := tablespace(path); ok {
		target, err := d.data.Readlink("pg_tblspc/" + oid)
		if err == nil && !filepath.IsAbs(target) {
			target = filepath.Join(d.path, "pg_tblspc", target)
		}
		return target, err
	}
	root, name, err := d.locate(path)
	if err != nil {
		return "", err
	}
	return root.Readlink(name)
}
