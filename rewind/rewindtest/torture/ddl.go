package torture

import "fmt"

// The statements that change files and catalogs.

func pick[T any](w *writer, of ...T) T { return of[w.rng.IntN(len(of))] }

func (w *writer) maintain() string {
	return pick(w,
		"VACUUM s.k", "VACUUM (FREEZE) s.k", "VACUUM s.p", "VACUUM s.toasted", "VACUUM FULL s.e", "VACUUM FULL s.k", "VACUUM (FREEZE, ANALYZE) s.parent",
		"CLUSTER s.k USING k_k", "REINDEX TABLE s.k", "REINDEX INDEX s.k_at", "REINDEX INDEX s.k_arr", "REINDEX TABLE CONCURRENTLY s.e",
		"ANALYZE", "VACUUM", "REFRESH MATERIALIZED VIEW s.mv", "REFRESH MATERIALIZED VIEW CONCURRENTLY s.mv", "VACUUM FULL pg_class", "VACUUM FULL pg_proc",
		"SELECT gin_clean_pending_list('s.k_arr')", "SELECT brin_summarize_new_values('s.k_brin')")
}

func (w *writer) rewrite() string {
	return pick(w,
		"ALTER TABLE s.flip ALTER v TYPE varchar USING v || 'x'",
		"ALTER TABLE s.flip ALTER v TYPE text USING v || 'y'",
		"ALTER TABLE s.n ALTER n TYPE bigint USING n + 1",
		fmt.Sprintf("ALTER TABLE s.mover ADD COLUMN c%d int DEFAULT %d", w.next, w.rng.IntN(100)),
		fmt.Sprintf("ALTER TABLE s.child ALTER id TYPE bigint USING id + %d * 0", w.next),
		"ALTER TABLE s.e SET (fillfactor = 60)")
}

// table makes, changes and drops tables of few names, so that both sides of a
// fork use the same ones, and the same numbers of files.
func (w *writer) table() []string {
	name := fmt.Sprintf("s.m%d", w.rng.IntN(5))
	rows := 10 + w.rng.IntN(500)
	if w.rng.IntN(6) == 0 {
		rows = 5000
	}
	kind := pick(w, "", "", "", "UNLOGGED ", "TEMPORARY ")
	if kind == "TEMPORARY " {
		return []string{"CREATE TEMPORARY TABLE IF NOT EXISTS tmp AS SELECT generate_series(1, 500) i", "INSERT INTO tmp SELECT generate_series(1, 300)"}
	}
	create := fmt.Sprintf("CREATE %sTABLE %s%s AS SELECT g AS i, md5(g || '%d') AS v FROM generate_series(1, %d) g", kind, name, w.inTablespace(), w.next, rows)
	switch w.rng.IntN(6) {
	case 0:
		return []string{"DROP TABLE IF EXISTS " + name}
	case 1:
		return []string{"DELETE FROM " + name + " WHERE i % 2 = 0", "INSERT INTO " + name + " SELECT g, 'more' FROM generate_series(1, 100) g"}
	case 2:
		return []string{"BEGIN; DROP TABLE IF EXISTS " + name + "; " + create + "; ROLLBACK"}
	case 3:
		return []string{"BEGIN; DROP TABLE IF EXISTS " + name + "; " + create + "; COMMIT"}
	}
	return []string{"DROP TABLE IF EXISTS " + name, create,
		fmt.Sprintf("CREATE INDEX ON %s USING %s", name, pick(w, "btree (v)", "hash (v)", "brin (i)", "spgist (v)", "gin (array[i])", "gist (point(i, i))")),
		fmt.Sprintf("ALTER TABLE %s ADD COLUMN c%d int DEFAULT %d", name, w.next, w.rng.IntN(100))}
}

func (w *writer) inTablespace() string {
	if len(w.tablespaces) == 0 || w.rng.IntN(3) > 0 {
		return ""
	}
	return " TABLESPACE " + pick(w, w.tablespaces...)
}

func (w *writer) index() string {
	name := fmt.Sprintf("x%d", w.rng.IntN(4))
	if w.rng.IntN(3) == 0 {
		return "DROP INDEX IF EXISTS s." + name
	}
	return fmt.Sprintf("CREATE INDEX %s%s ON s.k USING %s", pick(w, "", "", "CONCURRENTLY "), name,
		pick(w, "btree (tag, k)", "hash (k)", "gin (arr)", "gist (at)", "spgist (at)", "brin (id)", "btree (k) WHERE k < 500", "bloom (k)"))
}

func (w *writer) partition() []string {
	n := w.rng.IntN(3)
	name := fmt.Sprintf("s.part%d", n)
	attach := fmt.Sprintf("ALTER TABLE s.part ATTACH PARTITION %s FOR VALUES WITH (MODULUS 3, REMAINDER %d)", name, n)
	if w.rng.IntN(2) == 0 {
		return []string{fmt.Sprintf("BEGIN; DROP TABLE IF EXISTS %s; CREATE TABLE %s PARTITION OF s.part FOR VALUES WITH (MODULUS 3, REMAINDER %d); COMMIT", name, name, n)}
	}
	return []string{"BEGIN; ALTER TABLE s.part DETACH PARTITION " + name + "; UPDATE " + name + " SET v = 'alone'; " + attach + "; COMMIT"}
}

func (w *writer) logged() string {
	return fmt.Sprintf("ALTER TABLE s.%s SET %s", pick(w, "flip", "flip", "u", "m0", "m1"), pick(w, "LOGGED", "UNLOGGED"))
}

func (w *writer) move() string {
	spaces := append([]string{"pg_default"}, w.tablespaces...)
	return pick(w, "ALTER TABLE s.mover", "ALTER TABLE s.m2", "ALTER INDEX s.k_k", "ALTER INDEX s.k_at", "ALTER MATERIALIZED VIEW s.mv", "ALTER TABLE s.u") +
		" SET TABLESPACE " + pick(w, spaces...)
}

// database makes and drops databases of few names, and where it can of few OIDs.
func (w *writer) database() []string {
	n := w.rng.IntN(3)
	name := fmt.Sprintf("x%d", n)
	options := ""
	if w.major >= 15 {
		options = pick(w, "", " STRATEGY = file_copy", " STRATEGY = wal_log", fmt.Sprintf(" OID = %d STRATEGY = file_copy", 70000+n), fmt.Sprintf(" OID = %d STRATEGY = wal_log", 70000+n))
	}
	options += pick(w, "", w.inTablespace())
	drop := "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"
	switch w.rng.IntN(5) {
	case 0:
		return []string{drop}
	case 1:
		if len(w.tablespaces) > 0 {
			return []string{"ALTER DATABASE " + name + " SET TABLESPACE " + pick(w, append([]string{"pg_default"}, w.tablespaces...)...)}
		}
		return []string{"ALTER DATABASE " + name + " RENAME TO y" + name, "ALTER DATABASE y" + name + " RENAME TO " + name}
	case 2:
		return []string{drop, "CREATE DATABASE " + name + options}
	}
	return []string{"CREATE DATABASE " + name + options}
}

// space makes and drops a tablespace inside the data directory, which came with 15.
func (w *writer) space() []string {
	if w.major < 15 {
		return []string{"SELECT txid_current()"}
	}
	if w.rng.IntN(3) == 0 {
		return []string{"DROP TABLESPACE IF EXISTS here"}
	}
	return []string{"CREATE TABLESPACE here LOCATION ''",
		fmt.Sprintf("CREATE TABLE s.m%d TABLESPACE here AS SELECT generate_series(1, 300) i, 'here' AS v", w.rng.IntN(5))}
}

// tail cuts a table's end off and lets it grow again.
func (w *writer) tail() []string {
	return []string{"DELETE FROM s.o0 WHERE ctid > '(2,0)'", "VACUUM s.o0",
		fmt.Sprintf("INSERT INTO s.o0 SELECT %d + g, repeat('t', 300) FROM generate_series(1, %d) g", w.key(), w.rng.IntN(400))}
}
