// Package powercut is a disk for tests that remembers every write, and can show
// what a machine would find on it had the power failed at any moment.
//
// # Method
//
// Nothing is simulated above the disk. A real file system (ext4; xfs and btrfs where
// there are tools to make one) lies on a loop device, that on a file, and that file
// is served by this process over FUSE: each block that the kernel writes arrives
// here, in its order, and each demand to bring what was written to the platter.
// Applied to the disk as it was at first, the writes up to some moment are the disk
// as a power cut at that moment leaves it; mounting it replays the file system's
// journal, as it would after a real one. What programs wrote and did not sync
// never came, and is not there.
//
// There are two file systems on a disk, so that a data directory can have its WAL,
// or a tablespace, where a sync of its own files brings nothing along. Both lose
// their power at the same moment.
//
// A disk has a cache of its own: of what was written since the last demand any
// part may be lost. Moment.Seed takes such a part by chance.
//
// How early the kernel writes what nobody asked it to sync is the kernel's own
// affair, and no sync must be missing however it decides. The mount options make it
// lazy; tests make it eager at places of their choice, by syncing themselves what
// the program under test did not.
//
// # Rights
//
// Mounting takes root, and PostgreSQL refuses root. Main, for a TestMain, starts
// the root side in a mount namespace of its own (everything that was mounted ends
// with the last process in it, however that ends), then lets rewindtest.Main run
// the tests as another user, who talks to it over a socket: Open.
package powercut
