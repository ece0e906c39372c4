package pgpage

import (
	"encoding/binary"
	"testing"
)

// TestHasDeadItems on pages made by hand: one line pointer, of each kind.
func TestHasDeadItems(t *testing.T) {
	page := func(special uint16, flags uint32) []byte {
		b := make([]byte, 8192)
		le := binary.LittleEndian
		le.PutUint16(b[12:], 28)
		le.PutUint16(b[14:], 8000)
		le.PutUint16(b[16:], special)
		le.PutUint16(b[18:], 8192|layoutVersion)
		le.PutUint32(b[24:], 8000|flags<<15|40<<17)
		return b
	}
	broken := page(8176, 1)
	broken[19] = 0xFF
	for _, c := range []struct {
		name string
		page []byte
		want bool
	}{
		{"index, live", page(8176, 1), false},
		{"index, dead", page(8176, 3), true},
		{"table, dead", page(8192, 3), false},
		{"new", make([]byte, 8192), false},
		{"broken", broken, true},
		{"short", broken[:100], true},
	} {
		if got := HasDeadItems(c.page, 8192); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}
