package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// fileName is the journal's file in its directory.
const fileName = "journal"

// ErrNotFound: there is no journal in the directory. It matches fs.ErrNotExist.
var ErrNotFound = fmt.Errorf("there is no journal: %w", fs.ErrNotExist)

// ErrReadOnly: the journal was opened by OpenReadOnly.
var ErrReadOnly = errors.New("the journal was opened for reading")

// Journal is an open journal.
type Journal struct {
	mu       sync.Mutex
	file     *os.File
	salt     uint64
	readOnly bool
	// end is the offset behind the last record; -1 until it was looked for.
	end int64
	// synced is up to where the file is known to be on disk.
	synced int64
	// torn: there are bytes behind end.
	torn bool
	// broken is the error after which the state of the file is not known.
	broken error
}

// Create makes the directory, with the given permissions, unless it is there
// (its parent has to be), and a journal without records in it. Both are durable
// when it returns. A journal that is there already is an error that matches
// fs.ErrExist.
func Create(dir string, mode fs.FileMode) (*Journal, error) {
	path := filepath.Join(dir, fileName)
	if err := makeDir(dir, mode); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return nil, fmt.Errorf("create journal: %w", err)
	}
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	// By renaming: a crash leaves either no journal or a whole header.
	if err := WriteFile(path, encodeFileHeader(binary.LittleEndian.Uint64(salt[:])), mode&0o666); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return Open(dir)
}

// makeDir makes a directory that survives a crash.
func makeDir(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask says
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

// Open opens the journal in a directory, for reading and for more records.
// Errors: ErrNotFound, ErrDamaged, ErrNewerFormat.
func Open(dir string) (*Journal, error) { return open(dir, os.O_RDWR) }

// OpenReadOnly is Open for looking only: nothing of it is ever changed.
func OpenReadOnly(dir string) (*Journal, error) { return open(dir, os.O_RDONLY) }

func open(dir string, flag int) (*Journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileName), flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal in %s: %w", dir, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: f, readOnly: flag == os.O_RDONLY, end: -1, synced: fileHeaderSize}
	if err := j.readHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal in %s: %w", dir, err), f.Close())
	}
	return j, nil
}

func (j *Journal) readHeader() error {
	size, err := j.size()
	if err != nil {
		return err
	}
	b := make([]byte, min(size, fileHeaderSize))
	if err := readFull(j.file, b, 0); err != nil {
		return err
	}
	j.salt, err = decodeFileHeader(b)
	return err
}

func (j *Journal) size() (int64, error) {
	st, err := j.file.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	return st.Size(), nil
}

// Records calls fn with each record, in the order in which they were appended.
// The payload is fn's to keep. An error of fn ends it and is returned as it is.
// Damage is found before the first call.
func (j *Journal) Records(fn func(kind uint16, payload []byte) error) error {
	if err := j.findEnd(); err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	for at := int64(fileHeaderSize); at < j.end; {
		f, err := readFrame(j.file, j.end, j.salt, at)
		if errors.Is(err, errNoFrame) {
			err = fmt.Errorf("%w: it changed while it was read, at offset %d", ErrDamaged, at)
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if f.kind != kindSynced {
			if err := fn(f.kind, f.payload); err != nil {
				return err
			}
		}
		at = f.end
	}
	return nil
}

// findEnd looks for the end of the last record, once.
func (j *Journal) findEnd() error {
	if j.end >= 0 {
		return nil
	}
	size, err := j.size()
	if err != nil {
		return err
	}
	at := int64(fileHeaderSize)
	for at < size {
		f, err := readFrame(j.file, size, j.salt, at)
		if errors.Is(err, errNoFrame) {
			break
		}
		if err != nil {
			return err
		}
		at = f.end
	}
	if at < size {
		if err := j.checkTail(at, size); err != nil {
			return err
		}
	}
	j.end, j.torn = at, at < size
	return nil
}

// checkTail tells a torn end from damage: it looks for a frame behind the
// unreadable one that was written when that one had already been synced. The
// unreadable one's length cannot be trusted, so every offset is tried; frames
// are bound to their offset, so none appears by chance. The work is bounded:
// a tail on which it takes too long is not what a crash leaves behind.
func (j *Journal) checkTail(bad, size int64) error {
	budget := 16*(size-bad) + 16*MaxPayload
	window := make([]byte, 1<<20)
	for base := bad + 1; size-base >= frameHeaderSize+frameSumSize; {
		n := min(size-base, int64(len(window)))
		if err := readFull(j.file, window[:n], base); err != nil {
			return err
		}
		steps := n - frameHeaderSize + 1
		for i := range steps {
			head := window[i : i+frameHeaderSize]
			length, at := int64(binary.LittleEndian.Uint32(head)), base+i
			synced := int64(binary.LittleEndian.Uint64(head[8:]))
			if synced <= bad || synced > at || length > MaxPayload || head[6]|head[7] != 0 {
				continue
			}
			if budget -= length; budget < 0 {
				return fmt.Errorf("%w: at offset %d, and what follows cannot be made out", ErrDamaged, bad)
			}
			_, err := readFrame(j.file, size, j.salt, at)
			if err == nil {
				return fmt.Errorf("%w: at offset %d, and there is a good record behind it at %d", ErrDamaged, bad, at)
			}
			if !errors.Is(err, errNoFrame) {
				return err
			}
		}
		base += steps
	}
	return nil
}

// Append adds a record of any kind but 65535; it is durable after the next Sync.
// When it fails, the records before it are as they were, and it may be called
// again.
func (j *Journal) Append(kind uint16, payload []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.broken
	if err == nil && kind == kindSynced {
		err = fmt.Errorf("kind %d is reserved", kind)
	}
	if err == nil {
		err = j.append(kind, payload)
	}
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	return nil
}

func (j *Journal) append(kind uint16, payload []byte) error {
	switch {
	case j.readOnly:
		return ErrReadOnly
	case len(payload) > MaxPayload:
		return fmt.Errorf("payload of %d bytes, more than %d", len(payload), MaxPayload)
	}
	if err := j.findEnd(); err != nil {
		return err
	}
	if j.torn {
		if err := j.file.Truncate(j.end); err != nil {
			return err
		}
		j.torn = false
	}
	b := encodeFrame(j.salt, j.end, kind, j.synced, payload)
	j.torn = true // until all of it is written
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return err
	}
	j.torn = false
	j.end += int64(len(b))
	return nil
}

// Sync makes all records durable. After an error the journal accepts nothing
// more: the kernel may have dropped what it could not write, and a second sync
// would not know.
func (j *Journal) Sync() error {
	if j.readOnly {
		return fmt.Errorf("sync journal: %w", ErrReadOnly)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return fmt.Errorf("sync journal: %w", j.broken)
	}
	end := j.end
	j.mu.Unlock()
	err := j.file.Sync()
	j.mu.Lock()
	if err != nil {
		j.broken = fmt.Errorf("an earlier sync failed: %w", err)
		return fmt.Errorf("sync journal: %w", err)
	}
	if end > j.synced {
		j.synced = end
		// The records are durable whether or not the proof finds room.
		_ = j.append(kindSynced, nil)
	}
	return nil
}

// Close closes the file, without a sync.
func (j *Journal) Close() error {
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
