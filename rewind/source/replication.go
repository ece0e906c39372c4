package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Standby is one row of pg_stat_replication.
type Standby struct {
	ApplicationName string
	// State is startup, catchup, streaming, backup or stopping.
	State string
	// SentLSN, FlushLSN and ReplayLSN are zero where not known.
	SentLSN, FlushLSN, ReplayLSN pg.LSN
	// Follows says that it gets what the server writes now. One whose history
	// has parted from the server's asks for the last WAL that both have, again and
	// again, and is shown as streaming each time.
	Follows bool
	// SyncState is async, potential, sync or quorum.
	SyncState string
	// ClientAddr is empty for a Unix-domain socket.
	ClientAddr string
	// Hidden says that the user may not see more than ApplicationName: it is
	// no member of pg_monitor or pg_read_all_stats.
	Hidden bool
}

// Standbys lists who receives WAL from the server at the moment.
func (u *Upstream) Standbys(ctx context.Context) ([]Standby, error) {
	const op = "ask the leader for its standbys"
	rows, err := u.ask(ctx, op, `SELECT application_name, state, sent_lsn, flush_lsn, replay_lsn, sync_state,
		host(client_addr) FROM pg_stat_replication`)
	if err != nil {
		return nil, err
	}
	begin, err := u.timelineBegin(ctx, len(rows) > 0)
	if err != nil {
		return nil, err
	}
	standbys := make([]Standby, 0, len(rows))
	for _, row := range rows {
		s := Standby{ApplicationName: row[0], State: row[1], SyncState: row[5], ClientAddr: row[6], Hidden: row[1] == ""}
		for i, lsn := range []*pg.LSN{&s.SentLSN, &s.FlushLSN, &s.ReplayLSN} {
			if row[2+i] == "" {
				continue
			}
			if *lsn, err = pg.ParseLSN(row[2+i]); err != nil {
				return nil, &rewind.Error{Op: op, Err: err}
			}
		}
		// Nothing of an older timeline lies behind the beginning of the server's
		// own, and no standby has replayed what it was not sent.
		s.Follows = s.State == "streaming" && s.SentLSN > begin && s.ReplayLSN <= s.SentLSN
		standbys = append(standbys, s)
	}
	return standbys, nil
}

// timelineBegin is where the server's timeline has parted from the one before;
// zero on the first one, and where the user may not read that.
func (u *Upstream) timelineBegin(ctx context.Context, needed bool) (pg.LSN, error) {
	if !needed {
		return 0, nil
	}
	const op = "read the leader's timeline history"
	timeline, err := u.Timeline(ctx)
	if err != nil || timeline == 1 {
		return 0, err
	}
	v, err := u.askOne(ctx, op, "SELECT encode(pg_read_binary_file('pg_wal/' || $1::text), 'hex')", textParam(pg.HistoryFileName(timeline)))
	if errors.Is(err, rewind.ErrSourcePrivilege) || errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	content, err := hex.DecodeString(v)
	if err != nil {
		return 0, &rewind.Error{Op: op, Err: fmt.Errorf("%w: %w", rewind.ErrDamaged, err)}
	}
	history, err := pg.ParseHistory(timeline, content)
	if err != nil {
		return 0, &rewind.Error{Op: op, Err: fmt.Errorf("%w: %w", rewind.ErrDamaged, err)}
	}
	return history[len(history)-1].Begin, nil
}

// Slot is one row of pg_replication_slots.
type Slot struct {
	Name     string
	Physical bool
	// Active says that somebody is connected to it.
	Active bool
	// RestartLSN is the oldest WAL that the slot keeps; zero if it keeps none.
	RestartLSN pg.LSN
	// WALStatus is reserved, extended, unreserved or lost; empty if it keeps none.
	WALStatus string
}

// SlotInfo describes a replication slot; fs.ErrNotExist if there is none.
func (u *Upstream) SlotInfo(ctx context.Context, name string) (Slot, error) {
	const op = "ask the leader for its replication slot"
	rows, err := u.ask(ctx, op, `SELECT slot_name, slot_type, active, restart_lsn, wal_status
		FROM pg_replication_slots WHERE slot_name = $1::text::name`, textParam(name))
	if err != nil {
		return Slot{}, err
	}
	if len(rows) == 0 {
		return Slot{}, &rewind.Error{Op: op, Path: name, Err: &kindError{fs.ErrNotExist, errors.New("there is no such slot")}}
	}
	row := rows[0]
	s := Slot{Name: row[0], Physical: row[1] == "physical", Active: row[2] == "t", WALStatus: row[4]}
	if row[3] != "" {
		if s.RestartLSN, err = pg.ParseLSN(row[3]); err != nil {
			return Slot{}, &rewind.Error{Op: op, Err: err}
		}
	}
	return s, nil
}

// EnsureSlot makes a physical replication slot that keeps WAL from now on,
// unless there is one. A logical slot of that name, or one that has lost its
// WAL, is an error. The user needs REPLICATION.
func (u *Upstream) EnsureSlot(ctx context.Context, name string) (created bool, err error) {
	const op = "make replication slot on the leader"
	if !validSlot(name) {
		return false, &rewind.Error{Op: op, Path: name,
			Err: errors.New("a slot's name has 1 to 63 lower case letters, digits and underscores")}
	}
	// Asked for first, since an attempt that fails is an error in the leader's log.
	err = u.checkSlot(ctx, op, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_, err = u.ask(ctx, op, "SELECT pg_create_physical_replication_slot($1::text::name, true)", textParam(name))
	// 42710 duplicate_object: somebody was faster, or the slot was made before
	// the connection broke and the statement was sent again.
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42710" {
		return false, u.checkSlot(ctx, op, name)
	}
	return err == nil, advise(err, "as a superuser: ALTER ROLE <role> REPLICATION;")
}

// checkSlot tells whether a slot is there and fit for a standby.
func (u *Upstream) checkSlot(ctx context.Context, op, name string) error {
	slot, err := u.SlotInfo(ctx, name)
	switch {
	case err != nil:
		return err
	case !slot.Physical:
		err = errors.New("there is a logical slot of this name")
	case slot.WALStatus == "lost":
		err = fmt.Errorf("the slot has lost its WAL: %w", rewind.ErrSourceWAL)
	default:
		return nil
	}
	return &rewind.Error{Op: op, Path: name, Err: err, Advice: "drop the slot on the leader or choose another name"}
}

// validSlot is ReplicationSlotValidateName in src/backend/replication/slot.c.
func validSlot(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
