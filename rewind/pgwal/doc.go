// Package pgwal reads the write-ahead log of PostgreSQL 13 to 18: segments to
// pages, pages to records, records to what callers ask of them. It never writes
// and never replays.
//
// # Method
//
// A Reader is given a timeline history and something that opens segments. It
// follows the log forward, record by record, as the server's own recovery does
// (access/transam/xlogreader.c is the reference for what is valid):
//
//  1. The file of a segment is that of the newest timeline which begins before
//     the segment ends; it holds a copy of the older WAL up to the switch. Where
//     it is missing, the file of an older timeline serves up to the switch.
//  2. Each page header is checked once, the first page of a segment also when
//     reading begins in the segment's middle: magic, flags, address, timeline,
//     and on first pages system identifier, segment size and page size.
//  3. A record is put together, growing only as its pages arrive and confirm its
//     length, then its CRC is compared, and only then its fields are believed.
//  4. Records form a chain: each names the start of the one before.
//
// # Ends
//
// What cannot be read on is an *EndError of one of three kinds. EndClean: nothing
// was written here, or what is here is left over from an older use of a recycled
// segment. EndDamaged: something was written here and is not valid. EndMissing:
// the segment is not there. A server that crashed may leave any of the three
// behind its last complete record; whether the end comes too early is for the
// caller to say, who knows the control file. Any other error is one of opening
// or reading a file, or a cancelled context: it says nothing about the log.
//
// # Guarantees
//
//   - No input makes the package panic, and none makes it allocate more than a
//     small multiple of the bytes that the opened segments really hold.
//   - A record whose checksum does not match is never returned.
//   - Reading neither copies records that lie on one page nor allocates for them:
//     a *Record and all that hangs on it is valid until the next call.
//
// Record formats are those of little-endian machines, which are the only ones
// that the program runs on.
package pgwal
