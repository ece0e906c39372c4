package pgwal

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// parse makes a record of a body and takes it apart.
func parse(t testing.TB, major pg.Major, m Rmgr, info uint8, body []byte) *Record {
	t.Helper()
	r := &Record{LSN: 0x2000028}
	if err := r.decode(sealed(m, info, 700, 0x2000000, body), major); err != nil {
		t.Fatal(err)
	}
	return r
}

var rel = pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}

// image is the header of a page image: length, place of the hole, flags.
func image(length uint16, flags uint8) []byte { return le(length, uint16(96), flags) }

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func locator(l pg.RelFileLocator) []byte { return le(l.Spc, l.DB, l.Rel) }

var ignoreImage = cmpopts.IgnoreUnexported(BlockRef{})

// What the flags of an image mean, and how long its header is, changed with 15.
func TestImageFlags(t *testing.T) {
	for _, tt := range []struct {
		major    pg.Major
		flags    uint8
		withHole bool // the length of the hole follows
		apply    bool
	}{
		{13, imageHasHole | imagePGLZUpTo14 | imageApplyUpTo14, true, true},
		{14, imageHasHole | imageApplyUpTo14, false, true},
		{14, imagePGLZUpTo14, false, false},
		{15, imageHasHole | imageApply, false, true},
		{15, imageHasHole | 0x04, true, false},
		{16, imageHasHole | 0x08 | imageApply, true, true},
		{18, imageHasHole | 0x10 | imageApply, true, true},
		{18, 0x10 | imageApply, false, true},
	} {
		var hole []byte
		if tt.withHole {
			hole = le(uint16(100))
		}
		body := join(le(uint8(3), uint8(blockHasImage|blockWillInit|2), uint16(0)), image(10, tt.flags), hole,
			locator(rel), le(uint32(77)), le(uint8(idDataShort), uint8(4)), make([]byte, 10), []byte("main"))
		r := parse(t, tt.major, RmgrHeap, 0, body)
		want := []BlockRef{{ID: 3, Fork: pg.VMFork, Locator: rel, Block: 77, HasImage: true, Apply: tt.apply, ImageLen: 10, WillInit: true}}
		if d := cmp.Diff(want, r.Blocks, ignoreImage); d != "" || string(r.Main) != "main" {
			t.Errorf("%d, flags %02X: main %q\n%s", tt.major, tt.flags, r.Main, d)
		}
	}
}

func TestParts(t *testing.T) {
	other := pg.RelFileLocator{Spc: 1664, Rel: 1262}
	body := join(
		le(uint8(0), uint8(blockHasData), uint16(3)), locator(rel), le(uint32(1)),
		le(uint8(2), uint8(blockSameRel|1), uint16(0)), le(uint32(2)),
		le(uint8(32), uint8(0), uint16(0)), locator(other), le(uint32(3)),
		le(uint8(idOrigin), uint16(9)), le(uint8(idTopLevelXID), uint32(699)),
		le(uint8(idDataShort), uint8(2)), []byte("abc"), []byte("xy"))
	r := parse(t, 14, RmgrHeap, 0x85, body)
	want := &Record{
		LSN: 0x2000028, Prev: 0x2000000, Major: 14, TotalLen: uint32(recordHeaderSize + len(body)), XID: 700, TopXID: 699,
		Origin: 9, Rmgr: RmgrHeap, Info: 0x85, Main: []byte("xy"),
		Blocks: []BlockRef{
			{Locator: rel, Block: 1, HasData: true, DataLen: 3, Data: []byte("abc")},
			{ID: 2, Locator: rel, Block: 2, Fork: pg.FSMFork},
			{ID: 32, Locator: other, Block: 3},
		},
	}
	if d := cmp.Diff(want, r, ignoreImage); d != "" {
		t.Error(d)
	}
}

func TestMalformedRecords(t *testing.T) {
	block := func(flags uint8, n uint16) []byte { return join(le(uint8(0), flags, n), locator(rel), le(uint32(1))) }
	for name, tt := range map[string]struct {
		major pg.Major
		body  []byte
	}{
		"unknown part":               {15, []byte{40, 0, 0}},
		"top-level id in 13":         {13, le(uint8(idTopLevelXID), uint32(1))},
		"blocks out of order":        {15, join(block(0, 0), block(0, 0))},
		"unknown fork":               {15, block(4, 0)},
		"data without flag":          {15, join(block(0, 2), []byte("ab"))},
		"flag without data":          {15, block(blockHasData, 0)},
		"same relation as none":      {15, le(uint8(0), uint8(blockSameRel), uint16(0), uint32(1))},
		"cut off in a block":         {15, block(0, 0)[:9]},
		"cut off in a length":        {15, []byte{idDataLong, 1}},
		"less data than announced":   {15, []byte{idDataShort, 5, 'a'}},
		"more data than announced":   {15, []byte{idDataShort, 1, 'a', 'b'}},
		"announced length near 2^32": {15, le(uint8(idDataLong), uint32(1<<32-1), uint32(0))},
	} {
		r := &Record{}
		if err := r.decode(sealed(RmgrHeap, 0, 0, 0, tt.body), tt.major); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

// Layouts of versions that are not installed, by their headers.
func TestTransactionEnds(t *testing.T) {
	when := time.Date(2026, 11, 21, 9, 53, 6, 123456000, time.UTC)
	us := when.UnixMicro() - time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	parts := uint32(xinfoDBInfo | xinfoSubXacts | xinfoRelFiles | xinfoInvals | xinfoTwoPhase)
	for major := pg.Major(13); major <= 18; major++ {
		var stats []byte
		flags := parts
		if major >= 15 {
			flags |= xinfoDroppedStats
			size := map[bool]int{true: 16, false: 12}[major >= 18]
			stats = join(le(uint32(2)), make([]byte, 2*size))
		}
		body := join(le(us, flags), le(uint32(5), uint32(1663)),
			le(uint32(2), uint32(801), uint32(802)), le(uint32(1)), locator(rel), stats,
			le(uint32(1)), make([]byte, 16), le(uint32(800)), []byte("gid\x00"))
		r := parse(t, major, RmgrTransaction, opXactCommitPrep|xactHasInfo|infoSpecialRelUpdate, mainData(body))
		got, ok, err := r.XactEnd()
		want := XactEnd{Kind: XactCommitPrepared, XID: 800, Time: when, SubXIDs: []pg.XID{801, 802}, DroppedRels: []pg.RelFileLocator{rel}}
		if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
			t.Errorf("%d: %v %v\n%s", major, ok, err, d)
		}
		changes, err := FileChanges(r)
		if err != nil || len(changes) != 4 || changes[0] != (FileChange{Kind: ChangeFrom, Locator: rel}) {
			t.Errorf("%d: %v, %v", major, changes, err)
		}

		header := join(le(uint32(0x57F94534), uint32(0), uint32(800), uint32(5), us, uint32(10), uint32(2), uint32(1), uint32(0)))
		if major >= 15 {
			header = join(header, le(uint32(1), uint32(0)))
		}
		header = join(header, le(uint32(0), uint8(1), uint8(0), uint16(4)))
		header = append(header, make([]byte, padding(len(header)))...)
		body = join(header, make([]byte, 16), []byte("gid\x00"), make([]byte, 4), le(uint32(801), uint32(802)), locator(rel), make([]byte, 40))
		got, ok, err = parse(t, major, RmgrTransaction, opXactPrepare, mainData(body)).XactEnd()
		want = XactEnd{Kind: XactPrepare, XID: 800, Time: when, SubXIDs: []pg.XID{801, 802}, GID: "gid"}
		if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
			t.Errorf("%d: %v %v\n%s", major, ok, err, d)
		}
	}
}

func TestCutOffTransactionEnd(t *testing.T) {
	body := join(le(int64(0), uint32(xinfoSubXacts|xinfoTwoPhase)), le(uint32(1), uint32(801)), le(uint32(800)))
	for n := range body {
		_, ok, err := parse(t, 15, RmgrTransaction, opXactAbortPrep|xactHasInfo, mainData(body[:n])).XactEnd()
		if !ok || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v %v", n, ok, err)
		}
	}
	for _, op := range []uint8{opXactCommitPrep, opXactAbortPrep} {
		for _, info := range []uint8{0, xactHasInfo} {
			if x, _, err := parse(t, 15, RmgrTransaction, op|info, mainData(le(int64(0), uint32(0)))).XactEnd(); err == nil {
				t.Errorf("op %02X without a transaction: %v", op|info, x)
			}
		}
	}
}

func TestFileChanges(t *testing.T) {
	database := func(spc, db pg.Oid) FileChange { return FileChange{Kind: ChangeDatabase, Spc: spc, DB: db} }
	two := join(le(uint8(0), uint8(0), uint16(0)), locator(rel), le(uint32(7)), le(uint8(1), uint8(blockSameRel), uint16(0)), le(uint32(8)))
	for name, tt := range map[string]struct {
		major pg.Major
		rmgr  Rmgr
		info  uint8
		body  []byte
		want  []FileChange
		err   error
	}{
		"create fsm":         {15, RmgrStorage, 0x11, mainData(join(locator(rel), le(uint32(1)))), []FileChange{{Kind: ChangeFrom, Locator: rel, Fork: pg.FSMFork}}, nil},
		"create fork 4":      {15, RmgrStorage, 0x11, mainData(join(locator(rel), le(uint32(4)))), nil, ErrMalformed},
		"truncate all":       {15, RmgrStorage, 0x21, mainData(join(le(uint32(3)), locator(rel), le(uint32(7)))), []FileChange{{Kind: ChangeFrom, Locator: rel, Block: 3}, {Kind: ChangeFrom, Locator: rel, Fork: pg.VMFork}, {Kind: ChangeFrom, Locator: rel, Fork: pg.FSMFork}}, nil},
		"truncate vm":        {15, RmgrStorage, 0x21, mainData(join(le(uint32(3)), locator(rel), le(uint32(2)))), []FileChange{{Kind: ChangeFrom, Locator: rel, Fork: pg.VMFork}}, nil},
		"storage, unknown":   {15, RmgrStorage, 0x30, nil, nil, ErrUnknownChange},
		"create db in 13":    {13, RmgrDatabase, 0x01, mainData(le(uint32(9), uint32(1663), uint32(1), uint32(1663))), []FileChange{database(1663, 9)}, nil},
		"drop db in 14":      {14, RmgrDatabase, 0x11, mainData(le(uint32(9), uint32(2), uint32(1663), uint32(20))), []FileChange{database(1663, 9), database(20, 9)}, nil},
		"create db by WAL":   {15, RmgrDatabase, 0x10, mainData(le(uint32(9), uint32(1663))), []FileChange{database(1663, 9)}, nil},
		"drop db in 18":      {18, RmgrDatabase, 0x21, mainData(le(uint32(9), uint32(1), uint32(1663))), []FileChange{database(1663, 9)}, nil},
		"0x20 in 14":         {14, RmgrDatabase, 0x20, mainData(le(uint32(9), uint32(1), uint32(1663))), nil, ErrUnknownChange},
		"drop db, cut off":   {18, RmgrDatabase, 0x21, mainData(le(uint32(9), uint32(2), uint32(1663))), nil, ErrMalformed},
		"sp-gist":            {15, RmgrSPGist, 0x10, two, []FileChange{{Kind: ChangeBlock, Locator: rel}}, nil},
		"heap":               {15, RmgrHeap, 0x00, two, nil, nil},
		"heap, special":      {15, RmgrHeap, 0x01, two, nil, ErrUnknownChange},
		"sp-gist, special":   {15, RmgrSPGist, 0x11, two, nil, ErrUnknownChange},
		"custom, special":    {15, 130, 0x01, nil, nil, ErrUnknownChange},
		"prepare, special":   {15, RmgrTransaction, opXactPrepare | 1, mainData(make([]byte, 80)), nil, ErrUnknownChange},
		"tablespace":         {15, RmgrTablespace, 0x00, mainData(le(uint32(1))), nil, nil},
		"consistency checks": {15, RmgrHeap, 0x02, two, nil, nil},
	} {
		got, err := FileChanges(parse(t, tt.major, tt.rmgr, tt.info, tt.body))
		if d := cmp.Diff(tt.want, got); d != "" || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}

func TestSettings(t *testing.T) {
	params := func(level uint32, hints uint8) []byte {
		return mainData(le([5]uint32{100, 8, 10, 0, 64}, level, hints, uint8(0), uint16(0)))
	}
	for _, tt := range []struct {
		body []byte
		want Parameters
	}{
		{params(1, 1), Parameters{WALLevelReplica, true}},
		{params(2, 0), Parameters{WALLevelLogical, false}},
		{params(0, 1), Parameters{WALLevelMinimal, true}},
		{mainData(le([5]uint32{}, uint32(2))), Parameters{}}, // cut off: the worst
	} {
		if got, ok := parse(t, 15, RmgrXLOG, opParameterChange, tt.body).Parameters(); !ok || got != tt.want {
			t.Errorf("got %v %v, want %v", got, ok, tt.want)
		}
	}
	for body, want := range map[string]bool{"\x01": true, "\x00": false, "": false} {
		if on, ok := parse(t, 15, RmgrXLOG, opFPWChange, mainData([]byte(body))).FullPageWrites(); !ok || on != want {
			t.Errorf("full_page_writes %q: %v %v", body, on, ok)
		}
	}
	other := parse(t, 15, RmgrXLOG, opCheckpointOnline, nil)
	if _, ok := other.Parameters(); ok {
		t.Error("a checkpoint is no change of settings")
	}
	if _, ok := other.FullPageWrites(); ok {
		t.Error("a checkpoint is no change of full_page_writes")
	}
	if shutdown, ok := other.Checkpoint(); shutdown || !ok {
		t.Error("an online checkpoint is not known as one")
	}
	if shutdown, ok := parse(t, 15, RmgrXLOG, opCheckpointShutdown, nil).Checkpoint(); !shutdown || !ok {
		t.Error("a shutdown checkpoint is not known as one")
	}
}

func TestRunningXacts(t *testing.T) {
	body := le(uint32(2), uint32(1), uint8(1), [3]byte{7, 7, 7}, uint32(900), uint32(890), uint32(899), uint32(890), uint32(895), uint32(896))
	got, ok, err := parse(t, 15, RmgrStandby, opRunningXacts, mainData(body)).RunningXacts()
	want := RunningXacts{NextXID: 900, OldestRunning: 890, LatestCompleted: 899, XIDs: []pg.XID{890, 895}, SubXIDs: []pg.XID{896}, Overflowed: true}
	if d := cmp.Diff(want, got); d != "" || !ok || err != nil {
		t.Errorf("%v %v\n%s", ok, err, d)
	}
	for n := range body {
		if _, ok, err := parse(t, 15, RmgrStandby, opRunningXacts, mainData(body[:n])).RunningXacts(); !ok || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v %v", n, ok, err)
		}
	}
}

func TestTruncatedTables(t *testing.T) {
	kind, n := parse(t, 15, RmgrHeap, opHeapTruncate, mainData(le(uint32(5), uint32(3), uint8(0)))).RowChange()
	if kind != RowTruncate || n != 3 {
		t.Errorf("got %v %d, want 3 tables", kind, n)
	}
}
