package rewind

import (
	"bytes"
	"errors"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// FuzzDecodeImages: any record ends in pre-images that lie inside it, or in ErrDamaged.
func FuzzDecodeImages(f *testing.F) {
	one := append(appendImageHead(nil, "base/5/1249", 8192, 4), "old!"...)
	f.Add(one)
	f.Add(append(append([]byte{}, one...), appendImageHead(nil, "", 0, 0)...))
	f.Add(one[:len(one)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := decodeImages(b, func(i image) error {
			again = append(appendImageHead(again, i.path, i.offset, len(i.data)), i.data...)
			return nil
		})
		if err != nil {
			if !errors.Is(err, journal.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
