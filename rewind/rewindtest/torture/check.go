package torture

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// stockPatience is how long a node that stock pg_rewind has made may take to
// catch up: when it is wrong it never does.
const stockPatience = 20 * time.Second

// check compares a node with its leader, and so what stock pg_rewind makes of
// the same node.
func (p *player) check(s Step) error {
	n, leader := p.nodes[s.Node], p.nodes[s.With]
	if p.s.Settings.Conf["autovacuum"] != "off" { // it sets hints on the leader, and cancels what we ask standbys
		if err := leader.SetConf("autovacuum", "off"); err != nil {
			return err
		}
	}
	tli, err := leader.Timeline()
	if err != nil {
		return err
	}
	if err := leader.WaitStreaming(n.Name, tli); err != nil {
		return fmt.Errorf("%w\n%s", err, n.Log(20))
	}
	if err := n.WaitForCatchup(leader); err != nil {
		return err
	}
	stock := p.rejoinStock(n.Name, leader)
	ours, err := n.Contents()
	if err != nil {
		return err
	}
	stock.read()
	want, err := leader.Contents()
	if err != nil {
		return err
	}
	diff := ours.Diff(want, n.Name, leader.Name)
	p.judge(stock, want, len(diff) > 0)
	if err := p.discard(stock); err != nil {
		return err
	}
	if len(diff) > 0 {
		return fmt.Errorf("%s differs from %s:\n%s", n.Name, leader.Name, strings.Join(diff, "\n"))
	}
	err = p.indexes(n)
	if errors.Is(err, errHeaps) {
		return p.indexesAfresh(n, leader)
	}
	return err
}

// errHeaps: verify_heapam has found something.
var errHeaps = errors.New("damaged heaps")

// indexesAfresh is indexes once more, with the standby begun anew behind a checkpoint
// of its leader. A transaction that was open at the fork and was never heard of again
// is running for ever for a standby that has seen it begin, as long as an older
// prepared one is there on the leader (ProcArrayApplyRecoveryInfo removes what is
// older than the oldest one only). To verify_heapam its rows have a writer then, and
// it misses what was overwritten on the leader. Any standby of that leader shows it
// until it is restarted.
func (p *player) indexesAfresh(n, leader *rewindtest.Node) error {
	if err := leader.Exec("CHECKPOINT"); err != nil {
		return err
	}
	if err := n.WaitForCatchup(leader); err != nil {
		return err
	}
	if err := n.Exec("CHECKPOINT"); err != nil {
		return err
	}
	if err := n.Restart(); err != nil {
		return err
	}
	if err := n.WaitForCatchup(leader); err != nil {
		return err
	}
	return p.indexes(n)
}

// indexes checks heaps and B-trees by amcheck, and the other indexes by asking
// them. The template databases, which nobody changes, are left out.
func (p *player) indexes(n *rewindtest.Node) error {
	if p.install.HasExtension("amcheck") {
		rows, err := n.Query("SELECT datname FROM pg_database WHERE datallowconn AND datname NOT LIKE 'template%'")
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := p.amcheck(n, row[0]); err != nil {
				return fmt.Errorf("check database %s of %s: %w", row[0], n.Name, err)
			}
		}
	}
	return probe(n)
}

func (p *player) amcheck(n *rewindtest.Node, db string) error {
	const indexes = `SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		JOIN pg_am a ON a.oid = c.relam WHERE amname = 'btree' AND c.relkind = 'i' AND relpersistence = 'p' AND indisready AND indisvalid`
	const heaps = `SELECT c.oid::regclass, v.* FROM pg_class c, verify_heapam(c.oid) v
		WHERE c.relkind IN ('r', 'm', 't') AND relpersistence = 'p'`
	if _, err := n.QueryIn(db, indexes); err != nil || p.install.Major < 14 {
		return err
	}
	found, err := n.QueryIn(db, heaps)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: %v", errHeaps, found)
	}
	return err
}

// written looks at the tables that were written to last, as only a primary can:
// B-trees from their roots down, and from 18 on GIN.
func (p *player) written(n *rewindtest.Node) error {
	if err := probe(n); err != nil || !p.install.HasExtension("amcheck") {
		return err
	}
	check := `SELECT CASE WHEN amname = 'btree' THEN bt_index_parent_check(i.indexrelid, true)`
	if p.install.Major >= 18 {
		check += ` WHEN amname = 'gin' THEN gin_index_check(i.indexrelid)`
	}
	check += ` END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE relnamespace = 's'::regnamespace AND c.relkind = 'i' AND indisready AND indisvalid AND relpersistence = 'p'`
	for _, db := range []string{firstDB, secondDB} {
		if err := n.ExecIn(db, check); err != nil {
			return err
		}
	}
	return nil
}

// stocked is what pg_rewind made of the copy that was kept for it.
type stocked struct {
	node     *rewindtest.Node // nil where there is none
	contents rewindtest.Contents
	err      error
	refused  bool // err is pg_rewind's own
}

// rejoinStock lets pg_rewind have the copy.
func (p *player) rejoinStock(node string, leader *rewindtest.Node) *stocked {
	s := &stocked{node: p.nodes[stockName(node)]}
	if s.node == nil {
		return s
	}
	out, err := s.node.RewindByPgRewind(leader)
	if err != nil {
		s.err, s.refused = err, true
		return s
	}
	p.trace("stock pg_rewind of %s: %s", node, out)
	if s.err = s.node.Start(); s.err == nil {
		s.err = replayed(s.node, leader)
	}
	return s
}

// replayed waits until a standby has replayed what its leader has written.
func replayed(n, leader *rewindtest.Node) error {
	if err := leader.Exec("SELECT pg_logical_emit_message(true, 'torture', '')"); err != nil {
		return err
	}
	end, err := leader.EndOfWAL()
	if err != nil {
		return err
	}
	return until(stockPatience, func() (bool, error) {
		v, err := n.Value("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')")
		if err != nil {
			return false, err
		}
		lsn, err := pg.ParseLSN(v)
		return lsn >= end, err
	})
}

func (s *stocked) read() {
	if s.node != nil && s.err == nil {
		s.contents, s.err = s.node.Contents()
	}
}

// judge notes the worst that pg_rewind did.
func (p *player) judge(s *stocked, want rewindtest.Contents, oursDiffers bool) {
	if s.node == nil {
		return
	}
	verdict, says := Right, ""
	switch {
	case s.refused:
		verdict, says = Refused, s.err.Error()
	case s.err != nil:
		verdict, says = Wrong, s.err.Error()
	default:
		if diff := s.contents.Diff(want, "stock", "the leader"); len(diff) > 0 {
			verdict, says = Wrong, strings.Join(diff, "\n")
		}
	}
	p.trace("stock is %s: %s", verdict, says)
	if oursDiffers {
		says += " (ours differs as well)"
	}
	rank := map[Verdict]int{Absent: 0, Right: 1, Refused: 2, Wrong: 3}
	if rank[verdict] > rank[p.result.Stock] {
		p.result.Stock, p.result.StockSays = verdict, says
	}
}

func (p *player) discard(s *stocked) error {
	if s.node == nil {
		return nil
	}
	delete(p.nodes, s.node.Name)
	return s.node.Close()
}

// final makes the node the leader, writes to everything, and verifies all pages.
func (p *player) final(s Step) error {
	n, leader := p.nodes[s.Node], p.nodes[s.With]
	prepared, err := preparedOn(leader)
	if err != nil {
		return err
	}
	if err := n.WaitForCatchup(leader); err != nil {
		return err
	}
	if err := errors.Join(leader.Stop(rewindtest.Immediate), n.Promote()); err != nil {
		return err
	}
	got, err := preparedOn(n)
	if err != nil {
		return err
	}
	if got != prepared {
		return fmt.Errorf("prepared transactions %q, on the leader %q", got, prepared)
	}
	if err := finishPrepared(n, "ROLLBACK"); err != nil {
		return err
	}
	for _, db := range []string{firstDB, secondDB} {
		if err := n.ExecIn(db, finalSQL()...); err != nil {
			return fmt.Errorf("write on the promoted node: %w", err)
		}
	}
	if err := p.written(n); err != nil {
		return fmt.Errorf("after writing on the promoted node: %w", err)
	}
	return p.checksums(n)
}

// checksums stops the node and verifies its pages where they have checksums.
func (p *player) checksums(n *rewindtest.Node) error {
	if err := n.Stop(rewindtest.Fast); err != nil || !p.s.Settings.Checksums {
		return err
	}
	return rewindtest.VerifyChecksums(p.install, n.Dir)
}

func preparedOn(n *rewindtest.Node) (string, error) {
	return n.Value("SELECT coalesce(string_agg(gid || ' in ' || database || ' as ' || transaction, ', ' ORDER BY gid), 'none') FROM pg_prepared_xacts")
}

// finishPrepared ends prepared transactions, by each of the ways in turn.
func finishPrepared(n *rewindtest.Node, ways ...string) error {
	rows, err := n.Query("SELECT database, quote_literal(gid) FROM pg_prepared_xacts ORDER BY gid")
	if err != nil {
		return err
	}
	for i, row := range rows {
		if err := n.ExecIn(row[0], ways[i%len(ways)]+" PREPARED "+row[1]); err != nil {
			return err
		}
	}
	return nil
}
