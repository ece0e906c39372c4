package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
)

// callbackEvents are the events a cluster manager calls with.
func callbackEvents() []string {
	return []string{"on_role_change", "on_start", "on_stop", "on_restart", "on_reload"}
}

// event is the three arguments with which Patroni ends a callback's command line.
type event struct{ name, role, scope string }

// String is the arguments as they were given.
func (e event) String() string { return e.name + " " + e.role + " " + e.scope }

// parseCallback tells a callback's arguments from none at all; everything else
// is an error.
func parseCallback(args []string) (event, bool, error) {
	if len(args) == 0 {
		return event{}, false, nil
	}
	at := slices.IndexFunc(args, func(a string) bool { return slices.Contains(callbackEvents(), a) })
	switch {
	case at == 0 && len(args) == 3:
		return event{args[0], args[1], args[2]}, true, nil
	case at == 0:
		return event{}, false, usagef("%s: want EVENT ROLE SCOPE as the last three arguments, got %d: %s",
			args[0], len(args), strings.Join(args, " "))
	case at > 0:
		return event{}, false, usagef("unexpected argument %q before the callback's EVENT ROLE SCOPE", args[0])
	}
	suggestion := didYouMean(args[0], append(callbackEvents(), "config", "version", "help"))
	if option := "--" + args[0]; slices.Contains(optionNames(), option) {
		suggestion = "; did you mean " + option + "?"
	}
	return event{}, false, &hinted{
		err:  usagef("unknown command: %s%s", args[0], suggestion),
		hint: "without a command this node is rejoined; failback-hook --help lists commands and options",
	}
}

// idle says why an event is nothing to act on; empty when it is. What the
// node really is will be read from etcd and the data directory: an ex-primary
// that crashed comes back with on_start alone, so both events count.
func (e event) idle() string {
	switch e.name {
	case "on_stop", "on_restart", "on_reload":
		return "nothing is done at this event"
	}
	switch e.role {
	case "master", "primary", "promoted":
		return "this node is the primary: there is nothing to bring back"
	case "standby_leader":
		return "this node leads a standby cluster: there is nothing to bring back"
	}
	return ""
}

// callback answers a manager's callback. It must return at once: Patroni kills
// a callback, and all of its descendants, when the next event comes.
func (p *program) callback(c *cli.Context, conf *configuration, e event) (*hook.Report, error) {
	log := p.logger(conf)
	if reason := e.idle(); reason != "" {
		log.Info(reason, zap.String("event", e.name), zap.String("role", e.role), zap.String("scope", e.scope))
		return nil, nil
	}
	if err := conf.takeScope(e.scope); err != nil {
		return nil, err
	}
	if err := conf.check(); err != nil {
		return nil, err
	}
	if p.stage == stageWorker {
		return p.serve(c, conf, e, inheritedDoor())
	}
	d, err := openDoor(p.env, &conf.settings)
	if err != nil {
		return nil, err
	}
	defer d.close()
	switch err := d.enter(); {
	case errors.Is(err, hook.ErrInProgress):
		log.Info("a rejoin of this node is at work already; it was told of this event",
			zap.Stringer("event", e), zap.Int("pid", d.holder()), zap.String("log", d.logFile))
		return nil, nil
	case err != nil:
		return nil, err
	}
	if c.Bool("foreground") {
		return p.serve(c, conf, e, d)
	}
	pid, err := p.detach(d)
	if err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	log.Info("handed over to a worker", zap.Stringer("event", e), zap.Int("pid", pid), zap.String("log", d.logFile))
	return nil, nil
}

// takeScope takes the callback's scope for the one that is not configured, and
// refuses another one than is configured.
func (c *configuration) takeScope(scope string) error {
	const key = "scope"
	cluster, group, isGroup := strings.Cut(c.settings.Scope, "/")
	switch {
	case c.settings.Scope == scope:
	case isGroup && cluster == scope && strings.Trim(group, "0123456789") == "":
		// Patroni's callbacks do not name the group of a Citus cluster.
	case c.settings.Scope == "":
		c.settings.Scope, c.origin[key] = scope, "callback"
	default:
		return usagef("the callback is for cluster %q, but scope is %q (%s)", scope, c.settings.Scope, c.origin[key])
	}
	return nil
}

// serve does a callback's work: it tries until it is done, while what stands
// against it may pass by itself, because nobody calls a second time. An event
// that comes meanwhile is answered by one more try, as what has been decided
// may be older than it.
func (p *program) serve(c *cli.Context, conf *configuration, e event, d *door) (*hook.Report, error) {
	if err := d.sign(); err != nil {
		return nil, err
	}
	log := p.logger(conf)
	log.Info("working for a callback", zap.Stringer("event", e))
	for {
		seen := d.knocks()
		report, err := p.retry(c, conf, log)
		if c.Context.Err() != nil || d.knocks() == seen {
			logEnd(c.Context, log, report, err)
			return report, err
		}
		log.Info("another event came meanwhile: looking again", zap.Error(err))
	}
}

// logEnd gives the log a last line with a time; report and error have none.
func logEnd(ctx context.Context, log *zap.Logger, report *hook.Report, err error) {
	switch {
	case err != nil:
		row := exitFor(ctx, err)
		log.Error("not done", zap.Error(err), zap.Int("exit_code", row.code), zap.String("exit_name", row.name),
			zap.String("hint", hintFor(err, row)))
	case report != nil:
		log.Info("done", zap.String("outcome", string(report.Outcome)), zap.String("leader", report.Leader))
	}
}

// retry runs the work again, at growing distances, until it is done, until
// what stands against it will not pass by itself, or until callback.wait is over.
func (p *program) retry(c *cli.Context, conf *configuration, log *zap.Logger) (*hook.Report, error) {
	const longest = 15 * time.Second
	end := time.Now().Add(conf.settings.Callback.Wait)
	ctx, cancel := conf.limited(c.Context)
	defer cancel()
	for pause := p.firstPause; ; pause = min(2*pause, longest) {
		report, err := p.work(ctx, c, conf, log, nil)
		switch {
		case err == nil:
			return report, nil
		case ownLock(err, conf.settings.Name):
			log.Info("this node's rejoin is at work already", zap.Error(err))
			return nil, nil
		case !exitFor(ctx, err).retry || time.Now().Add(pause).After(end):
			return report, err
		}
		log.Warn("not yet: will try again", zap.Error(err), zap.Duration("in", pause))
		if err := wait(ctx, pause); err != nil {
			return report, err
		}
	}
}

// ownLock tells whether the lock is held under our own member name: by
// somebody who does our work, so that there is nothing to wait for.
func ownLock(err error, name string) bool {
	var locked *dcs.LockedError
	return errors.As(err, &locked) && locked.Owner.Member == name
}

// wait lets time pass; the cause of the context when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
