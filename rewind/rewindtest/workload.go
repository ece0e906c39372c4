package rewindtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Workload is a client that writes what databases write: rows under every kind
// of index, toasted values, updates in place and not, deletes, truncates, tables
// that come and go, sequences, an unlogged table, large objects, subtransactions,
// aborted and prepared transactions, vacuum. It works in schema w of database
// postgres.
//
// The same seed gives the same statements, and on the same data the same rows:
// no clock, no random() on the server. Rows of different seeds have different
// keys; the tables of its DDL have the same names under every seed, so that two
// sides of a fork create the same names, and OIDs, with different contents.
type Workload struct {
	seed uint64
	rng  *rand.Rand
	next int // number of the next transaction
}

// NewWorkload makes a client. It keeps its place: Run may be called again.
func NewWorkload(seed uint64) *Workload {
	return &Workload{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x66616c6c6261636b))}
}

const schema = `
CREATE SCHEMA w;
CREATE TABLE w.rows (id bigint PRIMARY KEY, k int NOT NULL, tag text, doc text, arr int[], at point, span int4range);
CREATE INDEX rows_k ON w.rows USING btree (k);
CREATE INDEX rows_tag ON w.rows USING hash (tag);
CREATE INDEX rows_arr ON w.rows USING gin (arr);
CREATE INDEX rows_span ON w.rows USING gist (span);
CREATE INDEX rows_at ON w.rows USING spgist (at);
CREATE INDEX rows_brin ON w.rows USING brin (k) WITH (pages_per_range = 2);
CREATE TABLE w.toasted (id bigint PRIMARY KEY, doc text);
ALTER TABLE w.toasted ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE w.emptied (id bigint PRIMARY KEY, v text);
CREATE UNLOGGED TABLE w.unlogged (id bigint PRIMARY KEY, v text);
CREATE SEQUENCE w.seq;
CREATE TABLE w.numbers (n bigint);
`

// Setup creates the schema with so many rows to begin with.
func (w *Workload) Setup(n *Node, rows int) error {
	err := n.Exec(schema, w.insertRows(rows), "VACUUM ANALYZE w.rows")
	if err != nil {
		return fmt.Errorf("set up workload: %w", err)
	}
	w.next++ // its keys are taken
	return nil
}

// insertRows makes rows whose contents follow from seed, place and number.
func (w *Workload) insertRows(count int) string {
	return fmt.Sprintf(`INSERT INTO w.rows
		SELECT %d + g, (g * 7919 + %d) %% 10000, md5(g || 'tag%d'), repeat(md5(g || 'doc%d'), 4),
			ARRAY[g %% 50, g %% 7, %d], point(g %% 317, (g * 31 + %d) %% 211), int4range(g %% 1000, g %% 1000 + 1 + %d)
		FROM generate_series(1, %d) g`,
		w.key(), w.rng.IntN(10000), w.next, w.next, w.rng.IntN(1000), w.rng.IntN(211), w.rng.IntN(100), count)
}

// key is where this transaction's own keys begin.
func (w *Workload) key() uint64 { return w.seed%1000*1_000_000_000_000 + uint64(w.next)*1_000_000 }

// operations with their weights; each gives the statements of one step.
var operations = []struct {
	weight int
	make   func(w *Workload) []string
}{
	{30, func(w *Workload) []string { return []string{w.insertRows(1 + w.rng.IntN(60))} }},
	{20, func(w *Workload) []string { return []string{w.updateRows()} }},
	{8, (*Workload).updateInPlace},
	{10, (*Workload).deleteRows},
	{6, (*Workload).toast},
	{4, (*Workload).truncate},
	{4, (*Workload).remake},
	{6, (*Workload).count},
	{3, (*Workload).unlogged},
	{3, (*Workload).largeObject},
	{6, (*Workload).subtransactions},
	{4, (*Workload).abort},
	{3, (*Workload).prepare},
	{2, func(w *Workload) []string { return []string{"VACUUM w.rows"} }},
}

func (w *Workload) step() []string {
	total := 0
	for _, op := range operations {
		total += op.weight
	}
	pick := w.rng.IntN(total)
	for _, op := range operations {
		if pick -= op.weight; pick < 0 {
			return op.make(w)
		}
	}
	return nil
}

func (w *Workload) updateRows() string {
	from := w.rng.IntN(10000)
	return fmt.Sprintf("UPDATE w.rows SET k = (k + %d) %% 10000, tag = md5(tag || '%d'), arr = arr || %d, at = point(at[1], at[0]) WHERE k BETWEEN %d AND %d",
		w.rng.IntN(5000), w.next, w.rng.IntN(50), from, from+200)
}

func (w *Workload) updateInPlace() []string { // no indexed column: HOT
	from := w.rng.IntN(10000)
	return []string{fmt.Sprintf("UPDATE w.rows SET doc = md5(doc || '%d') WHERE k BETWEEN %d AND %d", w.next, from, from+100)}
}

func (w *Workload) deleteRows() []string {
	from := w.rng.IntN(10000)
	return []string{fmt.Sprintf("DELETE FROM w.rows WHERE k BETWEEN %d AND %d", from, from+80)}
}

func (w *Workload) toast() []string {
	return []string{fmt.Sprintf(`INSERT INTO w.toasted SELECT %d + r, (SELECT string_agg(md5(g || '-%d-' || r), '') FROM generate_series(1, %d) g)
		FROM generate_series(1, 3) r`, w.key(), w.next, 100+w.rng.IntN(300)),
		fmt.Sprintf("DELETE FROM w.toasted WHERE id %% 7 = %d", w.rng.IntN(7))}
}

func (w *Workload) truncate() []string {
	fill := fmt.Sprintf("INSERT INTO w.emptied SELECT %d + g, md5(g::text) FROM generate_series(1, %d) g", w.key(), 1+w.rng.IntN(200))
	return []string{"BEGIN; TRUNCATE w.emptied; " + fill + "; COMMIT"}
}

func (w *Workload) remake() []string {
	name := fmt.Sprintf("w.made%d", w.rng.IntN(6))
	return []string{
		"DROP TABLE IF EXISTS " + name,
		fmt.Sprintf("CREATE TABLE %s AS SELECT g AS i, md5(g || '%d') AS v FROM generate_series(1, %d) g", name, w.next, 10+w.rng.IntN(500)),
		fmt.Sprintf("CREATE INDEX ON %s (v); ALTER TABLE %s ADD COLUMN c%d int DEFAULT %d", name, name, w.next, w.rng.IntN(100)),
	}
}

func (w *Workload) count() []string {
	return []string{fmt.Sprintf("INSERT INTO w.numbers SELECT nextval('w.seq') FROM generate_series(1, %d)", 1+w.rng.IntN(40))}
}

func (w *Workload) unlogged() []string {
	return []string{fmt.Sprintf("INSERT INTO w.unlogged SELECT %d + g, md5(g::text) FROM generate_series(1, 50) g", w.key())}
}

func (w *Workload) largeObject() []string {
	oid := 1_000_000 + w.rng.IntN(20)
	return []string{fmt.Sprintf(`SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = %d;
		SELECT lo_from_bytea(%d, decode(repeat(md5('%d'), %d), 'hex'))`, oid, oid, w.next, 10+w.rng.IntN(400))}
}

func (w *Workload) subtransactions() []string {
	return []string{"BEGIN; " + w.updateRows() + "; SAVEPOINT a; " + w.insertRows(5) +
		"; ROLLBACK TO a; SAVEPOINT b; " + w.insertRows(3) + "; COMMIT"}
}

func (w *Workload) abort() []string {
	return []string{"BEGIN; " + w.insertRows(20) + "; " + w.updateRows() + "; ROLLBACK"}
}

func (w *Workload) prepare() []string {
	gid := fmt.Sprintf("w-%d-%d", w.seed, w.next)
	return []string{"BEGIN; " + w.insertRows(5) + "; PREPARE TRANSACTION '" + gid + "'", "COMMIT PREPARED '" + gid + "'"}
}

// errServerGone: the connection broke, as it does when the server is killed.
var errServerGone = errors.New("the server went away")

// Run makes so many steps on a primary, or endlessly many if negative, until ctx
// ends, which is no error. Where a primary before had been interrupted between
// the two halves of a prepared transaction, that is rolled back first.
func (w *Workload) Run(ctx context.Context, n *Node, steps int) error {
	return w.run(ctx, n, steps, func() {})
}

func (w *Workload) run(ctx context.Context, n *Node, steps int, stepped func()) error {
	s, err := n.session("postgres")
	if err != nil {
		return fmt.Errorf("run workload: %w: %w", errServerGone, err)
	}
	defer s.close()
	if err := s.rollBackPrepared(); err != nil {
		return fmt.Errorf("run workload: %w", err)
	}
	for i := 0; (steps < 0 || i < steps) && ctx.Err() == nil; i++ {
		for _, sql := range w.step() {
			if _, err := s.query(sql); err != nil {
				if s.conn.IsClosed() {
					err = fmt.Errorf("%w: %w", errServerGone, err)
				}
				return fmt.Errorf("run workload, seed %d, step %d: %w", w.seed, w.next, err)
			}
		}
		w.next++
		stepped()
	}
	return nil
}

func (s *session) rollBackPrepared() error {
	rows, err := s.query("SELECT 'ROLLBACK PREPARED ' || quote_literal(gid) FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'w-%'")
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := s.query(row[0]); err != nil {
			return err
		}
	}
	return nil
}

// Load is a workload at work in the background.
type Load struct {
	cancel context.CancelFunc
	steps  atomic.Int64
	done   chan struct{}
	err    error // valid after done
}

// Start lets the workload write until Stop, or until the server goes away.
func (w *Workload) Start(n *Node) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.err = w.run(ctx, n, -1, func() { l.steps.Add(1) })
	}()
	return l
}

// Steps is how many steps are done.
func (l *Load) Steps() int { return int(l.steps.Load()) }

// Await returns when so many further steps are done.
func (l *Load) Await(further int) error {
	want := l.Steps() + further
	return poll("the workload to go on", func() (bool, string, error) {
		select {
		case <-l.done:
			return false, "", fmt.Errorf("it ended: %w", l.err)
		default:
			return l.Steps() >= want, fmt.Sprintf("%d steps of %d", l.Steps(), want), nil
		}
	})
}

// Stop ends the load after the step at hand. That the server had gone away
// before is no error.
func (l *Load) Stop() error {
	l.cancel()
	<-l.done
	if errors.Is(l.err, errServerGone) {
		return nil
	}
	return l.err
}
