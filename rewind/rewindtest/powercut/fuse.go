package powercut

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// backing is what a served file consists of.
type backing interface {
	io.ReaderAt
	io.WriterAt
	// Flush returns when all that was written is to survive.
	Flush() error
	Size() int64
}

// Operations of the FUSE protocol that a single file needs.
const (
	opGetattr = 3
	opSetattr = 4
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
	opForget  = 2
	opBatch   = 42
)

// Sizes in that protocol, of version 7.31.
const (
	inHeader  = 40
	rwHead    = 40 // of a read or write request, behind the header
	maxWrite  = 1 << 20
	protoMain = 7
	protoSub  = 31
	// Flags of INIT: pages per request are given; writes may be larger than a page.
	flagBigWrites = 1 << 5
	flagMaxPages  = 1 << 22
)

// serveFile mounts a file system that is one file over an existing file, and
// serves it until it is unmounted.
func serveFile(at string, b backing) (done <-chan error, err error) {
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0", dev)
	if err := unix.Mount("powercut", at, "fuse.powercut", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("mount over %s: %w", at, err), unix.Close(dev))
	}
	ended := make(chan error, 1)
	go func() {
		s := fuseServer{dev: dev, b: b}
		ended <- errors.Join(s.serve(), unix.Close(dev))
	}()
	return ended, nil
}

type fuseServer struct {
	dev int
	b   backing
}

// serve answers one request after the other: their order is the disk's.
func (s *fuseServer) serve() error {
	buf := make([]byte, maxWrite+1<<16)
	for {
		n, err := unix.Read(s.dev, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENODEV): // unmounted
			return nil
		case err != nil:
			return fmt.Errorf("read /dev/fuse: %w", err)
		}
		if n < inHeader {
			return io.ErrUnexpectedEOF
		}
		req := buf[:n]
		op, unique := binary.LittleEndian.Uint32(req[4:]), binary.LittleEndian.Uint64(req[8:])
		if op == opForget || op == opBatch {
			continue // takes no answer
		}
		answer, errno := s.answer(op, req[inHeader:])
		if err := s.reply(unique, answer, errno); err != nil {
			return err
		}
	}
}

func (s *fuseServer) reply(unique uint64, answer []byte, errno unix.Errno) error {
	if errno != 0 {
		answer = nil
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(16+len(answer)))
	b = binary.LittleEndian.AppendUint32(b, uint32(-int32(errno)))
	b = binary.LittleEndian.AppendUint64(b, unique)
	_, err := unix.Write(s.dev, append(b, answer...))
	if errors.Is(err, unix.ENOENT) { // whoever asked is gone
		return nil
	}
	return err
}

func (s *fuseServer) answer(op uint32, body []byte) ([]byte, unix.Errno) {
	switch op {
	case opInit:
		return initAnswer(body), 0
	case opGetattr, opSetattr:
		return s.attributes(), 0
	case opOpen:
		return make([]byte, 16), 0
	case opRelease, opFlush:
		return nil, 0
	case opRead:
		off, size := int64(binary.LittleEndian.Uint64(body[8:])), binary.LittleEndian.Uint32(body[16:])
		out := make([]byte, size)
		n, err := s.b.ReadAt(out, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, unix.EIO
		}
		return out[:n], 0
	case opWrite:
		off, size := int64(binary.LittleEndian.Uint64(body[8:])), binary.LittleEndian.Uint32(body[16:])
		if _, err := s.b.WriteAt(body[rwHead:rwHead+size], off); err != nil {
			return nil, unix.EIO
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(size)), 0
	case opFsync:
		if err := s.b.Flush(); err != nil {
			return nil, unix.EIO
		}
		return nil, 0
	}
	return nil, unix.ENOSYS
}

// initAnswer agrees on a version, and on large requests.
func initAnswer(body []byte) []byte {
	var b bytes.Buffer
	ahead := binary.LittleEndian.Uint32(body[8:])
	for _, v := range []any{
		uint32(protoMain), uint32(protoSub), ahead, uint32(flagBigWrites | flagMaxPages),
		uint16(64), uint16(48), uint32(maxWrite), uint32(1), uint16(maxWrite / 4096), uint16(0), [8]uint32{},
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes all
	}
	return b.Bytes()
}

// attributes of the file; they do not change for an hour.
func (s *fuseServer) attributes() []byte {
	var b bytes.Buffer
	size := uint64(s.b.Size())
	for _, v := range []any{
		uint64(3600), uint32(0), uint32(0),
		uint64(1), size, (size + 511) / 512, uint64(0), uint64(0), uint64(0), uint32(0), uint32(0), uint32(0),
		uint32(unix.S_IFREG | 0o600), uint32(1), uint32(os.Geteuid()), uint32(os.Getegid()), uint32(0), uint32(4096), uint32(0),
	} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}
