package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	magic         = "FBJRNL\r\n"
	formatVersion = 1

	fileHeaderSize  = 28
	frameHeaderSize = 16
	frameSumSize    = 4
)

// MaxPayload bounds the payload of one record, in bytes.
const MaxPayload = 64 << 20

// kindSynced is the kind of the frames that Sync adds.
const kindSynced = 1<<16 - 1

// ErrDamaged: the journal is not what was written.
var ErrDamaged = errors.New("the journal is damaged")

// ErrNewerFormat: a newer program wrote the journal.
var ErrNewerFormat = errors.New("the journal has a newer format")

func sum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var s uint32
	for _, p := range parts {
		s = crc32.Update(s, table, p)
	}
	return s
}

func encodeFileHeader(salt uint64) []byte {
	b := append([]byte(nil), magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, salt)
	return binary.LittleEndian.AppendUint32(b, sum(b))
}

// decodeFileHeader gives the salt.
func decodeFileHeader(b []byte) (salt uint64, err error) {
	if len(b) < fileHeaderSize || !bytes.HasPrefix(b, []byte(magic)) {
		return 0, fmt.Errorf("%w: no file header", ErrDamaged)
	}
	if sum(b[:fileHeaderSize-4]) != binary.LittleEndian.Uint32(b[fileHeaderSize-4:]) {
		return 0, fmt.Errorf("%w: checksum of the file header", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion {
		return 0, fmt.Errorf("%w: %d, this program knows %d", ErrNewerFormat, v, formatVersion)
	} else if v == 0 {
		return 0, fmt.Errorf("%w: format 0", ErrDamaged)
	}
	return binary.LittleEndian.Uint64(b[16:]), nil
}

// frame is one record in the file.
type frame struct {
	kind    uint16
	payload []byte
	// synced is how far the file was on disk when the frame was written.
	synced int64
	// end is the offset behind it.
	end int64
}

func encodeFrame(salt uint64, at int64, kind uint16, synced int64, payload []byte) []byte {
	b := make([]byte, 0, frameHeaderSize+len(payload)+frameSumSize)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint16(b, kind)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(synced))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, sum(place(salt, at), b))
}

// place goes into the checksum of the frame at an offset.
func place(salt uint64, at int64) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), salt)
	return binary.LittleEndian.AppendUint64(b, uint64(at))
}

// errNoFrame: the bytes at an offset are no frame of this journal.
var errNoFrame = errors.New("no frame")

// readFrame reads the frame at an offset of a file of the given size. Anything
// that is not one is errNoFrame; other errors are the file's.
func readFrame(r io.ReaderAt, size int64, salt uint64, at int64) (frame, error) {
	var head [frameHeaderSize]byte
	if size-at < frameHeaderSize+frameSumSize {
		return frame{}, errNoFrame
	}
	if err := readFull(r, head[:], at); err != nil {
		return frame{}, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	f := frame{
		kind:   binary.LittleEndian.Uint16(head[4:]),
		synced: int64(binary.LittleEndian.Uint64(head[8:])),
		end:    at + frameHeaderSize + n + frameSumSize,
	}
	if n > MaxPayload || f.end > size || head[6] != 0 || head[7] != 0 || f.synced < fileHeaderSize || f.synced > at {
		return frame{}, errNoFrame
	}
	b := make([]byte, n+frameSumSize)
	if err := readFull(r, b, at+frameHeaderSize); err != nil {
		return frame{}, err
	}
	f.payload = b[:n:n]
	if sum(place(salt, at), head[:], f.payload) != binary.LittleEndian.Uint32(b[n:]) {
		return frame{}, errNoFrame
	}
	return f, nil
}

// readFull fills b; the file was longer when its size was taken.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
