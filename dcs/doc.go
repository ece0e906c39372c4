// Package dcs reads what etcd says about a PostgreSQL cluster, and takes the
// lock under which one of its nodes is brought back.
//
// # Patroni's keys
//
// Patroni with etcd3: keeps a cluster under /<namespace>/<scope>/, by default
// /service/<scope>/; a Citus group is one more level, /service/<scope>/0/. What
// is read of it:
//
//	leader            n2
//	members/n1        {"conn_url":"postgres://10.0.0.1:5432/postgres","api_url":"http://10.0.0.1:8008/patroni",
//	                   "state":"running","role":"replica","version":"4.1.4","xlog_location":96871000,"timeline":9}
//	members/n2        {…,"role":"primary","checkpoint_after_promote":false,…}
//	initialize        7710524822113234669
//	config            {"ttl":30,"loop_wait":10,"postgresql":{"use_slots":true},"pause":true}
//
// leader and members/<name> hang on the lease of the Patroni process that wrote
// them. A Topology is the answer to one linearizable range read: all of it was
// true together at its Revision. Patroni configured with etcd: uses the v2 API,
// whose keys cannot be seen through v3; a NoClusterError says so in its hint.
//
// A term of leadership is told from another by the leader key's value, create
// revision and lease (Leader.Same). The modification revision tells nothing.
//
// # The lock
//
// Two keys under our own prefix, on one lease, both with an Owner as value:
//
//	/failback/<scope>/nodes/<member>           one rejoin of a node at a time
//	/failback/<scope>/leaders/<leader>/<slot>  slots 0 … limit-1: so many nodes at a time rejoin from one leader
//
//	{"member":"n1","host":"db1","pid":4711,"operation":"rejoin","leader":"n2","version":"1.0.0","since":"2026-11-21T09:48:25Z",
//	 "progress":{"phase":"copy","done":1073741824,"total":2147483648}}
//
// Namespaces are not part of these names: two clusters of one scope in two
// namespaces of the same etcd need different lock prefixes, or one finds the
// locks of the other.
//
// Acquire puts both in one transaction that holds only if neither exists and
// the leader key is still that of the term the caller decided on. So there is
// no moment at which a lock is held for a leader of the past, and no key is
// left by who came too late. The mutex of the etcd client library was refused:
// its key does not tell who holds it, and it cannot compare another key in the
// same transaction.
//
// Who may wait puts a third key, on the lease that the lock will be on:
//
//	/failback/<scope>/queue/<leader>/<member>  its create revision is the place in the queue
//
// The first in the queue takes a free slot and leaves the queue in one
// transaction; who has no place in it takes a slot only while the queue is empty,
// by comparison in the same transaction. So the order is kept whatever the delays
// are, and nobody is overtaken. A waiter that dies leaves with its lease. The way to a lock
// is a pure state machine (claim); a test drives the same code through every
// order of events.
//
// The record in the node key follows the work, every two seconds at most, and
// says every ten seconds for how long nothing has moved where that is so. A
// holder that hangs is seen by that; it keeps its lock while its lease lives.
//
// While it is held, keep-alives are sent three times in the lease's life. Lock
// offers a context, from which the protected work derives its own:
//
//  1. It ends with ErrLockLost at the latest a tenth of the TTL before etcd may
//     give the lock to somebody else, counted by the monotonic clock from when
//     the last answered keep-alive was sent. What was being written then must
//     stop within that tenth. The clock stands still while a virtual machine is
//     suspended, hence the next point but one.
//  2. It ends with ErrLeaderChanged as soon as a watch sees the leader key
//     belong to another term. The lock itself stays held until Release: the
//     directory has to be brought into order under it.
//  3. Check compares leader key and lock keys once more in a transaction, for
//     the moment before what cannot be taken back. Between its answer and that
//     step there is a gap that only the server at the other end could close.
//  4. An outage of etcd that ends before point 1 is not noticed. Changes during
//     it are: a watch that missed history is resumed by a fresh comparison.
//
// Release revokes the lease, which removes both keys, even if the caller's
// context has ended. After a crash of the holder they vanish with the TTL.
//
// # Status and records
//
// A Survey is what the manager's keys and ours say at one revision: how each member
// stands to the leader by timelines, positions and the leader's history key, who
// is at work and who waits. Of rejoins that are over there are records, the last
// hundred of a cluster, without a lease:
//
//	/failback/<scope>/history/<begin>-<member>  a PastRejoin
//
// # What is believed
//
// Anybody may have written a key who may write there. Every value is bounded in
// size; names, words and messages are kept to a line of printable characters; a
// host has to look like one, because it goes into primary_conninfo; a REST address
// has to be http or https. What decisions hang on and is not so is ErrMalformed.
//
// # Permissions
//
// With etcd's authentication the user needs a role with read on
// /<namespace>/<scope>/ and readwrite on <lock prefix>/<scope>/; nothing of the
// manager's is ever written. For example:
//
//	etcdctl role add failback
//	etcdctl role grant-permission failback --prefix=true read /service/
//	etcdctl role grant-permission failback --prefix=true readwrite /failback/
//	etcdctl user grant-role failback failback
//
// # Errors
//
// ErrUnavailable may be tried again; ErrAuth and ErrTLS may not. *Error,
// *NoClusterError and others carry a Hint for the operator. No error and no
// printed ClientConfig contains a password. The package logs nothing.
package dcs
