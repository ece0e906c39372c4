package pgcontrol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// FileSize is the length of a control file in bytes (PG_CONTROL_FILE_SIZE). The
// fields take less than 300 of them, so that one sector holds them all.
const FileSize = 8192

// What can be wrong with a control file, for errors.Is.
var (
	// ErrSize: not FileSize bytes.
	ErrSize = errors.New("wrong size")
	// ErrCRC: the checksum does not match. A running server may have been
	// writing the file at that moment: read it again.
	ErrCRC = errors.New("checksum mismatch")
	// ErrVersion: a version or architecture that is not known here.
	ErrVersion = errors.New("unsupported version")
	// ErrField: a field holds what no server writes.
	ErrField = errors.New("impossible value")
)

// Control is the content of a control file.
type Control struct {
	SystemIdentifier pg.SystemID
	// PGControlVersion and CatalogVersionNo together tell the major; see Major.
	PGControlVersion, CatalogVersionNo uint32

	State State
	// Time is when the file was last written, in whole seconds, UTC.
	Time time.Time
	// CheckPoint is the position of the last checkpoint record, CheckPointCopy
	// what it says.
	CheckPoint     pg.LSN
	CheckPointCopy Checkpoint
	UnloggedLSN    pg.LSN

	// MinRecoveryPoint is how far a standby must replay before its files are
	// consistent; zero on a primary.
	MinRecoveryPoint    pg.LSN
	MinRecoveryPointTLI pg.Timeline
	// BackupStartPoint, BackupEndPoint and BackupEndRequired belong to a base
	// backup that has not been replayed to its end.
	BackupStartPoint, BackupEndPoint pg.LSN
	BackupEndRequired                bool

	// The settings that a standby's own must not be lower than.
	WALLevel             WALLevel
	WALLogHints          bool
	MaxConnections       int32
	MaxWorkerProcesses   int32
	MaxWALSenders        int32
	MaxPreparedXacts     int32
	MaxLocksPerXact      int32
	TrackCommitTimestamp bool

	MaxAlign    uint32
	FloatFormat float64
	// BlockSize is that of relations and WALBlockSize that of WAL pages, in
	// bytes; RelSegSize is in blocks; WALSegSize in bytes.
	BlockSize, RelSegSize, WALBlockSize, WALSegSize uint32
	NameDataLen, IndexMaxKeys                       uint32
	ToastMaxChunkSize, LOBlockSize                  uint32
	Float8ByVal                                     bool
	// DataChecksumVersion is zero without data checksums.
	DataChecksumVersion uint32
	// DefaultCharSignedness is known from 18 on, and false before.
	DefaultCharSignedness bool
	MockAuthNonce         [32]byte

	// raw is the file as it was read.
	raw []byte
}

// Parse reads a control file. Errors are ErrSize, ErrCRC, ErrVersion or
// ErrField; only after ErrCRC can reading the file again help.
func Parse(b []byte) (*Control, error) {
	if len(b) != FileSize {
		return nil, fmt.Errorf("parse control file: %w: %d bytes instead of %d", ErrSize, len(b), FileSize)
	}
	l, err := identify(b)
	if err != nil {
		return nil, fmt.Errorf("parse control file: %w", err)
	}
	c := read(b, l)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("parse control file: %w", err)
	}
	c.raw = bytes.Clone(b)
	return c, nil
}

// identify finds the layout of a file. The version says where the checksum is,
// but may be believed only if the checksum is right: so all places where one
// can be are tried. Where none is right the file is damaged, unless it begins
// as one of a release does whose layout nobody here knows.
func identify(b image) (layout, error) {
	for _, l := range layouts() {
		if b.u32(l.crc) != checksum(b, l) {
			continue
		}
		found, known := layoutOf(b.u32(l.pgControlVersion))
		if known && found.crc != l.crc {
			continue
		}
		if _, err := pg.MajorOf(b.u32(l.pgControlVersion), b.u32(l.catalogVersionNo)); err != nil {
			return layout{}, versionError(b, l)
		}
		return found, nil
	}
	l := layouts()[0]
	version := b.u32(l.pgControlVersion)
	_, known := layoutOf(version)
	swapped := binary.BigEndian.Uint32(b[l.pgControlVersion:])
	if !known && (plausibleVersion(version) || plausibleVersion(swapped)) {
		return layout{}, versionError(b, l)
	}
	return layout{}, ErrCRC
}

// plausibleVersion tells whether a number can be the control file version of
// some release: they have been three or four digits since 7.4.
func plausibleVersion(v uint32) bool { return v >= 70 && v < 10000 }

func versionError(b image, l layout) error {
	version, catalog := b.u32(l.pgControlVersion), b.u32(l.catalogVersionNo)
	return fmt.Errorf("%w: control file version %d with catalog version %d; PostgreSQL %d to %d on little-endian 64-bit machines are supported",
		ErrVersion, version, catalog, pg.OldestMajor, pg.NewestMajor)
}

// checksum is CRC-32C over everything before the place of the checksum.
func checksum(b []byte, l layout) uint32 {
	return crc32.Checksum(b[:l.crc], crc32.MakeTable(crc32.Castagnoli))
}

func read(b image, l layout) *Control {
	c := &Control{
		SystemIdentifier:     pg.SystemID(b.u64(l.systemIdentifier)),
		PGControlVersion:     b.u32(l.pgControlVersion),
		CatalogVersionNo:     b.u32(l.catalogVersionNo),
		State:                State(b.u32(l.state)),
		Time:                 b.time(l.time),
		CheckPoint:           b.lsn(l.checkPoint),
		CheckPointCopy:       readCheckpoint(b[l.checkPointCopy:][:checkpointSize], l.checkpoint),
		UnloggedLSN:          b.lsn(l.unloggedLSN),
		MinRecoveryPoint:     b.lsn(l.minRecoveryPoint),
		MinRecoveryPointTLI:  b.timeline(l.minRecoveryPointTLI),
		BackupStartPoint:     b.lsn(l.backupStartPoint),
		BackupEndPoint:       b.lsn(l.backupEndPoint),
		BackupEndRequired:    b.bool(l.backupEndRequired),
		WALLevel:             WALLevel(b.i32(l.walLevel)),
		WALLogHints:          b.bool(l.walLogHints),
		MaxConnections:       b.i32(l.maxConnections),
		MaxWorkerProcesses:   b.i32(l.maxWorkerProcesses),
		MaxWALSenders:        b.i32(l.maxWALSenders),
		MaxPreparedXacts:     b.i32(l.maxPreparedXacts),
		MaxLocksPerXact:      b.i32(l.maxLocksPerXact),
		TrackCommitTimestamp: b.bool(l.trackCommitTimestamp),
		MaxAlign:             b.u32(l.maxAlign),
		FloatFormat:          b.f64(l.floatFormat),
		BlockSize:            b.u32(l.blockSize),
		RelSegSize:           b.u32(l.relSegSize),
		WALBlockSize:         b.u32(l.walBlockSize),
		WALSegSize:           b.u32(l.walSegSize),
		NameDataLen:          b.u32(l.nameDataLen),
		IndexMaxKeys:         b.u32(l.indexMaxKeys),
		ToastMaxChunkSize:    b.u32(l.toastMaxChunkSize),
		LOBlockSize:          b.u32(l.loBlockSize),
		Float8ByVal:          b.bool(l.float8ByVal),
		DataChecksumVersion:  b.u32(l.dataChecksumVersion),
		MockAuthNonce:        [32]byte(b[l.mockAuthNonce:]),
	}
	if l.defaultCharSignedness != 0 {
		c.DefaultCharSignedness = b.bool(l.defaultCharSignedness)
	}
	return c
}

// check refuses what would make arithmetic on the fields go wrong, and what
// shows a build on another kind of machine.
func (c *Control) check() error {
	switch {
	case c.MaxAlign != 8 || c.FloatFormat != 1234567.0:
		return fmt.Errorf("%w: alignment %d and float %g are not those of a 64-bit IEEE machine", ErrVersion, c.MaxAlign, c.FloatFormat)
	case c.SystemIdentifier == 0:
		return fmt.Errorf("%w: system identifier 0", ErrField)
	case c.State > StateInProduction:
		return fmt.Errorf("%w: state %d", ErrField, c.State)
	case c.CheckPoint == 0:
		return fmt.Errorf("%w: no checkpoint", ErrField)
	case !powerOfTwo(c.BlockSize, 1<<10, 32<<10):
		return fmt.Errorf("%w: block size %d", ErrField, c.BlockSize)
	case !powerOfTwo(c.WALBlockSize, 1<<10, 64<<10):
		return fmt.Errorf("%w: WAL block size %d", ErrField, c.WALBlockSize)
	case !pg.ValidSegmentSize(c.WALSegSize):
		return fmt.Errorf("%w: WAL segment size %d", ErrField, c.WALSegSize)
	case c.RelSegSize == 0:
		return fmt.Errorf("%w: relation segments of no blocks", ErrField)
	}
	if err := c.CheckPointCopy.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrField, err)
	}
	return nil
}

func powerOfTwo(n, lowest, highest uint32) bool {
	return n >= lowest && n <= highest && n&(n-1) == 0
}

// Major is the major version of PostgreSQL that the file belongs to; zero for a
// Control that Parse did not make.
func (c *Control) Major() pg.Major {
	m, err := pg.MajorOf(c.PGControlVersion, c.CatalogVersionNo)
	if err != nil {
		return 0
	}
	return m
}

// Encode gives the file with State, Time, MinRecoveryPoint and
// MinRecoveryPointTLI as they are in c now, and a checksum to match. Changes of
// other fields are not taken over. A Control that Parse did not make gives
// FileSize zero bytes, which neither Parse nor a server accepts.
func (c *Control) Encode() []byte {
	b := make([]byte, FileSize)
	if copy(b, c.raw) != FileSize {
		return b
	}
	l, known := layoutOf(image(b).u32(layouts()[0].pgControlVersion))
	if !known {
		return make([]byte, FileSize)
	}
	le := binary.LittleEndian
	le.PutUint32(b[l.state:], uint32(c.State))
	le.PutUint64(b[l.time:], uint64(c.Time.Unix()))
	le.PutUint64(b[l.minRecoveryPoint:], uint64(c.MinRecoveryPoint))
	le.PutUint32(b[l.minRecoveryPointTLI:], uint32(c.MinRecoveryPointTLI))
	le.PutUint32(b[l.crc:], checksum(b, l))
	return b
}
