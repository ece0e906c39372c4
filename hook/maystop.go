package hook

import (
	"fmt"
	"strings"

	"github.com/failback-hook/failback-hook/dcs"
)

// warnOfName: a member key goes with the manager, so that there is none of this
// name proves nothing; but under a name that is not this node's the standby
// would register as another one.
func (r *run) warnOfName() {
	if _, ok := r.facts.Topology.Member(r.cfg.Name); ok {
		return
	}
	var names []string
	for _, m := range r.facts.Topology.Members {
		names = append(names, m.Name)
	}
	r.warn("etcd has no member %s (it has %s): fine if this node's manager is down, but make sure that the name is right",
		r.cfg.Name, strings.Join(names, ", "))
}

// warnOfManager: a server that is down under a manager that is alive may be
// started at any moment. Once pg_control has been moved away no start succeeds,
// and one that comes before is noticed by the engine, which then changes nothing.
func (r *run) warnOfManager() {
	if managed(r.facts) && !r.facts.Local.Running {
		r.warn("the manager of %s is alive and its cluster is not paused: if it starts the server before the work begins, nothing is changed", r.cfg.Name)
	}
}

// mayStop refuses to stop a server that somebody else is in charge of. A manager
// that is alive starts a server that it finds stopped within seconds, or hands
// the leadership around because of it; only the commands of the user may know
// how to stop the manager as well.
func (r *run) mayStop() error {
	l := r.facts.Local
	switch {
	case !l.Running || r.cfg.Control == ControlCommand:
		return nil
	case r.cfg.Control == ControlNone:
		return &Error{Op: fmt.Sprintf("look at the server (pid %d)", l.PID), Err: ErrServerRunning,
			Advice: "postgresql.control is none: stop the server, then run it again"}
	case managed(r.facts):
		me, _ := r.facts.Topology.Member(r.cfg.Name)
		return &Error{
			Op: fmt.Sprintf("bring %s back from %s (%s)", r.cfg.Name, r.report.Leader, r.report.Decision.Reason),
			Err: fmt.Errorf("%w (pid %d), which would have to be stopped: its member key in etcd is alive (state %q) and the cluster is not paused",
				ErrManaged, l.PID, me.State),
			Advice: "failback-hook --pause pauses the cluster for the time of the work; " +
				"or set postgresql.control to command, with commands that stop and start the manager",
		}
	}
	return nil
}

// managed tells whether a manager on this node is alive and does what it does:
// its member key hangs on a lease, which ends with it. One that has said that
// the server is stopped is on its own way out. In a paused cluster managers
// look on. In a plain layout a lease is a script's, which manages nothing.
func managed(f Facts) bool {
	me, ok := f.Topology.Member(f.Name)
	return ok && f.Topology.Layout != dcs.LayoutPlain && me.Lease != 0 && me.State != "stopped" && !f.Topology.Config.Paused
}
