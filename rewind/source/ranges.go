package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind"
)

// Limits of one statement. The server makes one row after the other, so that
// they bound the parameters and what is thrown away when a caller gives up, and
// not the memory.
const (
	maxBatchRanges = 1000
	maxBatchBytes  = 64 << 20
)

// ReadRanges fetches ranges; see rewind.Source. It holds one connection.
func (s *SQL) ReadRanges(ctx context.Context, ranges []rewind.Range, fn func(rewind.Chunk) error) error {
	return s.ranges(ctx, "fetch blocks", "pg_read_binary_file(n.name, r.off, r.len, true)", ranges,
		func(r rewind.Range, answer []byte) error {
			if int64(len(answer)) > r.Length {
				return protocolError(r, "%d bytes where %d were asked for", len(answer), r.Length)
			}
			err := fn(rewind.Chunk{Range: r, Data: answer, Missing: answer == nil})
			if err != nil {
				return &callbackError{err}
			}
			return nil
		})
}

// HashRanges has the server hash ranges; see rewind.Source. It holds one connection.
func (s *SQL) HashRanges(ctx context.Context, ranges []rewind.Range) ([]rewind.Sum, error) {
	sums := make([]rewind.Sum, 0, len(ranges))
	err := s.ranges(ctx, "hash blocks", "sha256(pg_read_binary_file(n.name, r.off, r.len, true))", ranges,
		func(r rewind.Range, answer []byte) error {
			sum := rewind.Sum{Missing: answer == nil}
			if answer != nil && len(answer) != sha256.Size {
				return protocolError(r, "a hash of %d bytes", len(answer))
			}
			copy(sum.SHA256[:], answer)
			sums = append(sums, sum)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

// ranges runs an expression over all ranges and gives the answers to fn, in
// order. nil is the answer for a missing file.
func (s *SQL) ranges(ctx context.Context, op, expression string, ranges []rewind.Range, fn func(rewind.Range, []byte) error) error {
	if err := checkRanges(ranges); err != nil {
		return err
	}
	if len(ranges) == 0 {
		return ctx.Err()
	}
	next := 0
	return s.pool.do(ctx, op, &next, func(ctx context.Context, ses *session) error {
		for next < len(ranges) {
			batch, run := nextBatch(ses, ranges[next:])
			if err := runBatch(ctx, ses, expression, batch, run, &next, fn); err != nil {
				return describe(op, ranges[min(next, len(ranges)-1)].Path, err)
			}
		}
		return nil
	})
}

// runBatch is one statement. next goes up by one for each answer handed over.
func runBatch(ctx context.Context, ses *session, expression string, batch []rewind.Range, run namesRun,
	next *int, fn func(rewind.Range, []byte) error,
) error {
	offsets, lengths := make([]int64, len(batch)), make([]int64, len(batch))
	for i, r := range batch {
		offsets[i], lengths[i] = r.Offset, r.Length
	}
	// The order is that of the parameters, since nothing in the statement can
	// change it, and is checked by the number of each row.
	statement := "SELECT r.ord, " + expression +
		" FROM unnest($1, $2, $3) WITH ORDINALITY AS r(path, off, len, ord) " + run.join()
	params := []param{run.param(), int8sParam(offsets), int8sParam(lengths)}
	got := 0
	err := ses.query(ctx, statement, params, func(values [][]byte) error {
		if got >= len(batch) {
			return protocolError(batch[len(batch)-1], "more answers than ranges")
		}
		r := batch[got]
		if len(values[0]) != 8 || binary.BigEndian.Uint64(values[0]) != uint64(got)+1 {
			return protocolError(r, "an answer out of order")
		}
		if err := fn(r, values[1]); err != nil {
			return err
		}
		got++
		*next++
		return nil
	})
	if err == nil && got != len(batch) {
		err = protocolError(batch[got], "%d answers for %d ranges", got, len(batch))
	}
	return err
}

// nextBatch takes ranges from the front, up to the limits, as long as their
// names can be sent in the same way.
func nextBatch(ses *session, ranges []rewind.Range) ([]rewind.Range, namesRun) {
	run := namesRun{plain: ses.plain(ranges[0].Path)}
	var bytes int64
	for _, r := range ranges {
		bytes += r.Length
		full := len(run.names) == maxBatchRanges || (bytes > maxBatchBytes && len(run.names) > 0)
		if full || ses.plain(r.Path) != run.plain {
			break
		}
		run.names = append(run.names, r.Path)
	}
	return ranges[:len(run.names)], run
}

// checkRanges refuses ranges outside of the contract before any is asked for.
func checkRanges(ranges []rewind.Range) error {
	for _, r := range ranges {
		if err := checkPath(r.Path); err != nil {
			return err
		}
		if r.Offset < 0 || r.Length < 0 || r.Length > rewind.MaxRange {
			return &rewind.Error{Op: "check range", Path: r.Path,
				Err: fmt.Errorf("offset %d and length %d are not allowed", r.Offset, r.Length)}
		}
	}
	return nil
}

func protocolError(r rewind.Range, format string, args ...any) error {
	return &rewind.Error{Op: "read answer of the source", Path: r.Path,
		Err: fmt.Errorf("offset %d: "+format+": %w", append(append([]any{r.Offset}, args...), rewind.ErrDamaged)...)}
}
