package torture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// Verdict is how a way to rewind did.
type Verdict string

// The verdicts.
const (
	Right   Verdict = "right"   // equal to the leader
	Wrong   Verdict = "wrong"   // ended with success, and is not equal
	Refused Verdict = "refused" // ended with an error
	Absent  Verdict = "absent"  // not tried
)

// Result is what came of a schedule.
type Result struct {
	Schedule Schedule
	// Blocks that were fetched by number, and transactions that were lost, of
	// all rewinds together.
	Blocks, Lost int64
	// Strategies of the rewinds, in order.
	Strategies []string
	// Statements that were sent, and how many of them failed.
	Statements, Failed int
	// Failures counts the errors of statements.
	Failures map[string]int
	// Stock is the worst verdict on pg_rewind; StockSays is why.
	Stock     Verdict
	StockSays string
	Duration  time.Duration
	// Err is why the schedule failed; nil when everything was equal.
	Err error
}

// Play plays a schedule in a directory, which must be empty, short, and the
// caller's. All servers are ended; the nodes' directories, with their logs, stay
// there if the schedule fails.
func Play(root string, install rewindtest.Install, templates *Templates, s Schedule) Result {
	p := &player{
		root: root, install: install, templates: templates, s: s,
		nodes: map[string]*rewindtest.Node{}, loads: map[string]*load{}, sessions: map[string]*session{},
		result: Result{Schedule: s, Stock: Absent},
	}
	start := time.Now()
	for i, step := range s.Steps {
		at := time.Now()
		if err := p.play(step); err != nil {
			p.result.Err = fmt.Errorf("step %d, %s: %w", i, step, err)
			break
		}
		p.trace("%3d %6.2f s %s %s %s", i, time.Since(at).Seconds(), step.Op, step.Node, step.With)
	}
	if err := p.end(); p.result.Err == nil {
		p.result.Err = err
	}
	p.result.Duration = time.Since(start)
	p.result.Statements, p.result.Failed, p.result.Failures = p.tally.done, p.tally.failed, p.tally.errors
	if p.result.Err == nil && 2*p.tally.failed > p.tally.done {
		p.result.Err = fmt.Errorf("%d of %d statements failed: nothing was tortured", p.tally.failed, p.tally.done)
	}
	return p.result
}

// player is a schedule on its way.
type player struct {
	root      string
	install   rewindtest.Install
	templates *Templates
	s         Schedule
	nodes     map[string]*rewindtest.Node
	loads     map[string]*load
	sessions  map[string]*session
	tally     tally
	result    Result
}

// trace writes a line to the schedule's own log.
func (p *player) trace(format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(p.root, "torture.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}

// end ends writers, sessions and servers, and removes nodes that are of no more
// interest.
func (p *player) end() error {
	var err error
	for _, l := range p.loads {
		err = errors.Join(err, l.end())
	}
	for _, s := range p.sessions {
		s.close()
	}
	for _, n := range p.nodes {
		if p.result.Err != nil {
			err = errors.Join(err, n.Stop(rewindtest.Immediate))
		} else {
			err = errors.Join(err, n.Close())
		}
	}
	return err
}

// play does one step.
func (p *player) play(s Step) error {
	switch s.Op {
	case OpCreate:
		return p.create(s)
	case OpClone, OpBackup:
		return p.standby(s)
	case OpInterrupt, OpRejoin:
		return p.rejoin(s)
	case OpSettle:
		return finishPrepared(p.nodes[s.Node], "COMMIT", "ROLLBACK")
	case OpCheck:
		return p.check(s)
	case OpFinal:
		return p.final(s)
	}
	n := p.nodes[s.Node]
	if n == nil {
		return fmt.Errorf("there is no node %s", s.Node)
	}
	switch s.Op {
	case OpWork, OpExec, OpSession, OpLoad, OpAwait, OpQuiet, OpLook, OpCheckpoint:
		return p.write(n, s)
	}
	return p.control(n, s)
}

// control starts, stops and steers a server.
func (p *player) control(n *rewindtest.Node, s Step) error {
	switch s.Op {
	case OpFollow:
		return n.Follow(p.nodes[s.With])
	case OpCut:
		return p.cut(n)
	case OpStart:
		return n.Start()
	case OpStop:
		p.hangUp(s.Node)
		return n.Stop(rewindtest.StopMode(s.With))
	case OpKill:
		defer p.hangUp(s.Node)
		return n.Kill()
	case OpPromote:
		return n.Promote()
	case OpAlone:
		return errors.Join(os.WriteFile(filepath.Join(n.Dir, "standby.signal"), nil, 0o600),
			n.SetConf("primary_conninfo", ""))
	case OpPause:
		return n.Exec("SELECT pg_wal_replay_pause()")
	case OpResume:
		return n.Exec("SELECT pg_wal_replay_resume()")
	case OpCatchup:
		return n.WaitForCatchup(p.nodes[s.With])
	case OpReceive:
		return receive(n, p.nodes[s.With])
	}
	return fmt.Errorf("unknown operation %q", s.Op)
}

// hangUp closes the sessions on a node.
func (p *player) hangUp(node string) {
	for name, s := range p.sessions {
		if s.node.Name == node {
			s.close()
			delete(p.sessions, name)
		}
	}
}

// cut stops the receiver of a standby: it stays where it is.
func (p *player) cut(n *rewindtest.Node) error {
	auto := filepath.Join(n.Dir, "postgresql.auto.conf")
	f, err := os.OpenFile(auto, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("primary_conninfo = ''\n")
	if err := errors.Join(err, f.Close()); err != nil || !n.Running() {
		return err
	}
	if err := n.Exec("SELECT pg_reload_conf()"); err != nil {
		return err
	}
	return until(statementLimit, func() (bool, error) {
		v, err := n.Value("SELECT count(*) FROM pg_stat_wal_receiver")
		return v == "0", err
	})
}

// receive waits until a standby has received what its upstream has flushed.
func receive(n, upstream *rewindtest.Node) error {
	if err := upstream.Exec("SELECT pg_logical_emit_message(true, 'torture', '')"); err != nil {
		return err
	}
	end, err := upstream.EndOfWAL()
	if err != nil {
		return err
	}
	return until(statementLimit, func() (bool, error) {
		v, err := n.Value("SELECT coalesce(pg_last_wal_receive_lsn(), '0/0')")
		if err != nil {
			return false, err
		}
		lsn, err := pg.ParseLSN(v)
		return lsn >= end, err
	})
}

// create makes the primary from a template.
func (p *player) create(s Step) error {
	template, err := p.templates.get(p.install, p.s.Settings)
	if err != nil {
		return err
	}
	conf := template.conf(p.s.Settings.Conf)
	n, err := rewindtest.CreatePrimary(p.root, p.install, rewindtest.Options{
		Name: s.Node, Template: template.dir, Conf: conf,
		WalSegSize: p.s.Settings.WALSegSize, NoChecksums: !p.s.Settings.Checksums,
	})
	if err != nil {
		return err
	}
	p.nodes[s.Node] = n
	if !p.s.Settings.GroupRead {
		if err := closeToGroup(n); err != nil {
			return err
		}
	}
	if p.s.Settings.Tablespace {
		dir := filepath.Join(p.root, s.Node, "tablespace", "away")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := n.Exec("CREATE TABLESPACE away LOCATION '" + dir + "'"); err != nil {
			return err
		}
	}
	return p.linkWAL(n)
}

// closeToGroup takes the group's rights away; the server goes by those of the
// top directory when it starts.
func closeToGroup(n *rewindtest.Node) error {
	if err := n.Stop(rewindtest.Fast); err != nil {
		return err
	}
	err := filepath.WalkDir(n.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, fi.Mode().Perm()&0o700)
	})
	return errors.Join(err, n.Start())
}

// linkWAL moves pg_wal out of the data directory where the settings say so.
func (p *player) linkWAL(n *rewindtest.Node) error {
	if !slices.Contains(p.s.Settings.Linked, n.Name) {
		return nil
	}
	running := n.Running()
	if err := n.Stop(rewindtest.Fast); err != nil {
		return err
	}
	wal := filepath.Join(n.Dir, "pg_wal")
	if fi, err := os.Lstat(wal); err != nil || fi.Mode()&os.ModeSymlink != 0 {
		return errors.Join(err, p.startIf(n, running))
	}
	to := filepath.Join(p.root, n.Name, "wal")
	if err := errors.Join(os.Rename(wal, to), os.Symlink(to, wal)); err != nil {
		return err
	}
	return p.startIf(n, running)
}

func (p *player) startIf(n *rewindtest.Node, running bool) error {
	if !running {
		return nil
	}
	return n.Start()
}

// standby makes one; it is not started where it was cloned.
func (p *player) standby(s Step) error {
	upstream := p.nodes[s.With]
	if s.Op == OpBackup {
		n, err := upstream.CreateStandby(rewindtest.StandbyOptions{Name: s.Node})
		if err != nil {
			return err
		}
		p.nodes[s.Node] = n
		return nil
	}
	n, err := upstream.CreateClone(s.Node)
	if err != nil {
		return err
	}
	p.nodes[s.Node] = n
	return errors.Join(p.linkWAL(n), n.Follow(upstream))
}

// write runs statements.
func (p *player) write(n *rewindtest.Node, s Step) error {
	switch s.Op {
	case OpWork:
		h := newHand(n, &p.tally)
		defer h.close()
		w := p.writer(s.Seed)
		for range s.Count {
			if err := h.do(w.step()); err != nil {
				return err
			}
		}
		return nil
	case OpExec:
		h := newHand(n, &p.tally)
		defer h.close()
		return h.do(batch{s.With, s.SQL})
	case OpSession:
		return p.session(n, s)
	case OpLoad:
		p.loads[s.Node] = startLoad(n, &p.tally, s.Count, func(i int) *writer { return p.writer(s.Seed + uint64(i)) })
		return nil
	case OpAwait:
		return p.loads[s.Node].await(s.Count)
	case OpQuiet:
		l := p.loads[s.Node]
		delete(p.loads, s.Node)
		return l.end()
	case OpLook:
		return p.look(n)
	}
	return n.Checkpoint()
}

func (p *player) writer(seed uint64) *writer {
	return newWriter(seed, p.s.Major, p.s.tablespaces())
}

// session runs statements in a session that stays open.
func (p *player) session(n *rewindtest.Node, s Step) error {
	key := s.Node + " " + s.With
	c := p.sessions[key]
	if c == nil {
		var err error
		if c, err = open(n, firstDB); err != nil {
			return err
		}
		p.sessions[key] = c
	}
	for _, sql := range s.SQL {
		_, err := c.query(sql)
		p.tally.count(err)
	}
	return nil
}

// look reads all tables, as clients of a standby do: it sets hint bits.
func (p *player) look(n *rewindtest.Node) error {
	h := newHand(n, &p.tally)
	defer h.close()
	for _, db := range []string{firstDB, secondDB} {
		b := batch{db: db, sql: []string{"SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off"}}
		for _, table := range lookedAt() {
			b.sql = append(b.sql, "SELECT count(*) FROM s."+table)
		}
		if err := h.do(b); err != nil {
			return err
		}
	}
	return nil
}
