package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
)

// root is the command without a name: rejoin now, show the plan, or answer a
// callback. The report is of use to the caller also when there is an error.
func (p *program) root(c *cli.Context) (*hook.Report, error) {
	if c.Bool("version") {
		return nil, p.version(c)
	}
	event, isCallback, err := parseCallback(c.Args().Slice())
	if err != nil {
		return nil, err
	}
	conf, err := p.configuration(c)
	if err != nil {
		return nil, err
	}
	if isCallback {
		if c.Bool("dry-run") {
			return nil, usagef("--dry-run and a callback's arguments (%s) do not go together", event)
		}
		if c.Bool("pause") {
			return nil, usagef("--pause and a callback's arguments (%s) do not go together: nobody would know why the cluster is paused", event)
		}
		return p.callback(c, conf, event)
	}
	if c.Bool("foreground") {
		return nil, usagef("--foreground is for callbacks: give EVENT ROLE SCOPE as the last three arguments")
	}
	if _, terminal := p.stderr.(*console); terminal && conf.origin["log.level"] == "default" {
		conf.settings.Log.Level = "warn" // the bar and the report tell the rest
	}
	log := p.logger(conf)
	if err := conf.check(); err != nil {
		return nil, err
	}
	ctx, cancel := conf.limited(c.Context)
	defer cancel()
	return p.work(ctx, c, conf, log, nil)
}

// limited gives the whole run its time: connecting, waiting and all attempts.
func (c *configuration) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.settings.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, c.settings.Timeout, errTimeout)
}

// configuration reads all sources for a command.
func (p *program) configuration(c *cli.Context) (*configuration, error) {
	return load(sources{
		flags:       givenFlags(c),
		env:         p.env,
		file:        cmp.Or(flagValue(c, "config"), p.env[envPrefix+"CONFIG"]),
		defaultFile: p.defaultFile,
	})
}

// work is one run: connect, do it, print what came of it. without is nil where there
// is an etcd.
func (p *program) work(ctx context.Context, c *cli.Context, conf *configuration, log *zap.Logger, without *toldCluster) (_ *hook.Report, err error) {
	defer func() {
		// Errors of the drivers say "context canceled"; the reason is the cause.
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}()
	shown := p.newProgress(c.Bool("quiet"), log)
	defer shown.close()
	dry := c.Bool("dry-run")
	salvageDir, records := "", ""
	if !dry {
		salvageDir, records = p.salvageDir(&conf.settings, log), p.recordsDir(&conf.settings, log)
	}
	r, closer, err := p.connect(ctx, connectRequest{
		salvageDir: salvageDir, stateDir: records,
		settings: &conf.settings, version: buildVersion().Version, log: log, patient: !dry && conf.settings.Wait > 0,
		pause: !dry && c.Bool("pause"), handover: c.Command.Name == replicaCommand, without: without,
		onEvent: shown.event, onStep: shown.step, onWait: shown.wait,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer()) }()
	do := r.Rejoin
	if dry {
		do = r.DryRun
	}
	report, err := do(ctx)
	shown.close()
	if err != nil {
		// Without a plan the error has said it all.
		if report != nil && report.Plan != nil && flagValue(c, "output") == outputText {
			renderReport(p.stdout, report)
		}
		return report, err
	}
	p.printReport(report, flagValue(c, "output"))
	return report, nil
}

func (p *program) printReport(r *hook.Report, output string) {
	switch {
	case output == outputJSON:
		printJSON(p.stdout, r)
	case r.Outcome == hook.OutcomePlanned:
		renderPlan(p.stdout, r)
	default:
		renderReport(p.stdout, r)
	}
}
