package hook

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// explain adds to the error that ends a run what state it leaves, and brings a
// server that was stopped for the work up again where that is possible.
func (r *run) explain(ctx context.Context, cause error) error {
	t := r.touched // since the work was done last, if it was
	if r.done && !t.work {
		return r.explainDone(ctx, cause)
	}
	r.warnOfSlot()
	if l := r.report.Local; !t.work && (l == nil || !l.Interrupted) {
		return cause
	}
	given, problem := r.giveBack(ctx)
	now, err := os.ReadFile(filepath.Join(r.cfg.PGData, controlFile))
	switch {
	case err != nil && problem != nil:
		return fmt.Errorf("%w (the work was begun: no server can start here until it is finished; it was not given back: %w)", cause, problem)
	case err != nil:
		return fmt.Errorf("%w (the work was begun: no server can start here until it is finished; run it again)", cause)
	case t.stopped && !t.down && !r.goesDown(ctx):
		return fmt.Errorf("%w (the server was told to stop and is still there)", cause)
	}
	what := "nothing was changed"
	switch {
	case given:
		what = "the data directory was given back as it was"
	case t.control != nil && !bytes.Equal(now, t.control):
		what = "the data directory is complete"
	}
	if !t.stopped {
		return fmt.Errorf("%w (%s)", cause, what)
	}
	// Also when ctx has ended: that is no reason to leave the node down.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.StartTimeout+settle)
	defer cancel()
	if err := r.step("start again", func() error { return r.server.start(ctx) }); err != nil {
		return fmt.Errorf("%w (%s, but the server does not start again: %w)", cause, what, err)
	}
	return fmt.Errorf("%w (%s, and the server runs again)", cause, what)
}

// explainDone is explain for a node whose work was done. Errors of the server say
// by themselves how it stands; a run that was told to end does not.
func (r *run) explainDone(ctx context.Context, cause error) error {
	if ctx.Err() == nil {
		return cause
	}
	server := "and its server is down"
	if pid, err := postmaster.Find(r.cfg.PGData); err == nil && pid != 0 {
		server = "and its server runs"
	}
	return fmt.Errorf("%w (the data directory is complete, %s)", cause, server)
}

// goesDown: a stop that was not seen to its end may come to it a moment later.
func (r *run) goesDown(ctx context.Context) bool {
	return poll(context.WithoutCancel(ctx), settle, func() (bool, error) {
		pid, err := postmaster.Find(r.cfg.PGData)
		return pid == 0, err
	}) == nil
}

// warnOfSlot tells of a slot that this run has made and that nobody uses.
func (r *run) warnOfSlot() {
	if r.slotOn == "" {
		return
	}
	r.warn("the slot %q stays on %s and keeps WAL until this is run again, or the slot is dropped", r.slotName, r.slotOn)
	r.slotOn = ""
}

// forgottenSlot warns of the slot on a leader that is no longer the leader.
func (r *run) forgottenSlot() {
	if r.slotOn != r.report.Leader {
		r.warnOfSlot()
	}
}
