package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// inVain says why a rejoin would be of no use to a standby that runs and does not
// stream; empty where it would, or where there is nothing of the kind any more. To
// restart such a server would only make it replay again what it has replayed, and
// hide from people what is really in the way.
func (r *run) inVain(ctx context.Context) (string, error) {
	d, err := r.look(ctx)
	if err != nil {
		return "", err
	}
	if l := r.facts.Local; d.Verb != VerbRejoin || !l.Running || !l.StandbySignal || l.Interrupted {
		return "", nil
	}
	if err := r.planOnly(ctx); err != nil {
		return "", err
	}
	p := r.report.Plan
	if p.Strategy != rewind.StrategyNone || len(p.WAL.SetAside) > 0 || p.WAL.Trim != nil {
		return "", nil
	}
	follows, err := r.followsLeader(ctx)
	if err != nil || !follows {
		return "", err
	}
	return fmt.Sprintf("the server has not diverged, its primary_conninfo leads to %s, and it does not stream: "+
		"a rejoin would change nothing; the logs of both servers say what is in the way", d.followed().Name), nil
}

// followsLeader tells whether the server's primary_conninfo has the leader's address.
func (r *run) followsLeader(ctx context.Context) (bool, error) {
	value, err := serverSetting(ctx, r.cfg, r.facts.Local.Major, "primary_conninfo")
	if err != nil {
		return false, err
	}
	has, err := pg.ParseConninfo(value)
	if err != nil {
		return false, errors.New("primary_conninfo cannot be read") // it may hold a password
	}
	want, err := r.cfg.primaryConninfo(r.report.Decision.followed())
	if err != nil {
		return false, err
	}
	return address(has) == address(want), nil
}

// address is host and port, as written.
func address(ci pg.Conninfo) string {
	host, _ := ci.Get("host")
	port, ok := ci.Get("port")
	if !ok || port == "" {
		port = defaultPort
	}
	return host + " " + port
}

// defaultPort is libpq's.
const defaultPort = "5432"
