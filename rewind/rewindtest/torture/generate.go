package torture

import (
	"fmt"
	"math/rand/v2"
)

// Names of the nodes; not every schedule has all.
const (
	oldNode    = "old"    // the first primary
	leaderNode = "leader" // its standby that is promoted
	aheadNode  = "ahead"  // its standby that goes on following it
	secondNode = "second" // its standby that follows the new leader
)

// Generate makes the schedule of a seed.
func Generate(seed uint64, major int) Schedule {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x746f7274757265)), s: Schedule{Seed: seed, Major: major}}
	g.cast()
	g.settings()
	g.build()
	g.common()
	g.fork()
	g.branches()
	g.ends()
	g.comeBack()
	return g.s
}

type generator struct {
	rng *rand.Rand
	s   Schedule

	target   string   // who is rewound: oldNode or aheadNode
	received bool     // the target has received, and not replayed, what lies behind the fork
	hints    bool     // the target sets hints on pages that stay dirty from before the last common checkpoint
	second   string   // what the second standby is for: "", "source", "leader"
	how      string   // how the fork comes about
	open     []string // sessions with a transaction in progress
	running  bool     // writers are at work on the old primary
	torn     bool     // a primary was left by promotion while statements were at work on it
}

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func (g *generator) between(from, to int) int { return from + g.rng.IntN(to-from+1) }

func choose[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

func (g *generator) trait(format string, args ...any) {
	g.s.Traits = append(g.s.Traits, fmt.Sprintf(format, args...))
}

func (g *generator) add(steps ...Step) { g.s.Steps = append(g.s.Steps, steps...) }

func (g *generator) seed() uint64 { return uint64(1 + g.rng.IntN(99990)) }

func (g *generator) work(node string, from, to int) Step {
	return Step{Op: OpWork, Node: node, Seed: g.seed(), Count: g.between(from, to)}
}

// cast decides who plays.
func (g *generator) cast() {
	switch n := g.rng.IntN(100); {
	case n < 45:
		g.target = oldNode
	case n < 85:
		g.target = aheadNode
	default:
		g.target, g.received = aheadNode, true
	}
	if n := g.rng.IntN(100); n < 15 {
		g.second = "source"
	} else if n < 35 {
		g.second = "leader"
	}
	g.how = choose(g, "live", "live", "cut", "cut", "stopped", "clean")
	if g.how == "clean" && g.target != oldNode {
		g.how = "cut"
	}
	name := g.target
	if g.received {
		name = "received"
	}
	g.trait("target=%s", name)
	g.trait("fork=%s", g.how)
	if g.hints = name == aheadNode && g.chance(50); g.hints {
		g.trait("hints")
	}
}

func (g *generator) settings() {
	s := &g.s.Settings
	s.Checksums = g.chance(65)
	s.WALSegSize = choose(g, 1, 1, 16)
	s.GroupRead = g.chance(25)
	s.Tablespace = g.chance(40)
	for _, node := range []string{oldNode, leaderNode, aheadNode} {
		if g.chance(15) {
			s.Linked = append(s.Linked, node)
		}
	}
	s.Conf = map[string]string{
		"autovacuum":                      choose(g, "on", "off", "off"),
		"autovacuum_naptime":              "1s",
		"shared_buffers":                  choose(g, "2MB", "8MB", "32MB", "32MB"),
		"wal_compression":                 choose(g, "off", "on", "lz4"),
		"wal_level":                       choose(g, "replica", "replica", "logical"),
		"checkpoint_timeout":              choose(g, "30s", "1h", "1h"),
		"bgwriter_lru_maxpages":           choose(g, "0", "100", "1000"),
		"bgwriter_delay":                  choose(g, "10ms", "200ms"),
		"hot_standby_feedback":            choose(g, "off", "off", "on"),
		"track_commit_timestamp":          choose(g, "off", "off", "on"),
		"min_wal_size":                    "32MB",
		"max_wal_size":                    choose(g, "64MB", "1GB"),
		"deadlock_timeout":                "100ms",
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
		"wal_log_hints":                   "on",
	}
	if g.hints { // pages stay where they are
		s.Conf["shared_buffers"], s.Conf["bgwriter_lru_maxpages"], s.Conf["checkpoint_timeout"] = "32MB", "0", "1h"
	}
	if s.Checksums {
		s.Conf["wal_log_hints"] = choose(g, "on", "off")
	}
	if g.s.Major < 15 && s.Conf["wal_compression"] == "lz4" {
		s.Conf["wal_compression"] = "on"
	}
	if g.s.Major >= 15 {
		s.Conf["allow_in_place_tablespaces"] = "on"
	}
	if g.s.Major >= 17 {
		s.Conf["summarize_wal"] = choose(g, "off", "on")
	}
}

// standbys of the old primary, in this schedule.
func (g *generator) standbys() []string {
	out := []string{leaderNode}
	if g.target == aheadNode {
		out = append(out, aheadNode)
	}
	if g.second != "" {
		out = append(out, secondNode)
	}
	return out
}

func (g *generator) build() {
	g.add(Step{Op: OpCreate, Node: oldNode}, g.work(oldNode, 5, 25))
	if g.chance(20) { // while somebody writes
		// Replay of a tablespace's creation would give the standby the primary's directory.
		g.add(Step{Op: OpCheckpoint, Node: oldNode}, Step{Op: OpLoad, Node: oldNode, Seed: g.seed(), Count: 1})
		for _, name := range g.standbys() {
			g.add(Step{Op: OpBackup, Node: name, With: oldNode})
		}
		g.add(Step{Op: OpQuiet, Node: oldNode})
		return
	}
	g.add(Step{Op: OpStop, Node: oldNode, With: "fast"})
	for _, name := range g.standbys() {
		g.add(Step{Op: OpClone, Node: name, With: oldNode})
	}
	g.add(Step{Op: OpStart, Node: oldNode})
	for _, name := range g.standbys() {
		g.add(Step{Op: OpStart, Node: name})
	}
}

// common is what all nodes have seen.
func (g *generator) common() {
	for range g.between(2, 4) {
		g.add(g.work(oldNode, 3, 15))
		if g.chance(35) && len(g.open) < 3 && g.how != "clean" {
			g.begin()
		}
		if g.chance(50) {
			g.add(Step{Op: OpCheckpoint, Node: oldNode})
		}
		for _, name := range g.standbys() {
			if g.chance(25) && !(g.hints && name == aheadNode && len(g.open) > 0) {
				g.add(Step{Op: OpCatchup, Node: name, With: oldNode}, Step{Op: OpCheckpoint, Node: name})
			}
		}
		if len(g.open) > 0 && g.chance(25) {
			g.add(g.more(g.open[0]))
		}
	}
	if g.hints && len(g.open) == 0 {
		g.begin()
	}
	if g.hints {
		g.add(Step{Op: OpSession, Node: oldNode, With: g.open[0], SQL: []string{g.rows(g.open[0], 500)}},
			Step{Op: OpCheckpoint, Node: oldNode})
	}
}

// rows is an insert into a table that not much else is done to.
func (g *generator) rows(name string, count int) string {
	return fmt.Sprintf("INSERT INTO s.o%d SELECT %d + g, repeat('%s', %d) FROM generate_series(1, %d) g",
		g.rng.IntN(3), g.seed()*1_000_000, name, 5+g.rng.IntN(40), count)
}

// begin opens a transaction that will be in progress at the fork.
func (g *generator) begin() {
	name := fmt.Sprintf("open%d", len(g.open))
	g.open = append(g.open, name)
	s := g.more(name)
	s.SQL = append([]string{"BEGIN"}, s.SQL...)
	g.add(s)
	if g.target == aheadNode && g.chance(50) { // its pages stay dirty on standbys
		g.add(Step{Op: OpCheckpoint, Node: oldNode})
	}
}

// more lets an open transaction write.
func (g *generator) more(name string) Step {
	s := Step{Op: OpSession, Node: oldNode, With: name}
	for range g.between(1, 3) {
		insert := g.rows(name, choose(g, 5, 50, 500, 1500))
		switch g.rng.IntN(6) {
		case 0:
			s.SQL = append(s.SQL, "SAVEPOINT a", insert, choose(g, "ROLLBACK TO a", "RELEASE a", "SELECT 1"))
		case 1:
			s.SQL = append(s.SQL, fmt.Sprintf("UPDATE s.o2 SET filler = '%s' WHERE i %% 10 = %d AND i <= 300", name, g.rng.IntN(10)))
		case 2:
			s.SQL = append(s.SQL, fmt.Sprintf("SELECT * FROM s.parent WHERE id %% 10 = %d FOR KEY SHARE", g.rng.IntN(10)))
		case 3:
			s.SQL = append(s.SQL, fmt.Sprintf("DELETE FROM s.o1 WHERE i %% 9 = %d", g.rng.IntN(9)), insert)
		default:
			s.SQL = append(s.SQL, insert)
		}
	}
	return s
}

// finish ends the open transactions, or leaves them to the end of the server.
func (g *generator) finish() []Step {
	var steps []Step
	for i, name := range g.open {
		end := choose(g, "COMMIT", "COMMIT", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION 'open"+name+"'", "")
		if g.hints && i == 0 {
			end = "COMMIT"
		}
		if end == "" {
			continue
		}
		if g.chance(40) {
			steps = append(steps, g.more(name))
		}
		steps = append(steps, Step{Op: OpSession, Node: oldNode, With: name, SQL: []string{end}})
	}
	return steps
}

// fork promotes the leader.
func (g *generator) fork() {
	if g.second != "" { // it must not be ahead of the leader
		g.add(Step{Op: OpStop, Node: secondNode, With: choose(g, "fast", "immediate")}, Step{Op: OpCatchup, Node: leaderNode, With: oldNode})
	}
	if g.received {
		g.add(Step{Op: OpCatchup, Node: aheadNode, With: oldNode}, Step{Op: OpPause, Node: aheadNode})
		if g.chance(50) {
			g.add(g.work(oldNode, 2, 10))
		}
	}
	if g.chance(30) {
		g.add(Step{Op: OpCheckpoint, Node: oldNode})
	}
	promote := Step{Op: OpPromote, Node: leaderNode}
	switch g.how {
	case "live":
		g.running, g.torn = true, true
		g.add(Step{Op: OpLoad, Node: oldNode, Seed: g.seed(), Count: g.between(1, 3)},
			Step{Op: OpAwait, Node: oldNode, Count: g.between(1, 20)}, promote)
	case "cut":
		g.add(Step{Op: OpCut, Node: leaderNode})
		if g.chance(50) {
			g.add(g.work(oldNode, 1, 10))
		}
		g.add(promote)
	case "stopped":
		g.add(choose(g, Step{Op: OpStop, Node: leaderNode, With: "fast"}, Step{Op: OpStop, Node: leaderNode, With: "immediate"}, Step{Op: OpKill, Node: leaderNode}),
			g.work(oldNode, 1, 15), Step{Op: OpCut, Node: leaderNode}, Step{Op: OpStart, Node: leaderNode}, promote)
	case "clean":
		g.add(Step{Op: OpCatchup, Node: leaderNode, With: oldNode}, Step{Op: OpStop, Node: oldNode, With: "fast"}, promote, Step{Op: OpStart, Node: oldNode})
	}
	if g.chance(60) {
		g.add(Step{Op: OpCheckpoint, Node: leaderNode})
	} else {
		g.trait("justpromoted")
	}
	if len(g.open) > 0 {
		g.trait("open=%d", len(g.open))
	}
}

// branches lets each side go its way, the steps of all mixed.
func (g *generator) branches() {
	old := []Step{}
	if g.running {
		old = append(old, Step{Op: OpAwait, Node: oldNode, Count: g.between(3, 30)})
		if g.chance(70) || g.target != oldNode {
			old = append(old, Step{Op: OpQuiet, Node: oldNode})
			g.running = false
		}
	}
	for range g.between(1, 3) {
		old = append(old, g.work(oldNode, 3, 15))
		if g.chance(40) {
			old = append(old, Step{Op: OpCheckpoint, Node: oldNode})
		}
	}
	ends := g.finish()
	at := g.rng.IntN(len(old) + 1)
	old = append(old[:at:at], append(ends, old[at:]...)...)
	if !g.running && g.target == oldNode && g.chance(25) {
		g.trait("restarted")
		old = append(old, choose(g, Step{Op: OpStop, Node: oldNode, With: "fast"}, Step{Op: OpStop, Node: oldNode, With: "immediate"}, Step{Op: OpKill, Node: oldNode}),
			Step{Op: OpStart, Node: oldNode}, g.work(oldNode, 2, 10))
	}
	leader := []Step{}
	for range g.between(0, 3) {
		leader = append(leader, g.work(leaderNode, 2, 15))
		if g.chance(30) {
			leader = append(leader, Step{Op: OpCheckpoint, Node: leaderNode})
		}
	}
	ahead := []Step{}
	if g.target == aheadNode {
		for range g.between(0, 3) {
			step := choose(g, Step{Op: OpLook, Node: aheadNode}, Step{Op: OpLook, Node: aheadNode}, Step{Op: OpCheckpoint, Node: aheadNode})
			if !g.hints || step.Op == OpLook {
				ahead = append(ahead, step)
			}
		}
	}
	g.mix(old, leader, ahead)
}

// mix adds the steps of several lists, each in its own order.
func (g *generator) mix(lists ...[]Step) {
	for {
		left := 0
		for _, l := range lists {
			left += len(l)
		}
		if left == 0 {
			return
		}
		n := g.rng.IntN(left)
		for i, l := range lists {
			if n -= len(l); n < 0 {
				g.add(l[0])
				lists[i] = l[1:]
				break
			}
		}
	}
}
