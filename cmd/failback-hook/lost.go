package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// lostFlags are the options of the command lost.
func lostFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "read this salvage directory, and ask nobody"},
		&cli.IntFlag{Name: "limit", Value: mostListed, Usage: "lines of each list in the text; 0: all"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "list the transactions as well"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
	}
}

const lostHelp = `failback-hook lost: what only this node has

After a failover the old primary holds WAL that the leader never received. This prints
what is in it: transactions with their times, rows by table, changes of the schema,
sequences. It changes nothing, neither here nor on the leader nor in etcd; the server
may be running, stopped, killed, or in the middle of a rewind that was interrupted.

USAGE
  failback-hook lost [OPTIONS]                 compare with the leader that etcd names
  failback-hook lost -D DIR --source-conninfo 'host=… …'
                                               compare with this server; etcd is not asked
  failback-hook lost --from DIR                read the WAL of a branch that was given up

EXAMPLES
  Before a rejoin: is anything lost that somebody will miss?
    sudo -u postgres failback-hook lost
  Every transaction, and every table:
    sudo -u postgres failback-hook lost --verbose --limit 0
  For a program, the relations with lost rows:
    failback-hook lost -o json | jq '.lost.relations[] | select(.inserted > 0)'
  After it, from the salvage directory (SALVAGE_DIR/SYSTEM_ID/TIMELINE-FORK):
    failback-hook lost --from /var/lib/failback/7382910465/1-0000000003000060

WHAT IS COUNTED
  Rows are those of committed transactions, also what they had written before the fork if
  they ended behind it. Rows that were rolled back, or whose transaction was prepared or
  open at the end, are in a column of their own. TRUNCATE and rewrites of a table move no
  rows in the WAL: they are listed as changes of the schema. A sequence's value may be up
  to 32 ahead of what was given out. A rolled back savepoint counts as a transaction.
  Names are the leader's where it knows them for certain, else those in the WAL; what
  neither tells is shown by its file.
`

// lostTemplate is the help text of the command.
func lostTemplate() string {
	return strings.NewReplacer("{{", "{{`{{`}}").Replace(lostHelp + "\nOPTIONS\n" + flagHelp(slices.Concat(lostFlags(), outputFlags())) +
		"  Settings, as in failback-hook --help: --scope, --name, --data-dir, --source-conninfo, …\n")
}

// lost is the command.
func (p *program) lost(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("lost: unexpected argument %q; a salvage directory is named by --from", c.Args().First())
	}
	if c.Int("limit") < 0 {
		return usagef("--limit: %d is negative", c.Int("limit"))
	}
	r, err := p.lookForLost(c)
	if err != nil {
		return err
	}
	if flagValue(c, "output") == outputJSON {
		printJSON(p.stdout, r)
		return nil
	}
	renderLost(p.stdout, r, lostView{limit: c.Int("limit"), transactions: c.Bool("verbose")})
	return nil
}

// lookForLost chooses whom to ask by what was given.
func (p *program) lookForLost(c *cli.Context) (_ *hook.LostReport, err error) {
	if c.IsSet("from") {
		if c.String("from") == "" {
			return nil, usagef("--from: the name of a salvage directory is empty")
		}
		return hook.LostSalvaged(c.Context, c.String("from"))
	}
	conf, err := p.configuration(c)
	if err != nil {
		return nil, err
	}
	against, err := conf.namedServer()
	if err != nil {
		return nil, err
	}
	if against == "" {
		if err := conf.check(); err != nil {
			return nil, err
		}
	}
	if conf.origin["log.level"] == "default" {
		conf.settings.Log.Level = "warn" // it is the answer that was asked for
	}
	return p.askForLost(c, conf, against)
}

func (p *program) askForLost(c *cli.Context, conf *configuration, against string) (r *hook.LostReport, err error) {
	ctx := c.Context
	if t := conf.settings.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, errTimeout)
		defer cancel()
	}
	log := p.logger(conf)
	shown := p.newProgress(c.Bool("quiet"), log)
	defer shown.close()
	req := connectRequest{settings: &conf.settings, version: buildVersion().Version, log: log, onEvent: shown.event, onStep: shown.step}
	if against != "" {
		r, err = newHook(req).LostAgainst(ctx, against)
	} else {
		r, err = p.lostOfCluster(ctx, req)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return r, err
}

// lostOfCluster asks etcd for the leader first.
func (p *program) lostOfCluster(ctx context.Context, req connectRequest) (_ *hook.LostReport, err error) {
	r, closer, err := p.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer()) }()
	return r.Lost(ctx)
}

// namedServer is the server to compare with, where source.conninfo names a host
// and nothing says of which cluster etcd is to be asked, or Patroni keeps the
// cluster in another store; else empty.
func (c *configuration) namedServer() (string, error) {
	s := &c.settings
	if s.Scope != "" && c.refused == nil || s.Source.Conninfo == "" {
		return "", nil
	}
	ci, err := pg.ParseConninfo(s.Source.Conninfo)
	if err != nil {
		return "", usagef("source.conninfo (%s): %w", c.origin["source.conninfo"], err)
	}
	host, _ := ci.Get("host")
	addr, _ := ci.Get("hostaddr")
	if host == "" && addr == "" {
		return "", nil
	}
	if err := source.CheckConninfo(s.Source.Conninfo); err != nil {
		return "", usagef("source.conninfo (%s): %w", c.origin["source.conninfo"], err)
	}
	if s.PostgreSQL.DataDir == "" {
		return "", usagef("postgresql.data_dir is not set: use --data-dir, PGDATA or the configuration file")
	}
	for key, def := range map[string]string{"dbname": hook.DefaultDatabase, "connect_timeout": "5"} {
		if _, ok := ci.Get(key); !ok {
			ci.Set(key, def)
		}
	}
	return ci.String(), nil
}
