package pgcontrol

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// layout holds the offset of every field for one control file version. Any
// change of the layout makes PostgreSQL change that version.
//
// The fields of the checkpoint are at checkPointCopy plus the offsets in
// checkpointLayout, which are also those in the WAL record of a checkpoint.
type layout struct {
	version uint32

	systemIdentifier, pgControlVersion, catalogVersionNo, state, time, checkPoint, checkPointCopy,
	unloggedLSN, minRecoveryPoint, minRecoveryPointTLI, backupStartPoint, backupEndPoint, backupEndRequired,
	walLevel, walLogHints, maxConnections, maxWorkerProcesses, maxWALSenders, maxPreparedXacts, maxLocksPerXact,
	trackCommitTimestamp, maxAlign, floatFormat, blockSize, relSegSize, walBlockSize, walSegSize, nameDataLen,
	indexMaxKeys, toastMaxChunkSize, loBlockSize, float8ByVal, dataChecksumVersion int
	// defaultCharSignedness is zero before 1800.
	defaultCharSignedness int
	mockAuthNonce, crc    int
	checkpoint            checkpointLayout
}

// checkpointLayout holds the offsets in a checkpoint (CheckPoint in
// catalog/pg_control.h).
type checkpointLayout struct {
	redo, thisTimeLineID, prevTimeLineID, fullPageWrites int
	// walLevel is zero before 1700, where padding is.
	walLevel int
	nextXID, nextOid, nextMulti, nextMultiOffset, oldestXID, oldestXIDDB, oldestMulti, oldestMultiDB, time,
	oldestCommitTsXID, newestCommitTsXID, oldestActiveXID int
}

// checkpointSize is sizeof(CheckPoint) in all versions: the length of a
// checkpoint record's body.
const checkpointSize = 88

// layouts gives the three layouts, which differ in what 1700 and 1800 added.
func layouts() [3]layout {
	v1300 := layout{
		version:          1300,
		systemIdentifier: 0, pgControlVersion: 8, catalogVersionNo: 12, state: 16, time: 24,
		checkPoint: 32, checkPointCopy: 40,
		unloggedLSN: 128, minRecoveryPoint: 136, minRecoveryPointTLI: 144,
		backupStartPoint: 152, backupEndPoint: 160, backupEndRequired: 168,
		walLevel: 172, walLogHints: 176, maxConnections: 180, maxWorkerProcesses: 184, maxWALSenders: 188,
		maxPreparedXacts: 192, maxLocksPerXact: 196, trackCommitTimestamp: 200,
		maxAlign: 204, floatFormat: 208, blockSize: 216, relSegSize: 220, walBlockSize: 224, walSegSize: 228,
		nameDataLen: 232, indexMaxKeys: 236, toastMaxChunkSize: 240, loBlockSize: 244,
		float8ByVal: 248, dataChecksumVersion: 252, mockAuthNonce: 256, crc: 288,
		checkpoint: checkpointLayout{
			redo: 0, thisTimeLineID: 8, prevTimeLineID: 12, fullPageWrites: 16,
			nextXID: 24, nextOid: 32, nextMulti: 36, nextMultiOffset: 40,
			oldestXID: 44, oldestXIDDB: 48, oldestMulti: 52, oldestMultiDB: 56, time: 64,
			oldestCommitTsXID: 72, newestCommitTsXID: 76, oldestActiveXID: 80,
		},
	}
	v1700 := v1300
	v1700.version = 1700
	v1700.checkpoint.walLevel = 20
	v1800 := v1700
	v1800.version = 1800
	v1800.defaultCharSignedness = 256
	v1800.mockAuthNonce = 257
	v1800.crc = 292
	return [3]layout{v1300, v1700, v1800}
}

// layoutOf gives the layout for a control file version.
func layoutOf(version uint32) (layout, bool) {
	for _, l := range layouts() {
		if l.version == version {
			return l, true
		}
	}
	return layout{}, false
}

// checkpointLayoutOf gives the layout of checkpoint records for a major.
func checkpointLayoutOf(m pg.Major) (checkpointLayout, bool) {
	switch {
	case m.CatalogVersion() == 0:
		return checkpointLayout{}, false
	case m >= 17:
		return layouts()[1].checkpoint, true
	}
	return layouts()[0].checkpoint, true
}

// image reads fields out of bytes that are known to be long enough.
type image []byte

func (b image) u32(at int) uint32  { return binary.LittleEndian.Uint32(b[at:]) }
func (b image) i32(at int) int32   { return int32(b.u32(at)) }
func (b image) u64(at int) uint64  { return binary.LittleEndian.Uint64(b[at:]) }
func (b image) lsn(at int) pg.LSN  { return pg.LSN(b.u64(at)) }
func (b image) bool(at int) bool   { return b[at] != 0 }
func (b image) f64(at int) float64 { return math.Float64frombits(b.u64(at)) }
func (b image) xid(at int) pg.XID  { return pg.XID(b.u32(at)) }
func (b image) oid(at int) pg.Oid  { return pg.Oid(b.u32(at)) }
func (b image) time(at int) time.Time {
	return time.Unix(int64(b.u64(at)), 0).UTC()
}

func (b image) timeline(at int) pg.Timeline { return pg.Timeline(b.u32(at)) }
