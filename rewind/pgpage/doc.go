// Package pgpage reads the header that relation pages have in common, and
// computes their checksums (storage/bufpage.h and storage/checksum_impl.h,
// PostgreSQL 13 to 18).
//
// # Method
//
// A page is a slice of one block; its length is the block size. Nothing is
// changed and nothing allocated. Only what PageInit writes is looked at: what
// heap, indexes and other access methods keep behind the header is theirs.
//
// # Guarantees
//
//   - No input makes a function panic, whatever its length: what is too short
//     or of an odd length is not valid and does not verify.
//   - Checksum agrees with the server's: the tests verify pages of a real
//     cluster, and, where PostgreSQL is installed, every page of a new one.
//
// Page LSNs are only as good as the page: check Verify, or at least Valid,
// before believing one.
package pgpage
