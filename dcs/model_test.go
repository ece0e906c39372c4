package dcs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The protocol of lock and queue, tried in every order of events in a small
// world. Each process runs the code that Acquire and Check run: claim, the
// transactions of lockKeys, and verdict; only the driver around them, and etcd,
// are the model's.

const (
	modelPrefix = "/service/m/"
	modelRoot   = "/failback/m/"
	leaderKey   = modelPrefix + "leader"
)

// budget is how often something may happen that need not.
type budget struct {
	// leader: the leader key changes. lost: an answer, or a revocation, is lost.
	// delay: a request is given up and arrives later. expire: the lease of a
	// living process runs out. crash: a process dies and starts anew. quit: a
	// process gives up by itself. byHand: somebody deletes or overwrites a key.
	leader, lost, delay, expire, crash, quit, byHand int8
}

// model is a world to explore.
type model struct {
	// procs are the processes by the names of their nodes.
	procs []string
	limit int
	// queue: they wait in the queue.
	queue    bool
	attempts int8
	budget   budget
	// leaders are who may become leader; the first one is it in the beginning.
	leaders []string
	// mayHang: a key that somebody put without a lease blocks the way for ever.
	mayHang bool
	// mutate changes transactions, to see that the model finds it.
	mutate func(kind string, t txn) txn
}

// stage of a process.
type stage byte

const (
	stageFree      stage = iota // about to look who leads
	stageClaiming               // on the way to the lock
	stageWorking                // holds it; the next thing is Check
	stageConfirmed              // Check has held; pg_control appears next
	stageOver                   // done, refused, or given up
)

type proc struct {
	stage    stage
	attempts int8
	claim    claim
}

// late is a request that was given up and is still on its way.
type late struct {
	kind  string
	claim claim
}

type world struct {
	store  modelStore
	procs  []proc
	lates  []late
	budget budget
}

func (w *world) clone() *world {
	c := *w
	c.store, c.procs, c.lates = w.store.clone(), slices.Clone(w.procs), slices.Clone(w.lates)
	return &c
}

// violation is a broken promise.
type violation string

func (m *model) begin() *world {
	w := &world{budget: m.budget, store: modelStore{rev: 1}}
	w.store.put(cell{key: leaderKey, value: m.leaders[0], lease: -1})
	w.store.leases = []int64{-1, -2}
	for range m.procs {
		w.procs = append(w.procs, proc{attempts: m.attempts})
	}
	return w
}

// request is the transaction of a process, mutated.
func (m *model) request(c claim) (kind string, t txn) {
	kind = string(c.state)
	return kind, m.changed(kind, c.request())
}

func (m *model) changed(kind string, t txn) txn {
	if m.mutate != nil {
		return m.mutate(kind, t)
	}
	return t
}

// successors calls emit for every step that is possible in a world.
func (m *model) successors(w *world, emit func(label string, next *world, broken violation)) {
	for i := range w.procs {
		m.procSteps(w, i, emit)
	}
	for i, l := range w.lates {
		next := w.clone()
		next.lates = slices.Delete(next.lates, i, i+1)
		broken := m.arrive(next, l)
		emit("late "+l.kind+" arrives", next, broken)
	}
	for _, lease := range w.store.leases {
		used := slices.ContainsFunc(w.procs, func(p proc) bool {
			return p.stage != stageFree && p.stage != stageOver && p.claim.lease == lease
		})
		switch {
		case lease < 0: // the manager's
			continue
		case used && w.budget.expire == 0:
			continue
		}
		next := w.clone()
		next.store.expire(lease)
		if used {
			next.budget.expire--
		}
		emit(fmt.Sprintf("lease %d expires", lease), next, "")
	}
	m.leaderSteps(w, emit)
	m.handSteps(w, emit)
}

// arrive carries out a transaction whose sender does not wait for its answer.
func (m *model) arrive(w *world, l late) violation {
	t := l.claim.keys.update(l.claim.token, l.claim.lease, "{}")
	if l.kind != "update" {
		t = l.claim.request()
	}
	before := w.store.clone()
	a, _ := w.store.commit(m.changed(l.kind, t))
	return m.taken(before, w, l.kind, l.claim, a)
}

// leaderSteps are the ways in which a leader key changes: another leader, nobody,
// the same one in a new term; and the three of its properties one by one.
func (m *model) leaderSteps(w *world, emit func(string, *world, violation)) {
	if w.budget.leader == 0 {
		return
	}
	is, ok := w.store.get(leaderKey)
	change := func(label string, fn func(*modelStore)) {
		next := w.clone()
		next.budget.leader--
		next.store.rev++
		fn(&next.store)
		emit(label, next, "")
	}
	for _, name := range m.leaders {
		change("a new term of "+name, func(s *modelStore) {
			s.remove(leaderKey)
			s.put(cell{key: leaderKey, value: name, lease: -1})
		})
		if ok {
			change("the leader key is overwritten with "+name, func(s *modelStore) {
				s.put(cell{key: leaderKey, value: name, lease: is.lease})
			})
		}
	}
	if ok {
		change("nobody leads", func(s *modelStore) { s.remove(leaderKey) })
		change("the leader has a new session", func(s *modelStore) {
			s.put(cell{key: leaderKey, value: is.value, lease: -2})
		})
	}
}

// handSteps are what somebody does with etcdctl to a key of ours.
func (m *model) handSteps(w *world, emit func(string, *world, violation)) {
	if w.budget.byHand == 0 {
		return
	}
	for _, c := range w.store.in(under(modelRoot)) {
		next := w.clone()
		next.budget.byHand--
		next.store.rev++
		next.store.remove(c.key)
		emit("somebody deletes "+c.key, next, "")
		next = w.clone()
		next.budget.byHand--
		next.store.rev++
		next.store.put(cell{key: c.key, value: "{}"})
		emit("somebody overwrites "+c.key, next, "")
	}
}

// procSteps are the steps of one process.
func (m *model) procSteps(w *world, i int, emit func(string, *world, violation)) {
	name := fmt.Sprintf("%s#%d ", m.procs[i], i)
	step := func(label string, fn func(*world, *proc) violation) {
		next := w.clone()
		broken := fn(next, &next.procs[i])
		emit(name+label, next, broken)
	}
	p := w.procs[i]
	switch p.stage {
	case stageOver:
		return
	case stageFree:
		step("looks who leads", func(w *world, p *proc) violation { m.lookForLeader(w, p, i); return "" })
		return
	case stageClaiming:
		m.claimSteps(p, i, step)
	case stageWorking:
		step("checks", func(w *world, p *proc) violation { return m.check(w, i) })
		if w.budget.delay > 0 {
			step("tells of progress", func(w *world, p *proc) violation {
				w.budget.delay--
				w.lates = append(w.lates, late{"update", p.claim})
				return ""
			})
		}
	case stageConfirmed:
		step("puts pg_control in place", func(w *world, p *proc) violation { m.leave(w, p, true); p.stage = stageOver; return "" })
	}
	if w.budget.crash > 0 {
		step("crashes", func(w *world, p *proc) violation { w.budget.crash--; m.leave(w, p, false); return "" })
	}
	if w.budget.quit > 0 {
		step("quits", func(w *world, p *proc) violation { w.budget.quit--; m.leave(w, p, true); return "" })
	}
	if w.budget.lost > 0 {
		step("gives up and its revocation is lost", func(w *world, p *proc) violation {
			w.budget.lost--
			m.leave(w, p, false)
			return ""
		})
	}
}

func (m *model) lookForLeader(w *world, p *proc, i int) {
	is, ok := w.store.get(leaderKey)
	if !ok || is.value == m.procs[i] {
		p.stage = stageOver // nothing to rejoin, or hook.ErrIsLeader
		return
	}
	p.stage = stageClaiming
	p.claim = claim{
		keys:   newLockKeys(modelPrefix, modelRoot, m.procs[i], is.value),
		leader: Leader{Name: is.value, CreateRevision: is.create, Lease: is.lease},
		limit:  m.limit, queue: m.queue, record: "{}", state: claimLooking,
	}
}

// leave ends an attempt; with its lease revoked or not.
func (m *model) leave(w *world, p *proc, revoked bool) {
	if revoked && p.claim.lease != 0 && w.store.alive(p.claim.lease) {
		w.store.expire(p.claim.lease)
	}
	p.claim = claim{}
	p.attempts--
	p.stage = stageFree
	if p.attempts <= 0 {
		p.stage = stageOver
	}
}

// claimSteps are those of pursuit.run.
func (m *model) claimSteps(p proc, i int, step func(string, func(*world, *proc) violation)) {
	switch p.claim.state {
	case claimGranting:
		step("is granted a lease", func(w *world, p *proc) violation {
			lease := int64(i)*10 + int64(p.attempts)
			w.store.leases = append(w.store.leases, lease)
			p.claim = p.claim.granted(lease)
			return ""
		})
		return
	case claimWaiting:
		step("looks again", func(_ *world, p *proc) violation { p.claim = p.claim.again(); return "" })
		return
	}
	kind, _ := m.request(p.claim)
	step(kind, func(w *world, p *proc) violation { return m.answer(w, p, kind, true) })
	if p.claim.state == claimLooking {
		return
	}
	step(kind+", and the answer is lost", func(w *world, p *proc) violation {
		if w.budget.lost == 0 {
			return "?"
		}
		w.budget.lost--
		return m.answer(w, p, kind, false)
	})
	step(kind+" is on its way for long", func(w *world, p *proc) violation {
		if w.budget.delay == 0 {
			return "?"
		}
		w.budget.delay--
		w.lates = append(w.lates, late{kind, p.claim})
		m.unanswered(w, p)
		return ""
	})
}

// unanswered is what pursuit.ask does about an error.
func (m *model) unanswered(w *world, p *proc) {
	if m.queue {
		p.claim = p.claim.again()
		return
	}
	m.leave(w, p, true)
}

// answer carries out the request of a claim.
func (m *model) answer(w *world, p *proc, kind string, arrives bool) violation {
	before := w.store.clone()
	_, t := m.request(p.claim)
	a, ok := w.store.commit(t)
	broken := violation("")
	if ok {
		broken = m.taken(before, w, kind, p.claim, a)
	}
	switch {
	case !ok && arrives: // its lease is gone
		m.leave(w, p, true)
		return broken
	case !arrives:
		m.unanswered(w, p)
		return broken
	}
	next, _, err := p.claim.answered(a)
	if err != nil {
		m.leave(w, p, true)
		return broken
	}
	p.claim = next
	if next.state == claimHeld {
		p.stage = stageWorking
		if broken == "" {
			broken = m.tooMany(w)
		}
	}
	return broken
}

// taken looks at a transaction that wrote something: by what was in etcd before.
func (m *model) taken(before modelStore, w *world, kind string, c claim, a answer) violation {
	if !a.held {
		return ""
	}
	switch kind {
	case "update":
		if is, ok := before.get(c.keys.node); !ok || is.lease != c.lease {
			return "a record was written into a key that is not the writer's"
		}
		return ""
	case string(claimJoining):
		if _, there := before.get(c.keys.place); there {
			return "a place in the queue was taken from its owner"
		}
		return ""
	case string(claimLooking):
		return ""
	}
	is, ok := before.get(leaderKey)
	if !ok || is.value != c.leader.Name || is.create != c.leader.CreateRevision || is.lease != c.leader.Lease {
		return "a lock was taken for a leader of the past"
	}
	mine, waits := before.get(c.keys.place)
	if c.place != 0 && (!waits || mine.create != c.place) {
		return "a lock was taken from a place in the queue that was gone"
	}
	for _, other := range before.in(under(c.keys.queue)) {
		if other.key != c.keys.place && (c.place == 0 || other.create < c.place) {
			return "one who came later was before one who waits"
		}
	}
	return ""
}

// tooMany looks at who believes to hold the lock on a lease that lives.
func (m *model) tooMany(w *world) violation {
	if m.budget.byHand > 0 {
		return "" // who deletes keys of others by hand asks for it; Check finds it out
	}
	nodes, places := map[string]int{}, map[string]int{}
	for i, p := range w.procs {
		if (p.stage == stageWorking || p.stage == stageConfirmed) && w.store.alive(p.claim.lease) {
			nodes[m.procs[i]]++
			places[p.claim.leader.Name]++
		}
	}
	for _, n := range nodes {
		if n > 1 {
			return "one node is rewound by two"
		}
	}
	for _, n := range places {
		if n > m.limit {
			return "more nodes than the limit are at work"
		}
	}
	return ""
}

// check is Lock.Check. What etcd holds when it says yes is what counts.
func (m *model) check(w *world, i int) violation {
	p := &w.procs[i]
	k := p.claim.keys
	a, _ := w.store.commit(m.changed("check", k.check(p.claim.leader, p.claim.token, p.claim.lease)))
	if err := k.verdict(a, p.claim.leader, p.claim.token, p.claim.lease); err != nil {
		if !errors.Is(err, ErrLockLost) && !errors.Is(err, ErrLeaderChanged) {
			return violation("Check says neither that the lock was lost nor that the leader changed: " + err.Error())
		}
		m.leave(w, p, true)
		return ""
	}
	p.stage = stageConfirmed
	is, ok := w.store.get(leaderKey)
	switch l := p.claim.leader; {
	case ok && is.value == m.procs[i]:
		return "a node that leads puts its pg_control in place"
	case !ok || is.value != l.Name || is.create != l.CreateRevision || is.lease != l.Lease:
		return "pg_control is put in place for a leader of the past"
	case !w.store.alive(p.claim.lease):
		return "pg_control is put in place after the lease was lost"
	}
	for _, key := range []string{k.node, k.slot} {
		if is, ok := w.store.get(key); !ok || is.lease != p.claim.lease {
			return "pg_control is put in place without " + violation(key)
		}
	}
	return ""
}

// over tells whether all processes have come to an end.
func (w *world) over() bool {
	return !slices.ContainsFunc(w.procs, func(p proc) bool { return p.stage != stageOver })
}

// left is a key of ours that nothing will ever remove: all processes are over,
// and no lease of theirs is left to expire.
func (w *world) left(m *model) string {
	ours := w.store.in(under(modelRoot))
	if m.budget.byHand > 0 || len(ours) == 0 || len(w.lates) > 0 || slices.ContainsFunc(w.store.leases, func(l int64) bool { return l >= 0 }) {
		return ""
	}
	return ours[0].key
}

// key is the same for worlds that behave alike: of revisions only the order counts.
func (w *world) key(buf []byte) []byte {
	var revs []int64
	add := func(r int64) { revs = append(revs, r) }
	for _, c := range w.store.cells {
		add(c.create)
	}
	claims := make([]claim, 0, 8)
	for _, p := range w.procs {
		claims = append(claims, p.claim)
	}
	for _, l := range w.lates {
		claims = append(claims, l.claim)
	}
	for _, c := range claims {
		revs = append(revs, c.place, c.token, c.leader.CreateRevision)
	}
	slices.Sort(revs)
	revs = slices.Compact(revs)
	rank := func(r int64) {
		i, _ := slices.BinarySearch(revs, r)
		if r == 0 {
			i = -1
		}
		buf = append(buf, byte(i+1))
	}
	text := func(s string) { buf = append(append(buf, s...), 0) }
	for _, c := range w.store.cells {
		text(c.key)
		text(c.value)
		buf = binary.AppendVarint(buf, c.lease)
		rank(c.create)
	}
	leases := slices.Clone(w.store.leases)
	slices.Sort(leases)
	for _, l := range leases {
		buf = binary.AppendVarint(buf, l)
	}
	b := w.budget
	buf = append(buf, 0xff, byte(b.leader), byte(b.lost), byte(b.delay), byte(b.expire), byte(b.crash), byte(b.quit), byte(b.byHand))
	for _, p := range w.procs {
		buf = append(buf, byte(p.stage), byte(p.attempts))
	}
	for _, l := range w.lates {
		text(l.kind)
	}
	for _, c := range claims {
		text(string(c.state))
		text(c.keys.slot)
		text(c.leader.Name)
		buf = binary.AppendVarint(buf, c.lease)
		buf = binary.AppendVarint(buf, c.leader.Lease)
		rank(c.place)
		rank(c.token)
		rank(c.leader.CreateRevision)
	}
	return buf
}

// explored is what exploring came to.
type explored struct {
	states int
	broken violation
	trace  []string
}

// explore visits every world that can be reached, the nearest first, until a
// promise is broken. In the end it looks for worlds from which there is no way to
// an end of all processes.
func (m *model) explore(most int) explored {
	type visit struct {
		parent int32
		label  string
	}
	begin := m.begin()
	seen := map[string]int32{string(begin.key(nil)): 0}
	visits, queue := []visit{{parent: -1}}, []*world{begin}
	var before [][]int32 // who leads to a state
	before = append(before, nil)
	var ends []int32
	trace := func(at int32, last string) []string {
		list := []string{last}
		for ; at > 0; at = visits[at].parent {
			list = append(list, visits[at].label)
		}
		slices.Reverse(list)
		return list
	}
	var out explored
	var buf []byte
	for at := int32(0); int(at) < len(queue) && out.broken == ""; at++ {
		w := queue[at]
		queue[at] = nil
		if w.over() {
			ends = append(ends, at)
			if left := w.left(m); left != "" {
				out.broken, out.trace = "left in etcd: "+violation(left), trace(at, "all is over")
			}
		}
		m.successors(w, func(label string, next *world, broken violation) {
			if broken == "?" || out.broken != "" {
				return // not possible here
			}
			if broken != "" {
				out.broken, out.trace = broken, trace(at, label)
				return
			}
			buf = next.key(buf[:0])
			to, known := seen[string(buf)]
			if !known {
				to = int32(len(queue))
				seen[string(buf)] = to
				queue, visits, before = append(queue, next), append(visits, visit{at, label}), append(before, nil)
			}
			before[to] = append(before[to], at)
		})
		if len(queue) > most {
			panic(fmt.Sprintf("more than %d states", most))
		}
	}
	out.states = len(visits)
	if out.broken == "" && !m.mayHang {
		if stuck := unreached(before, ends); stuck >= 0 {
			out.broken, out.trace = "there is no way from here to an end", trace(stuck, "stuck")
		}
	}
	return out
}

// unreached is a state from which no end is reached; -1 if there is none.
func unreached(before [][]int32, ends []int32) int32 {
	reached := make([]bool, len(before))
	work := slices.Clone(ends)
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		if !reached[at] {
			reached[at] = true
			work = append(work, before[at]...)
		}
	}
	return int32(slices.Index(reached, false))
}

func (e explored) String() string {
	return fmt.Sprintf("%s, after:\n  %s", e.broken, strings.Join(e.trace, "\n  "))
}
