package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/failback-hook/failback-hook/dcs"
)

// statusFlags are the options of the command status.
func statusFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "again whenever something changes, until interrupted"},
	}
}

const statusHelp = `failback-hook status: how the cluster stands, and who is being rejoined

This prints what etcd holds: the members with their roles, timelines and positions, who
follows the leader and who has diverged by how much, which nodes are being rejoined and how
far they are, and who waits in the queue for that. It asks no server, changes nothing, needs
no data directory, and runs on any host that may read etcd.

USAGE
  failback-hook status [OPTIONS]

EXAMPLES
  failback-hook status --scope main --etcd-endpoints 10.0.0.1:2379,10.0.0.2:2379
  failback-hook status --watch                 (with scope and etcd in the configuration file)
  failback-hook status -o json | jq '.members[] | select(.standing == "diverged").name'

WHAT IS TOLD
  leads       holds the leader key
  streams     on the leader's timeline, and its manager says that it streams
  follows     on the leader's timeline; whether it streams is not told
  behind      on an older timeline of the leader's, not past its end
  diverged    has WAL that the leader does not have, so many bytes where that can be told
  unknown     what the managers have put into etcd does not tell

  All of it is what managers report every few seconds. A timeline's number proves nothing;
  failback-hook --dry-run on a node compares histories. A holder that tells of no progress
  for a minute is said to hang: it keeps its lock while its lease lives.
  With --watch and -o json each state is one line.
`

// status is the command of that name.
func (p *program) status(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("status: unexpected argument %q", c.Args().First())
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
	return p.withEtcd(ctx, conf, func(etcd *dcs.Client) error {
		if !c.Bool("watch") {
			s, err := etcd.Survey(ctx)
			if err != nil {
				return err
			}
			p.showStatus(statusOf(s, nil), flagValue(c, "output"), false)
			return nil
		}
		err := etcd.WatchSurvey(ctx, func(s dcs.Survey, trouble error) error {
			p.showStatus(statusOf(s, trouble), flagValue(c, "output"), true)
			return nil
		})
		if cause := context.Cause(ctx); errors.Is(err, cause) && cause != nil {
			return &hinted{err: fmt.Errorf("the watch has ended: %w", err), hint: "nothing was changed; this command only looks"}
		}
		return err
	})
}

// checkCluster is check for commands that only ask etcd: no name of a member and
// no data directory are needed.
func (c *configuration) checkCluster() error {
	if err := c.checkStore(); err != nil {
		return err
	}
	row := settingsByKey()["scope"]
	if row.empty(&c.settings) {
		return usagef("scope is not set: use --%s, %s or the configuration file", row.flag(), row.env())
	}
	cfg, err := c.settings.dcsConfig()
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usagef("etcd: %w", err)
	}
	return nil
}

// withEtcd opens etcd for as long as fn takes. No member is named: the member
// key of the host that this runs on, if it is one, need not be sound.
func (p *program) withEtcd(ctx context.Context, conf *configuration, fn func(*dcs.Client) error) (err error) {
	cfg, err := conf.settings.dcsConfig()
	if err != nil {
		return err
	}
	cfg.Member = ""
	etcd := &cluster{cfg: cfg}
	d, err := etcd.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.close()) }()
	return fn(d.Client)
}

// clusterStatus is what status prints; the JSON is for programs.
type clusterStatus struct {
	Scope    string         `json:"scope"`
	Revision int64          `json:"revision"`
	At       time.Time      `json:"at"`
	SystemID string         `json:"system_id,omitempty"`
	Leader   string         `json:"leader,omitempty"`
	Paused   bool           `json:"paused,omitempty"`
	Standby  bool           `json:"standby_cluster,omitempty"`
	Members  []memberStatus `json:"members"`
	AtWork   []dcs.Holder   `json:"at_work"`
	Queue    []dcs.Holder   `json:"queue"`
	// Problems are what could not be read, or cannot be now.
	Problems []string `json:"problems,omitempty"`
}

// memberStatus is one member.
type memberStatus struct {
	Name     string   `json:"name"`
	Role     dcs.Role `json:"role"`
	State    string   `json:"state,omitempty"`
	Host     string   `json:"host,omitempty"`
	Port     uint16   `json:"port,omitempty"`
	Timeline uint32   `json:"timeline,omitempty"`
	LSN      string   `json:"lsn,omitempty"`
	dcs.Stand
}

// statusOf makes of a survey what is shown.
func statusOf(s dcs.Survey, trouble error) clusterStatus {
	out := clusterStatus{
		Scope: s.Scope, Revision: s.Revision, At: time.Now().UTC().Truncate(time.Second), Paused: s.Config.Paused,
		Standby: s.Config.StandbyCluster, AtWork: s.AtWork, Queue: s.Queue, Members: []memberStatus{},
	}
	if s.SystemID != 0 {
		out.SystemID = s.SystemID.String()
	}
	if s.Leader != nil {
		out.Leader = s.Leader.Name
	}
	for i, m := range s.Members {
		row := memberStatus{Name: m.Name, Role: m.Role, State: m.State, Host: m.Host, Port: m.Port, Timeline: uint32(m.Timeline), Stand: s.Stands[i]}
		if m.LSN != 0 {
			row.LSN = m.LSN.String()
		}
		out.Members = append(out.Members, row)
	}
	for _, problem := range []string{s.HistoryProblem, s.OursProblem} {
		if problem != "" {
			out.Problems = append(out.Problems, problem)
		}
	}
	if trouble != nil {
		out.Problems = append(out.Problems, "this is no longer fresh: "+trouble.Error())
	}
	return out
}

// showStatus prints a state; one of many on a terminal in the place of the last.
func (p *program) showStatus(s clusterStatus, output string, watched bool) {
	_, onTerminal := terminal(p.stdout)
	switch {
	case output == outputJSON && watched:
		line, err := json.Marshal(s)
		if err != nil {
			printJSON(p.stdout, s)
			return
		}
		fmt.Fprintf(p.stdout, "%s\n", line)
	case output == outputJSON:
		printJSON(p.stdout, s)
	case watched && onTerminal:
		_, _ = io.WriteString(p.stdout, clearScreen)
		renderStatus(p.stdout, s)
	default:
		renderStatus(p.stdout, s)
		if watched {
			fmt.Fprintln(p.stdout)
		}
	}
}

// clearScreen goes to the upper left corner of a terminal and blanks it.
const clearScreen = "\x1b[H\x1b[2J"
