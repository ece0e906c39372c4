package rewind

import "context"

// saver saves the pre-images of a fetch ahead of it: while the first batches come
// over the wire, what the later ones will overwrite is on its way to the journal.
// A batch waits for its own before it writes, and syncs the journal for all that
// has come there meanwhile. Saving each batch by itself cost a third of the time of
// the whole rewind, most of it spent by workers waiting for each other's syncs.
//
// Where there is one worker only, everything has one order, and it saves for itself.
type saver struct {
	w       *writer
	batches []*batch
	ordered bool
}

// run saves batch by batch, in the order in which they are fetched.
func (s *saver) run(ctx context.Context) error {
	if s.ordered {
		return nil
	}
	for _, b := range s.batches {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := s.save(b); err != nil {
			return err
		}
	}
	return nil
}

// begin is called by the worker that begins with a batch.
func (s *saver) begin(b *batch) error {
	if !s.ordered {
		return nil
	}
	return s.save(b)
}

func (s *saver) save(b *batch) error {
	if s.w.undo == nil {
		return nil
	}
	to, err := s.w.saveImages(overwritten(b.pieces))
	if err != nil {
		return err // nobody may take the batch for saved
	}
	b.savedTo = to
	close(b.saved)
	return nil
}

// wait returns when what the batch overwrites is on disk.
func (s *saver) wait(ctx context.Context, b *batch) error {
	if s.w.undo == nil {
		return nil
	}
	select {
	case <-b.saved:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.w.syncImages(b.savedTo)
}

// batch is what a worker asks for at once, over one connection.
type batch struct {
	pieces []piece
	// saved is closed when the pre-images are in the journal, up to savedTo.
	saved   chan struct{}
	savedTo imageNo
}
