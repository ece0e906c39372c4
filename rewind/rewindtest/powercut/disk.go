package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
)

// disk is a file whose writes are remembered.
type disk struct {
	file *os.File
	size int64

	mu     sync.Mutex
	closed bool // what comes now comes behind the cut
	events []event
}

// event is one write, or a demand to bring all before it to the platter.
type event struct {
	off  int64
	data []byte
}

func (e event) flush() bool { return e.data == nil }

func openDisk(name string) (*disk, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &disk{file: f, size: st.Size()}, nil
}

func (d *disk) Size() int64 { return d.size }

func (d *disk) ReadAt(b []byte, off int64) (int, error) { return d.file.ReadAt(b, off) }

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	d.remember(event{off, append(make([]byte, 0, len(b)), b...)})
	return d.file.WriteAt(b, off)
}

func (d *disk) Flush() error {
	d.remember(event{})
	return nil
}

func (d *disk) remember(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.events = append(d.events, e)
	}
}

func (d *disk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// now is the moment behind all that has happened.
func (d *disk) now() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// survivors are the writes that a power cut leaves, in their order.
func (d *disk) survivors(m Moment) ([]event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.At < 0 || m.At > len(d.events) {
		return nil, fmt.Errorf("cut at %d of %d", m.At, len(d.events))
	}
	flushed := m.At
	if m.Seed != 0 {
		for flushed > 0 && !d.events[flushed-1].flush() {
			flushed--
		}
	}
	out := append([]event(nil), d.events[:flushed]...)
	random := rand.New(rand.NewPCG(m.Seed, uint64(m.At)))
	for _, e := range d.events[flushed:m.At] {
		if random.IntN(2) == 0 {
			out = append(out, e)
		}
	}
	return out, nil
}

// play makes a disk of an earlier one and what survives.
func play(base, to string, events []event) error {
	if err := copySparse(base, to); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, e := range events {
		if _, err := f.WriteAt(e.data, e.off); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func copySparse(from, to string) error {
	out, err := exec.Command("cp", "--sparse=always", "--reflink=auto", "--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy disk: %w: %s", err, out)
	}
	return nil
}
