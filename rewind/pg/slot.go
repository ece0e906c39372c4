package pg

import (
	"fmt"
	"strings"
)

// maxSlotName is the longest name of a replication slot in bytes (NAMEDATALEN
// in pg_config_manual.h, less the zero byte).
const maxSlotName = 63

// SlotName is the name that Patroni gives to the replication slot of a member:
// lower case, '-' and '.' become '_', and any other character that a slot name
// may not have becomes "u" and its code point in at least four decimal digits;
// what is longer than a slot name may be is cut off. Two members can end up
// with one name, as they do in Patroni.
//
// Lower case is taken character by character; Python, and so Patroni, treats a
// final sigma and a dotted capital I differently.
func SlotName(member string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(member) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			b.WriteRune(r)
		case r == '-', r == '.':
			b.WriteByte('_')
		default:
			fmt.Fprintf(&b, "u%04d", r)
		}
		if b.Len() >= maxSlotName {
			return b.String()[:maxSlotName]
		}
	}
	return b.String()
}
