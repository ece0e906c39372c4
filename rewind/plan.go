package rewind

import (
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// PlanFormat is the version of Plan's JSON form. It changes when a reader of
// an older form could misunderstand a newer one.
const PlanFormat = 1

// Plan is everything that Apply will do, and why. It is data: it can be
// printed, kept as JSON and compared; making one changes nothing anywhere.
type Plan struct {
	Format   int         `json:"format"`
	SystemID pg.SystemID `json:"system_id"`
	Major    pg.Major    `json:"major"`
	// RelSegSize is how many blocks a relation's segment file has.
	RelSegSize uint32 `json:"relation_segment_blocks"`
	// WALSegSize in bytes, and whether pages carry checksums: the same on both sides.
	WALSegSize uint32 `json:"wal_segment_size"`
	Checksums  bool   `json:"checksums"`
	// Strategy and the reason why it is sound here.
	Strategy Strategy `json:"strategy"`
	Reason   string   `json:"reason"`
	// Resumed: a journal of an interrupted run was found and is continued.
	Resumed bool `json:"resumed,omitempty"`
	Target  Side `json:"target"`
	Source  Side `json:"source"`
	// Fork is where the two histories part; its LSN is pg.MaxLSN when they are equal.
	Fork pg.Fork `json:"fork"`
	// Replay is the checkpoint from which the rewound node will replay; zero
	// for StrategyNone.
	Replay Checkpoint `json:"replay"`
	// Entries are the paths that will be touched, in the order of execution.
	Entries []Entry `json:"entries"`
	WAL     WALPlan `json:"wal"`
	// Kept lists the node's own files and directories that stay as they are
	// although the source has others, or none.
	Kept []string `json:"kept"`
	// SlotsDropped are replication slots of the target that cannot survive.
	SlotsDropped []string `json:"slots_dropped,omitempty"`
	Lost         Lost     `json:"lost"`
	Totals       Totals   `json:"totals"`
	Warnings     []string `json:"warnings,omitempty"`
	// Digest identifies the plan: a SHA-256 over all of the above, in hexadecimal.
	Digest string `json:"digest"`
}

// onlyStandby tells whether nothing is to be done but to write the standby settings.
func (p *Plan) onlyStandby() bool {
	return p.Strategy == StrategyNone && len(p.WAL.SetAside) == 0 && p.WAL.Trim == nil && !p.Resumed
}

// Strategy is a way to find the blocks that differ.
type Strategy string

// The strategies.
const (
	// StrategyNone: nothing has to be copied, the target's history is a prefix of the source's.
	StrategyNone Strategy = "none"
	// StrategyWAL: the target's WAL since the last common checkpoint tells which blocks changed.
	StrategyWAL Strategy = "wal"
)

// Side is what a control file and a history say of one of the two nodes.
type Side struct {
	Timeline pg.Timeline `json:"timeline"`
	History  pg.History  `json:"history"`
	// State as pg_controldata prints it: "shut down", "in production", …
	State string `json:"state"`
	// EndOfWAL is the end of the last valid record (target), or the insert
	// position or minimum recovery point (source), when it was looked at.
	EndOfWAL pg.LSN `json:"end_of_wal"`
	// Checkpoint is the location of the latest checkpoint in the control file.
	Checkpoint pg.LSN `json:"checkpoint"`
	// Redo is where replay from that checkpoint would begin.
	Redo pg.LSN `json:"redo"`
	// Label is where a backup_label says to begin replay; nil without one.
	Label *Checkpoint `json:"label,omitempty"`
	// Began is the checkpoint from which the server began when it first ran on
	// the directory, or first since that was rewound; zero where that is not known.
	Began Checkpoint `json:"began,omitzero"`
	// Bytes is the size of the data directory without WAL.
	Bytes int64 `json:"bytes"`
	// Files counts its files.
	Files int `json:"files"`
}

// Checkpoint is a checkpoint record and where replay from it begins.
type Checkpoint struct {
	LSN      pg.LSN      `json:"lsn"`
	Redo     pg.LSN      `json:"redo"`
	Timeline pg.Timeline `json:"timeline"`
}

// Action is what happens to one path. The order of the constants is the order
// of execution: nothing is removed before everything that was to come is there.
type Action uint8

// The actions. Blocks of an Entry are copied whatever its action.
const (
	ActionSymlink  Action = iota + 1 // make the link (a tablespace), and what it points to
	ActionMkdir                      // make the directory
	ActionCopy                       // fetch the whole file
	ActionTail                       // fetch what the source's file has beyond the target's end
	ActionBlocks                     // nothing but the blocks
	ActionTruncate                   // cut the file to the source's size
	ActionRemove                     // remove the file, link or empty directory
)

// Entry is one path and what happens to it.
type Entry struct {
	Path   string `json:"path"`
	Action Action `json:"action"`
	// Kind is the kind of file on the side that has it.
	Kind Kind `json:"kind"`
	// SourceSize and TargetSize in bytes; zero where the side lacks the file.
	SourceSize int64 `json:"source_size,omitempty"`
	TargetSize int64 `json:"target_size,omitempty"`
	// Blocks to fetch, as runs, ascending and apart from each other.
	Blocks []BlockRun `json:"blocks,omitempty"`
	// Link is the target of a link to be made.
	Link string `json:"link,omitempty"`
	// Reason in a few words: "only on the source", "changed after the fork", …
	Reason string `json:"reason"`
}

// BlockRun is a run of blocks inside one segment file, counted from the
// beginning of that file.
type BlockRun struct {
	First pg.BlockNo `json:"first"`
	Count uint32     `json:"count"`
}

// WALPlan says what becomes of pg_wal.
type WALPlan struct {
	// Fetch are segments and history files to be copied from the source.
	Fetch []File `json:"fetch"`
	// Keep are the target's own segments that replay needs, from before the fork.
	Keep []string `json:"keep,omitempty"`
	// Restore are further segments that replay needs and only the archive has.
	Restore []string `json:"restore,omitempty"`
	// SetAside are files in the target's pg_wal that belong to the branch that
	// is given up, or that must not be found by recovery. They are kept until
	// the very end of the work.
	SetAside []string `json:"set_aside"`
	// Trim names the target's own segment that holds the fork and stays; what
	// lies behind the fork in it is blanked. Nil when no such segment stays.
	Trim *Trim `json:"trim,omitempty"`
}

// Trim cuts one WAL segment off at a position.
type Trim struct {
	Path string `json:"path"`
	From pg.LSN `json:"from"`
}

// Totals sums a plan up.
type Totals struct {
	// FetchBytes is all that will come over the network, WAL included.
	FetchBytes int64 `json:"fetch_bytes"`
	// BlockBytes, FileBytes, TailBytes and WALBytes are its parts.
	BlockBytes int64 `json:"block_bytes"`
	FileBytes  int64 `json:"file_bytes"`
	TailBytes  int64 `json:"tail_bytes"`
	WALBytes   int64 `json:"wal_bytes"`
	// Blocks counts the blocks in BlockBytes.
	Blocks int64 `json:"blocks"`
	// Files counts entries by action.
	Files map[Action]int `json:"files"`
	// TruncateBytes and RemoveBytes are what the target gives up.
	TruncateBytes int64 `json:"truncate_bytes"`
	RemoveBytes   int64 `json:"remove_bytes"`
	// UndoBytes is what is copied aside before it is overwritten in place. Files
	// that are replaced or removed are moved aside as well, which copies nothing.
	UndoBytes int64 `json:"undo_bytes"`
	// SameFiles counts whole files that turned out equal and are not fetched.
	SameFiles int `json:"same_files"`
}

// Report is what Apply did.
type Report struct {
	Plan *Plan `json:"plan"`
	// FetchedBytes is what really came over the network.
	FetchedBytes int64 `json:"fetched_bytes"`
	// FetchedWALBytes is the part of it that is WAL.
	FetchedWALBytes int64 `json:"fetched_wal_bytes"`
	// MinRecovery is where the rewound node becomes consistent.
	MinRecovery pg.LSN `json:"min_recovery"`
	// Salvaged is where the WAL went that only this node had; nil where it went
	// nowhere, or stays until Discard.
	Salvaged *Salvaged `json:"salvaged,omitempty"`
	// Durations by phase.
	Durations []PhaseDuration `json:"durations"`
}

// PhaseDuration is how long one phase took.
type PhaseDuration struct {
	Phase    Phase         `json:"phase"`
	Duration time.Duration `json:"duration_ns"`
}
