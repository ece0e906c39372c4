package rewindtest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// templatesEnv names the directory in which Main keeps what initdb has made, for
// clusters that are made alike: a copy costs a tenth of an initdb.
const templatesEnv = "FAILBACK_TEST_TEMPLATES"

// fromTemplate makes the data directory from what an earlier initdb with the same
// arguments has made, under a system identifier of its own.
func (n *Node) fromTemplate(templates string) error {
	args := n.opts.initArgs("", "", n.Install.Major)
	sum := sha256.Sum256([]byte(n.Install.String() + strings.Join(args, " ")))
	template := filepath.Join(templates, fmt.Sprintf("%x", sum[:8]))
	if _, err := os.Stat(template); errors.Is(err, fs.ErrNotExist) {
		if err := n.makeTemplate(template); err != nil {
			return err
		}
	}
	if err := CopyDir(template, n.Dir); err != nil {
		return err
	}
	return setSystemID(n.Dir, rand.Uint64()>>1)
}

// makeTemplate runs initdb. Where another test was faster, that one's counts.
func (n *Node) makeTemplate(template string) error {
	part, err := os.MkdirTemp(filepath.Dir(template), "part-")
	if err != nil {
		return err
	}
	if _, err := n.run("initdb", n.opts.initArgs(part, "", n.Install.Major)...); err != nil {
		return err
	}
	if err := os.Rename(part, template); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// setSystemID makes a stopped cluster another one. The identifier is in the
// control file, under its checksum, and in the first page of each WAL segment.
func setSystemID(dir string, id uint64) error {
	name := filepath.Join(dir, "global/pg_control")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	end := endOfControl(b)
	if end < 0 {
		return fmt.Errorf("set the system identifier in %s: no checksum found", name)
	}
	old := binary.LittleEndian.Uint64(b)
	binary.LittleEndian.PutUint64(b, id)
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(dir, "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	if err != nil {
		return err
	}
	for _, s := range segments {
		if err := setSegmentID(s, old, id); err != nil {
			return err
		}
	}
	return nil
}

// endOfControl is where the checksum of a control file lies: the only place that
// holds the checksum of all before it. -1 where there is none.
func endOfControl(b []byte) int {
	table := crc32.MakeTable(crc32.Castagnoli)
	for end := 200; end+4 <= min(len(b), 512); end += 4 {
		if crc32.Checksum(b[:end], table) == binary.LittleEndian.Uint32(b[end:]) {
			return end
		}
	}
	return -1
}

// setSegmentID writes xlp_sysid of XLogLongPageHeaderData (access/xlog_internal.h).
func setSegmentID(name string, old, id uint64) error {
	const offset = 24
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 8)
	if _, err = f.ReadAt(b, offset); err == nil && binary.LittleEndian.Uint64(b) == old {
		binary.LittleEndian.PutUint64(b, id)
		_, err = f.WriteAt(b, offset)
	}
	return errors.Join(err, f.Close())
}
