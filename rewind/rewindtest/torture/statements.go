package torture

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// writer makes random statements: the same seed, the same statements. It knows
// nothing of the server, so that some must fail.
type writer struct {
	rng  *rand.Rand
	seed uint64
	next int // number of the next step
	// major decides which statements there are.
	major int
	// tablespaces are the names that may exist.
	tablespaces []string
}

func newWriter(seed uint64, major int, tablespaces []string) *writer {
	return &writer{rng: rand.New(rand.NewPCG(seed, 0x77726974)), seed: seed, major: major, tablespaces: tablespaces}
}

// batch is what a step sends: statements for one database, each string a simple
// query of its own.
type batch struct {
	db  string
	sql []string
}

// step makes the next one.
func (w *writer) step() batch {
	b := batch{db: firstDB}
	if w.rng.IntN(4) == 0 {
		b.db = secondDB
	}
	if w.rng.IntN(25) == 0 {
		w.next++
		return w.inDatabase()
	}
	ops := operations()
	total := 0
	for _, op := range ops {
		total += op.weight
	}
	pick := w.rng.IntN(total)
	for _, op := range ops {
		if pick -= op.weight; pick < 0 {
			b.sql = op.make(w)
			break
		}
	}
	w.next++
	return b
}

// inDatabase writes to one of the databases that come and go.
func (w *writer) inDatabase() batch {
	return batch{fmt.Sprintf("x%d", w.rng.IntN(3)), []string{
		"CREATE TABLE IF NOT EXISTS made (i bigint PRIMARY KEY, v text)",
		fmt.Sprintf("INSERT INTO made SELECT %d + g, md5(g::text) FROM generate_series(1, %d) g", w.key(), 1+w.rng.IntN(400)),
		fmt.Sprintf("DELETE FROM made WHERE i %% 9 = %d", w.rng.IntN(9)),
	}}
}

type operation struct {
	weight int
	make   func(w *writer) []string
}

// operations with their weights.
func operations() []operation {
	one := func(f func(w *writer) string) func(w *writer) []string {
		return func(w *writer) []string { return []string{f(w)} }
	}
	return []operation{
		{30, one(func(w *writer) string { return w.insert(1 + w.rng.IntN(80)) })},
		{2, one(func(w *writer) string { return w.insert(1000 + w.rng.IntN(1500)) })},
		{20, one((*writer).update)},
		{8, one((*writer).updateInPlace)},
		{10, one((*writer).remove)},
		{6, one((*writer).points)},
		{6, (*writer).toast},
		{6, (*writer).empty},
		{8, (*writer).small},
		{5, (*writer).fill},
		{6, (*writer).sequence},
		{6, (*writer).lockRows},
		{5, (*writer).subtransactions},
		{3, one(func(w *writer) string { return "BEGIN; " + w.insert(20) + "; " + w.update() + "; ROLLBACK" })},
		{5, (*writer).prepare},
		{4, (*writer).largeObject},
		{8, one((*writer).maintain)},
		{2, one((*writer).rewrite)},
		{8, (*writer).table},
		{4, one((*writer).index)},
		{2, (*writer).partition},
		{2, one((*writer).logged)},
		{2, one((*writer).move)},
		{2, (*writer).database},
		{2, (*writer).space},
		{2, (*writer).tail},
		{2, one(func(w *writer) string {
			return fmt.Sprintf("UPDATE s.o%d SET filler = filler WHERE i %% 7 = 0", w.rng.IntN(3))
		})},
		{1, one(func(*writer) string { return "CHECKPOINT" })},
		{1, one(func(*writer) string { return "SELECT pg_switch_wal()" })},
		{2, one(func(w *writer) string {
			return fmt.Sprintf("SELECT pg_logical_emit_message(%t, 'm', repeat('b', %d))", w.rng.IntN(2) == 0, 1+w.rng.IntN(20000))
		})},
	}
}

// key is where this step's own keys begin.
func (w *writer) key() uint64 { return w.seed%100000*1_000_000_000 + uint64(w.next)*10_000 }

// insert makes rows whose contents follow from seed and step.
func (w *writer) insert(count int) string {
	return fmt.Sprintf(`INSERT INTO s.k SELECT %d + g, (g * 7919 + %d) %% 10000, md5(g || 'tag%d'), repeat(md5(g || 'doc%d'), 4),
		ARRAY[g %% 50, g %% 7, %d], point(g %% 317, (g * 31 + %d) %% 211), int4range(g %% 1000, g %% 1000 + 1 + %d),
		to_tsvector('simple', 'all w' || g %% 13) FROM generate_series(1, %d) g`,
		w.key(), w.rng.IntN(10000), w.next, w.next, w.rng.IntN(1000), w.rng.IntN(211), w.rng.IntN(100), count)
}

func (w *writer) update() string {
	from := w.rng.IntN(10000)
	return fmt.Sprintf("UPDATE s.k SET k = (k + %d) %% 10000, tag = md5(tag || '%d'), arr = arr[1:3] || %d, at = point(at[1], at[0]) WHERE k BETWEEN %d AND %d",
		w.rng.IntN(5000), w.next, w.rng.IntN(50), from, from+200)
}

func (w *writer) updateInPlace() string { // no indexed column: HOT
	from := w.rng.IntN(10000)
	return fmt.Sprintf("UPDATE s.k SET doc = md5(doc || '%d') WHERE k BETWEEN %d AND %d", w.next, from, from+100)
}

func (w *writer) remove() string {
	from := w.rng.IntN(10000)
	return fmt.Sprintf("DELETE FROM s.k WHERE k BETWEEN %d AND %d", from, from+w.rng.IntN(800))
}

// points grows an SP-GiST index fast, which changes its metapage.
func (w *writer) points() string {
	if w.rng.IntN(5) == 0 {
		return fmt.Sprintf("DELETE FROM s.p WHERE at[0] < %d", w.rng.IntN(500))
	}
	return fmt.Sprintf("INSERT INTO s.p SELECT point(g * %d %% 997, g * %d %% 991), '%d' FROM generate_series(1, %d) g",
		1+w.rng.IntN(900), 1+w.rng.IntN(900), w.next, 50+w.rng.IntN(1200))
}

func (w *writer) toast() []string {
	switch w.rng.IntN(3) {
	case 0:
		return []string{fmt.Sprintf("UPDATE s.toasted SET doc = doc || '%d' WHERE id %% 5 = %d", w.next, w.rng.IntN(5))}
	case 1:
		return []string{fmt.Sprintf("DELETE FROM s.toasted WHERE id %% 7 = %d", w.rng.IntN(7))}
	}
	return []string{fmt.Sprintf(`INSERT INTO s.toasted SELECT %d + r, (SELECT string_agg(md5(g || '-%d-' || r), '') FROM generate_series(1, %d) g)
		FROM generate_series(1, 3) r`, w.key(), w.next, 100+w.rng.IntN(300))}
}

// empty truncates and fills again: as one transaction, as two, or by COPY FREEZE.
func (w *writer) empty() []string {
	fill := fmt.Sprintf("INSERT INTO s.e SELECT %d + g, md5(g::text) FROM generate_series(1, %d) g", w.key(), 1+w.rng.IntN(400))
	switch w.rng.IntN(4) {
	case 0:
		return []string{"TRUNCATE s.e", fill}
	case 1:
		return []string{fmt.Sprintf("BEGIN; TRUNCATE s.c; COPY s.c FROM PROGRAM 'seq %d %d' WITH (FREEZE); COMMIT", w.next, w.next+w.rng.IntN(3000))}
	case 2:
		return []string{fill}
	}
	return []string{"BEGIN; TRUNCATE s.e; " + fill + "; COMMIT"}
}

// small writes to the tables that have no operation of their own.
func (w *writer) small() []string {
	count := 1 + w.rng.IntN(60)
	table := []string{"part", "gen (id, a)", "u", "flip", "mover"}[w.rng.IntN(5)]
	value := "md5(g::text)"
	if strings.HasPrefix(table, "gen") {
		value = "g"
	}
	q := fmt.Sprintf("INSERT INTO s.%s SELECT %d + g, %s FROM generate_series(1, %d) g", table, w.key(), value, count)
	name, _, _ := strings.Cut(table, " ")
	if w.rng.IntN(4) == 0 {
		return []string{q, fmt.Sprintf("DELETE FROM s.%s WHERE id %% 5 = %d", name, w.rng.IntN(5))}
	}
	return []string{q}
}

// fill is a larger load into one of the tables that transactions stay open on.
func (w *writer) fill() []string {
	return []string{fmt.Sprintf("INSERT INTO s.o%d SELECT %d + g, repeat('f', %d) FROM generate_series(1, %d) g", w.rng.IntN(3), w.key(), 50+w.rng.IntN(200), 1+w.rng.IntN(100))}
}

func (w *writer) sequence() []string {
	switch w.rng.IntN(6) {
	case 0:
		return []string{fmt.Sprintf("SELECT setval('s.seq', %d)", 1+w.rng.IntN(100000))}
	case 1:
		return []string{fmt.Sprintf("ALTER SEQUENCE s.seq RESTART %d INCREMENT %d", 1+w.rng.IntN(1000), 1+w.rng.IntN(5))}
	case 2:
		return []string{"SELECT nextval('s.cached')"}
	}
	return []string{fmt.Sprintf("INSERT INTO s.n SELECT nextval('s.seq') FROM generate_series(1, %d)", 1+w.rng.IntN(60))}
}

// lockRows makes multixacts: a lock and an update of one row by a transaction
// and its subtransaction, and the locks of foreign keys.
func (w *writer) lockRows() []string {
	row := 1 + w.rng.IntN(50)
	switch w.rng.IntN(3) {
	case 0:
		return []string{fmt.Sprintf("INSERT INTO s.child SELECT %d + g, 1 + (g * %d) %% 50 FROM generate_series(1, 40) g", w.key(), 1+w.rng.IntN(49))}
	case 1:
		return []string{fmt.Sprintf("DELETE FROM s.child WHERE id %% 11 = %d", w.rng.IntN(11))}
	}
	end := []string{"COMMIT", "ROLLBACK", "ROLLBACK TO b; COMMIT"}[w.rng.IntN(3)]
	return []string{fmt.Sprintf("BEGIN; SELECT * FROM s.parent WHERE id BETWEEN %d AND %d FOR KEY SHARE; SAVEPOINT a; UPDATE s.parent SET n = n + 1 WHERE id = %d; SAVEPOINT b; SELECT * FROM s.parent WHERE id = %d FOR SHARE; %s",
		row, row+3, row, row+1, end)}
}

func (w *writer) subtransactions() []string {
	if w.rng.IntN(3) == 0 { // more than a backend keeps in shared memory
		return []string{fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
			BEGIN INSERT INTO s.flip VALUES (%d + i, 'sub'); IF i %% 3 = 0 THEN RAISE EXCEPTION 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END;
			END LOOP; END $$`, 20+w.rng.IntN(90), w.key())}
	}
	return []string{"BEGIN; " + w.update() + "; SAVEPOINT a; " + w.insert(5) + "; ROLLBACK TO a; SAVEPOINT b; " + w.insert(3) + "; COMMIT"}
}

// prepare uses few names, so that one step may end what another has prepared.
func (w *writer) prepare() []string {
	gid := fmt.Sprintf("g%d", w.rng.IntN(4))
	switch w.rng.IntN(4) {
	case 0:
		return []string{"COMMIT PREPARED '" + gid + "'"}
	case 1:
		return []string{"ROLLBACK PREPARED '" + gid + "'"}
	}
	rows := []string{w.insert(1 + w.rng.IntN(20)), fmt.Sprintf("INSERT INTO s.o0 SELECT %d + g, 'prepared' FROM generate_series(1, 20) g", w.key())}[w.rng.IntN(2)]
	return []string{"BEGIN; SAVEPOINT a; " + rows + "; PREPARE TRANSACTION '" + gid + "'"}
}

func (w *writer) largeObject() []string {
	oid := 1_000_000 + w.rng.IntN(12)
	switch w.rng.IntN(3) {
	case 0:
		return []string{fmt.Sprintf("SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = %d", oid)}
	case 1:
		return []string{fmt.Sprintf("SELECT lo_put(oid, %d, decode(repeat(md5('%d'), 30), 'hex')) FROM pg_largeobject_metadata WHERE oid = %d", w.rng.IntN(5000), w.next, oid)}
	}
	return []string{fmt.Sprintf("SELECT lo_from_bytea(%d, decode(repeat(md5('%d'), %d), 'hex'))", oid, w.next, 10+w.rng.IntN(400))}
}
