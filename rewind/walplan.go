package rewind

import (
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// walPlanner works out what becomes of pg_wal. Recovery looks for WAL by name,
// newest timeline first, and falls back to older ones; what it must not find
// must not be there.
type walPlanner struct {
	segSize uint32
	// source is the history that the node will follow.
	source pg.History
	fork   pg.Fork
	// from is where replay begins; end is the source's end of WAL as far as
	// known, zero when it is not to be fetched.
	from, end pg.LSN
	// ownEnd is where the target's valid WAL ends.
	ownEnd pg.LSN
	files  map[string]*joined
	// archive tells whether the target's archive has a file.
	archive func(name string) (bool, error)
	// aside are the names of files that an interrupted run moved aside.
	aside map[string]bool
	// known are the source's timelines whose history file the target has too,
	// with the same content.
	known map[pg.Timeline]bool
}

// onlyStrays: nothing has to be replayed from the source, and the target's own
// WAL ends before the fork. Then only files that it never replayed can mislead it.
func (w *walPlanner) onlyStrays() bool { return w.from == 0 && w.ownEnd <= w.fork.LSN }

// plan decides about every file in pg_wal. When nothing has to be replayed
// from the source (from is zero) only what must go is looked for.
func (w *walPlanner) plan() (WALPlan, error) {
	out := WALPlan{}
	fetched := map[string]bool{}
	if w.from != 0 {
		if err := w.fetchSegments(&out); err != nil {
			return out, err
		}
		if err := w.fetchHistories(&out); err != nil {
			return out, err
		}
	}
	for _, f := range out.Fetch {
		fetched[f.Path] = true
	}
	for _, p := range out.Restore {
		fetched[p] = true
	}
	w.setAside(&out, fetched)
	return out, nil
}

// fetchSegments names the segments from the replay start to the source's end
// that the target does not have, or has with another content.
func (w *walPlanner) fetchSegments(out *WALPlan) error {
	first, last := pg.SegmentOf(w.from, w.segSize), pg.SegmentOf(max(w.end, w.from+1)-1, w.segSize)
	for no := first; no <= last; no++ {
		p := w.segmentPath(no)
		j := w.files[p]
		common := no.Start(w.segSize)+pg.LSN(w.segSize) <= min(w.fork.LSN, w.ownEnd)
		if common && j != nil && j.dst != nil {
			out.Keep = append(out.Keep, p)
			continue
		}
		w.fetchOlder(out, no)
		if j == nil || j.src == nil {
			if ok, err := w.archived(p); err != nil {
				return err
			} else if ok {
				out.Restore = append(out.Restore, p)
				continue
			}
			return &Error{Op: "look for WAL at the source", Path: p, LSN: no.Start(w.segSize), Err: ErrSourceWAL,
				Advice: "the rewound node would need this segment to become consistent; put it into the target's pg_wal or raise wal_keep_size on the source before the next failover; now a new base backup is needed"}
		}
		if j.src.Size != int64(w.segSize) {
			return &Error{Op: "look for WAL at the source", Path: p, Err: fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, j.src.Size, w.segSize)}
		}
		out.Fetch = append(out.Fetch, *j.src)
	}
	return nil
}

// fetchOlder names the copies of a segment that bear older timelines, where
// timelines were switched in it. What replays them needs only the newest; but
// a server that comes, before the switch, to the end of a prepared transaction or to a
// shutdown checkpoint reads the transaction's WAL again, and then by the timeline
// that replay is on (XLogReadDetermineTimeline in access/transam/xlogutils.c).
// Recovery looks for the newest first, so that the others do no harm. Of the
// segment with the fork the target has its own, see trim.
func (w *walPlanner) fetchOlder(out *WALPlan, no pg.SegmentNo) {
	start, end := no.Start(w.segSize), no.Start(w.segSize)+pg.LSN(w.segSize)
	for _, e := range w.source {
		p := "pg_wal/" + pg.SegmentName(e.Timeline, no, w.segSize)
		if e.End <= start || e.End >= end || p == w.ownFork() {
			continue
		}
		if j := w.files[p]; j != nil && j.src != nil && j.src.Size == int64(w.segSize) {
			out.Fetch = append(out.Fetch, *j.src)
		}
	}
}

// ownFork is the target's own segment with the fork, blank behind which it can
// stay; empty where there is none.
func (w *walPlanner) ownFork() string {
	no := pg.SegmentOf(w.fork.LSN, w.segSize)
	if w.onlyStrays() || w.fork.LSN == pg.MaxLSN || w.fork.LSN == no.Start(w.segSize) {
		return ""
	}
	own := "pg_wal/" + pg.SegmentName(w.fork.Timeline, no, w.segSize)
	if j := w.files[own]; (j == nil || j.dst == nil) && !w.aside[path.Base(own)] {
		return ""
	}
	return own
}

// archived tells whether a segment can come from the archive. Its name bears the
// timeline of the source: where both nodes archive to one place, it may be the
// source's own.
func (w *walPlanner) archived(p string) (bool, error) {
	if w.archive == nil {
		return false, nil
	}
	return w.archive(path.Base(p))
}

// segmentPath is the file that holds a segment on the source: it bears the
// newest timeline that begins before the segment ends, and a copy of the older
// ones' WAL before their ends.
func (w *walPlanner) segmentPath(no pg.SegmentNo) string {
	return "pg_wal/" + pg.SegmentName(segmentTimeline(w.source, no, w.segSize), no, w.segSize)
}

func segmentTimeline(h pg.History, no pg.SegmentNo, segSize uint32) pg.Timeline {
	end := no.Start(segSize) + pg.LSN(segSize)
	tli := h[0].Timeline
	for _, e := range h {
		if e.Begin < end {
			tli = e.Timeline
		}
	}
	return tli
}

// fetchHistories names the history files of the source's timelines.
func (w *walPlanner) fetchHistories(out *WALPlan) error {
	for _, e := range w.source {
		if e.Timeline == 1 {
			continue
		}
		p := "pg_wal/" + pg.HistoryFileName(e.Timeline)
		if j := w.files[p]; j != nil && j.src != nil {
			out.Fetch = append(out.Fetch, *j.src)
		} else if e.Timeline == w.source.Last() {
			return &Error{Op: "look for the history of the source's timeline", Path: p, Err: ErrSourceWAL}
		}
	}
	return nil
}

// setAside names what recovery must not find: segments that reach behind the
// fork, and histories and summaries of timelines that are not the source's.
func (w *walPlanner) setAside(out *WALPlan, fetched map[string]bool) {
	for p, j := range w.files {
		if !inWAL(p) || p == "pg_wal" || j.dst == nil || j.dst.Kind != KindFile {
			continue
		}
		if w.foreign(path.Base(p)) || fetched[p] {
			out.SetAside = append(out.SetAside, p)
		}
	}
	sort.Strings(out.SetAside)
	w.trim(out, fetched)
}

// trim keeps the target's own copy of the segment with the fork, blanked behind
// it: as the only one where the source's is not fetched, because the node only has
// to forget WAL that it had received, and otherwise beside it (see fetchOlder).
func (w *walPlanner) trim(out *WALPlan, fetched map[string]bool) {
	if own := w.ownFork(); own != "" && !fetched[own] {
		out.Trim = &Trim{Path: own, From: w.fork.LSN}
	}
}

// foreign tells whether a file name in pg_wal or below belongs to the branch
// that is given up. Status files follow their segments.
//
// A history file with another content than the source's of that number is the
// worst of these. Recovery follows the newest it finds, and never asks the
// source for one that is there.
func (w *walPlanner) foreign(name string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".ready"), ".done")
	if tli, ok := pg.ParseHistoryFileName(base); ok {
		return !w.known[tli]
	}
	if tli, _, end, ok := pg.ParseSummaryName(base); ok {
		return !w.source.Contains(tli, end) || end > w.fork.LSN && !w.onlyStrays()
	}
	if pg.IsPartialName(base) {
		base = strings.TrimSuffix(base, ".partial")
	}
	if w.onlyStrays() {
		tli, _, ok := pg.ParseSegmentName(base, w.segSize)
		return ok && tli > w.fork.Timeline && !w.known[tli]
	}
	return behindFork(base, w.fork, w.segSize)
}

// behindFork tells whether a file name is that of a segment which reaches
// behind a fork.
func behindFork(name string, fork pg.Fork, segSize uint32) bool {
	tli, no, ok := pg.ParseSegmentName(name, segSize)
	return ok && fork.LSN != pg.MaxLSN && (tli > fork.Timeline || no.Start(segSize)+pg.LSN(segSize) > fork.LSN)
}
