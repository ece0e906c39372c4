package rewindtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// CompareTables fails the test unless two nodes hold the same data: see Compare.
func CompareTables(t testing.TB, a, b *Node) {
	t.Helper()
	diff, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diff {
		t.Error(d)
	}
}

// Compare says in which databases, tables, roles and sequences two running nodes
// differ; nothing when they hold the same. Where one is a standby it must have
// caught up, and nobody may write meanwhile, autovacuum excepted: a comparison of
// a standby that finds something is made up to three times, because a difference
// that is real stays.
//
// Every row of every logged table of every database counts, those of the system
// catalogs (roles, databases, large objects, …) included: number of rows, and the sum of
// the rows' hashes, whatever their order. Tables are read by sequential scans,
// so indexes are not looked at; AmCheck and DiffTrees do that. Unlogged tables are
// compared by name only: a standby cannot read them.
func Compare(a, b *Node) ([]string, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		diff, err := compareOnce(a, b)
		if err != nil || len(diff) == 0 || attempt == attempts {
			return diff, err
		}
		again, err := catchUp(a, b)
		if err != nil || !again {
			return diff, err
		}
	}
}

// compareOnce reads the standby of the two first: reading sets hint bits on a
// primary, and the page images that are logged for them would repair a standby
// that is wrong before anybody looked.
func compareOnce(a, b *Node) ([]string, error) {
	standby, err := b.InRecovery()
	if err != nil {
		return nil, err
	}
	if standby {
		return compareInOrder(b, a)
	}
	return compareInOrder(a, b)
}

func compareInOrder(first, second *Node) ([]string, error) {
	before, err := first.Contents()
	if err != nil {
		return nil, err
	}
	after, err := second.Contents()
	if err != nil {
		return nil, err
	}
	return before.Diff(after, first.Name, second.Name), nil
}

// catchUp waits for the standby of the two; false when there is none.
func catchUp(a, b *Node) (bool, error) {
	recoveryA, errA := a.InRecovery()
	recoveryB, errB := b.InRecovery()
	switch {
	case errA != nil || errB != nil:
		return false, errors.Join(errA, errB)
	case recoveryA && !recoveryB:
		return true, a.WaitForCatchup(b)
	case recoveryB && !recoveryA:
		return true, b.WaitForCatchup(a)
	}
	return false, nil
}

// Contents is what a node holds, by "database schema.table".
type Contents struct {
	tables    map[string]string
	sequences map[string]sequence
}

type sequence struct {
	last, increment int64
	called          bool
}

func (n *Node) databases() ([]string, error) {
	rows, err := n.Query("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row[0]
	}
	return names, err
}

// Contents reads every table and sequence: see Compare.
func (n *Node) Contents() (Contents, error) {
	c := Contents{tables: map[string]string{}, sequences: map[string]sequence{}}
	databases, err := n.databases()
	if err != nil {
		return c, err
	}
	for _, db := range databases {
		if err := n.readDatabase(c, db); err != nil {
			return c, fmt.Errorf("read database %s of %s: %w", db, n.Name, err)
		}
	}
	return c, nil
}

// The alias is one that no column has: t::text would be the column t.
const hashQuery = `SELECT format('SELECT %L, count(*) || '' rows, hash '' || coalesce(sum(hashtextextended("the row"::text, 0)), 0) FROM ONLY %s "the row"',
		oid::regclass, oid::regclass)
	FROM pg_class WHERE relkind IN ('r', 'm') AND relpersistence = 'p' AND (NOT relisshared OR current_database() = 'postgres') ORDER BY oid`

const sequenceQuery = `SELECT format('SELECT %L, last_value, is_called, %s FROM %s', seqrelid::regclass, seqincrement, seqrelid::regclass)
	FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid WHERE relpersistence = 'p' ORDER BY seqrelid`

func (n *Node) readDatabase(c Contents, db string) error {
	s, err := n.session(db)
	if err != nil {
		return err
	}
	defer s.close()
	// Names with their schema, planned without indexes, and of one moment.
	if _, err := s.query(`SET search_path = ''; SET enable_indexscan = off; SET enable_indexonlyscan = off;
		SET enable_bitmapscan = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return err
	}
	tables, err := s.unionOf(hashQuery)
	if err != nil {
		return err
	}
	for _, row := range tables {
		c.tables[db+" "+row[0]] = row[1]
	}
	sequences, err := s.unionOf(sequenceQuery)
	if err != nil {
		return err
	}
	for _, row := range sequences {
		last, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			return err
		}
		increment, err := strconv.ParseInt(row[3], 10, 64)
		if err != nil {
			return err
		}
		c.sequences[db+" "+row[0]] = sequence{last, increment, row[2] == "t"}
	}
	return nil
}

// unionOf runs the queries that a query makes, a hundred in a round trip.
func (s *session) unionOf(query string) ([][]string, error) {
	made, err := s.query(query)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for chunk := range slices.Chunk(made, 100) {
		queries := make([]string, len(chunk))
		for i, row := range chunk {
			queries[i] = row[0]
		}
		part, err := s.query(strings.Join(queries, " UNION ALL "))
		if err != nil {
			return nil, err
		}
		rows = append(rows, part...)
	}
	return rows, nil
}

// Tables counts the tables that were read.
func (c Contents) Tables() int { return len(c.tables) }

// Diff says in what the contents of two nodes differ.
func (c Contents) Diff(other Contents, nameA, nameB string) []string {
	var diff []string
	for _, table := range keysOfBoth(c.tables, other.tables) {
		inA, inB := orMissing(c.tables, table), orMissing(other.tables, table)
		if inA != inB {
			diff = append(diff, fmt.Sprintf("table %s: %s on %s, %s on %s", table, inA, nameA, inB, nameB))
		}
	}
	for _, name := range keysOfBoth(c.sequences, other.sequences) {
		a, inA := c.sequences[name]
		b, inB := other.sequences[name]
		if !inA || !inB || !a.compatible(b) {
			diff = append(diff, fmt.Sprintf("sequence %s: %v on %s, %v on %s", name, a, nameA, b, nameB))
		}
	}
	return diff
}

func keysOfBoth[V any](a, b map[string]V) []string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return slices.Sorted(maps.Keys(both))
}

func orMissing(m map[string]string, key string) string {
	if v, ok := m[key]; ok {
		return v
	}
	return "missing"
}

// compatible allows for a sequence being ahead on one side: PostgreSQL logs 32
// values in advance (SEQ_LOG_VALS in commands/sequence.c), and replay sets the
// sequence to the last one logged.
func (s sequence) compatible(other sequence) bool {
	const logged = 32
	ahead := (s.last - other.last) / s.increment
	return s.increment == other.increment && ahead >= -logged-1 && ahead <= logged+1
}
