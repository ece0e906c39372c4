package rewindtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// session is one connection that speaks the simple query protocol and reads
// everything as text: the harness must work with any statement, several in one
// string and those of a standby included.
type session struct{ conn *pgconn.PgConn }

func (n *Node) session(database string) (*session, error) {
	ctx, cancel := withPatience()
	defer cancel()
	conn, err := pgconn.Connect(ctx, n.Conninfo("dbname="+quoteConninfo(database), "application_name=rewindtest"))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", n.Name, err)
	}
	return &session{conn}, nil
}

// close says goodbye; the server notices without it too, so nobody needs its error.
func (s *session) close() {
	ctx, cancel := withPatience()
	defer cancel()
	_ = s.conn.Close(ctx)
}

// query returns the rows of the last statement in sql that has any.
func (s *session) query(sql string) ([][]string, error) {
	ctx, cancel := withPatience()
	defer cancel()
	return s.queryContext(ctx, sql)
}

func (s *session) queryContext(ctx context.Context, sql string) ([][]string, error) {
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", shorten(sql), err)
	}
	var rows [][]string
	for _, r := range results {
		if len(r.FieldDescriptions) == 0 {
			continue
		}
		rows = make([][]string, len(r.Rows))
		for i, row := range r.Rows {
			rows[i] = make([]string, len(row))
			for j, v := range row {
				rows[i][j] = string(v)
			}
		}
	}
	return rows, nil
}

func (s *session) value(sql string) (string, error) {
	rows, err := s.query(sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("run %q: want one row of one column, got %d rows", shorten(sql), len(rows))
	}
	return rows[0][0], nil
}

func shorten(sql string) string {
	sql = strings.Join(strings.Fields(sql), " ")
	if len(sql) > 200 {
		return sql[:200] + "…"
	}
	return sql
}

// Exec runs statements in database postgres, each string a simple query of its
// own: several statements in one string are one transaction.
func (n *Node) Exec(sql ...string) error { return n.ExecIn("postgres", sql...) }

// ExecIn is Exec in another database.
func (n *Node) ExecIn(database string, sql ...string) error {
	s, err := n.session(database)
	if err != nil {
		return err
	}
	defer s.close()
	for _, q := range sql {
		if _, err := s.query(q); err != nil {
			return fmt.Errorf("on %s: %w", n.Name, err)
		}
	}
	return nil
}

// Query returns the rows of a query in database postgres as text; NULL is "".
func (n *Node) Query(sql string) ([][]string, error) { return n.QueryIn("postgres", sql) }

// QueryIn is Query in another database.
func (n *Node) QueryIn(database, sql string) ([][]string, error) {
	s, err := n.session(database)
	if err != nil {
		return nil, err
	}
	defer s.close()
	rows, err := s.query(sql)
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", n.Name, err)
	}
	return rows, nil
}

// Value returns the only column of the only row of a query in database postgres.
func (n *Node) Value(sql string) (string, error) {
	s, err := n.session("postgres")
	if err != nil {
		return "", err
	}
	defer s.close()
	v, err := s.value(sql)
	if err != nil {
		return "", fmt.Errorf("on %s: %w", n.Name, err)
	}
	return v, nil
}
