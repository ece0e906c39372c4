package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// rewindDoor is the door that takes the place of PostgreSQL's pg_rewind: its
// command line, its messages, its exit codes, over our engine. It is open when
// the program is called as pg_rewind, or as "failback-hook rewind".
type rewindDoor struct {
	// self is argv[0]; called is how a user would call us.
	self, called   string
	args           []string
	env            map[string]string
	uid            int
	stdout, stderr io.Writer
}

// rewindCalled tells whether argv asks for this door, and makes it.
func rewindCalled(argv []string, stdout, stderr io.Writer) (*rewindDoor, bool) {
	d := &rewindDoor{env: environment(os.Environ()), uid: os.Geteuid(), stdout: stdout, stderr: stderr}
	switch {
	case len(argv) > 0 && filepath.Base(argv[0]) == "pg_rewind":
		d.self, d.called, d.args = argv[0], "pg_rewind", argv[1:]
	case len(argv) > 1 && argv[1] == "rewind":
		d.self, d.called, d.args = argv[0], "failback-hook rewind", argv[2:]
	default:
		return nil, false
	}
	return d, true
}

// run does what the arguments say; every failure is exit code 1.
func (d *rewindDoor) run(ctx context.Context) int {
	if len(d.args) > 0 {
		switch d.args[0] {
		case "--help", "-?":
			fmt.Fprintf(d.stdout, rewindHelp, d.called, d.called)
			return 0
		case "--version", "-V":
			fmt.Fprintf(d.stdout, "pg_rewind (failback-hook) %s\n", buildVersion().Version)
			return 0
		}
	}
	m := &rewindMessages{w: d.stderr}
	_, m.terminal = terminal(d.stderr)
	o, err := parseRewindOptions(d.args)
	if err != nil {
		d.usage(m, err)
		return 1
	}
	m.debug, m.progress = o.debug, o.progress
	if d.uid == 0 {
		m.info(`error: cannot be executed by "root"`)
		m.info("hint: You must run pg_rewind as the PostgreSQL superuser.")
		return 1
	}
	needed, err := d.rewind(ctx, o, m)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		m.fail(err, o)
		return 1
	}
	if needed {
		m.info("Done!")
	}
	return 0
}

func (d *rewindDoor) usage(m *rewindMessages, err error) {
	var g *getoptError
	switch {
	case errors.As(err, new(*valueError)):
		m.info("error: %s", err)
		return
	case !errors.As(err, &g):
		m.info("error: %s", err)
	case g.err != nil:
		m.info("%s", g)
	}
	m.info("hint: Try \"%s --help\" for more information.", d.called)
}

// rewind does the work; needed is false where pg_rewind calls none required.
func (d *rewindDoor) rewind(ctx context.Context, o rewindOptions, m *rewindMessages) (needed bool, err error) {
	e := rewind.Engine{PGData: o.target, Options: rewind.Options{
		Mirror: true, NoSync: o.noSync, NoUndo: o.noUndo, SyncMethod: rewind.SyncMethod(o.syncMethod), OnEvent: m.event,
	}}
	if err := checkTarget(o.target); err != nil {
		return false, err
	}
	if o.dryRun { // it reads, and takes no lock
		return d.rewindFrom(ctx, o, m, &e)
	}
	err = d.locked(ctx, m, &e, func(ctx context.Context) (err error) {
		needed, err = d.rewindFrom(ctx, o, m, &e)
		return err
	})
	return needed, err
}

// rewindFrom opens the source, plans and applies.
func (d *rewindDoor) rewindFrom(ctx context.Context, o rewindOptions, m *rewindMessages, e *rewind.Engine) (needed bool, err error) {
	if o.restoreWAL {
		if e.Options.RestoreCommand, err = d.restoreCommand(ctx, o); err != nil {
			return false, err
		}
	}
	if e.Source, err = openRewindSource(ctx, o); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, e.Source.Close()) }()
	if o.sourceServer != "" && o.progress {
		m.info("connected to server")
	}
	p, err := e.Plan(ctx)
	if err != nil {
		return false, err
	}
	if o.noEnsureShutdown && p.Target.State != "shut down" && p.Target.State != "shut down in recovery" {
		return false, fmt.Errorf("check the target (its state is %q): %w", p.Target.State, errNotCleanTarget)
	}
	m.plan(p)
	needed = p.Strategy != rewind.StrategyNone
	if o.dryRun {
		return needed, nil
	}
	if o.writeConf {
		conninfo, err := standbyConninfo(o.sourceServer, d.env, int(p.Major))
		if err != nil {
			return needed, err
		}
		e.Options.Standby = &rewind.Standby{Conninfo: conninfo, ConninfoOnly: true}
	}
	if _, err = e.Apply(ctx, p); err != nil {
		d.giveBack(ctx, e, m)
	}
	return needed, err
}

// checkTarget looks for the directory before the source is troubled, as
// pg_rewind does.
func checkTarget(dir string) error {
	_, err := os.Stat(dir)
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		return fmt.Errorf("could not read permissions of directory %q: %w", dir, err)
	}
	return nil
}

// giveBack makes the target what it was before: who calls pg_rewind starts what
// it finds after an error. The error itself is printed last.
func (d *rewindDoor) giveBack(ctx context.Context, e *rewind.Engine, m *rewindMessages) {
	switch _, err := e.Undo(context.WithoutCancel(ctx)); {
	case err == nil:
		m.info("the target data directory was given back as it was before")
	case errors.Is(err, rewind.ErrNoUndo): // nothing was changed yet, or --no-undo
		if _, begun, err := rewind.ReadInterrupted(e.PGData); begun || err != nil {
			m.info("no server can start on the target data directory until the same command has finished the work")
		}
	default:
		m.info("warning: the target data directory could not be given back: %v", err)
		m.info("no server can start on it; failback-hook undo tries again, the same command finishes the work")
	}
}

// openRewindSource opens the server or the directory, with everything in it.
func openRewindSource(ctx context.Context, o rewindOptions) (rewind.Source, error) {
	if o.sourceServer != "" {
		return source.OpenSQL(ctx, source.SQLConfig{Conninfo: o.sourceServer, ApplicationName: "pg_rewind", ForeignDirs: true})
	}
	dir, err := source.OpenDir(o.sourceDir)
	if errors.Is(err, rewind.ErrTargetRunning) { // of the function's own target, our source
		return nil, fmt.Errorf("%w: %w", errSourceRunning, err)
	}
	if err != nil {
		return nil, err
	}
	dir.ForeignDirs = true
	return dir, nil
}
