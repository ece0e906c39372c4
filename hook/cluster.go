package hook

import (
	"context"

	"github.com/failback-hook/failback-hook/dcs"
)

// DCS makes a client of package dcs a Cluster.
type DCS struct{ Client *dcs.Client }

var _ Cluster = DCS{}

// Topology reads the cluster at one revision.
func (d DCS) Topology(ctx context.Context) (dcs.Topology, error) { return d.Client.Topology(ctx) }

// Lock takes the lock, or says who has it.
func (d DCS) Lock(ctx context.Context, req dcs.LockRequest) (Lock, error) {
	l, err := d.Client.Acquire(ctx, req)
	if err != nil {
		return nil, err // not l: a nil *dcs.Lock would not be a nil Lock
	}
	return l, nil
}

// Remember keeps the record of a rejoin that is over.
func (d DCS) Remember(ctx context.Context, r dcs.PastRejoin) error {
	return d.Client.Remember(ctx, r, dcs.DefaultPastKept)
}

// Locks lists who holds locks of this cluster.
func (d DCS) Locks(ctx context.Context) ([]dcs.Owner, error) { return d.Client.Locks(ctx) }

var _ Pauser = DCS{}

// Pause pauses the cluster, or joins a pause that is there.
func (d DCS) Pause(ctx context.Context, req dcs.PauseRequest) (Pause, error) {
	p, err := d.Client.Pause(ctx, req)
	if p == nil {
		return nil, err // not p: a nil *dcs.Pause would not be a nil Pause
	}
	return p, err
}

// EndPause ends a pause that a killed run has left.
func (d DCS) EndPause(ctx context.Context, dead func(dcs.Owner) bool) (dcs.Resumed, error) {
	return d.Client.EndPause(ctx, dead)
}
