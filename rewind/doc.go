// Package rewind turns the data directory of a former primary, or of a standby
// that followed the wrong branch, into one that can stream from a new primary.
// It does what pg_rewind does, by the same idea: copy from the source every
// block that the target changed after the two histories parted, and let replay
// of the source's WAL, from a checkpoint before that point, do the rest.
//
// # Method
//
// Plan only reads:
//
//  1. Read both control files and timeline histories; refuse what does not fit
//     together. The fork is the end of the common part of the histories, or
//     further back where the WAL shows that a common timeline was two.
//  2. Find the end of the target's WAL. If it lies before the fork, nothing has
//     to be copied (StrategyNone).
//  3. Find a checkpoint before the fork that both sides share, the last one
//     there is. Replay will begin at its redo position, or at the source's if
//     that is older: blocks on the source's disk are no newer than that.
//  4. Read the target's WAL from that checkpoint to its end, or from an older one
//     where that does not tell everything. Every block that a
//     record names goes into a page map; records that change files without
//     naming blocks mark a relation from some block on, or a whole database.
//     What lies behind the fork is counted: it is what will be lost.
//  5. List both directories and decide for each path, by itself, what happens
//     to it. Files that would be copied whole are compared by hash first.
//     Where the source has copied a database's files since the fork, replay
//     begins behind that, at the source's last checkpoint, and what the source
//     has changed up to there is fetched as well.
//  6. Work out which WAL segments and history files the node will need, which
//     of them it has, and which of its own must not be found by recovery.
//  7. Predict what would make the work fail: rights, space, missing WAL.
//
// Apply is the only writer:
//
//  1. Lock the directory against other engines. Write the plan to a journal
//     inside PGDATA, with what lies at each path that will be changed, and move
//     global/pg_control there. From here on no server can start on the
//     directory; one that was started a moment before keeps it.
//  2. Fetch WAL to the side and read it: a record that replay could not deal with
//     ends the run here. Make directories, fetch files and blocks over
//     several connections. What is replaced or removed is moved aside, and a
//     block that is overwritten is saved before.
//  3. Truncate and remove. Ask the source once more, and fetch the WAL that it
//     has written meanwhile.
//  4. Sync what was touched, and only that. Exchange WAL files by renaming: the
//     target's own diverged WAL is moved aside, not removed.
//  5. Write standby.signal, the standby settings and backup_label; ask
//     Options.BeforeCommit; note in the journal that all is done.
//  6. Put the new pg_control in place: the directory can start again.
//  7. Move the WAL that only the target had to where Options.Salvage says, and
//     remove the journal with all that was kept; with Options.KeepUndo Discard
//     does that later.
//
// # Why the result is right
//
// Say replay begins at R, the histories part at F, and S is the redo position of
// the source's last checkpoint when the plan is made; R is no later than S.
//
// A block that is kept holds every change from before R: the target had
// completed a checkpoint there. It holds nothing from behind F, because whatever
// changed it then is named by a record of the target's (it is fetched), or left
// no trace since an image of the page from behind R is in the common WAL
// (replay restores that one). This needs full page images between R and the
// checkpoint's record, and images for hints since; both are checked, also for the
// time in between. Three changes escape it and are looked for by themselves: hints
// set in recovery about transactions that were open at F (findScanStart), index
// entries marked dead right after a promotion (deadmarks.go), and the metapage
// of SP-GiST indexes, which is never logged.
//
// A block that is fetched holds every change from before S. If it was torn, the
// image of the first change behind S, which is in the WAL that will be replayed,
// restores it; a write of hints alone may tear, each is true by itself. Under data
// checksums a torn one is read again anyway. What is short or missing at the
// source was cut or dropped there behind S, and replay does the same here.
//
// No block holds a change from behind the minimum recovery point that is written:
// it is asked for after the last block was read, and no page reaches a disk before
// its WAL. Nobody reads from the node before that point.
//
// Files without block references are taken whole. Equal when compared is as
// good as fetched: what the source changes later comes with WAL. The
// transaction status files, the relation maps and prepared transactions are made
// right by replay as after a base backup; a visibility map from later than its
// tables can only lose bits, and a free space map is a guess anyhow.
//
// Not to be seen is one thing: data checksums switched on by pg_checksums on both
// sides after the fork, where wal_log_hints was off before. And on fsync
// everything rests, as it does for PostgreSQL.
//
// # What an interruption leaves
//
// Before step 1 has ended: the directory as it was. Between step 1 and step 6:
// a directory that cannot start, whose journal tells what was begun; a new
// Engine on it plans again, from the control file and the WAL that were kept,
// adds everything that the journal names, and finishes, against the same
// source or a later one. After step 6: a finished directory with some files of
// the journal left, which the next call removes. A run that continues another one
// syncs whole file systems: what that one had written may be in memory only, and
// is found done.
//
// Undo goes the other way, from any of these states, after an error or a kill,
// and after step 6 until a server has been started: the directory becomes what
// it was before the first of the runs, byte for byte. It needs no source. An undo
// that is interrupted has to be finished before anything else (ErrUndoBegun).
// Before the tidying up of a finished run begins the journal notes that it cannot
// be taken back any more, so that no undo finds a part of what it needs.
// A run with Options.NoUndo saves nothing, and can only be finished.
//
// # What is lost
//
// Rows behind the fork are counted by transaction and booked when that ends, so
// that committed ones are told from the others; what a transaction had written
// before the fork goes with it. The rows of pg_class and a few other catalogs
// are read from the same records, or from the images of their pages, and give
// names to what the source has never known. Engine.Lost answers from the target,
// ReadSalvage from the WAL that was moved to a directory with a SalvageManifest.
//
// # What is not touched
//
// Files outside the directories that PostgreSQL itself makes (configuration,
// certificates, logs, what a manager keeps there) stay the node's own: they are
// neither fetched nor removed. Unlogged relations and temporary files are not
// fetched: the server makes the former anew and has no use for the latter.
//
// Options.Mirror asks for pg_rewind's ways instead: then those files become the
// source's, but for links of the node's own, which pg_rewind would fail at.
//
// # The target's archive
//
// With Options.RestoreCommand, WAL that pg_wal no longer has is fetched from the
// archive into a temporary directory. Of that Apply puts into pg_wal what replay
// will need and the source cannot give; a plan leaves pg_wal alone, and reads
// that WAL together with what comes before and behind it.
//
// The package knows nothing of etcd, command lines or logs. It emits events
// and returns a Report, and it imports no driver: where blocks come from is the
// business of a Source.
package rewind
