package pgwal

import (
	"bytes"
	"testing"
)

func TestDecompressPGLZ(t *testing.T) {
	for name, tt := range map[string]struct {
		src  []byte
		want string // empty for what is damaged
		size int
	}{
		"literals":              {[]byte{0x00, 'a', 'b', 'c'}, "abc", 3},
		"a run":                 {[]byte{0x02, 'a', 0x02, 0x01}, "aaaaaa", 6},
		"a long run":            {[]byte{0x02, 'a', 0x0F, 0x01, 0x02}, "a" + "aaaaaaaaaaaaaaaaaaaa", 21},
		"a repetition":          {[]byte{0x08, 'a', 'b', 'c', 0x00, 0x03, 'd'}, "abcabcd", 7},
		"a distance of nothing": {[]byte{0x02, 'a', 0x00, 0x00}, "", 4},
		"from before the page":  {[]byte{0x02, 'a', 0x00, 0x02}, "", 4},
		"too long":              {[]byte{0x02, 'a', 0x02, 0x01}, "", 5},
		"too short":             {[]byte{0x00, 'a', 'b'}, "", 3},
		"broken off":            {[]byte{0x02, 'a', 0x02}, "", 6},
		"more behind it":        {[]byte{0x00, 'a', 'b', 'c'}, "", 2},
	} {
		dst := make([]byte, tt.size)
		if ok := decompressPGLZ(dst, tt.src); ok != (tt.want != "") || ok && string(dst) != tt.want {
			t.Errorf("%s: %q, %t; want %q", name, dst, ok, tt.want)
		}
	}
}

func TestDecompressLZ4(t *testing.T) {
	long := append([]byte{0xF0, 3}, bytes.Repeat([]byte{'x'}, 18)...)
	for name, tt := range map[string]struct {
		src  []byte
		want string
		size int
	}{
		"literals":             {[]byte{0x30, 'a', 'b', 'c'}, "abc", 3},
		"many literals":        {long, "xxxxxxxxxxxxxxxxxx", 18},
		"a repetition":         {[]byte{0x21, 'a', 'b', 2, 0, 0x10, 'z'}, "ab" + "ababa" + "z", 8},
		"a long one":           {[]byte{0x1F, 'a', 1, 0, 1, 0x10, 'z'}, "a" + "aaaaaaaaaaaaaaaaaaaa" + "z", 22},
		"from before the page": {[]byte{0x11, 'a', 2, 0, 0x10, 'z'}, "", 7},
		"no distance":          {[]byte{0x11, 'a', 0, 0, 0x10, 'z'}, "", 7},
		"too long":             {[]byte{0x30, 'a', 'b', 'c'}, "", 2},
		"broken off":           {[]byte{0x11, 'a', 1}, "", 7},
		"lengths without end":  {[]byte{0xF0, 255, 255}, "", 4},
	} {
		dst := make([]byte, tt.size)
		if ok := decompressLZ4(dst, tt.src); ok != (tt.want != "") || ok && string(dst) != tt.want {
			t.Errorf("%s: %q, %t; want %q", name, dst, ok, tt.want)
		}
	}
}

// TestPageWithHole: an image without its hole comes back with zeros there; one
// whose parts do not add up to a page does not.
func TestPageWithHole(t *testing.T) {
	image := bytes.Repeat([]byte{7}, blockSize-100)
	b := BlockRef{HasImage: true, image: image, holeStart: 24, holeSize: 100}
	page, ok := b.Page(make([]byte, blockSize))
	want := append(append(bytes.Repeat([]byte{7}, 24), make([]byte, 100)...), image[24:]...)
	if !ok || !bytes.Equal(page, want) {
		t.Errorf("ok %t, %d bytes", ok, len(page))
	}
	for name, b := range map[string]BlockRef{
		"no image":     {},
		"too short":    {HasImage: true, image: image[1:], holeStart: 24, holeSize: 100},
		"hole outside": {HasImage: true, image: image, holeStart: 8150, holeSize: 100},
		"zstd":         {HasImage: true, image: image, compression: 0x10},
	} {
		if _, ok := b.Page(make([]byte, blockSize)); ok {
			t.Errorf("%s: a page", name)
		}
	}
	if _, ok := b.Page(make([]byte, 10)); ok {
		t.Error("a page in ten bytes")
	}
}
