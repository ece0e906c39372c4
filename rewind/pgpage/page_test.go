package pgpage_test

import (
	"bytes"
	"embed"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
)

// testdata holds pages of clusters with data checksums: of PostgreSQL 15, captured
// by pgcontrol/testdata/capture.sh, and of the others a heap's block 3 and a
// B-tree's block 1, by TestEveryPageOfACluster -capture.
//
//go:embed testdata
var testdata embed.FS

type capturedPage struct {
	name  string
	page  []byte
	block pg.BlockNo
}

func captured(t testing.TB) []capturedPage {
	t.Helper()
	var pages []capturedPage
	for name, block := range map[string]pg.BlockNo{"heap_block3.bin": 3, "btree_block1.bin": 1, "vm_block0.bin": 0} {
		pages = append(pages, capturedPage{name, readPage(t, name), block})
	}
	for _, major := range []int{13, 14, 16, 17, 18} {
		name := fmt.Sprintf("pg%d-blocks3and1.bin", major)
		both := readPage(t, name)
		pages = append(pages, capturedPage{name, both[:8192:8192], 3}, capturedPage{name, both[8192:], 1})
	}
	return pages
}

func readPage(t testing.TB, name string) []byte {
	t.Helper()
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	page := make([]byte, 8192)
	copy(page, []byte{
		0x16, 0, 0, 0, 0x48, 0xD8, 0x74, 0xB3, 0xCD, 0xAB, 5, 0, 28, 0, 0xE0, 0x1F, 0xF0, 0x1F, 4, 0x20, 0xD6, 2, 0, 0,
	})
	want := pgpage.Header{
		LSN: 0x16B374D848, Checksum: 0xABCD, Flags: 5, Lower: 28, Upper: 8160, Special: 8176, PageSizeVersion: 0x2004, PruneXID: 726,
	}
	got, err := pgpage.ParseHeader(page)
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for n := range pgpage.HeaderSize {
		if h, err := pgpage.ParseHeader(page[:n]); err == nil {
			t.Errorf("%d bytes: got %+v", n, h)
		}
	}
}

func TestValid(t *testing.T) {
	for _, c := range captured(t) {
		page := c.page
		if !pgpage.Valid(page, 8192) {
			t.Errorf("%s is not valid", c.name)
		}
		if pgpage.Valid(page, 4096) || pgpage.Valid(page[:8191], 8192) || pgpage.Valid(page[:10], 10) || pgpage.Valid(nil, 0) {
			t.Errorf("%s is valid with another length", c.name)
		}
	}
	tests := []struct {
		name  string
		at    int
		value uint16
	}{
		{"flags", 10, 8},
		{"lower in the header", 12, 20},
		{"lower behind upper", 12, 8192},
		{"upper behind special", 14, 8193},
		{"special behind the end", 16, 8200},
		{"special not aligned", 16, 8191},
		{"block size", 18, 0x1004},
		{"layout version", 18, 0x2003},
		{"upper zero", 14, 0},
	}
	for _, tt := range tests {
		page := readPage(t, "heap_block3.bin")
		binary.LittleEndian.PutUint16(page[tt.at:], tt.value)
		if pgpage.Valid(page, 8192) {
			t.Errorf("%s: valid", tt.name)
		}
	}
}

func TestIsNew(t *testing.T) {
	page := make([]byte, 8192)
	if !pgpage.IsNew(page) || pgpage.Valid(page, 8192) || pgpage.Verify(page, 0) {
		t.Error("a page of zeros: want it new, not valid, not verified")
	}
	for _, at := range []int{0, 7, 8, 15, 100, 8191} {
		page[at] = 1
		if pgpage.IsNew(page) {
			t.Errorf("new with byte %d set", at)
		}
		page[at] = 0
	}
	if pgpage.IsNew([]byte{0, 0, 1}) || !pgpage.IsNew(nil) {
		t.Error("short slices")
	}
}

func TestVerifyCaptured(t *testing.T) {
	for _, c := range captured(t) {
		page := c.page
		before := bytes.Clone(page)
		if !pgpage.Verify(page, c.block) {
			t.Errorf("%s: checksum %#x, want %#x", c.name, pgpage.Checksum(page, c.block), binary.LittleEndian.Uint16(page[8:]))
		}
		if pgpage.Verify(page, c.block+1) {
			t.Errorf("%s verifies as the next block", c.name)
		}
		if !bytes.Equal(page, before) {
			t.Errorf("%s was changed", c.name)
		}
		unseen := 0
		for at := range page {
			page[at] ^= 0x10
			if pgpage.Verify(page, c.block) {
				unseen++
			}
			page[at] ^= 0x10
		}
		if unseen > 1 { // of 8192, by a checksum of 16 bits
			t.Errorf("%s verifies with a byte changed, %d times", c.name, unseen)
		}
	}
}

func TestChecksumLengths(t *testing.T) {
	for _, n := range []int{0, 1, 4, 23, 24, 127, 129, 8191, 8193} {
		if sum := pgpage.Checksum(make([]byte, n), 0); sum != 0 {
			t.Errorf("%d bytes: %#x", n, sum)
		}
		if pgpage.Verify(make([]byte, n), 0) {
			t.Errorf("%d bytes verify", n)
		}
	}
	if pgpage.Checksum(make([]byte, 128), 0) == 0 {
		t.Error("128 bytes have no checksum")
	}
}

// slowChecksum is checksum_impl.h word for word: 32 sums, row after row.
func slowChecksum(page []byte, blkno uint32) uint16 {
	page = bytes.Clone(page)
	page[8], page[9] = 0, 0
	sums := pgpage.Offsets()
	comp := func(sum, value uint32) uint32 {
		tmp := sum ^ value
		return tmp*16777619 ^ tmp>>17
	}
	for i := range len(page) / 4 {
		sums[i%32] = comp(sums[i%32], binary.LittleEndian.Uint32(page[4*i:]))
	}
	result := uint32(0)
	for _, s := range sums {
		result ^= comp(comp(s, 0), 0)
	}
	return uint16((result^blkno)%65535 + 1)
}

func TestChecksumAgainstPlainCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := 1024 << rapid.IntRange(0, 5).Draw(t, "size")
		pattern := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "pattern")
		page := bytes.Repeat(pattern, size/len(pattern)+1)[:size]
		blkno := rapid.Uint32().Draw(t, "block")
		if got, want := pgpage.Checksum(page, pg.BlockNo(blkno)), slowChecksum(page, blkno); got != want {
			t.Fatalf("got %#x, want %#x", got, want)
		}
	})
}

func TestChecksumDoesNotAllocate(t *testing.T) {
	page := readPage(t, "heap_block3.bin")
	if n := testing.AllocsPerRun(100, func() { pgpage.Verify(page, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPage(f *testing.F) {
	for _, c := range captured(f) {
		f.Add(c.page, uint32(c.block))
	}
	f.Fuzz(func(t *testing.T, page []byte, blkno uint32) {
		block := pg.BlockNo(blkno)
		h, err := pgpage.ParseHeader(page)
		if (err != nil) != (len(page) < pgpage.HeaderSize) {
			t.Fatal(err)
		}
		if pgpage.Valid(page, uint32(len(page))) && (h.Lower > h.Upper || int(h.Special) > len(page) || pgpage.IsNew(page)) {
			t.Fatalf("valid: %+v", h)
		}
		sum := pgpage.Checksum(page, block)
		if (sum == 0) != (len(page) == 0 || len(page)%128 != 0) {
			t.Fatalf("checksum of %d bytes is %d", len(page), sum)
		}
		if sum == 0 {
			return
		}
		binary.LittleEndian.PutUint16(page[8:], sum)
		if !pgpage.Verify(page, block) || sum != slowChecksum(page, blkno) {
			t.Fatal("a checksum that was put in does not verify")
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	page := readPage(b, "heap_block3.bin")
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		pgpage.Checksum(page, 3)
	}
}
