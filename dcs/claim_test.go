package dcs

import (
	"errors"
	"testing"
)

// claimOn is a claim on an empty store with a leader and a lease.
func claimOn(t *testing.T, lease int64) (*modelStore, claim) {
	t.Helper()
	s := &modelStore{rev: 1, leases: []int64{lease, 99}}
	s.put(cell{key: leaderKey, value: "l", lease: 99})
	is, _ := s.get(leaderKey)
	return s, claim{
		keys: newLockKeys(modelPrefix, modelRoot, "a", "l"), leader: Leader{Name: "l", CreateRevision: is.create, Lease: is.lease},
		limit: 1, queue: true, record: "{}", lease: lease, state: claimLooking,
	}
}

// step carries out what a claim asks for and gives it the answer.
func step(t *testing.T, s *modelStore, c claim) claim {
	t.Helper()
	a, ok := s.commit(c.request())
	if !ok {
		t.Fatal("no lease")
	}
	next, _, err := c.answered(a)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// A lock that was taken while the answer was lost is held, and no second one asked
// for; a place in the queue is kept in the same way.
func TestClaimAfterLostAnswers(t *testing.T) {
	s, c := claimOn(t, 1)
	c = step(t, s, c)
	if _, ok := s.commit(c.request()); !ok || c.state != claimTaking { // the answer is lost
		t.Fatalf("state %q", c.state)
	}
	before := s.rev
	if c = step(t, s, c.again()); c.state != claimHeld || c.token != before || c.keys.slot != modelRoot+"leaders/l/0" || s.rev != before {
		t.Errorf("state %q, token %d, slot %q, revision %d", c.state, c.token, c.keys.slot, s.rev)
	}
	if a, ok := s.commit(c.keys.check(c.leader, c.token, c.lease)); !ok || !a.held {
		t.Error("what is held does not pass the check")
	}

	_, waits := claimOn(t, 1)
	waits.keys, waits.lease = newLockKeys(modelPrefix, modelRoot, "b", "l"), 2
	s.leases = append(s.leases, 2)
	waits = step(t, s, waits)
	if _, ok := s.commit(waits.request()); !ok || waits.state != claimJoining { // lost as well
		t.Fatalf("state %q", waits.state)
	}
	place := s.rev
	if waits = step(t, s, waits.again()); waits.state != claimWaiting || waits.place != place || s.rev != place {
		t.Errorf("state %q, place %d, revision %d", waits.state, waits.place, s.rev)
	}
	// The holder's lease ends; who waits goes on from its place.
	s.expire(1)
	if waits = step(t, s, step(t, s, waits.again())); waits.state != claimHeld {
		t.Errorf("state %q", waits.state)
	}
	if _, there := s.get(waits.keys.place); there {
		t.Error("its place is still there")
	}
}

// A node key of ours without its slot was touched by somebody's hand.
func TestClaimWithoutItsSlot(t *testing.T) {
	s, c := claimOn(t, 1)
	c = step(t, s, c)
	s.commit(c.request())
	s.remove(c.keys.slot)
	a, _ := s.commit(c.again().request())
	if _, _, err := c.again().answered(a); !errors.Is(err, ErrLockLost) {
		t.Errorf("got %v", err)
	}
}
