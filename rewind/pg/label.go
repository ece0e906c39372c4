package pg

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxLabelSize bounds the content of a backup_label, in bytes.
const MaxLabelSize = 64 << 10

// BackupLabel is the content of a backup_label file, which tells a server to
// begin replay elsewhere than at the checkpoint in pg_control
// (build_backup_content in access/transam/xlogbackup.c, read_backup_label in
// xlogrecovery.c; 13 to 18).
type BackupLabel struct {
	// StartLSN is the redo position to replay from.
	StartLSN LSN
	// StartSegment is the name of the segment with StartLSN; its first eight
	// digits are the timeline.
	StartSegment string
	// CheckpointLSN is the position of the checkpoint record.
	CheckpointLSN LSN
	// Method is "streamed" for a base backup: the server then waits for its end
	// record. After "pg_rewind" it only waits for the minimum recovery point.
	Method string
	// From is "primary" ("master" in 13) or "standby".
	From string
	// StartTime is informative, and zero where it was missing or not understood.
	StartTime time.Time
	// Label is the name given to the backup; empty in pg_rewind's form.
	Label string
	// StartTimeline repeats the timeline; 0 in pg_rewind's form.
	StartTimeline Timeline
	// IncrementalLSN and IncrementalTimeline tell where the backup before an
	// incremental one began (17 and later); 0 otherwise. A server refuses to
	// start from such a backup before pg_combinebackup has made it whole.
	IncrementalLSN      LSN
	IncrementalTimeline Timeline
}

const labelTime = "2006-01-02 15:04:05 MST"

// Bytes prints the label. Its first five lines are those of pg_rewind; the
// others follow, in the order in which servers write them, where they are set.
// The time is in the zone that StartTime carries.
func (l BackupLabel) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "START WAL LOCATION: %s (file %s)\n", l.StartLSN, oneLine(l.StartSegment))
	fmt.Fprintf(&b, "CHECKPOINT LOCATION: %s\n", l.CheckpointLSN)
	fmt.Fprintf(&b, "BACKUP METHOD: %s\n", oneLine(l.Method))
	fmt.Fprintf(&b, "BACKUP FROM: %s\n", oneLine(l.From))
	fmt.Fprintf(&b, "START TIME: %s\n", l.StartTime.Format(labelTime))
	if l.Label != "" {
		fmt.Fprintf(&b, "LABEL: %s\n", oneLine(l.Label))
	}
	if l.StartTimeline != 0 {
		fmt.Fprintf(&b, "START TIMELINE: %d\n", l.StartTimeline)
	}
	if l.IncrementalLSN != 0 {
		fmt.Fprintf(&b, "INCREMENTAL FROM LSN: %s\n", l.IncrementalLSN)
	}
	if l.IncrementalTimeline != 0 {
		fmt.Fprintf(&b, "INCREMENTAL FROM TLI: %d\n", l.IncrementalTimeline)
	}
	return b.Bytes()
}

// oneLine keeps a value from adding lines of its own to the label.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// Timeline is the timeline in the name of the start segment, the one that
// replay begins on; 0 when the name is none.
func (l BackupLabel) Timeline() Timeline {
	words, ok := hexWords(l.StartSegment, 3)
	if !ok {
		return 0
	}
	return Timeline(words[0])
}

// ParseBackupLabel reads any backup_label. The two positions must be there, as
// for the server; lines that are not known are left out.
func ParseBackupLabel(content []byte) (BackupLabel, error) {
	var l BackupLabel
	if len(content) > MaxLabelSize {
		return l, fmt.Errorf("parse backup_label: %d bytes, more than %d", len(content), MaxLabelSize)
	}
	for line := range bytes.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		if err := l.set(key, value); err != nil {
			return BackupLabel{}, fmt.Errorf("parse backup_label: %s: %w", key, err)
		}
	}
	if l.StartLSN == 0 || l.CheckpointLSN == 0 {
		return BackupLabel{}, errors.New("parse backup_label: start or checkpoint location is missing")
	}
	if l.StartTimeline != 0 && l.StartTimeline != l.Timeline() {
		return BackupLabel{}, fmt.Errorf("parse backup_label: timeline %d beside segment %s", l.StartTimeline, l.StartSegment)
	}
	return l, nil
}

func (l *BackupLabel) set(key, value string) (err error) {
	switch key {
	case "START WAL LOCATION":
		return l.setStart(value)
	case "CHECKPOINT LOCATION":
		l.CheckpointLSN, err = ParseLSN(value)
	case "BACKUP METHOD":
		l.Method = value
	case "BACKUP FROM":
		l.From = value
	case "START TIME":
		l.StartTime = parseLabelTime(value)
	case "LABEL":
		l.Label = value
	case "START TIMELINE":
		l.StartTimeline, err = parseTimeline(value)
	case "INCREMENTAL FROM LSN":
		l.IncrementalLSN, err = ParseLSN(value)
	case "INCREMENTAL FROM TLI":
		l.IncrementalTimeline, err = parseTimeline(value)
	}
	return err
}

// setStart reads "<LSN> (file <segment>)".
func (l *BackupLabel) setStart(value string) (err error) {
	lsn, file, _ := strings.Cut(value, " (file ")
	segment, closed := strings.CutSuffix(file, ")")
	if words, hex := hexWords(segment, 3); !closed || !hex || words[0] == 0 {
		return errors.New("want a position and, in parentheses, a segment file")
	}
	l.StartSegment = segment
	l.StartLSN, err = ParseLSN(lsn)
	return err
}

func parseTimeline(s string) (Timeline, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return Timeline(n), err
}

// parseLabelTime reads the time in UTC where the zone's abbreviation is not
// known here: nothing depends on it.
func parseLabelTime(s string) time.Time {
	t, err := time.Parse(labelTime, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
