package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
)

// mostPast is how many rejoins are shown where nothing else is said.
const mostPast = 20

// historyFlags are the options of the command history.
func historyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Value: mostPast, Usage: "how many, the newest first; 0: all"},
		&cli.BoolFlag{Name: "local", Usage: "only what this node has written down; etcd is not asked"},
	}
}

const historyHelp = `failback-hook history: past rejoins of the cluster's nodes

Each run that did something to a node leaves a record, however it ended: in etcd, below
etcd.lock_prefix, and on the node, below state_dir. The last 100 of a cluster are kept in
each. A node that was found in order leaves none.

USAGE
  failback-hook history [OPTIONS]

EXAMPLES
  failback-hook history --scope main
  failback-hook history --local                (on the node; where etcd is down, or was lost)
  failback-hook history -o json | jq '.rejoins[] | select(.outcome == "failed")'
`

// pastRejoins is what history prints.
type pastRejoins struct {
	Scope    string           `json:"scope"`
	Rejoins  []dcs.PastRejoin `json:"rejoins"`
	Problems []string         `json:"problems,omitempty"`
}

// history is the command of that name. What one of the two places has is shown
// also when the other one cannot be read; it is an error when neither can.
func (p *program) history(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("history: unexpected argument %q", c.Args().First())
	}
	limit := c.Int("limit")
	if limit < 0 {
		return usagef("--limit: %d is negative", limit)
	}
	conf, err := p.configuration(c)
	if err != nil {
		return err
	}
	if err := conf.checkCluster(); err != nil {
		return err
	}
	ctx, cancel := conf.limited(c.Context)
	defer cancel()
	out := pastRejoins{Scope: conf.settings.Scope, Rejoins: []dcs.PastRejoin{}}
	note := func(list []dcs.PastRejoin, err error) {
		out.Rejoins = append(out.Rejoins, list...)
		if err != nil {
			out.Problems = append(out.Problems, err.Error())
		}
	}
	note(p.pastHere(&conf.settings, limit))
	if !c.Bool("local") {
		list, err := p.pastInEtcd(ctx, conf, limit)
		if err != nil && len(list)+len(out.Rejoins) == 0 {
			return err
		}
		note(list, err)
	}
	out.Rejoins = newestFirst(out.Rejoins, limit)
	if flagValue(c, "output") == outputJSON {
		printJSON(p.stdout, out)
		return nil
	}
	renderHistory(p.stdout, out)
	return nil
}

func (p *program) pastInEtcd(ctx context.Context, conf *configuration, limit int) (list []dcs.PastRejoin, err error) {
	err = p.withEtcd(ctx, conf, func(etcd *dcs.Client) error {
		list, err = etcd.Past(ctx, limit)
		return err
	})
	return list, err
}

// pastHere are the records of this node. A directory that is not there, or that
// belongs to the user who runs the rejoins, holds none for us.
func (p *program) pastHere(s *settings, limit int) ([]dcs.PastRejoin, error) {
	dir := s.StateDir
	switch dir {
	case salvageOff:
		return nil, nil
	case salvageAuto:
		var err error
		if dir, err = stateDir(p.env, os.Getuid()); err != nil {
			return nil, nil
		}
	}
	list, err := hook.PastHere{Dir: dir}.List(s.Scope, limit)
	if errors.Is(err, os.ErrPermission) && s.StateDir == salvageAuto {
		return list, nil
	}
	return list, err
}

// recordsDir is where state_dir leads; empty for nowhere.
func (p *program) recordsDir(s *settings, log *zap.Logger) string {
	if s.StateDir != salvageAuto {
		return s.recordsDir()
	}
	dir, err := stateDir(p.env, os.Getuid())
	if err != nil {
		log.Debug("no record of this rejoin will be kept on this node", zap.Error(err))
		return ""
	}
	return dir
}

// recordsDir is the directory that is named; empty where none is.
func (s *settings) recordsDir() string {
	if s.StateDir == salvageAuto || s.StateDir == salvageOff {
		return ""
	}
	return s.StateDir
}

// newestFirst sorts, and drops what is known from both places.
func newestFirst(list []dcs.PastRejoin, limit int) []dcs.PastRejoin {
	slices.SortStableFunc(list, func(a, b dcs.PastRejoin) int { return cmp.Compare(b.ID(), a.ID()) })
	list = slices.CompactFunc(list, func(a, b dcs.PastRejoin) bool { return a.ID() == b.ID() })
	if limit > 0 {
		list = list[:min(len(list), limit)]
	}
	return list
}

// renderHistory prints past rejoins for people.
func renderHistory(w io.Writer, past pastRejoins) {
	p := page{w}
	if len(past.Rejoins) == 0 {
		p.line("No rejoin of %s is on record.", printable(past.Scope))
	}
	rows := [][]string{}
	for _, r := range past.Rejoins {
		rows = append(rows, []string{
			r.Started.UTC().Format(time.DateTime), r.Member + " from " + orDash(r.Leader), r.Outcome,
			rounded(max(r.Finished.Sub(r.Started), 0)), pastDetails(r),
		})
	}
	if len(rows) > 0 {
		renderColumns(w, append([][]string{{"STARTED (UTC)", "NODE", "OUTCOME", "TOOK", "DETAILS"}}, rows...))
	}
	p.list("Problems:", past.Problems)
}

// pastDetails is why a failed one failed, and else how it was done and what was lost.
func pastDetails(r dcs.PastRejoin) string {
	if r.Error != "" {
		return r.Error
	}
	text := fmt.Sprintf("%s, fetched %s", orDash(r.Strategy), humanize.IBytes(uint64(r.FetchedBytes)))
	if r.LostBytes > 0 {
		text += fmt.Sprintf("; lost %s of WAL with %s commits", humanize.IBytes(uint64(r.LostBytes)), humanize.Comma(r.LostCommits))
	}
	if r.Salvaged != "" {
		text += "; salvaged in " + r.Salvaged
	}
	return text
}
