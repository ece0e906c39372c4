package rewind

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// hintsKnown is what WAL says of wal_log_hints at some position, where data
// checksums do not make it superfluous. The setting changes at a start of the
// server only, and a start with changed settings leaves a record of the new
// ones. What held before it the record does not say: another one before it does,
// and so does every page image that was written for a hint's sake.
type hintsKnown uint8

const (
	hintsUnknown hintsKnown = iota
	hintsOn
	hintsOff
)

// after is what is known behind the record.
func (k hintsKnown) after(rec *pgwal.Record) hintsKnown {
	if p, ok := rec.Parameters(); ok {
		if p.WALLogHints {
			return hintsOn
		}
		return hintsOff
	}
	if rec.ImageForHint() {
		return hintsOn
	}
	return k
}

// checkHints refuses where hints were not logged for a time, or may not have been.
func (s *scanner) checkHints(ctx context.Context, rec *pgwal.Record, p pgwal.Parameters, from pg.LSN) error {
	if s.node.control.DataChecksumVersion != 0 {
		return nil
	}
	if !p.WALLogHints {
		return hintsError(rec.LSN, "wal_log_hints was switched off here")
	}
	if s.hints == hintsUnknown {
		var err error
		if s.hints, err = s.hintsBefore(ctx, from); err != nil {
			return err
		}
	}
	switch s.hints {
	case hintsOn:
		return nil
	case hintsOff:
		return hintsError(rec.LSN, "wal_log_hints was off before it was switched on here")
	}
	return hintsError(rec.LSN, "settings were changed here, and nothing in the WAL from before tells whether wal_log_hints was on then")
}

func hintsError(at pg.LSN, what string) error {
	return &Error{Op: "read WAL", LSN: at, Err: fmt.Errorf("%w: %s", ErrHints, what),
		Advice: "take a new base backup; with data checksums, or with wal_log_hints on since before the failover, the next failback can be done"}
}

// hintsBefore looks for the last word about the setting before a position, in
// as much of the target's WAL as there is.
func (s *scanner) hintsBefore(ctx context.Context, before pg.LSN) (known hintsKnown, err error) {
	r := newWALReader(s.t, s.node)
	defer closing(&err, r.Close)
	size := s.node.control.WALSegSize
	for seg := pg.SegmentOf(before-1, size); seg > 0 && known == hintsUnknown; seg-- {
		known, err = hintsIn(ctx, r, seg, size, before)
		var end *pgwal.EndError
		if errors.As(err, &end) {
			return known, nil // as far as it reaches back
		}
		if err != nil {
			return known, &Error{Op: "read WAL", LSN: seg.Start(size), Err: err}
		}
	}
	return known, nil
}

// hintsIn is the last word in one segment.
func hintsIn(ctx context.Context, r *pgwal.Reader, seg pg.SegmentNo, size uint32, before pg.LSN) (known hintsKnown, err error) {
	err = r.SeekSegment(ctx, seg)
	if errors.Is(err, pgwal.ErrNoRecord) {
		return hintsUnknown, nil
	}
	for err == nil {
		var rec *pgwal.Record
		if rec, err = r.Next(ctx); err != nil {
			break
		}
		if rec.LSN >= before || pg.SegmentOf(rec.LSN, size) > seg {
			return known, nil
		}
		known = known.after(rec)
	}
	return known, err
}
