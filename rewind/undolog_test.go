package rewind

import (
	"bytes"
	"errors"
	"testing"

	"github.com/klauspost/compress/s2"

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

// FuzzUnpackImages: any record is unpacked to what was packed, within bounds, or
// ends in ErrDamaged.
func FuzzUnpackImages(f *testing.F) {
	f.Add(s2.Encode(nil, bytes.Repeat([]byte("a page "), 2000)))
	f.Add(s2.Encode(nil, nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}) // says that it is 4 GB long
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := unpackImages(make([]byte, 0, 16), b)
		if err != nil {
			if !errors.Is(err, journal.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(out) > maxImageRecord {
			t.Fatalf("%d bytes", len(out))
		}
		again, err := unpackImages(nil, s2.Encode(nil, out))
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("packed again it is different: %v", err)
		}
	})
}
