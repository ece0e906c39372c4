package pg

import (
	"fmt"
	"strconv"
)

// Timeline is a timeline id (TimeLineID in access/xlogdefs.h). Zero is invalid.
type Timeline uint32

// BlockNo is the number of a block in a relation fork, counted over all its
// segment files (BlockNumber in storage/block.h).
type BlockNo uint32

// Oid is an object id (postgres_ext.h). Zero is invalid.
type Oid uint32

// XID is a transaction id without its epoch (TransactionId in c.h).
type XID uint32

// FullXID is a transaction id with its epoch in the upper half
// (FullTransactionId in access/transam.h).
type FullXID uint64

// XID drops the epoch.
func (f FullXID) XID() XID { return XID(f) }

// SystemID is the system identifier of a cluster: the same on a primary and
// all its standbys, different between clusters made by different initdb runs.
type SystemID uint64

// String prints the identifier in decimal, as pg_controldata does.
func (s SystemID) String() string { return strconv.FormatUint(uint64(s), 10) }

// ParseSystemID reads a decimal system identifier; zero is refused.
func ParseSystemID(s string) (SystemID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse system identifier: %w", err)
	}
	if v == 0 {
		return 0, fmt.Errorf("parse system identifier %q: zero is not one", s)
	}
	return SystemID(v), nil
}

// MarshalText makes JSON carry the decimal form as a string: the number is
// larger than what JSON readers keep exactly.
func (s SystemID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the decimal form.
func (s *SystemID) UnmarshalText(b []byte) error {
	v, err := ParseSystemID(string(b))
	if err == nil {
		*s = v
	}
	return err
}
