package rewind

func (pl *planner) totals() Totals {
	t := Totals{Files: map[Action]int{}, SameFiles: pl.p.Totals.SameFiles}
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		t.Files[e.Action]++
		for _, r := range e.Blocks {
			t.Blocks += int64(r.Count)
		}
		switch e.Action {
		case ActionCopy:
			t.FileBytes += e.SourceSize
		case ActionTail:
			t.TailBytes += e.SourceSize - e.tailStart()
		case ActionTruncate:
			t.TruncateBytes += e.TargetSize - e.SourceSize
			t.UndoBytes += e.TargetSize - e.SourceSize
		case ActionRemove:
			t.RemoveBytes += e.TargetSize
		}
	}
	for _, f := range pl.p.WAL.Fetch {
		if n := pl.p.written(f.Path, pl.p.Source.EndOfWAL); n > 0 {
			t.WALBytes += n
		} else {
			t.WALBytes += f.Size
		}
	}
	t.BlockBytes = t.Blocks * blockSize
	t.UndoBytes += t.BlockBytes
	t.FetchBytes = t.BlockBytes + t.FileBytes + t.TailBytes + t.WALBytes
	return t
}
