package hook

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/failback-hook/failback-hook/rewind"
)

// Undo gives a data directory back as it was before a rewind; see
// rewind.Engine.Undo. It asks nobody and takes no lock in etcd: it only brings
// back what this node was, and holds the directory's own lock meanwhile.
func Undo(ctx context.Context, pgdata string) (*rewind.Undone, error) {
	if err := checkUser(os.Geteuid(), pgdata); err != nil {
		return nil, err
	}
	e := &rewind.Engine{PGData: pgdata}
	return e.Undo(ctx)
}

// undo takes back what a rewind has done, as a step of the report.
func (r *run) undo(ctx context.Context, e engine) error {
	return r.step("undo", func() (err error) {
		r.report.Undone, err = e.Undo(ctx)
		return err
	})
}

// giveBack takes back what the attempts of a run that gives up have done. It goes
// on when ctx has ended: that may be why the run gives up. What an earlier run
// has left and this one has not come to touch is left to the next.
func (r *run) giveBack(ctx context.Context) (given bool, err error) {
	if r.done || !r.touched.work || r.cfg.OnFailure == FailureKeep {
		return false, nil
	}
	_, half, err := rewind.ReadInterrupted(r.cfg.PGData)
	if err != nil || !half {
		return false, nil
	}
	err = r.undo(context.WithoutCancel(ctx), r.newEngine(nil, rewind.Options{}))
	if errors.Is(err, rewind.ErrNoUndo) {
		return false, nil // begun with no_undo
	}
	return err == nil, err
}

// discard ends the time in which the work could be taken back: the node streams.
// One that was not started by this run, and so not seen, keeps the possibility.
func (r *run) discard(ctx context.Context) {
	if r.done && r.cfg.Control == ControlNone {
		return
	}
	if _, err := os.Lstat(filepath.Join(r.cfg.PGData, rewind.JournalDir)); err != nil {
		return
	}
	to := r.cfg.Salvage
	if r.done {
		to.Report, _ = json.Marshal(r.report) // the engine's plan where there is none
	}
	err := r.step("discard", func() (err error) {
		r.report.Salvaged, err = r.newEngine(nil, rewind.Options{Salvage: to}).Discard(ctx)
		return err
	})
	if err != nil {
		r.warn("what was kept for undoing is still there: %v", err)
	}
}
