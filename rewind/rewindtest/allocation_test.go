package rewindtest_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// failures is a test that notes that it failed.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }

var sink []byte

func TestBoundedAllocation(t *testing.T) {
	for _, tt := range []struct {
		input, allocated, want int
	}{
		{0, 1000, 0},
		{0, 4 << 20, 1},
		{1 << 20, 4 << 20, 0},
		{1 << 10, 16 << 20, 1},
	} {
		f := &failures{TB: t}
		rewindtest.BoundedAllocation(f, tt.input, func() { sink = make([]byte, tt.allocated) })
		if f.n != tt.want {
			t.Errorf("%d bytes for %d of input: %d failures, want %d", tt.allocated, tt.input, f.n, tt.want)
		}
	}
}
