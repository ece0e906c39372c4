// Package hook brings one node back into its cluster: it looks, decides, takes
// the lock, stops the server, has package rewind do the work, makes the node a
// standby of the leader, starts it, and does not say that it is done before the
// leader shows it streaming.
//
// # The run
//
//	          check         not root, the owner of PGDATA, a sound Config
//	            |
//	          look          etcd at one revision, PGDATA, the leader's server
//	            |
//	         Decide ------- wait, refuse ------------------> error
//	            |  \------- nothing to do ------------------> report
//	          settle        only a standby that runs and does not stream:
//	            |           it may be about to (Config.SettleTimeout)
//	          pause         with a Pauser; until all managers have seen it
//	            |
//	          lock          for this term of this leader; in the queue where others come first
//	. . . . . . | . . . . . . . . . . . . . . . . . . . . . under the lock
//	:      look again ----- another answer ----------------> release, that
//	:           |
//	:        connect ------ error -------------------------> release
//	:           |
//	:         stop          fast, then immediate; all processes are gone
//	:           |
//	:         plan -------- error -------------------------> start again
//	:           |
//	:         slot          on the leader, so that it keeps its WAL
//	:           |
//	:         apply         resumes what was interrupted before
//	. . . . . . | . . . . . . . . . . . . . . . . . . . . . release
//	          start         whoever comes first, this or a manager
//	            |
//	         stream         the leader's pg_stat_replication shows the member
//	            |
//	          resume        also after an error, and while a leader is missing
//	            |
//	          report        lost relations by name, where the leader knows them
//
// Decide is a pure function of what was seen (Facts), and is asked twice: once
// for nothing but reading, and once under the lock, because between the two
// another node, or another process of this one, may have changed what it rests
// on. Everything under the lock runs in the lock's context, which ends when the
// lease is lost or the leader changes; and at the last moment before pg_control
// appears both are compared once more, in one transaction (Lock.Check).
//
// A dry run looks, decides and plans, on a running server as well as that can
// be done; it takes no lock and writes nothing anywhere. It waits for nothing.
//
// # What passes by itself
//
// An attempt that fails goes through afterSetback, a pure function, which sorts
// the error and has three answers: give up, try again after a pause, or decide
// anew at once. Every attempt begins with the first look and takes the lock
// again, because whatever the last one has left, and whatever happened since, is
// a state that a first attempt may find as well: there is no second path through
// the program that only runs when something breaks.
//
//	etcd does not answer                            wait
//	nobody leads, or nobody knows where             wait
//	the leader's server is away or not ready        wait; package source has tried
//	                                                for a while by itself, and kept
//	                                                what it had
//	other nodes are at work                         wait in the queue; only the time in
//	                                                which nothing moves there counts
//	the lock was lost, the leader is another one    decide anew
//	everything else                                 the result, at once
//
// Config.Wait bounds the waiting for each kind in a run, all of it together: a
// leader that breaks down whenever it is copied from must not be broken down for
// ever. The time in which work was done does not count. Between two attempts the
// lock is free and a server that was stopped stays down; it is started again,
// where that is possible, when the run gives up.
//
// The leader is also looked for while the node, complete and started, is waited
// for to stream: one that has been set up for a leader of the past never would.
//
// At the last moment of the work (Lock.Check), an etcd that does not answer is
// waited for as long as the lease lives, so that its restart does not cost the
// work.
//
// # What each exit leaves behind
//
// Of the error that ends the run, when nothing is waited for any longer:
//
//   - An error of check, look, Decide, settle or lock: everything as it was, or
//     as an attempt before has left it.
//   - An error of stop: what the server did of it. It may still be running.
//   - An error of plan or slot, or of apply before it changed anything: the
//     directory as it was. A server that ran before is started again, also when
//     the run was cancelled or the lock was lost.
//   - An error or a kill during apply: a directory without pg_control, which no
//     server can start on, and a journal in it. The next run, against this
//     leader or a later one, finishes the work. A slot that was made stays.
//   - An error of start or stream: a complete directory; the lock is free. The
//     server runs, unless it is the start that failed.
//   - A kill at any time leaves the lock until its lease ends. The next run on
//     the same host sees that the holder is dead and waits for that.
//
// The lock is given back before the server starts: it guards the copying, which
// loads the leader and must not be done twice, and no longer than that.
//
// # The local server
//
// A pid file is not believed: see postmaster. Nothing is ever killed here;
// pg_ctl, or the commands of the user, stop the server, and what does not end is
// named in the error.
//
// A manager (Patroni) starts whatever it finds stopped, within seconds. So a
// server that runs under one is not stopped (ErrManaged), unless the cluster is
// paused, or the stop command is the user's, who may stop the manager with it.
// The manager counts as there as long as the lease of its member key lives. A
// server that is down already is taken as it is, with a warning: should the
// manager start it before the work has begun, the engine notices and changes
// nothing; after that no start succeeds until the work is done, and then it is
// welcome.
//
// # The agent
//
// Agent runs Rejoin when it is needed. What it does is decided by
// AgentConfig.next, a pure function of what it has seen, what it remembers, and the
// time; agent_policy.go has the conditions and how long each is only looked at.
//
// # Imports
//
// dcs and rewind below, zap for the log; no driver, no etcd client, no command
// line: those come in through the functions and interfaces of Hook.
package hook
