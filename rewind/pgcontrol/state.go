package pgcontrol

import "fmt"

// State says what a cluster was doing when its control file was last written
// (DBState in catalog/pg_control.h).
type State uint32

// The states. A cluster that died remains in the state it was in.
const (
	StateStartup State = iota
	StateShutDown
	StateShutDownInRecovery
	StateShuttingDown
	StateInCrashRecovery
	StateInArchiveRecovery
	StateInProduction
)

// String prints the state as pg_controldata does in English.
func (s State) String() string {
	switch s {
	case StateStartup:
		return "starting up"
	case StateShutDown:
		return "shut down"
	case StateShutDownInRecovery:
		return "shut down in recovery"
	case StateShuttingDown:
		return "shutting down"
	case StateInCrashRecovery:
		return "in crash recovery"
	case StateInArchiveRecovery:
		return "in archive recovery"
	case StateInProduction:
		return "in production"
	}
	return fmt.Sprintf("unrecognized state %d", uint32(s))
}

// Clean tells whether the cluster was shut down in order: its files hold
// everything that its WAL up to then says.
func (s State) Clean() bool { return s == StateShutDown || s == StateShutDownInRecovery }

// WALLevel is how much a server writes to its WAL (WalLevel in access/xlog.h).
type WALLevel int32

// The levels. WALLevelUnknown stands where a control file does not say.
const (
	WALLevelUnknown WALLevel = iota - 1
	WALLevelMinimal
	WALLevelReplica
	WALLevelLogical
)

// String prints the level as the setting wal_level spells it.
func (l WALLevel) String() string {
	switch l {
	case WALLevelMinimal:
		return "minimal"
	case WALLevelReplica:
		return "replica"
	case WALLevelLogical:
		return "logical"
	}
	return fmt.Sprintf("unrecognized wal_level %d", int32(l))
}
