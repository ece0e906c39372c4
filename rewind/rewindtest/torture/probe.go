package torture

import (
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// finalSQL writes to every table and into every kind of index.
func finalSQL() []string {
	w := newWriter(99999, 0, nil)
	return []string{
		w.insert(3000), w.update(), w.updateInPlace(), w.remove(),
		"INSERT INTO s.p SELECT point(g * 7919 % 1009 + 0.5, g * 104729 % 1013), 'final' FROM generate_series(1, 20000) g",
		"INSERT INTO s.toasted SELECT -g, repeat(md5(g::text), 200) FROM generate_series(1, 20) g",
		"INSERT INTO s.e SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.part SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.gen (id, a) SELECT -g, g FROM generate_series(1, 300) g",
		"INSERT INTO s.u SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.flip SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.mover SELECT -g, 'final' FROM generate_series(1, 300) g",
		"UPDATE s.parent SET n = n + 1",
		"INSERT INTO s.child SELECT -g, 1 + g % 50 FROM generate_series(1, 300) g",
		"INSERT INTO s.n SELECT nextval('s.seq')",
		"SELECT nextval('s.cached')",
		"INSERT INTO s.c SELECT g FROM generate_series(1, 300) g",
		"INSERT INTO s.o0 SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.o1 SELECT -g, 'final' FROM generate_series(1, 300) g",
		"INSERT INTO s.o2 SELECT -g, 'final' FROM generate_series(1, 300) g",
		"REFRESH MATERIALIZED VIEW s.mv",
		"SELECT lo_from_bytea(2000000, decode(repeat('00', 10000), 'hex'))",
		"VACUUM s.k, s.p, s.toasted, s.e, s.part, s.gen, s.flip, s.mover, s.parent, s.child, s.o0, s.o1, s.o2",
		"CREATE TABLE s.after_all AS SELECT * FROM s.k",
	}
}

// A question asks an index for rows, and a scan for the same.
type question struct{ index, byIndex, byScan string }

func questions() []question {
	from := func(table, index, where string) question {
		q := "SELECT count(*) FROM s." + table + " WHERE " + where
		return question{index, q, q}
	}
	return []question{
		{
			"k_tag",
			`SELECT coalesce(sum(x.c), 0) FROM (SELECT DISTINCT tag FROM s.k) d
				CROSS JOIN LATERAL (SELECT count(*) AS c FROM s.k WHERE s.k.tag = d.tag OFFSET 0) x`,
			"SELECT count(*) FROM s.k WHERE tag IS NOT NULL", // and not the same: it would take n² steps
		},
		from("k", "k_text", "tag >= '0' AND tag < 'g'"),
		from("k", "k_k", "k >= 0"),
		from("k", "k_arr", "arr && (SELECT array_agg(g) FROM generate_series(0, 49) g)"),
		from("k", "k_word", "word @@ 'all'"),
		from("k", "k_span", "span && int4range(0, 100000)"),
		from("k", "k_at", "at <@ box '((0,0),(1000,1000))'"),
		from("k", "k_brin", "k BETWEEN 0 AND 5000"),
		from("p", "p_at", "at <@ box '((0,0),(2000,2000))'"),
		from("gen", "gen_b", "b >= '0'"),
	}
}

// probe asks every question twice, once of indexes and once of the table.
func probe(n *rewindtest.Node) error {
	for _, db := range []string{firstDB, secondDB} {
		s, err := open(n, db)
		if err != nil {
			return err
		}
		err = probeIn(s)
		s.close()
		if err != nil {
			return fmt.Errorf("database %s of %s: %w", db, n.Name, err)
		}
	}
	return nil
}

func probeIn(s *session) error {
	for _, q := range questions() {
		byIndex, err := s.query("RESET ALL; SET enable_seqscan = off; " + q.byIndex)
		if err != nil {
			return err
		}
		byScan, err := s.query("RESET ALL; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; " + q.byScan)
		if err != nil {
			return err
		}
		if byIndex[0][0] != byScan[0][0] {
			return fmt.Errorf("index %s finds %s rows of %s", q.index, byIndex[0][0], byScan[0][0])
		}
	}
	return nil
}
