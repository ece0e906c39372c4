// Package pg holds what PostgreSQL's file names and small text files mean:
// positions and ids, timeline histories, names of WAL files and relation files,
// backup_label, connection strings and configuration lines.
//
// # Method
//
// Everything is a pure function from bytes to values or back. No file is
// opened, no server asked, nothing kept between calls. Where the format depends
// on the version of PostgreSQL the version is an argument of type Major;
// versions 13 to 18 are known and others are refused.
//
// # Guarantees
//
//   - No input makes a function panic, loop for long, or use more memory than a
//     small multiple of the input's size; text files have an upper bound. The
//     one duty of a caller is a WAL segment size that ValidSegmentSize accepts,
//     as every control file that package pgcontrol has parsed holds.
//   - Names are parsed strictly: a path or file name is recognised only if
//     PostgreSQL itself would write it in just that way.
//   - Errors about connection strings and settings never quote what was in
//     them: a misplaced quote can make any part of the text a password.
//   - What is quoted here comes back unchanged from PostgreSQL's own parsers;
//     tests ask a real server and a real libpq.
//
// The package imports the standard library only, and every other package of
// the project that knows PostgreSQL imports this one.
package pg
