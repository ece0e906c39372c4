package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// server is the root side of one machine. Its exported methods are called over the socket, one
// at a time.
type server struct {
	dir      string
	uid, gid int
	images   int
	// part is the size of each file system on the disks.
	part int64
	// mounted is how many of them are mounted.
	mounted int
	rec     *recording
}

// recording is a disk whose writes are remembered, and what it was at first.
type recording struct {
	*disk
	base   string
	served <-chan error // nil when it is served no more
}

// newServer makes the directory for its images.
func (r *root) newServer() (*server, error) {
	dir, err := os.MkdirTemp(r.dir, "")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, uid: r.uid, gid: r.gid}
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(s.disk(), nil, 0o600))
	for part := range parts {
		err = errors.Join(err, os.MkdirAll(s.at(part), 0o755))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// parts is how many file systems there are on a disk. What one of them brings to
// the disk by the way says nothing about the other.
const parts = 2

// mounts is where disks are mounted: always in the same place, because links in a
// data directory have absolute names.
func (s *server) mounts() string      { return filepath.Join(s.dir, "mnt") }
func (s *server) at(part int) string  { return filepath.Join(s.mounts(), strconv.Itoa(part+1)) }
func (s *server) disk() string        { return filepath.Join(s.dir, "disk") }
func (s *server) file(i Image) string { return filepath.Join(s.dir, fmt.Sprintf("image-%d", i)) }
func (s *server) newImage() Image     { s.images++; return Image(s.images) }

func command(c ...string) error {
	out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, out)
	}
	return nil
}

// FormatArgs is what Format is called with.
type FormatArgs struct {
	FS FileSystem
	MB int
}

// Format makes a disk with two empty file systems.
func (s *server) Format(a FormatArgs, out *Image) error {
	k, err := kindOf(a.FS)
	if err != nil {
		return err
	}
	i := s.newImage()
	f, err := os.Create(s.file(i))
	if err != nil {
		return err
	}
	s.part = int64(a.MB) << 20
	if err := errors.Join(f.Truncate(parts*s.part), f.Close()); err != nil {
		return err
	}
	for part := range parts {
		if err := s.mkfs(k, i, part); err != nil {
			return err
		}
	}
	*out = i
	var dir string
	if err := s.Mount(MountArgs{Image: i, FS: a.FS}, &dir); err != nil {
		return err
	}
	for part := range parts {
		err = errors.Join(err, os.Chown(s.at(part), s.uid, s.gid))
	}
	return errors.Join(err, s.Unmount(0, new(int)))
}

func (s *server) mkfs(k kind, i Image, part int) error {
	device, err := exec.Command("losetup", "--find", "--show", fmt.Sprintf("--offset=%d", int64(part)*s.part), fmt.Sprintf("--sizelimit=%d", s.part), s.file(i)).Output()
	if err != nil {
		return fmt.Errorf("losetup: %w", err)
	}
	name := strings.TrimSpace(string(device))
	return errors.Join(command(slices.Concat(k.mkfs, []string{name})...), command("losetup", "--detach", name))
}

// MountArgs is what Mount is called with.
type MountArgs struct {
	Image  Image
	FS     FileSystem
	Record bool
}

// Mount mounts a disk; of a recorded one all writes are remembered, and the
// image stays as it is.
func (s *server) Mount(a MountArgs, dir *string) error {
	if s.mounted > 0 {
		return errors.New("a disk is mounted already")
	}
	k, err := kindOf(a.FS)
	if err != nil {
		return err
	}
	from := s.file(a.Image)
	if a.Record {
		if err := s.record(a.Image); err != nil {
			return err
		}
		from = s.disk()
	}
	for part := range parts {
		opts := fmt.Sprintf("loop,offset=%d,sizelimit=%d,noatime,%s", int64(part)*s.part, s.part, k.options)
		if err := command("mount", "-t", string(a.FS), "-o", opts, from, s.at(part)); err != nil {
			return errors.Join(err, s.Unmount(0, new(int)))
		}
		s.mounted++
	}
	*dir = s.mounts()
	return nil
}

func (s *server) record(base Image) error {
	now := s.file(s.newImage())
	if err := copySparse(s.file(base), now); err != nil {
		return err
	}
	d, err := openDisk(now)
	if err != nil {
		return err
	}
	if err := os.Remove(now); err != nil { // goes with the descriptor
		return err
	}
	served, err := serveFile(s.disk(), d)
	if err != nil {
		return err
	}
	s.rec = &recording{disk: d, base: s.file(base), served: served}
	return nil
}

func (s *server) endRecording() error {
	if s.rec == nil || s.rec.served == nil {
		return nil
	}
	s.rec.close()
	// The loop device lets go of the file a moment after its file system went.
	err := retry(func() error { return unix.Unmount(s.disk(), 0) })
	if err != nil {
		return fmt.Errorf("unmount disk: %w", err)
	}
	err = <-s.rec.served
	s.rec.served = nil
	return errors.Join(err, s.rec.file.Close())
}

func retry(f func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := f()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Unmount unmounts what is mounted; what was recorded is kept until the next recording.
func (s *server) Unmount(_ int, _ *int) error {
	if s.rec != nil {
		s.rec.close()
	}
	for ; s.mounted > 0; s.mounted-- {
		if err := retry(func() error { return unix.Unmount(s.at(s.mounted-1), 0) }); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
	}
	return s.endRecording()
}

// Now is the moment behind all that was written to the recorded disk.
func (s *server) Now(_ int, out *int) error {
	if s.rec == nil {
		return errors.New("nothing is recorded")
	}
	*out = s.rec.now()
	return nil
}

// Flushes are the moments behind each demand to bring what was written to the platter.
func (s *server) Flushes(_ int, out *[]int) error {
	if s.rec == nil {
		return errors.New("nothing is recorded")
	}
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	for i, e := range s.rec.events {
		if e.flush() {
			*out = append(*out, i+1)
		}
	}
	return nil
}

// Cut makes the disk that a power cut at some moment of the recording leaves.
func (s *server) Cut(m Moment, out *Image) error {
	if s.rec == nil {
		return errors.New("nothing is recorded")
	}
	events, err := s.rec.survivors(m)
	if err != nil {
		return err
	}
	*out = s.newImage()
	return play(s.rec.base, s.file(*out), events)
}

// Copy makes another image of the same content.
func (s *server) Copy(i Image, out *Image) error {
	*out = s.newImage()
	return copySparse(s.file(i), s.file(*out))
}

// Drop removes an image.
func (s *server) Drop(i Image, _ *int) error { return os.Remove(s.file(i)) }

// end unmounts and removes everything.
func (s *server) end() error {
	return errors.Join(s.Unmount(0, new(int)), os.RemoveAll(s.dir))
}

// kind is how file systems of one kind are made and mounted.
type kind struct {
	mkfs    []string
	options string
}

// kindOf gives the options under which a file system brings nothing to the disk
// that nobody has asked for.
func kindOf(fs FileSystem) (kind, error) {
	switch fs {
	case Ext4:
		// Without auto_da_alloc it takes no pity on programs that rename what they have not synced.
		return kind{[]string{"mkfs.ext4", "-q", "-F", "-I", "256", "-m", "0", "-E", "lazy_itable_init=0"}, "commit=600,noauto_da_alloc"}, nil
	case XFS:
		return kind{[]string{"mkfs.xfs", "-q", "-f"}, "nouuid"}, nil
	case Btrfs:
		return kind{[]string{"mkfs.btrfs", "-q", "-f", "-m", "single"}, "commit=300"}, nil
	}
	return kind{}, fmt.Errorf("file system %q is not known", fs)
}
