package torture

// The databases that are always there. Both have the same schema, so that a
// statement can go to either.
const (
	firstDB  = "postgres"
	secondDB = "d0"
)

// schemaSQL makes tables of every kind with every kind of index. Each string is
// a transaction of its own.
func schemaSQL() []string {
	return []string{`
CREATE SCHEMA s;
CREATE TABLE s.k (id bigint PRIMARY KEY, k int NOT NULL, tag text, doc text, arr int[], at point, span int4range, word tsvector);
CREATE INDEX k_k ON s.k (k);
CREATE INDEX k_tag ON s.k USING hash (tag);
CREATE INDEX k_arr ON s.k USING gin (arr);
CREATE INDEX k_word ON s.k USING gin (word) WITH (fastupdate = off);
CREATE INDEX k_span ON s.k USING gist (span);
CREATE INDEX k_at ON s.k USING spgist (at);
CREATE INDEX k_text ON s.k USING spgist (tag);
CREATE INDEX k_brin ON s.k USING brin (k) WITH (pages_per_range = 2, autosummarize = on);
CREATE TABLE s.p (at point, note text);
CREATE INDEX p_at ON s.p USING spgist (at);
CREATE TABLE s.toasted (id bigint PRIMARY KEY, doc text);
ALTER TABLE s.toasted ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE s.e (id bigint PRIMARY KEY, v text);
CREATE TABLE s.part (id bigint, v text, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE s.part0 PARTITION OF s.part FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE s.part1 PARTITION OF s.part FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE s.part2 PARTITION OF s.part FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE s.gen (id bigint PRIMARY KEY, a int, b text GENERATED ALWAYS AS (md5(a::text)) STORED);
CREATE INDEX gen_b ON s.gen (b);
CREATE UNLOGGED TABLE s.u (id bigint PRIMARY KEY, v text);
CREATE INDEX u_v ON s.u USING gist (point(id, 1));
CREATE TABLE s.flip (id bigint PRIMARY KEY, v text);
CREATE TABLE s.mover (id bigint PRIMARY KEY, v text);
CREATE TABLE s.parent (id int PRIMARY KEY, n int);
CREATE TABLE s.child (id bigint PRIMARY KEY, parent int REFERENCES s.parent);
CREATE TABLE s.n (n bigint);
CREATE SEQUENCE s.seq;
CREATE SEQUENCE s.cached CACHE 20;
CREATE TABLE s.c (i int);
CREATE TABLE s.o0 (i bigint, filler text) WITH (autovacuum_enabled = off);
CREATE TABLE s.o1 (i bigint, filler text) WITH (autovacuum_enabled = off);
CREATE TABLE s.o2 (i bigint PRIMARY KEY, filler text) WITH (autovacuum_enabled = off);
CREATE MATERIALIZED VIEW s.mv AS SELECT k % 50 AS g, count(*) AS n FROM s.k GROUP BY 1;
CREATE UNIQUE INDEX mv_g ON s.mv (g)`,
		`INSERT INTO s.parent SELECT g, 0 FROM generate_series(1, 50) g`,
		`INSERT INTO s.o2 SELECT g, repeat('o', 100) FROM generate_series(1, 300) g`,
		`CREATE EXTENSION IF NOT EXISTS bloom`,
		`CREATE INDEX k_bloom ON s.k USING bloom (k, tag)`,
	}
}

// lookedAt are the tables that a look reads.
func lookedAt() []string {
	return []string{"k", "p", "toasted", "e", "part", "gen", "flip", "mover", "parent", "child", "n", "c", "o0", "o1", "o2", "mv"}
}
