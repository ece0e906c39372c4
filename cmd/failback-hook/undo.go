package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

const undoHelp = `failback-hook undo gives the data directory back as it was before a rewind: byte for byte,
and with it the WAL that only this node has. It asks neither etcd nor the leader.

It can be done after a run that was killed or that failed half way, and after one that has
ended, until a server has been started on what it made. It may be interrupted itself: the
same command goes on. Until it has ended no server can start here.

USAGE
  failback-hook undo [-D DIRECTORY] [-o text|json]

EXAMPLE
  sudo -u postgres failback-hook undo -D /var/lib/postgresql/15/main

The directory is that of -D, of PGDATA, or of the configuration file (--config).
`

// undo is the command of that name.
func (p *program) undo(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("undo: unexpected argument %q", c.Args().First())
	}
	conf, err := p.configuration(c)
	if err != nil {
		return err
	}
	row := settingsByKey()["postgresql.data_dir"]
	if row.empty(&conf.settings) {
		return usagef("postgresql.data_dir is not set: use --%s, %s or the configuration file", row.flag(), row.env())
	}
	done, err := hook.Undo(c.Context, conf.settings.PostgreSQL.DataDir)
	if err != nil {
		return err
	}
	if flagValue(c, "output") == outputJSON {
		printJSON(p.stdout, done)
		return nil
	}
	p.renderUndone(conf.settings.PostgreSQL.DataDir, done)
	return nil
}

func (p *program) renderUndone(dir string, done *rewind.Undone) {
	fmt.Fprintf(p.stdout, "%s is what it was before the rewind.\n", dir)
	fmt.Fprintf(p.stdout, "Files given back: %s; files removed that the rewind had made: %s; overwritten blocks put back: %s.\n",
		humanize.Comma(int64(done.Restored)), humanize.Comma(int64(done.Removed)), humanize.IBytes(uint64(done.ImageBytes)))
	for _, w := range done.Warnings {
		fmt.Fprintf(p.stdout, "Warning: %s.\n", w)
	}
}
