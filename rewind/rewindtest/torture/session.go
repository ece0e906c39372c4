package torture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// statementLimit bounds one statement of a schedule; what waits for a lock gives
// up much sooner.
const statementLimit = 60 * time.Second

// errGone: the server ended, as servers do that are killed.
var errGone = errors.New("the server went away")

// session is a connection over which statements may fail.
type session struct {
	node *rewindtest.Node
	conn *pgconn.PgConn
}

func open(n *rewindtest.Node, db string) (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	conn, err := pgconn.Connect(ctx, n.Conninfo("dbname="+db, "application_name=torture"))
	if err != nil {
		return nil, err
	}
	s := &session{n, conn}
	if _, err := s.query("SET lock_timeout = '300ms'; SET statement_timeout = '20s'"); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// query returns the rows of the last statement that has any.
func (s *session) query(sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", sql, err)
	}
	var rows [][]string
	for _, r := range results {
		if len(r.FieldDescriptions) == 0 {
			continue
		}
		rows = nil
		for _, row := range r.Rows {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = string(v)
			}
			rows = append(rows, cells)
		}
	}
	return rows, nil
}

// try runs a statement that may fail. A transaction that it leaves broken is
// rolled back. The error is only that of a connection that is gone.
func (s *session) try(sql string) (failure, gone error) {
	_, err := s.query(sql)
	if err == nil {
		return nil, nil
	}
	if s.conn.IsClosed() {
		return err, errors.Join(errGone, err)
	}
	if s.conn.TxStatus() == 'E' {
		if _, err := s.query("ROLLBACK"); err != nil {
			return err, errors.Join(errGone, err)
		}
	}
	return err, nil
}

// hand is a writer's sessions, one for each database.
type hand struct {
	node     *rewindtest.Node
	tally    *tally
	sessions map[string]*session
}

func newHand(n *rewindtest.Node, t *tally) *hand {
	return &hand{node: n, tally: t, sessions: map[string]*session{}}
}

func (h *hand) close() {
	for _, s := range h.sessions {
		s.close()
	}
}

// do runs a batch. Only a server that is gone is an error.
func (h *hand) do(b batch) error {
	s, err := h.session(b.db)
	if s == nil {
		return err
	}
	for _, sql := range b.sql {
		failure, gone := s.try(sql)
		h.tally.count(failure)
		if gone == nil {
			continue
		}
		s.close()
		delete(h.sessions, b.db)
		if !h.node.Running() {
			return gone
		}
		return nil // dropped with its database
	}
	return nil
}

// session opens one where there is none; nil without an error where the database
// is not there.
func (h *hand) session(db string) (*session, error) {
	if s := h.sessions[db]; s != nil && !s.conn.IsClosed() {
		return s, nil
	}
	s, err := open(h.node, db)
	if err == nil {
		h.sessions[db] = s
		return s, nil
	}
	h.tally.count(err)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "3D000" {
		return nil, nil
	}
	return nil, errors.Join(errGone, err)
}
