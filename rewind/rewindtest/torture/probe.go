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
		"VACUUM",
		"CREATE TABLE s.after_all AS SELECT * FROM s.k",
	}
}

// A question is one query that can be answered by an index and by a scan.
type question struct{ index, sql string }

func questions() []question {
	each := func(column, key string) string {
		return fmt.Sprintf(`SELECT coalesce(sum(x.c), 0) FROM (SELECT DISTINCT %s AS v FROM s.k WHERE %s IS NOT NULL) d
			CROSS JOIN LATERAL (SELECT count(*) AS c FROM s.k WHERE s.k.%s = d.v OFFSET 0) x`, key, key, column)
	}
	return []question{
		{"k_tag", each("tag", "tag")},
		{"k_text", "SELECT count(*) FROM s.k WHERE tag >= '0' AND tag < 'g'"},
		{"k_k", "SELECT count(*) FROM s.k WHERE k >= 0"},
		{"k_arr", "SELECT count(*) FROM s.k WHERE arr && (SELECT array_agg(g) FROM generate_series(0, 49) g)"},
		{"k_word", "SELECT count(*) FROM s.k WHERE word @@ 'all'"},
		{"k_span", "SELECT count(*) FROM s.k WHERE span && int4range(0, 100000)"},
		{"k_at", "SELECT count(*) FROM s.k WHERE at <@ box '((0,0),(1000,1000))'"},
		{"k_brin", "SELECT count(*) FROM s.k WHERE k BETWEEN 0 AND 5000"},
		{"p_at", "SELECT count(*) FROM s.p WHERE at <@ box '((0,0),(2000,2000))'"},
		{"gen_b", "SELECT count(*) FROM s.gen WHERE b >= '0'"},
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
		byIndex, err := s.query("RESET ALL; SET enable_seqscan = off; " + q.sql)
		if err != nil {
			return err
		}
		byScan, err := s.query("RESET ALL; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; " + q.sql)
		if err != nil {
			return err
		}
		if byIndex[0][0] != byScan[0][0] {
			return fmt.Errorf("index %s finds %s rows of %s", q.index, byIndex[0][0], byScan[0][0])
		}
	}
	return nil
}
