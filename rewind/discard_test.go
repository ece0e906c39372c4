package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// killing makes an engine end before its n-th change from now on.
func killing(e *rewind.Engine, n int) {
	var made atomic.Int64
	e.BeforeWrite(func(string, string) error {
		if made.Add(1) > int64(n) {
			return errKilled
		}
		return nil
	})
}

// TestUndoWhileTidying ends the tidying up behind a rewind before each of its
// changes. Undo then gives everything back, or refuses and leaves a good
// directory as it is: what it needs may be gone in part.
func TestUndoWhileTidying(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	n := s.copy(t, "finished")
	before := snapshot(t, n.Dir)
	run(t, s.keeping(t, n))
	discarding := func(t *testing.T) *rewind.Engine {
		e := s.engine(t, n)
		e.PGData, e.Options.Salvage.Dir = rewindtest.Copy(t, n.Dir), rewindtest.NewRoot(t)
		return e
	}
	e := discarding(t)
	steps := noteSteps(e)
	_, err := e.Discard(context.Background())
	must(t, err)
	back, refused := 0, 0
	for at, step := range *steps {
		t.Run(fmt.Sprintf("%d %s", at, step), func(t *testing.T) {
			e := discarding(t)
			killing(e, at)
			if _, err := e.Discard(context.Background()); !errors.Is(err, errKilled) {
				t.Fatalf("discard: %v, want it to be ended", err)
			}
			e.BeforeWrite(func(string, string) error { return nil })
			switch _, err := e.Undo(context.Background()); {
			case err == nil:
				back++
				sameSnapshot(t, "undone, the directory is not what it was", snapshot(t, e.PGData), before)
			case errors.Is(err, rewind.ErrNoUndo):
				refused++
				s.sameAsWhole(t, e.PGData)
				if _, err := e.Discard(context.Background()); err != nil {
					t.Errorf("discard, once more: %v", err)
				}
				noOwnFiles(t, e.PGData)
			default:
				t.Errorf("undo: %v", err)
			}
		})
	}
	if back == 0 || refused < 3 {
		t.Errorf("%d times undo gave the directory back, %d times it refused", back, refused)
	}
}
