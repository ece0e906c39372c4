package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	// What is mounted: nothing, an image, or a recorded one.
	mounted bool
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
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(s.at(), 0o755), os.WriteFile(s.disk(), nil, 0o600))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// at is where disks are mounted: always in the same place, because links in a
// data directory have absolute names.
func (s *server) at() string            { return filepath.Join(s.dir, "mnt") }
func (s *server) disk() string          { return filepath.Join(s.dir, "disk") }
func (s *server) file(i Image) string   { return filepath.Join(s.dir, fmt.Sprintf("image-%d", i)) }
func (s *server) newImage() Image       { s.images++; return Image(s.images) }
func (s *server) run(c ...string) error { return command(c...) }

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

// Format makes a disk with an empty file system.
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
	if err := errors.Join(f.Truncate(int64(a.MB)<<20), f.Close()); err != nil {
		return err
	}
	if err := s.run(slices.Concat(k.mkfs, []string{s.file(i)})...); err != nil {
		return err
	}
	*out = i
	var dir string
	return errors.Join(s.Mount(MountArgs{Image: i, FS: a.FS}, &dir), os.Chown(s.at(), s.uid, s.gid), s.Unmount(0, new(int)))
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
	if s.mounted {
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
	opts := "loop,noatime," + k.options
	if err := s.run("mount", "-t", string(a.FS), "-o", opts, from, s.at()); err != nil {
		if a.Record {
			err = errors.Join(err, s.endRecording())
		}
		return err
	}
	s.mounted, *dir = true, s.at()
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
	if !s.mounted {
		return nil
	}
	if s.rec != nil {
		s.rec.close()
	}
	if err := retry(func() error { return unix.Unmount(s.at(), 0) }); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	s.mounted = false
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
