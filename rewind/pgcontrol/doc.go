// Package pgcontrol reads and writes pg_control, the file in which a cluster
// says what it is and where its WAL begins to matter (ControlFileData in
// catalog/pg_control.h, PostgreSQL 13 to 18).
//
// # Method
//
// One table holds the offset of every field for every control file version:
// 1300 (PostgreSQL 13 to 16), 1700 and 1800. The offsets are those of
// little-endian 64-bit machines, x86-64 and arm64; files of others fail the
// checksum or the check of the alignment and are refused. Parse looks at the
// length, then the checksum, then the version, then the fields.
//
// # Guarantees
//
//   - No input makes Parse or ParseCheckpoint panic; they allocate one copy of
//     the file, and nothing that depends on what is in it.
//   - A Control that Parse returned has a version, block sizes and a WAL segment
//     size that this project can work with.
//   - Encode changes only what a rewind has to change. Everything else, padding
//     and fields that are not named here included, stays byte for byte.
//
// Version 1300 is tested against files of PostgreSQL 15 and pg_controldata. The
// layouts of 1700 and 1800 were taken from the compiled headers of 17.11 and
// 18.6 and are tested with files put together from the table itself, which
// shows that the table is used consistently and no more; where the installed
// server is a 17 or 18 the tests compare with its pg_controldata.
package pgcontrol
