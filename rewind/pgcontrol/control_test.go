package pgcontrol_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var ignoreRaw = cmpopts.IgnoreUnexported(pgcontrol.Control{})

// sign puts a right checksum at the place where a version has it.
func sign(b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// patch changes four bytes of a captured file, and the checksum with them.
func patch(t *testing.T, at int, value uint32) []byte {
	t.Helper()
	b := readTestdata(t, "shut_down.bin")
	binary.LittleEndian.PutUint32(b[at:], value)
	return sign(b, 288)
}

// synthetic turns a file of 15 into one of 17 or 18 as the table has them. It
// proves that Parse follows the table, not that the table is right.
func synthetic(t *testing.T, control, catalog uint32, crcAt int) []byte {
	t.Helper()
	b := readTestdata(t, "in_production.bin")
	nonce := bytes.Clone(b[256:288])
	binary.LittleEndian.PutUint32(b[8:], control)
	binary.LittleEndian.PutUint32(b[12:], catalog)
	binary.LittleEndian.PutUint32(b[40+20:], 1)
	clear(b[256:300])
	if control == 1800 {
		b[256] = 1
		copy(b[257:], nonce)
	} else {
		copy(b[256:], nonce)
	}
	return sign(b, crcAt)
}

func TestParseLaterVersions(t *testing.T) {
	want, err := pgcontrol.Parse(readTestdata(t, "in_production.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		major            pg.Major
		control, catalog uint32
		crcAt            int
	}{{17, 1700, 202406281, 288}, {18, 1800, 202506291, 292}} {
		got, err := pgcontrol.Parse(synthetic(t, tt.control, tt.catalog, tt.crcAt))
		if err != nil {
			t.Fatal(err)
		}
		w := *want
		w.PGControlVersion, w.CatalogVersionNo = tt.control, tt.catalog
		w.CheckPointCopy.WALLevel = pgcontrol.WALLevelReplica
		w.DefaultCharSignedness = tt.major == 18
		if diff := cmp.Diff(&w, got, ignoreRaw); diff != "" || got.Major() != tt.major {
			t.Errorf("%d, Major() = %d: %s", tt.major, got.Major(), diff)
		}
		if b := got.Encode(); !bytes.Equal(b, synthetic(t, tt.control, tt.catalog, tt.crcAt)) {
			t.Errorf("%d: Encode changes an unchanged file", tt.major)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := readTestdata(t, "shut_down.bin")
	damaged := bytes.Clone(good)
	damaged[100] ^= 1
	damagedVersion := bytes.Clone(good)
	damagedVersion[9] ^= 0x80
	misplaced := sign(synthetic(t, 1800, 202506291, 292), 288) // of 18, with its checksum where 17 has it
	misplaced[292] ^= 1
	swapped := bytes.Clone(good)
	binary.BigEndian.PutUint32(swapped[8:], 1300)
	later := bytes.Clone(good)
	binary.LittleEndian.PutUint32(later[8:], 1900)
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, pgcontrol.ErrSize},
		{"short", good[:pgcontrol.FileSize-1], pgcontrol.ErrSize},
		{"long", append(bytes.Clone(good), 0), pgcontrol.ErrSize},
		{"zeros", make([]byte, pgcontrol.FileSize), pgcontrol.ErrCRC},
		{"a bit", damaged, pgcontrol.ErrCRC},
		{"a bit of the version", damagedVersion, pgcontrol.ErrCRC},
		{"checksum at another version's place", misplaced, pgcontrol.ErrCRC},
		{"12", patch(t, 8, 1201), pgcontrol.ErrVersion},
		{"19, wherever its checksum is", later, pgcontrol.ErrVersion},
		{"big-endian", swapped, pgcontrol.ErrVersion},
		{"unreleased catalog", patch(t, 12, 202209062), pgcontrol.ErrVersion},
		{"17 with the catalog of 15", patch(t, 8, 1700), pgcontrol.ErrVersion},
		{"32-bit", patch(t, 204, 4), pgcontrol.ErrVersion},
		{"float format", patch(t, 212, 0), pgcontrol.ErrVersion},
		{"system identifier", sign(append(make([]byte, 8), good[8:]...), 288), pgcontrol.ErrField},
		{"state", patch(t, 16, 7), pgcontrol.ErrField},
		{"no checkpoint", patch(t, 32, 0), pgcontrol.ErrField},
		{"no redo", patch(t, 40, 0), pgcontrol.ErrField},
		{"no timeline", patch(t, 48, 0), pgcontrol.ErrField},
		{"block size 0", patch(t, 216, 0), pgcontrol.ErrField},
		{"block size 5000", patch(t, 216, 5000), pgcontrol.ErrField},
		{"relation segments", patch(t, 220, 0), pgcontrol.ErrField},
		{"WAL block size", patch(t, 224, 1<<17), pgcontrol.ErrField},
		{"WAL segment size 0", patch(t, 228, 0), pgcontrol.ErrField},
		{"WAL segment size 2 GiB", patch(t, 228, 1<<31), pgcontrol.ErrField},
		{"WAL segment size odd", patch(t, 228, 16<<20+1), pgcontrol.ErrField},
	}
	for _, tt := range tests {
		c, err := pgcontrol.Parse(tt.in)
		if c != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, %v; want %v", tt.name, c, err, tt.want)
		}
	}
}

// One flipped bit anywhere before the end of the checksum is found.
func TestParseFindsEveryBit(t *testing.T) {
	b := readTestdata(t, "in_production.bin")
	for i := range 292 * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := pgcontrol.Parse(b); !errors.Is(err, pgcontrol.ErrCRC) && !errors.Is(err, pgcontrol.ErrVersion) {
			t.Fatalf("bit %d of byte %d: %v", i%8, i/8, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestEncode(t *testing.T) {
	before := readTestdata(t, "promoted.bin")
	before[20], before[61], before[300], before[8191] = 0xAA, 0xBB, 0xCC, 0xDD // padding and what comes after
	sign(before, 288)
	c, err := pgcontrol.Parse(before)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Encode(); !bytes.Equal(got, before) {
		t.Error("Encode changes an unchanged file")
	}
	changed := *c
	changed.State = pgcontrol.StateInArchiveRecovery
	changed.Time = time.Date(2026, 11, 21, 10, 30, 0, 999, time.UTC)
	changed.MinRecoveryPoint, changed.MinRecoveryPointTLI = 0x1_02030408, 9
	changed.SystemIdentifier = 1 // not to be taken over
	after := changed.Encode()
	want := bytes.Clone(before)
	copy(want[16:], []byte{5, 0, 0, 0})
	binary.LittleEndian.PutUint64(want[24:], uint64(changed.Time.Unix()))
	copy(want[136:], []byte{8, 4, 3, 2, 1, 0, 0, 0, 9, 0, 0, 0})
	if !bytes.Equal(after, sign(want, 288)) {
		t.Error("Encode changes something else, or not enough")
	}
	again, err := pgcontrol.Parse(after)
	if err != nil {
		t.Fatal(err)
	}
	changed.Time, changed.SystemIdentifier = changed.Time.Truncate(time.Second), c.SystemIdentifier
	if diff := cmp.Diff(&changed, again, ignoreRaw); diff != "" {
		t.Error(diff)
	}
	if got := c.Encode(); !bytes.Equal(got, before) {
		t.Error("encoding the copy changed the original")
	}
}

func TestParseKeepsACopy(t *testing.T) {
	b := readTestdata(t, "shut_down.bin")
	want := bytes.Clone(b)
	c, err := pgcontrol.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !bytes.Equal(c.Encode(), want) {
		t.Error("Control depends on the buffer it was parsed from")
	}
}

func TestEncodeWithoutParse(t *testing.T) {
	c := &pgcontrol.Control{PGControlVersion: 1300, CatalogVersionNo: 202209061, FloatFormat: math.NaN()}
	if b := c.Encode(); !bytes.Equal(b, make([]byte, pgcontrol.FileSize)) {
		t.Error("a Control that was not parsed encodes to something")
	}
	if got := new(pgcontrol.Control).Major(); got != 0 {
		t.Errorf("Major() of nothing = %d", got)
	}
}

func TestParseCheckpoint(t *testing.T) {
	b := readTestdata(t, "in_archive_recovery.bin")
	c, err := pgcontrol.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	body := b[40:128]
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		want := c.CheckPointCopy
		if major >= 17 {
			want.WALLevel = pgcontrol.WALLevel(binary.LittleEndian.Uint32(body[20:]))
		}
		got, err := pgcontrol.ParseCheckpoint(body, major)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", major, diff)
		}
	}
	zero := make([]byte, 88)
	for _, tt := range []struct {
		body  []byte
		major pg.Major
		want  error
	}{
		{body[:87], 15, pgcontrol.ErrSize},
		{append(bytes.Clone(body), 0), 15, pgcontrol.ErrSize},
		{nil, 15, pgcontrol.ErrSize},
		{body, 12, pgcontrol.ErrVersion},
		{body, 19, pgcontrol.ErrVersion},
		{body, 0, pgcontrol.ErrVersion},
		{zero, 15, pgcontrol.ErrField},
	} {
		if got, err := pgcontrol.ParseCheckpoint(tt.body, tt.major); !errors.Is(err, tt.want) || got != (pgcontrol.Checkpoint{}) {
			t.Errorf("%d bytes of %d: %v, %v; want %v", len(tt.body), tt.major, got, err, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	if got := pgcontrol.State(99).String(); got != "unrecognized state 99" {
		t.Errorf("state 99 prints as %q", got)
	}
	for state := range pgcontrol.StateInProduction + 1 {
		want := state == pgcontrol.StateShutDown || state == pgcontrol.StateShutDownInRecovery
		if state.Clean() != want {
			t.Errorf("%s: Clean() = %v", state, state.Clean())
		}
	}
	if got := pgcontrol.WALLevelUnknown.String(); got != "unrecognized wal_level -1" {
		t.Errorf("unknown level prints as %q", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range captured() {
		f.Add(readTestdata(f, name+".bin")[:296])
	}
	for _, major := range capturedMajors() {
		f.Add(readTestdata(f, fmt.Sprintf("pg%d.bin", major))[:296])
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		b := make([]byte, pgcontrol.FileSize)
		copy(b, head)
		rewindtest.BoundedAllocation(t, len(head), func() {
			_, _ = pgcontrol.Parse(head)
			_, _ = pgcontrol.Parse(b)
		})
		for _, at := range []int{288, 292} {
			c, err := pgcontrol.Parse(sign(b, at))
			if err != nil {
				continue
			}
			if c.Major() == 0 || !pg.ValidSegmentSize(c.WALSegSize) || !bytes.Equal(c.Encode(), b) {
				t.Fatalf("accepted %+v", c)
			}
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(readTestdata(f, "in_production.bin")[40:128], 15)
	for _, major := range capturedMajors() {
		f.Add(readTestdata(f, fmt.Sprintf("pg%d.bin", major))[40:128], int(major))
	}
	f.Fuzz(func(t *testing.T, body []byte, major int) {
		c, err := pgcontrol.ParseCheckpoint(body, pg.Major(major))
		if err == nil && (c.Redo == 0 || c.ThisTimeLineID == 0 || len(body) != 88) {
			t.Fatalf("accepted %+v", c)
		}
	})
}
