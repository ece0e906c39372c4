// Package torture is the random oracle of the engine: from a seed it makes a
// schedule, plays it on real clusters, rejoins the nodes that were left behind
// with package rewind, and compares them with their leader.
//
// # Method
//
// Generate is pure: the same seed and major give the same Schedule, letter for
// letter. It holds settings, and steps: who is made of whom, who writes what (the
// writing itself follows from a seed in the step), which transactions stay open
// over the fork, where checkpoints happen, how the standby is cut off and
// promoted, how the old server ends, who is rewound from whom, and whether that is
// interrupted. Play runs it. What servers do by themselves, and how far a writer
// in the background comes before a kill, differs from run to run: a seed that
// failed once may need several runs to fail again.
//
// # What is compared
//
//   - The rows of every table, and every sequence, of every database. The rewound
//     node is read before its leader: reading sets hint bits there, and their page
//     images would repair what is wrong here.
//   - Heaps and B-trees by amcheck; every other kind of index by asking it for all
//     rows and counting.
//   - Every page's checksum, with the server stopped.
//   - Prepared transactions, and what the promoted node makes of writing to every
//     table: SP-GiST's cache of pages to insert into matters only then.
//   - Stock pg_rewind, where the installation has it, on a copy of the same
//     directory. Where it is right we must not refuse.
//
// Statements may fail, as when a table is locked or a database is not there at the
// moment: the generator knows nothing of the servers' state. How many failed is
// counted, so that a schedule that does nothing is noticed.
package torture
