package rewind

// Event is something that happened during Plan or Apply. The set is closed:
// PhaseStarted, Progress, Warning.
type Event interface{ event() }

// Phase names a stretch of the work; durations are reported by phase.
type Phase string

// The phases, in the order in which they happen.
const (
	PhaseInspect Phase = "inspect" // read control files and histories
	PhaseScanWAL Phase = "scan WAL"
	PhaseList    Phase = "list files"
	PhaseCompare Phase = "compare files"
	PhaseCopy    Phase = "copy"
	PhaseTidy    Phase = "tidy" // truncate, remove, look at the source again
	PhaseSync    Phase = "sync"
	PhaseFinish  Phase = "finish" // label, standby settings, pg_control
	PhaseUndo    Phase = "undo"   // of Undo alone
)

// PhaseStarted: a phase began; the one before it has ended.
type PhaseStarted struct {
	Phase Phase
	// Total is how many bytes the phase will handle; zero where not known.
	Total int64
}

// Progress: so many bytes of the current phase are done.
type Progress struct {
	Phase Phase
	// Done and Total in bytes.
	Done, Total int64
}

// Warning: something that the operator should know and that stops nothing.
type Warning struct{ Text string }

func (PhaseStarted) event() {}
func (Progress) event()     {}
func (Warning) event()      {}
