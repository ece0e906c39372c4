package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// oldestMajor is the oldest PostgreSQL whose functions the statements fit.
const oldestMajor = 13

// session is one connection that has been set up and identified.
type session struct {
	conn   *pgconn.PgConn
	server server
	// ear is the network below conn; the server may be silent on it for so long
	// while it is asked for something, for ever when that is not positive.
	ear     *ear
	silence time.Duration
}

// server is what a session found at the other end.
type server struct {
	major      int
	systemID   pg.SystemID
	inRecovery bool
	// timeline that the server inserts WAL on; zero in recovery, where it may
	// change at any time without the server becoming another one.
	timeline pg.Timeline
	encoding string
	// missing are the functions of grants that the user may not call.
	missing []string
}

// settings makes the session independent of what was set for the role or the
// database: no timeout ends a long answer, nothing can be written by mistake.
func settings(major int) string {
	s := "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; " +
		"SET default_transaction_read_only = on; SET search_path = ''; SET client_encoding = 'SQL_ASCII'; " +
		"SET datestyle = 'ISO'; SET bytea_output = 'hex'"
	if major >= 14 {
		s += "; SET idle_session_timeout = 0"
	}
	if major >= 17 {
		s += "; SET transaction_timeout = 0"
	}
	return s
}

// newSession connects, sets up and identifies.
func newSession(ctx context.Context, config *pgconn.Config, silence time.Duration) (*session, error) {
	// The driver dials each address of the name, and once more to cancel a
	// statement; the connection that it takes is the last one before it returns.
	var last atomic.Pointer[ear]
	config, dial := config.Copy(), config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		e := &ear{Conn: conn, made: time.Now()}
		last.Store(e)
		return e, nil
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, describe("connect to the source", "", err)
	}
	s := &session{conn: conn, ear: last.Load(), silence: silence}
	if err := s.setUp(ctx); err != nil {
		s.close()
		return nil, describe("set up the session on the source", "", err)
	}
	return s, nil
}

func (s *session) setUp(ctx context.Context) error {
	version, _, _ := strings.Cut(s.conn.ParameterStatus("server_version"), " ")
	digits := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	major, err := strconv.Atoi(digits)
	if err != nil || major < oldestMajor {
		return &rewind.Error{Op: "identify the source",
			Err: fmt.Errorf("server version %q: %w", version, rewind.ErrUnsupported)}
	}
	s.server.major = major
	s.server.encoding = s.conn.ParameterStatus("server_encoding")
	if err := s.exec(ctx, settings(major)); err != nil {
		return err
	}
	return s.identify(ctx)
}

// identify asks which server this is, and what the user may do there.
func (s *session) identify(ctx context.Context) error {
	columns := []string{
		"pg_backend_pid()",
		"(SELECT system_identifier FROM pg_control_system())",
		"pg_is_in_recovery()",
		"CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END",
	}
	fixed := len(columns)
	for _, f := range grants() {
		columns = append(columns, "has_function_privilege('"+f+"', 'EXECUTE')")
	}
	row, err := s.row(ctx, "SELECT "+strings.Join(columns, ", "))
	if err != nil {
		return err
	}
	if row[0] != strconv.FormatUint(uint64(s.conn.PID()), 10) {
		return &rewind.Error{Op: "identify the source", Err: ErrPooler,
			Advice: "use the address of the PostgreSQL server itself"}
	}
	// The function gives the identifier as a signed number.
	id, err := strconv.ParseInt(row[1], 10, 64)
	if err != nil {
		return fmt.Errorf("read system identifier: %w", err)
	}
	s.server.systemID = pg.SystemID(id)
	s.server.inRecovery = row[2] == "t"
	if row[3] != "" {
		tli, err := strconv.ParseUint(row[3], 16, 32)
		if err != nil {
			return fmt.Errorf("read timeline: %w", err)
		}
		s.server.timeline = pg.Timeline(tli)
	}
	for i, f := range grants() {
		if row[fixed+i] != "t" {
			s.server.missing = append(s.server.missing, f)
		}
	}
	return nil
}

// plain tells whether the server takes this file name as text as it is: the
// bytes must be valid in its encoding. Every encoding of a server contains ASCII.
func (s *session) plain(name string) bool {
	if s.server.encoding == "UTF8" {
		return utf8.ValidString(name)
	}
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// param is one parameter of a statement.
type param struct {
	oid    uint32
	binary bool
	value  []byte
}

func textParam(s string) param    { return param{oid: 25, value: []byte(s)} }
func byteaParam(s string) param   { return param{oid: 17, binary: true, value: []byte(s)} }
func textsParam(s []string) param { return param{oid: 1009, binary: true, value: arrayOf(25, s)} }

func byteasParam(s []string) param { return param{oid: 1001, binary: true, value: arrayOf(17, s)} }

func int8sParam(n []int64) param {
	elements := make([]string, len(n))
	for i, v := range n {
		elements[i] = string(binary.BigEndian.AppendUint64(nil, uint64(v)))
	}
	return param{oid: 1016, binary: true, value: arrayOf(20, elements)}
}

// arrayOf writes PostgreSQL's binary form of an array of one dimension
// (array_recv in src/backend/utils/adt/arrayfuncs.c): the number of dimensions,
// a flag for nulls, the type of the elements, their number, the lower bound,
// and each element with its length in front.
func arrayOf(elementType uint32, elements []string) []byte {
	size := 20
	for _, e := range elements {
		size += 4 + len(e)
	}
	b := make([]byte, 0, size)
	if len(elements) == 0 {
		b = binary.BigEndian.AppendUint32(b, 0)
		b = binary.BigEndian.AppendUint32(b, 0)
		return binary.BigEndian.AppendUint32(b, elementType)
	}
	for _, v := range []uint32{1, 0, elementType, uint32(len(elements)), 1} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for _, e := range elements {
		b = binary.BigEndian.AppendUint32(b, uint32(len(e)))
		b = append(b, e...)
	}
	return b
}

// query runs one statement and gives each of its rows to fn, as they arrive and
// in binary form. The values belong to the driver and last until fn returns. An
// error of fn ends the statement at the cost of the connection: what is still
// under way could be long.
func (s *session) query(ctx context.Context, sql string, params []param, fn func(values [][]byte) error) error {
	return s.run(ctx, sql, params, 1, fn)
}

func (s *session) run(ctx context.Context, sql string, params []param, format int16, fn func(values [][]byte) error) error {
	values := make([][]byte, len(params))
	oids := make([]uint32, len(params))
	formats := make([]int16, len(params))
	for i, p := range params {
		values[i], oids[i] = p.value, p.oid
		if p.binary {
			formats[i] = 1
		}
	}
	ctx, v := s.watch(ctx)
	result := s.conn.ExecParams(ctx, sql, values, oids, formats, []int16{format})
	for result.NextRow() {
		if err := v.during(func() error { return fn(result.Values()) }); err != nil {
			_ = v.end(ctx, err)   // and with it the statement
			_, _ = result.Close() // fn's error is the one that counts
			return err
		}
	}
	_, err := result.Close()
	return v.end(ctx, err)
}

// exec runs statements that give no rows.
func (s *session) exec(ctx context.Context, sql string) error {
	ctx, v := s.watch(ctx)
	_, err := s.conn.Exec(ctx, sql).ReadAll()
	return v.end(ctx, err)
}

// row runs a statement that gives exactly one row, as text; NULL becomes "".
func (s *session) row(ctx context.Context, sql string, params ...param) ([]string, error) {
	rows, err := s.rows(ctx, sql, params...)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%d rows where one was expected", len(rows))
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// rows runs a statement with few rows, as text; NULL becomes "".
func (s *session) rows(ctx context.Context, sql string, params ...param) ([][]string, error) {
	var rows [][]string
	err := s.run(ctx, sql, params, 0, func(values [][]byte) error {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// close ends the connection politely, but within a second.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it is closed in any case
}

// same tells whether a later session has reached the server that an earlier
// one found, or why not.
func (s server) same(later server) error {
	switch {
	case s.systemID != later.systemID:
		return errors.New("the address now leads to another cluster")
	case !s.inRecovery && later.inRecovery:
		return errors.New("the source was a primary and is in recovery now")
	case !s.inRecovery && s.timeline != later.timeline:
		return fmt.Errorf("the source was on timeline %d and is on timeline %d now", s.timeline, later.timeline)
	}
	return nil
}
