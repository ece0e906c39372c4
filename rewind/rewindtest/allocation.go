package rewindtest

import (
	"runtime/metrics"
	"testing"
)

// A decoder may allocate so much for each byte of its input, and so much
// beyond that: small allocations are only counted by and by, and what runs beside
// the test is counted too.
const (
	allocatedPerByte = 64
	allocatedBeyond  = 1 << 20
)

// BoundedAllocation runs a decoder of input bytes and fails the test if it
// allocates more than a small multiple of them: a length in the input must not be
// believed before the bytes are there. The decoder is run again before it fails.
func BoundedAllocation(t testing.TB, input int, decode func()) {
	t.Helper()
	most := uint64(input)*allocatedPerByte + allocatedBeyond
	var got uint64
	for range 3 {
		before := allocated()
		decode()
		if got = allocated() - before; got <= most {
			return
		}
	}
	t.Errorf("%d bytes were allocated for an input of %d", got, input)
}

// allocated is what this program has allocated so far, in bytes.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
