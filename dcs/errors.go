package dcs

import (
	"errors"
	"fmt"
	"time"
)

// What can be wrong with etcd, a topology or a lock, for errors.Is.
var (
	// ErrUnavailable: no etcd endpoint answered in time; may be tried again.
	ErrUnavailable = errors.New("etcd cannot be reached")
	// ErrAuth: etcd refuses the user, the password, the certificate or the permission.
	ErrAuth = errors.New("etcd refuses access")
	// ErrTLS: the TLS handshake with etcd cannot succeed.
	ErrTLS = errors.New("the TLS connection to etcd fails")
	// ErrNoCluster: there is no key of a cluster below the prefix.
	ErrNoCluster = errors.New("no cluster under this prefix")
	// ErrMalformed: a key holds what the layout does not allow.
	ErrMalformed = errors.New("malformed value in etcd")
	// ErrLocked: another node, or another process of this one, holds the lock.
	// The error in the chain is a *LockedError.
	ErrLocked = errors.New("locked")
	// ErrLockLost: the lease of our lock is gone or its key was changed.
	ErrLockLost = errors.New("the lock was lost")
	// ErrLeaderChanged: the leader key is no longer the one that was decided on.
	ErrLeaderChanged = errors.New("the leader changed")
)

// Owner is the record in a lock key: who holds it, for what, since when.
type Owner struct {
	Member    string    `json:"member"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Operation string    `json:"operation"`
	Leader    string    `json:"leader"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`
}

// LockedError says who holds the lock that was asked for.
type LockedError struct {
	Key   string
	Owner Owner
}

// Error names the holder.
func (e *LockedError) Error() string {
	return fmt.Sprintf("lock %s is held by member %q (host %s, pid %d) since %s for %s",
		e.Key, e.Owner.Member, e.Owner.Host, e.Owner.PID, e.Owner.Since.Format(time.RFC3339), e.Owner.Operation)
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }
