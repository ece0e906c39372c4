package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// node is what a control file and a history say of one side.
type node struct {
	control  *pgcontrol.Control
	timeline pg.Timeline
	history  pg.History
	// label is where a backup_label in the directory says to begin, nil for none.
	label *Checkpoint
	// began is the checkpoint from which replay began when a server first ran on
	// the directory, or ran on it for the first time since it was rewound: whatever
	// its server has changed since has WAL from its redo position on. Zero where
	// that is not known.
	began Checkpoint
}

// maxHistorySize bounds a history file: a timeline switch a second for a day
// takes less.
const maxHistorySize = 4 << 20

// controlTries bounds how often a control file is read again that fails its
// checksum because the server was writing it.
const controlTries = 10

// timelineOf is the timeline a node is on. The checkpoint alone is not enough:
// a server that was promoted a moment ago has not made one on its new
// timeline, but has set its minimum recovery point there.
func timelineOf(c *pgcontrol.Control) pg.Timeline {
	return max(c.CheckPointCopy.ThisTimeLineID, c.MinRecoveryPointTLI)
}

// readSource reads the source's control file and history.
func readSource(ctx context.Context, src Source) (node, error) {
	c, err := readSourceControl(ctx, src)
	if err != nil {
		return node{}, err
	}
	n := node{control: c, timeline: timelineOf(c)}
	var content []byte
	if n.timeline > 1 {
		name := "pg_wal/" + pg.HistoryFileName(n.timeline)
		content, err = src.ReadFile(ctx, name)
		if err != nil {
			return node{}, &Error{Op: "read the source's history", Path: name, Err: err}
		}
	}
	n.history, err = pg.ParseHistory(n.timeline, content)
	if err != nil {
		return node{}, &Error{Op: "read the source's history", Err: errors.Join(ErrDamaged, err)}
	}
	return n, nil
}

// readSourceControl reads the control file of a server that may be writing it.
func readSourceControl(ctx context.Context, src Source) (*pgcontrol.Control, error) {
	for try := 1; ; try++ {
		b, err := src.ReadFile(ctx, controlRel)
		if err != nil {
			return nil, &Error{Op: "read the source's control file", Path: controlRel, Err: err}
		}
		c, err := pgcontrol.Parse(b)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, pgcontrol.ErrCRC) || try == controlTries {
			return nil, &Error{Op: "read the source's control file", Path: controlRel, Err: classifyControl(err)}
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// classifyControl tells a control file of a version we do not know from a damaged one.
func classifyControl(err error) error {
	if errors.Is(err, pgcontrol.ErrVersion) {
		return errors.Join(ErrUnsupported, err)
	}
	return errors.Join(ErrDamaged, err)
}

// wait sleeps, but not longer than ctx lives.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// readTarget reads the target's control file, from the journal if a rewind was
// interrupted, and its history.
func readTarget(ctx context.Context, t *target, j *resume) (node, error) {
	if j != nil {
		was := j.first().Target
		return node{control: j.control, timeline: was.History.Last(), history: was.History, label: was.Label, began: was.Began}, nil
	}
	b, err := t.readFile(controlRel, pgcontrol.FileSize)
	if err != nil {
		return node{}, &Error{Op: "read control file", Path: controlRel, Err: errors.Join(ErrNotDataDir, err)}
	}
	c, err := pgcontrol.Parse(b)
	if err != nil {
		return node{}, &Error{Op: "read control file", Path: controlRel, Err: classifyControl(err)}
	}
	n := node{control: c, timeline: timelineOf(c)}
	if n.label, err = t.readLabel(c); err != nil {
		return node{}, err
	}
	if n.history, err = t.readHistory(ctx, n.timeline); err != nil {
		return node{}, err
	}
	if n.label == nil {
		n.began = t.readBegan(n.history)
	}
	return n, nil
}

// readBegan reads what a server made of the backup_label that it began with. A
// file that is missing, or says nothing about this history, is no error: it only
// saves WAL from being asked for.
func (t *target) readBegan(history pg.History) Checkpoint {
	b, err := t.readFile("backup_label.old", pg.MaxLabelSize)
	if err != nil {
		return Checkpoint{}
	}
	l, err := pg.ParseBackupLabel(b)
	if err != nil || history.At(l.StartLSN) != l.Timeline() {
		return Checkpoint{}
	}
	return Checkpoint{LSN: l.CheckpointLSN, Redo: l.StartLSN, Timeline: l.Timeline()}
}

// readLabel reads the backup_label of a directory that was rewound, or restored
// from a backup, and not started to the end since: its data files hold
// everything only up to where the label says to begin.
func (t *target) readLabel(c *pgcontrol.Control) (*Checkpoint, error) {
	const name = "backup_label"
	b, err := t.readFile(name, pg.MaxLabelSize)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "read file", Path: name, Err: err}
	}
	l, err := pg.ParseBackupLabel(b)
	if err != nil {
		return nil, &Error{Op: "read file", Path: name, Err: errors.Join(ErrDamaged, err)}
	}
	if !isStandby(c) {
		return nil, neverStarted(name, l)
	}
	return &Checkpoint{LSN: l.CheckpointLSN, Redo: l.StartLSN, Timeline: l.Timeline()}, nil
}

// neverStarted: a primary's control file beside a label. Up to 14 a server that
// dies during an exclusive backup leaves the same behind as the backup holds,
// and PostgreSQL itself asks the operator which it is.
func neverStarted(name string, l pg.BackupLabel) error {
	e := &Error{Op: "read file", Path: name, Err: fmt.Errorf("%w: it holds a base backup that was never started", ErrNotDataDir),
		Advice: "start it as a standby, or make it anew: there is nothing of its own in it that would be worth a rewind"}
	if l.Method == "pg_start_backup" {
		e.Err = fmt.Errorf("%w: it holds a base backup that was never started, or its server died during an exclusive backup", ErrNotDataDir)
		e.Advice = "if a server ran here and died during a backup, remove backup_label and run this again; if this is a copy that was never started, start it as a standby"
	}
	return e
}

func (t *target) readHistory(ctx context.Context, tli pg.Timeline) (pg.History, error) {
	var content []byte
	if tli > 1 {
		name := "pg_wal/" + pg.HistoryFileName(tli)
		var err error
		content, err = t.readWAL(ctx, pg.HistoryFileName(tli), maxHistorySize)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Op: "read history", Path: name, Err: errors.Join(ErrTargetWAL, err),
				Advice: "copy the file from the WAL archive into pg_wal"}
		}
		if err != nil {
			return nil, &Error{Op: "read history", Path: name, Err: err}
		}
	}
	h, err := pg.ParseHistory(tli, content)
	if err != nil {
		return nil, &Error{Op: "read history", Err: errors.Join(ErrDamaged, err)}
	}
	return h, nil
}

// checkPair refuses two nodes that do not belong together.
func checkPair(t, s *pgcontrol.Control) error {
	if t.SystemIdentifier != s.SystemIdentifier {
		return &Error{Op: "compare nodes", Err: fmt.Errorf("%w: %s here, %s at the source", ErrSystemID, t.SystemIdentifier, s.SystemIdentifier),
			Advice: "the two are not copies of one cluster; nothing can be rewound between them"}
	}
	for _, c := range []struct {
		what         string
		here, source uint32
	}{
		{"control file version", t.PGControlVersion, s.PGControlVersion},
		{"catalog version", t.CatalogVersionNo, s.CatalogVersionNo},
		{"block size", t.BlockSize, s.BlockSize},
		{"segment size of relations", t.RelSegSize, s.RelSegSize},
		{"WAL block size", t.WALBlockSize, s.WALBlockSize},
		{"WAL segment size", t.WALSegSize, s.WALSegSize},
		{"data checksum version", t.DataChecksumVersion, s.DataChecksumVersion},
	} {
		if c.here != c.source {
			return &Error{Op: "compare nodes", Err: fmt.Errorf("%w: %s is %d here and %d at the source", ErrIncompatible, c.what, c.here, c.source)}
		}
	}
	if t.BlockSize != blockSize {
		return &Error{Op: "compare nodes", Err: fmt.Errorf("%w: block size %d, only %d is known", ErrUnsupported, t.BlockSize, blockSize)}
	}
	return nil
}

// blockSize is PostgreSQL's BLCKSZ as Debian, the PGDG and everybody else
// build it. Others are refused, not guessed at.
const blockSize = 8192
