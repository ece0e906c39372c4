package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncDir makes the entries of a directory durable: files that were made,
// renamed or removed in it. (It syncs a file just as well.)
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// Rename moves a file, replacing what has the new name, so that after a crash
// it is found whole under one of the two names: content first, then the names.
// A directory is moved as well; what lies in it is not synced.
func Rename(oldPath, newPath string) error {
	if err := SyncDir(oldPath); err != nil {
		return fmt.Errorf("rename %s: %w", oldPath, err)
	}
	if err := os.Rename(oldPath, newPath); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	to, from := filepath.Dir(newPath), filepath.Dir(oldPath)
	err := SyncDir(to)
	if err == nil && from != to {
		err = SyncDir(from)
	}
	if err != nil {
		return fmt.Errorf("rename %s: %w", oldPath, err)
	}
	return nil
}

// WriteFile puts a file with this content and these permissions in place, so
// that after a crash there is either what was there before or all of the new.
// The new file is written beside it as path + ".tmp"; one that a crash left
// behind is replaced. When it fails after the exchange, in the last sync, the
// new content is in place but not known to be durable.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return WriteFileBy(path+".tmp", path, data, mode)
}

// WriteFileBy is WriteFile by way of a file elsewhere on the same file system,
// for where nothing else may be left behind beside path.
func WriteFileBy(tmp, path string, data []byte, mode fs.FileMode) error {
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write file %s: %w", path, err)
	}
	if err := writeNew(tmp, data, mode); err != nil {
		return fmt.Errorf("write file %s: %w", path, errors.Join(err, removeLeft(tmp)))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write file %s: %w", path, errors.Join(err, removeLeft(tmp)))
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write file %s: %w", path, err)
	}
	return nil
}

// writeNew writes and syncs a file that must not be there yet.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask says
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeLeft(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
