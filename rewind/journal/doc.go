// Package journal keeps an append-only file of records in a directory, and has
// the few operations on files that a change must go through to be durable. It
// knows bytes and durability; what the records mean and what follows from them
// is decided elsewhere.
//
// # Format
//
// The file "journal", all numbers little-endian:
//
//	magic "FBJRNL\r\n", u32 format version, u32 zero, u64 salt, u32 CRC-32C of these
//	then frames:
//	u32 length of the payload, u16 kind, u16 zero, u64 synced, payload,
//	u32 CRC-32C of the salt, the frame's offset, its header and its payload
//
// The salt is random: what a disk brings back of an earlier journal does not
// pass for a part of this one, nor does a frame at another place than its own.
// "synced" is how far the file was known to be on disk when the frame was written.
// Sync adds a frame of kind 65535 without payload that carries this proof and
// nothing else.
//
// # Guarantees
//
//   - A record is returned as it was appended, or not at all.
//   - After Sync has returned, the records before it survive a crash of the machine.
//   - A crash while appending leaves records that were complete and synced, and
//     at most a torn end. A torn end is the end; the next Append cuts it off.
//   - Bytes that were synced and are wrong are damage (ErrDamaged), not the end: a
//     frame behind them proves that they were synced. Without such a proof an
//     unreadable frame cannot be told from one that a crash tore, also when a
//     later one of the same batch is whole: the order in which a disk writes what
//     was not synced is its own affair. (The proof itself is not synced. It is
//     missing only after a crash within seconds.)
//   - A newer format is refused (ErrNewerFormat) and not touched. Magic, version
//     and checksum of the file header stay where they are in every version.
//
// A Journal is for one process. Append and Sync may be called by several goroutines,
// and a record may be appended while those before it are being synced; everything
// else is for one goroutine, which is alone with the journal.
package journal
