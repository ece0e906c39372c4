package dcs

import (
	"fmt"
)

// claim is the way to a lock, as a pure state machine: what is asked of etcd
// next (request), and what follows from each answer. Client.Acquire drives it
// against etcd; model_test.go drives it through every order of events, with
// leases that expire, leaders that change and answers that are lost at any
// moment. Both drive this code.
//
//	looking ──▶ granting ──▶ looking ──▶ taking ──▶ held
//	   │            a lease     │  ▲        │
//	   ▼                        ▼  │        │ another one was faster
//	 error                   joining        ▼
//	                            │        whatever the
//	                            ▼        answer shows
//	                         waiting ──▶ looking   when something has changed
//
// Whatever is not known for certain is found out by looking again: an answer
// that was lost leaves a key on our lease, or none.
type claim struct {
	keys   lockKeys
	leader Leader
	limit  int
	// queue: wait in the queue where a lock is not to be had; otherwise that is
	// an error at once.
	queue  bool
	record string

	state claimState
	// lease is ours, zero as long as there is none.
	lease int64
	// place is the create revision of our key in the queue, as far as we know.
	place int64
	// token is the create revision of both lock keys, once held.
	token int64
}

// claimState is what is to be done next.
type claimState string

// The states.
const (
	claimLooking  claimState = "look"
	claimGranting claimState = "grant a lease"
	claimTaking   claimState = "take"
	claimJoining  claimState = "join the queue"
	claimWaiting  claimState = "wait"
	claimHeld     claimState = "held"
)

// request is the transaction to carry out in the states looking, taking and
// joining.
func (c claim) request() txn {
	switch c.state {
	case claimTaking:
		return c.keys.take(c.leader, c.place, c.lease, c.record)
	case claimJoining:
		return c.keys.join(c.lease, c.record)
	}
	return c.keys.look()
}

// granted notes the lease that was asked for.
func (c claim) granted(lease int64) claim {
	c.lease, c.state = lease, claimLooking
	return c
}

// again looks anew: what was asked for was not answered and may or may not have
// been done, or something has changed while we waited.
func (c claim) again() claim {
	c.state = claimLooking
	return c
}

// answered says what follows from the answer to request. An error ends the
// claim; what it has put into etcd goes with its lease.
func (c claim) answered(a answer) (claim, observed, error) {
	if a.held {
		switch c.state {
		case claimTaking:
			c.state, c.token = claimHeld, a.revision
			return c, observed{}, nil
		case claimJoining:
			// Who is in front of us is not in this answer.
			c.place, c.state = a.revision, claimLooking
			return c, observed{}, nil
		}
	}
	o, err := c.keys.readObserved(a)
	if err != nil {
		return c, o, err
	}
	c, err = c.decide(o)
	return c, o, err
}

// decide chooses the next step by what etcd holds.
func (c claim) decide(o observed) (claim, error) {
	if o.leader == nil || !o.leader.Same(c.leader) {
		return c, leaderChanged(c.leader, o.leader)
	}
	if node, taken := o.held[c.keys.node]; taken {
		if c.lease == 0 || node.lease != c.lease {
			return c, &LockedError{Key: c.keys.node, Owner: node.owner}
		}
		return c.found(o, node.create)
	}
	mine, waits := o.held[c.keys.place]
	switch {
	case waits && mine.lease != c.lease:
		// Another process of this node waits. Also where it has taken our place:
		// then it believes to be the only one.
		return c, &LockedError{Key: c.keys.place, Owner: mine.owner, Waits: true}
	case !waits && c.place != 0:
		return c, fmt.Errorf("%w: our place in the queue %s is gone", ErrLockLost, c.keys.place)
	}
	c.place = mine.create
	slot, holder := c.keys.freeSlot(o, c.limit)
	first := len(o.queue) == 0 || o.queue[0] == c.keys.place
	switch {
	case slot != "" && first:
		c.keys.slot = slot
		return c.onLease(claimTaking), nil
	case !c.queue:
		if holder == nil { // free, but not for us
			holder = &LockedError{Key: o.queue[0], Owner: o.held[o.queue[0]].owner, Waits: true}
		}
		return c, holder
	case !waits:
		return c.onLease(claimJoining), nil
	}
	c.state = claimWaiting
	return c, nil
}

// onLease is the state, or the one before it as long as we have no lease: a lock
// that is refused at the first look costs none.
func (c claim) onLease(state claimState) claim {
	c.state = state
	if c.lease == 0 {
		c.state = claimGranting
	}
	return c
}

// found is for a node key that is on our lease although nobody has told us that
// we hold it: that answer was lost.
func (c claim) found(o observed, token int64) (claim, error) {
	for key, held := range o.held {
		if held.lease == c.lease && held.create == token && key != c.keys.node {
			c.keys.slot, c.token, c.state = key, token, claimHeld
			return c, nil
		}
	}
	return c, fmt.Errorf("%w: the slot beside %s is gone", ErrLockLost, c.keys.node)
}

// position is our number in the queue, from 1.
func (c claim) position(o observed) int {
	for i, key := range o.queue {
		if key == c.keys.place {
			return i + 1
		}
	}
	return 0
}
