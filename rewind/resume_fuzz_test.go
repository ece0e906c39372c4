package rewind

import "testing"

// FuzzReadRecords gives the reader of the journal records of any kind with any
// content: it may refuse them, and must not panic, here or where the plans are used.
func FuzzReadRecords(f *testing.F) {
	plan := []byte(`{"format":1,"system_id":"7000000000000000001","wal_segment_size":16777216,"strategy":"wal",
		"fork":{"lsn":"0/3000060","timeline":1},"target":{"history":[{"timeline":1,"begin":"0/0","end":"FFFFFFFF/FFFFFFFF"}]},
		"wal":{"set_aside":["pg_wal/000000010000000000000003"],"trim":null},"kept":[],"entries":null}`)
	entries := []byte(`[{"path":"base/5/1249","action":"tail","kind":"file","source_size":16384,"target_size":8192,
		"blocks":[{"First":0,"Count":1}],"reason":"x"},{"path":"base/5/2619","action":"copy","kind":"file","reason":""}]`)
	f.Add(uint16(recordPlan), plan, uint16(recordEntries), entries, uint16(recordReady), []byte("null"))
	f.Add(uint16(recordPlan), plan, uint16(recordReady), []byte("null"), uint16(recordDone), []byte("null"))
	f.Add(uint16(recordEntries), entries, uint16(recordReady), []byte("null"), uint16(9), []byte{0xff})
	f.Add(uint16(recordPlan), []byte("null"), uint16(recordReady), []byte(""), uint16(recordPlan), []byte(`{"format":1,"entries":[{}]}`))
	f.Add(uint16(recordPlan), plan, uint16(recordEntries),
		[]byte(`[{"path":"base/5/1249","action":"tail","target_size":-1,"blocks":[{"First":4294967295,"Count":4294967295}]}]`), uint16(recordReady), []byte("null"))
	f.Fuzz(func(t *testing.T, k1 uint16, p1 []byte, k2 uint16, p2 []byte, k3 uint16, p3 []byte) {
		r, _, err := readRecords(recordList{{k1, p1}, {k2, p2}, {k3, p3}})
		if err != nil {
			return
		}
		use(r)
	})
}

// recordList is a journal that holds any records.
type recordList []struct {
	kind    uint16
	payload []byte
}

// Records implements records.
func (l recordList) Records(fn func(kind uint16, payload []byte) error) error {
	for _, r := range l {
		if err := fn(r.kind, r.payload); err != nil {
			return err
		}
	}
	return nil
}

// use does with the plans what a continued run does.
func use(r *resume) {
	r.copied()
	r.ownsWAL("000000010000000000000003")
	b := r.begun()
	for _, p := range r.plans {
		for _, e := range p.Entries {
			b.whole(e.Path)
			b.addBlocks(e.Path, nil, 4)
		}
	}
}
