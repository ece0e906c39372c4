package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// program is the outside world as one value, so that tests can give another.
type program struct {
	args []string
	env  map[string]string
	// stderr is a *console when it is a terminal.
	stdout, stderr io.Writer
	// connect makes what does the work; tests give a fake.
	connect func(context.Context, connectRequest) (rejoiner, func() error, error)
	// defaultFile is the configuration file that is read when it exists.
	defaultFile string
	// stage of a detached callback; empty in every other process.
	stage string
	// takeHangup has SIGHUP reload the configuration, until the function that it
	// returns is called; nil where there are no signals.
	takeHangup func(reload func()) (release func())
	// firstPause is the pause after a callback's first try that came too early.
	firstPause time.Duration
	// ignored are options that Patroni passes to a replica method, connstring is how
	// it says to reach a server with the data.
	ignored    []string
	connstring string
}

// rejoiner is what the commands need of *hook.Hook.
type rejoiner interface {
	Rejoin(context.Context) (*hook.Report, error)
	DryRun(context.Context) (*hook.Report, error)
	Lost(context.Context) (*hook.LostReport, error)
}

// connectRequest is what a rejoiner is made from.
type connectRequest struct {
	settings *settings
	version  string
	log      *zap.Logger
	// patient: an etcd that does not answer is no reason to fail.
	patient bool
	// handover: Patroni waits, and starts the server.
	handover bool
	// pause the cluster for the time of the work.
	pause bool
	// without stands in for an etcd that there is not; nil where there is one.
	without *toldCluster
	onEvent func(rewind.Event)
	onStep  func(string)
	onWait  func(hook.Waiting)
	// salvageDir is where salvage.dir leads, stateDir where state_dir does; empty
	// for nowhere.
	salvageDir, stateDir string
}

// replicaCommand is the name of that command.
const replicaCommand = "create-replica"

// Values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// run does what the arguments say and gives the exit code.
func (p *program) run(ctx context.Context) int {
	output := outputText
	var report *hook.Report
	app := p.app(&output, &report)
	args := p.args
	if at := slices.Index(args, replicaCommand); at > 0 {
		var known []string
		known, p.ignored = replicaArgs(args[at+1:])
		p.connstring = connstringOf(args[at+1:])
		args = slices.Concat(args[:at+1], known)
	}
	err := app.RunContext(ctx, args)
	row := exitFor(ctx, err)
	if err != nil {
		p.printError(err, row, report, output)
	}
	return row.code
}

// app is the command line. The commands leave the chosen output format and
// the report of a failed run where run finds them.
func (p *program) app(output *string, report **hook.Report) *cli.App {
	started := func(c *cli.Context) error {
		*output = flagValue(c, "output")
		if *output != outputText && *output != outputJSON {
			bad := *output
			*output = outputText
			return usagef("--output: %q is neither text nor json", bad)
		}
		return nil
	}
	usage := func(c *cli.Context, err error, _ bool) error {
		// Options that follow the bad one have not been read.
		if slices.Contains(p.args, "--output=json") || followed(p.args, outputJSON, "--output", "-o") {
			*output = outputJSON
		}
		return &hinted{err: &inputError{err: unknownOption(err)}, hint: "failback-hook --help lists the options"}
	}
	action := func(f func(*cli.Context) error) cli.ActionFunc {
		return func(c *cli.Context) error {
			if err := started(c); err != nil {
				return err
			}
			return f(c)
		}
	}
	return &cli.App{
		Name:                  "failback-hook",
		Usage:                 "bring an old PostgreSQL primary back after a failover",
		CustomAppHelpTemplate: helpTemplate(),
		HideVersion:           true,
		Writer:                p.stdout,
		ErrWriter:             p.stderr,
		ExitErrHandler:        func(*cli.Context, error) {}, // run reports, main exits
		OnUsageError:          usage,
		Flags:                 slices.Concat(runFlags(), outputFlags(), settingFlags()),
		Action: action(func(c *cli.Context) error {
			r, err := p.root(c)
			if err != nil {
				*report = r
			}
			return err
		}),
		Commands: p.commands(usage, action, report),
	}
}

// commands are all but the one without a name.
func (p *program) commands(usage cli.OnUsageErrorFunc, action func(func(*cli.Context) error) cli.ActionFunc, report **hook.Report) []*cli.Command {
	return []*cli.Command{
		{
			Name:         "config",
			Usage:        "see the configuration",
			OnUsageError: usage,
			Action:       unknownSubcommand,
			Subcommands: []*cli.Command{{
				Name:         "show",
				Usage:        "print every value and where it comes from; secrets masked",
				Flags:        slices.Concat(outputFlags(), settingFlags()),
				OnUsageError: usage,
				Action:       action(p.configShow),
			}},
		},
		{
			Name:               "lost",
			Usage:              "print what only this node has",
			CustomHelpTemplate: lostTemplate(),
			Flags:              slices.Concat(lostFlags(), outputFlags(), settingFlags()),
			OnUsageError:       usage,
			Action:             action(p.lost),
		},
		{
			Name:               "undo",
			Usage:              "give the data directory back as it was before the rewind",
			CustomHelpTemplate: literal(undoHelp),
			Flags:              slices.Concat(outputFlags(), settingFlags()),
			OnUsageError:       usage,
			Action:             action(p.undo),
		},
		{
			Name:               "agent",
			Usage:              "watch over this node and rejoin it when that is needed",
			CustomHelpTemplate: agentTemplate(),
			Flags:              slices.Concat(agentFlags(), settingFlags()),
			OnUsageError:       usage,
			Action:             action(p.agent),
		},
		{
			Name:               replicaCommand,
			Usage:              "rewind for Patroni, as one of its replica methods",
			CustomHelpTemplate: literal(replicaHelp),
			Flags:              slices.Concat(outputFlags(), settingFlags(), []cli.Flag{&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}}}),
			OnUsageError:       usage,
			Action: action(func(c *cli.Context) error {
				r, err := p.createReplica(c)
				if err != nil {
					*report = r
				}
				return err
			}),
		},
		{
			Name:               "status",
			Usage:              "print how the cluster stands, and who is being rejoined",
			CustomHelpTemplate: commandHelp(statusHelp, statusFlags(), outputFlags()),
			Flags:              slices.Concat(statusFlags(), outputFlags(), settingFlags()),
			OnUsageError:       usage,
			Action:             action(p.status),
		},
		{
			Name:               "history",
			Usage:              "print past rejoins",
			CustomHelpTemplate: commandHelp(historyHelp, historyFlags(), outputFlags()),
			Flags:              slices.Concat(historyFlags(), outputFlags(), settingFlags()),
			OnUsageError:       usage,
			Action:             action(p.history),
		},
		{
			Name:         "version",
			Usage:        "print the version",
			Flags:        outputFlags(),
			OnUsageError: usage,
			Action:       action(p.version),
		},
	}
}

// unknownOption words package flag's complaint as this program's options are
// written, with a suggestion.
func unknownOption(err error) error {
	name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return err
	}
	return fmt.Errorf("unknown option --%s%s", strings.TrimLeft(name, "-"), didYouMean("--"+strings.TrimLeft(name, "-"), optionNames()))
}

// optionNames are all long options, with their dashes.
func optionNames() []string {
	var names []string
	for _, f := range slices.Concat(runFlags(), lostFlags(), statusFlags(), outputFlags(), settingFlags()) {
		names = append(names, "--"+f.Names()[0])
	}
	return names
}

func unknownSubcommand(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("unknown command: config %s", c.Args().First())
	}
	return usagef("config: give a command: show")
}

// followed tells whether one of the names is followed by value.
func followed(args []string, value string, names ...string) bool {
	for i, a := range args[:max(len(args)-1, 0)] {
		if slices.Contains(names, a) && args[i+1] == value {
			return true
		}
	}
	return false
}
