package hook

import "errors"

// Why a run did not do its work, for errors.Is; each has a row in the table of exit codes.
var (
	// ErrConfig: the configuration is incomplete or contradicts itself.
	ErrConfig = errors.New("invalid configuration")
	// ErrRoot: run as root.
	ErrRoot = errors.New("cannot be run as root")
	// ErrNotOwner: the data directory belongs to another user.
	ErrNotOwner = errors.New("the data directory belongs to another user")
	// ErrIsLeader: this node holds the leader key.
	ErrIsLeader = errors.New("this node is the leader")
	// ErrNoLeader: nobody holds the leader key.
	ErrNoLeader = errors.New("the cluster has no leader")
	// ErrUnknownLeader: the leader key names a member that has no member key,
	// or one without an address.
	ErrUnknownLeader = errors.New("the leader's address is not known")
	// ErrLeaderNotReady: the leader is still in recovery or has not finished its promotion.
	ErrLeaderNotReady = errors.New("the leader is not ready")
	// ErrSystemID: this node belongs to another cluster.
	ErrSystemID = errors.New("this node belongs to another cluster")
	// ErrStandbyCluster: the cluster follows a primary outside of it, and where that
	// is is not known.
	ErrStandbyCluster = errors.New("this is a standby cluster, and its primary is not known")
	// ErrServerControl: the local server could not be stopped or started.
	ErrServerControl = errors.New("the local server does not obey")
	// ErrServerRunning: the server runs and this program may not stop it.
	ErrServerRunning = errors.New("the local server is running")
	// ErrManaged: the server runs under a cluster manager that would start it
	// again, and the cluster is not paused.
	ErrManaged = errors.New("the cluster's manager is in charge of this server")
	// ErrNotStreaming: the work is done but the node was not seen streaming in time.
	ErrNotStreaming = errors.New("the node was not seen streaming")
	// ErrNotDiverged: the node does not stream, and its history is the leader's:
	// a rewind is not what it needs.
	ErrNotDiverged = errors.New("the node's history is the leader's: there is nothing to rewind")
	// ErrManagerRefused: the manager was asked to bring the node back and does not, or
	// was not asked because it would remove the data directory.
	ErrManagerRefused = errors.New("the cluster's manager does not bring the node back")
	// ErrInProgress: another process on this node is already at work.
	ErrInProgress = errors.New("a rejoin of this node is already in progress")
)

// Error is an error with advice for the operator.
type Error struct {
	// Op is a verb and its object, with what is known about it: "stop server".
	Op string
	// Advice is what to do now, in a sentence; may be empty.
	Advice string
	// Err is the cause.
	Err error
}

// Error prints "op: cause".
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint gives the advice for the operator; empty where there is none.
func (e *Error) Hint() string { return e.Advice }
