package dcs

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

var fullModel = flag.Bool("full", false, "explore the large worlds of the lock's model as well")

// world1 is a small world of two nodes and a leader that is none of them; a may
// become leader.
func world1(b budget, change func(*model)) model {
	m := model{procs: []string{"a", "b"}, limit: 1, queue: true, attempts: 2, leaders: []string{"l", "a"}, budget: b}
	if change != nil {
		change(&m)
	}
	return m
}

// worlds are those in which every order of events keeps every promise.
func worlds() map[string]model {
	three := func(limit int) func(*model) {
		return func(m *model) { m.procs, m.limit, m.attempts = []string{"a", "b", "c"}, limit, 1 }
	}
	twice := func(m *model) { m.procs, m.limit = []string{"a", "a"}, 2 }
	alone := func(m *model) { m.procs = []string{"a"} }
	small := map[string]model{
		"the leader changes":             world1(budget{leader: 1, expire: 1}, func(m *model) { m.attempts = 1 }),
		"the leader changes twice":       world1(budget{leader: 2, delay: 1, expire: 1}, alone),
		"an answer is lost":              world1(budget{lost: 1, expire: 1}, func(m *model) { m.attempts = 1 }),
		"a request is late":              world1(budget{delay: 1, leader: 1}, func(m *model) { m.attempts = 1 }),
		"a process dies":                 world1(budget{crash: 1, expire: 1}, nil),
		"one node twice":                 world1(budget{lost: 1, expire: 1, crash: 1}, twice),
		"three, one at a time":           world1(budget{expire: 1}, three(1)),
		"three, two at a time":           world1(budget{crash: 1}, three(2)),
		"without a queue":                world1(budget{lost: 1, delay: 1, leader: 1}, func(m *model) { m.queue, m.attempts = false, 1 }),
		"somebody deletes or overwrites": world1(budget{byHand: 1}, func(m *model) { m.mayHang, m.attempts = true, 1 }),
	}
	if !*fullModel {
		return small
	}
	return map[string]model{
		"leaders change":            world1(budget{leader: 2, expire: 1}, nil),
		"answers are lost":          world1(budget{lost: 2, delay: 1, expire: 1}, nil),
		"requests are late":         world1(budget{delay: 2, leader: 1}, nil),
		"processes die":             world1(budget{crash: 2, quit: 1, expire: 1}, func(m *model) { m.attempts = 3 }),
		"one node twice":            world1(budget{lost: 1, delay: 1, expire: 1, crash: 1, leader: 1}, twice),
		"three, one at a time":      world1(budget{expire: 1, lost: 1, crash: 1}, three(1)),
		"three, two at a time":      world1(budget{expire: 1, crash: 1, leader: 1}, three(2)),
		"without a queue":           world1(budget{lost: 1, delay: 1, expire: 1, leader: 1}, func(m *model) { m.queue = false }),
		"somebody and an old lease": world1(budget{byHand: 1, expire: 1, delay: 1}, func(m *model) { m.mayHang = true }),
	}
}

// mostStates is far above what any world has: one that does not end is a mistake
// in the model.
const mostStates = 3_000_000

func TestModel(t *testing.T) {
	for name, m := range worlds() {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			e := m.explore(mostStates)
			if e.broken != "" {
				t.Fatal(e)
			}
			if e.states < 500 {
				t.Errorf("only %d states: the world does not turn", e.states)
			}
			t.Logf("%d states in %s", e.states, time.Since(begun).Round(time.Millisecond))
		})
	}
}

// dropped leaves out the comparisons that match, of the transactions of one kind.
func dropped(kind string, match func(cond) bool) func(string, txn) txn {
	return func(k string, t txn) txn {
		if k == kind {
			t.conds = slices.DeleteFunc(slices.Clone(t.conds), match)
		}
		return t
	}
}

// of matches comparisons of a property of keys that contain a part.
func of(part string, properties ...property) func(cond) bool {
	return func(c cond) bool { return strings.Contains(c.key, part) && slices.Contains(properties, c.property) }
}

// TestModelFindsMutations: without any one of the comparisons that the protocol
// rests on the model finds an order of events that breaks a promise. Of each lock
// key, lease and create revision are compared by Check; as leases are never used
// twice, one of the two would do, so that both are left out here.
func TestModelFindsMutations(t *testing.T) {
	leads, once := budget{leader: 1}, func(m *model) { m.attempts = 1 }
	hand := func(m *model) { m.mayHang = true }
	take, join := string(claimTaking), string(claimJoining)
	tests := []struct {
		name   string
		mutate func(string, txn) txn
		in     model
		finds  string
	}{
		{"take: leader's name", dropped(take, of("/leader", propValue)), world1(leads, once), "leader of the past"},
		{"take: leader's term", dropped(take, func(c cond) bool { return c.key == leaderKey && c.property == propCreate }), world1(leads, once), "leader of the past"},
		{"take: leader's session", dropped(take, func(c cond) bool { return c.key == leaderKey && c.property == propLease }), world1(leads, once), "leader of the past"},
		{"take: node is free", dropped(take, of("/nodes/", propCreate)), world1(budget{}, func(m *model) { m.procs, m.limit, m.attempts = []string{"a", "a", "b"}, 2, 1 }), "one node is rewound by two"},
		{"take: slot is free", dropped(take, of("/leaders/", propCreate)), world1(budget{}, once), "more nodes than the limit"},
		{"take: queue is empty", dropped(take, func(c cond) bool { return c.end != "" }), world1(budget{}, func(m *model) { m.procs = []string{"a", "b", "c"}; m.attempts = 1 }), "before one who waits"},
		{"take: place is ours", dropped(take, func(c cond) bool { return c.end == "" && strings.Contains(c.key, "/queue/") }), world1(budget{byHand: 1}, hand), "a place in the queue that was gone"},
		{"join: place is free", dropped(join, of("/queue/", propCreate)), world1(budget{}, func(m *model) { m.procs, m.attempts = []string{"a", "a", "b"}, 1 }), "taken from its owner"},
		{"join: place on the lease", func(k string, t txn) txn {
			if k == join {
				t.writes = slices.Clone(t.writes)
				t.writes[0].lease = 0
			}
			return t
		}, world1(budget{}, once), "left in etcd"},
		{"check: leader's name", dropped("check", of("/leader", propValue)), world1(leads, once), "pg_control in place"},
		{"check: leader's term", dropped("check", func(c cond) bool { return c.key == leaderKey && c.property == propCreate }), world1(leads, once), "leader of the past"},
		{"check: leader's session", dropped("check", func(c cond) bool { return c.key == leaderKey && c.property == propLease }), world1(leads, once), "leader of the past"},
		{"check: the leader at all", dropped("check", func(c cond) bool { return c.key == leaderKey }), world1(leads, once), "pg_control"},
		{"check: node key", dropped("check", of("/nodes/", propCreate, propLease)), world1(budget{byHand: 1}, hand), "without /failback/m/nodes/"},
		{"check: slot", dropped("check", of("/leaders/", propCreate, propLease)), world1(budget{byHand: 1}, hand), "without /failback/m/leaders/"},
		{"check: both keys", dropped("check", func(c cond) bool { return c.key != leaderKey }), world1(budget{expire: 1}, once), "after the lease was lost"},
		{"update: keys are ours", dropped("update", func(cond) bool { return true }), world1(budget{byHand: 1, delay: 1}, func(m *model) { m.mayHang, m.attempts = true, 1 }), "not the writer's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.in
			if e := m.explore(mostStates); e.broken != "" {
				t.Fatalf("without the mutation: %s", e)
			}
			m.mutate = tt.mutate
			e := m.explore(mostStates)
			if !strings.Contains(string(e.broken), tt.finds) {
				t.Fatalf("of %d states: found %q, want %q", e.states, e.broken, tt.finds)
			}
			t.Logf("%s", e)
		})
	}
}

// A key that somebody puts by hand without a lease blocks its slot until somebody
// deletes it: that is so, and shows that the model sees a way that has no end.
func TestModelFindsDeadEnds(t *testing.T) {
	m := world1(budget{byHand: 1}, nil)
	if e := m.explore(mostStates); !strings.Contains(string(e.broken), "no way from here to an end") {
		t.Errorf("found %q", e.broken)
	}
}

// TestModelStoreIsEtcd: the model of etcd answers to random transactions as etcd
// does, asked by the code that carries them out for real.
func TestModelStoreIsEtcd(t *testing.T) {
	s := dcstest.Start(t)
	admin := s.AdminClient(t)
	dcstest.MustPutCluster(t, admin, dcstest.Spec{Scope: "lab", SystemID: 1})
	c, err := Open(t.Context(), ClientConfig{Endpoints: []string{s.Endpoint()}, Scope: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const seed = 20261121
	random := rand.New(rand.NewPCG(seed, 0))
	resp, err := admin.Get(t.Context(), "/x")
	if err != nil {
		t.Fatal(err)
	}
	model := modelStore{rev: resp.Header.Revision}
	held, refused := 0, 0
	var leases []int64
	for round := range 600 {
		switch {
		case len(model.leases) < 2:
			granted, err := admin.Grant(t.Context(), 3600)
			if err != nil {
				t.Fatal(err)
			}
			model.leases, leases = append(model.leases, int64(granted.ID)), append(leases, int64(granted.ID))
		case random.IntN(10) == 0:
			gone := model.leases[random.IntN(len(model.leases))]
			if _, err := admin.Revoke(t.Context(), clientv3.LeaseID(gone)); err != nil {
				t.Fatal(err)
			}
			model.expire(gone)
		}
		request := randomTxn(random, &model, append(leases, 0))
		want, ok := model.commit(request)
		got, err := c.commit(t.Context(), request)
		if (err == nil) != ok {
			t.Fatalf("seed %d, round %d: %+v: model %v, etcd %v", seed, round, request, ok, err)
		}
		if !ok {
			refused++
			continue
		}
		for _, list := range got.found {
			for i := range list {
				list[i].ModRevision = 0 // nothing is compared by it
			}
		}
		if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
			t.Fatalf("seed %d, round %d: %+v\nmodel (-) and etcd (+):\n%s", seed, round, request, diff)
		}
		if got.held {
			held++
		}
	}
	if held < 50 || refused < 5 || held > 550 {
		t.Errorf("%d transactions held, %d were refused", held, refused)
	}
}

// normal makes an answer comparable: no list and an empty one are the same.
func normal(a answer) any {
	found := make([][]KeyValue, len(a.found))
	for i, list := range a.found {
		found[i] = append([]KeyValue{}, list...)
	}
	return struct {
		Held     bool
		Revision int64
		Found    [][]KeyValue
	}{a.held, a.revision, found}
}

// randomTxn compares and writes three keys, mostly by values that are there.
func randomTxn(random *rand.Rand, s *modelStore, leases []int64) txn {
	keys := []string{"/x/a", "/x/b", "/x/c"}
	pick := func() string { return keys[random.IntN(len(keys))] }
	r := func() keyRange {
		if random.IntN(3) == 0 {
			return under("/x/")
		}
		return keyRange{key: pick()}
	}
	t := txn{reads: []keyRange{r(), r()}}
	for range random.IntN(3) {
		c := cond{keyRange: r(), property: []property{propValue, propCreate, propLease}[random.IntN(3)]}
		if is, ok := s.get(c.key); ok && random.IntN(3) > 0 {
			c.text, c.number = is.value, is.create
			if c.property == propLease {
				c.number = is.lease
			}
		}
		if c.property == propValue {
			c.number = 0
		}
		t.conds = append(t.conds, c)
	}
	for _, key := range keys {
		switch random.IntN(4) {
		case 0:
			t.writes = append(t.writes, write{key: key, value: string('0' + rune(random.IntN(2))), lease: leases[random.IntN(len(leases))]})
		case 1:
			t.writes = append(t.writes, write{key: key, remove: true})
		}
	}
	return t
}
