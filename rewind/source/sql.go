package source

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Defaults of SQLConfig.
const (
	DefaultConnections     = 4
	DefaultApplicationName = "failback-hook"
	DefaultRetryFor        = time.Minute
	DefaultSilence         = time.Minute
)

// maxFile is the largest file that ReadFile returns, in bytes.
const maxFile = 64 << 20

// SQLConfig says how to reach a running server.
type SQLConfig struct {
	// Conninfo is a connection string as libpq takes it: keywords or an
	// address. PG* variables, the password file and the service file count.
	Conninfo string
	// Connections is how many there are at most, and so how many calls run at
	// the same time. Zero means DefaultConnections.
	Connections int
	// ApplicationName goes before the one in Conninfo. With neither it is
	// DefaultApplicationName.
	ApplicationName string
	// ConnectTimeout bounds one attempt to connect. Zero means the one in
	// Conninfo, or 10 seconds.
	ConnectTimeout time.Duration
	// RetryFor bounds the pauses of one call between attempts to go on after
	// its connection broke. Zero means DefaultRetryFor, negative none at all.
	RetryFor time.Duration
	// Silence bounds how long the server may send nothing while it is asked for
	// something; then its connection counts as broken. Zero means
	// DefaultSilence, negative no bound.
	Silence time.Duration
	// OnRetry is told of each pause before another attempt: what happened, and
	// how much of RetryFor will have gone by after it. It may be called from
	// several goroutines; may be nil.
	OnRetry func(err error, waited time.Duration)
	// ForeignDirs makes List go below directories of the top level that are
	// not PostgreSQL's own, down to 16 levels; see the package documentation.
	ForeignDirs bool
	// DialFunc replaces the network in tests.
	DialFunc pgconn.DialFunc
}

// SQL is a running server as a source.
type SQL struct {
	pool        *pool
	foreignDirs bool
}

var _ rewind.Source = (*SQL)(nil)

// OpenSQL connects to a server and checks that the user may do what will be
// needed. The error is rewind.ErrSourceUnavailable, ErrSourceNotReady,
// ErrSourceAuth, ErrSourcePrivilege, ErrUnsupported or ErrPooler where it is
// one of these; it never holds the password.
func OpenSQL(ctx context.Context, c SQLConfig) (*SQL, error) {
	config, err := c.parse()
	if err != nil {
		return nil, err
	}
	size := c.Connections
	if size <= 0 {
		size = DefaultConnections
	}
	p, err := openPool(ctx, config, poolOptions{
		size: size, retryFor: cmp.Or(c.RetryFor, DefaultRetryFor), silence: cmp.Or(c.Silence, DefaultSilence), onRetry: c.OnRetry,
	})
	if err != nil {
		return nil, err
	}
	if missing := p.first.missing; len(missing) > 0 {
		p.close()
		return nil, &rewind.Error{
			Op:     "check privileges on the source",
			Advice: grantAdvice(missing),
			Err:    fmt.Errorf("user %q may not call %s: %w", config.User, missing[0], rewind.ErrSourcePrivilege),
		}
	}
	return &SQL{pool: p, foreignDirs: c.ForeignDirs}, nil
}

func (c SQLConfig) parse() (*pgconn.Config, error) {
	config, err := parseConninfo(c.Conninfo, c.DialFunc)
	if err != nil {
		return nil, err
	}
	if c.ConnectTimeout > 0 {
		config.ConnectTimeout = c.ConnectTimeout
	}
	name := config.RuntimeParams["application_name"]
	if c.ApplicationName != "" {
		name = c.ApplicationName
	}
	if name == "" {
		name = DefaultApplicationName
	}
	config.RuntimeParams["application_name"] = name
	config.RuntimeParams["client_encoding"] = "SQL_ASCII"
	return config, nil
}

// ServerMajor is the server's major version, 13 or above.
func (s *SQL) ServerMajor() int { return s.pool.first.major }

// SystemIdentifier is the one of the server's cluster.
func (s *SQL) SystemIdentifier() pg.SystemID { return s.pool.first.systemID }

// Close ends calls that are running and gives back all connections.
func (s *SQL) Close() error {
	s.pool.close()
	return nil
}

// State asks the server for its role and its end of WAL.
func (s *SQL) State(ctx context.Context) (rewind.SourceState, error) {
	state := rewind.SourceState{Running: true}
	const op = "ask the source for its state"
	err := s.pool.do(ctx, op, new(int), func(ctx context.Context, ses *session) error {
		// One snapshot of the role: a promotion between two calls of
		// pg_is_in_recovery() would make the other function fail.
		row, err := ses.row(ctx, `SELECT r, CASE WHEN NOT r THEN pg_current_wal_flush_lsn() END,
			current_setting('full_page_writes') FROM (SELECT pg_is_in_recovery() OFFSET 0) AS now(r)`)
		if err != nil {
			return describe(op, "", err)
		}
		state.InRecovery = row[0] == "t"
		state.FullPageWrites = row[2] == "on"
		state.FlushLSN = 0
		if row[1] != "" {
			state.FlushLSN, err = pg.ParseLSN(row[1])
		}
		return err
	})
	return state, err
}

// ReadFile returns a whole file of at most 64 MiB; fs.ErrNotExist if missing.
func (s *SQL) ReadFile(ctx context.Context, path string) ([]byte, error) {
	const op = "read file of the source"
	if err := checkPath(path); err != nil {
		return nil, err
	}
	var data []byte
	err := s.pool.do(ctx, op, new(int), func(ctx context.Context, ses *session) error {
		var size int64 = -1
		data = nil
		statement, name := readFileStatement(ses, path)
		err := ses.query(ctx, statement, []param{name}, func(values [][]byte) error {
			if len(values[0]) == 8 {
				size = int64(binary.BigEndian.Uint64(values[0]))
			}
			if values[1] != nil {
				data = append([]byte{}, values[1]...)
			}
			return nil
		})
		if err != nil {
			return describe(op, path, err)
		}
		return checkFile(op, path, size, data)
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// checkFile judges an answer: a size below zero means that there is no file,
// no data that it was not read because of its size.
func checkFile(op, path string, size int64, data []byte) error {
	switch {
	case size < 0:
		return &rewind.Error{Op: op, Path: path, Err: fs.ErrNotExist}
	case data == nil || len(data) > maxFile:
		return &rewind.Error{Op: op, Path: path, Err: errTooLarge}
	}
	return nil
}

var errTooLarge = errors.New("the file is larger than 64 MiB")
