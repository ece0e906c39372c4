package dcs

import "errors"

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
