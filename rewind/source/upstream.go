package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// upstreamRetryFor is shorter than for a source: the questions are small, and
// whoever asks them asks again.
const upstreamRetryFor = 5 * time.Second

// upstreamSilence is how long an answer to such a question may take.
const upstreamSilence = 20 * time.Second

// Upstream is the server that a standby streams from, asked over one connection.
type Upstream struct{ pool *pool }

// OpenUpstream connects to the server. No privileges are checked: the methods
// need different ones and say so. The errors are those of OpenSQL.
func OpenUpstream(ctx context.Context, conninfo string) (*Upstream, error) {
	config, err := SQLConfig{Conninfo: conninfo}.parse()
	if err != nil {
		return nil, err
	}
	p, err := openPool(ctx, config, poolOptions{size: 1, retryFor: upstreamRetryFor, silence: upstreamSilence})
	if err != nil {
		return nil, err
	}
	return &Upstream{pool: p}, nil
}

// Close gives back the connection.
func (u *Upstream) Close() error {
	u.pool.close()
	return nil
}

// ask runs one statement that gives few rows.
func (u *Upstream) ask(ctx context.Context, op, sql string, params ...param) ([][]string, error) {
	var rows [][]string
	err := u.pool.do(ctx, op, new(int), func(ctx context.Context, ses *session) error {
		var err error
		rows, err = ses.rows(ctx, sql, params...)
		return err
	})
	return rows, err
}

// askOne is ask for a statement that gives one value.
func (u *Upstream) askOne(ctx context.Context, op, sql string, params ...param) (string, error) {
	rows, err := u.ask(ctx, op, sql, params...)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", &rewind.Error{Op: op, Err: errors.New("not one value came back")}
	}
	return rows[0][0], nil
}

// ServerMajor is the server's major version, 13 or above.
func (u *Upstream) ServerMajor() int { return u.pool.first.major }

// SystemIdentifier is the one of the server's cluster.
func (u *Upstream) SystemIdentifier() pg.SystemID { return u.pool.first.systemID }

// InRecovery tells whether the server is a standby, or has not ended its promotion.
func (u *Upstream) InRecovery(ctx context.Context) (bool, error) {
	v, err := u.askOne(ctx, "ask the leader whether it is in recovery", "SELECT pg_is_in_recovery()")
	return v == "t", err
}

// Timeline is the one that the server inserts WAL on; in recovery, the one of
// its last restart point, which can be behind the one that it replays.
func (u *Upstream) Timeline(ctx context.Context) (pg.Timeline, error) {
	const op = "ask the leader for its timeline"
	v, err := u.askOne(ctx, op, `SELECT CASE WHEN r THEN (SELECT lpad(to_hex(greatest(timeline_id, (SELECT max(received_tli) FROM pg_stat_wal_receiver))), 8, '0')
			FROM pg_control_checkpoint())
		ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END
		FROM (SELECT pg_is_in_recovery() OFFSET 0) AS now(r)`)
	if err != nil {
		return 0, err
	}
	tli, err := strconv.ParseUint(v, 16, 32)
	if err != nil || tli == 0 {
		return 0, &rewind.Error{Op: op, Err: fmt.Errorf("%q: %w", v, rewind.ErrDamaged)}
	}
	return pg.Timeline(tli), nil
}

// PIDFile is the server's postmaster.pid: whoever reads the same in a local
// directory has found this very server there. It needs the privilege to call
// pg_read_binary_file(text); others get rewind.ErrSourcePrivilege.
func (u *Upstream) PIDFile(ctx context.Context) (string, error) {
	const op = "read the leader's postmaster.pid"
	v, err := u.askOne(ctx, op, "SELECT encode(pg_read_binary_file('postmaster.pid'), 'hex')")
	if err != nil {
		return "", err
	}
	b, err := hex.DecodeString(v)
	if err != nil {
		return "", &rewind.Error{Op: op, Err: fmt.Errorf("%w: %w", rewind.ErrDamaged, err)}
	}
	return string(b), nil
}

// CheckConninfo tells what is wrong with a connection string before anything is
// connected to. The files that it names are looked at. A host may be missing.
func CheckConninfo(conninfo string) error {
	config, err := SQLConfig{Conninfo: conninfo}.parse()
	if err == nil && hostMissing(config) { // then TLS options were not looked at
		_, err = SQLConfig{Conninfo: withHost(conninfo, "localhost")}.parse()
	}
	return err
}

// Checkpoint runs CHECKPOINT and waits for its end. It needs a superuser or,
// since 15, a member of pg_checkpoint; others get rewind.ErrSourcePrivilege.
func (u *Upstream) Checkpoint(ctx context.Context) error {
	err := u.pool.do(ctx, "run a checkpoint on the leader", new(int), func(ctx context.Context, ses *session) error {
		silent := *ses
		silent.silence = 0 // until it is done, and that may take long
		_, err := silent.rows(ctx, "CHECKPOINT")
		return err
	})
	return advise(err, "as a superuser: GRANT pg_checkpoint TO <role>; (PostgreSQL 15 or later), or let a superuser do it")
}

// advise replaces the advice of an error about privileges.
func advise(err error, advice string) error {
	if e, ok := errors.AsType[*rewind.Error](err); ok && errors.Is(err, rewind.ErrSourcePrivilege) {
		with := *e
		with.Advice = advice
		return &with
	}
	return err
}
