package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
)

const agentHelp = `failback-hook agent watches over this node and rejoins it by itself

It runs beside any cluster manager, or none: it watches the leader key in etcd and the
server here, and rejoins this node when it was demoted, when it crashed and the cluster
went on, or when it is stuck on a timeline that is dead. It never touches a leader, nor a
standby that was shut down in order, and does nothing while it cannot see etcd. It may be
killed and started at any time.

USAGE
  failback-hook agent [OPTIONS]

EXAMPLES
  As a service (examples/systemd has the unit):
    systemctl enable --now failback-hook
    systemctl status failback-hook      what it does or waits for, in one line
    systemctl reload failback-hook      read the configuration anew, or keep the old one
  Without a cluster manager (examples/plain keeps the keys with etcdctl):
    failback-hook agent --layout plain --scope main --name n1 -D /var/lib/postgresql/15/main

WHEN IT ACTS
  rewind interrupted        at once
  server down               after agent.down_after, if it was a primary or died as a standby
  standby, not streaming    after agent.stuck_after, if it has diverged or follows another
  second primary            after agent.fence_after; it is only reported when that is not set
  A rejoin that fails is tried again after 10 s, then at distances that double up to 10 min.

SIGNALS
  SIGHUP            read the configuration anew; a wrong one is refused whole
  SIGTERM, SIGINT   end at a safe point; what was begun is given back (on_failure)

The options are those of failback-hook itself: failback-hook --help lists them.
`

func agentTemplate() string { return literal(agentHelp) }

func agentFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration file"}}
}

// agent is the command of that name: one watch after the other, each with the
// configuration that was valid when it began.
func (p *program) agent(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("agent: unexpected argument %q", c.Args().First())
	}
	conf, err := p.checkedConfiguration(c)
	if err != nil {
		return err
	}
	s := newService(conf.settings.Agent.Interval)
	defer s.close()
	for {
		next, err := p.watch(c, conf, s)
		if next == nil {
			return p.ended(c.Context, err)
		}
		conf = next
	}
}

// ended makes a signal that a daemon is told to end with what it is: no failure. What
// was under way has been logged.
func (p *program) ended(ctx context.Context, err error) error {
	var told signalError
	if cause := context.Cause(ctx); errors.As(cause, &told) && (told.signal == syscall.SIGTERM || told.signal == syscall.SIGINT) {
		return nil
	}
	return err
}

func (p *program) checkedConfiguration(c *cli.Context) (*configuration, error) {
	conf, err := p.configuration(c)
	if err != nil {
		return nil, err
	}
	return conf, conf.check()
}

// watch runs the agent until it ends, or until a new configuration is there.
func (p *program) watch(c *cli.Context, conf *configuration, s *service) (next *configuration, err error) {
	log := p.logger(conf)
	d, err := p.agentDoor(c.Context, conf, s, log)
	if err != nil {
		return nil, err
	}
	defer d.close()
	shown := p.newProgress(false, log)
	defer shown.close()
	h, etcd, err := connectHook(c.Context, connectRequest{
		salvageDir: p.salvageDir(&conf.settings, log), stateDir: p.recordsDir(&conf.settings, log),
		settings: &conf.settings, version: buildVersion().Version, log: log, patient: true,
		onEvent: shown.event, onStep: shown.step, onWait: shown.wait,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, etcd.close()) }()
	a := hook.NewAgent(h, conf.settings.agentConfig())
	a.Watch = etcd.watch
	told := &teller{log: log, service: s}
	a.OnStatus = told.status
	a.OnReport = func(r *hook.Report, err error) { logEnd(c.Context, log, r, err) }

	release := p.onHangup(func() {
		if next != nil {
			return
		}
		s.reloading()
		fresh, err := p.checkedConfiguration(c)
		if err != nil {
			log.Error("the configuration is refused, the one before stays", zap.Error(err), zap.String("hint", hintFor(err, exitFor(c.Context, err))))
			s.ready(told.line())
			return
		}
		log.Info("the configuration was read anew")
		next = fresh
		a.Finish()
	})
	var group sync.WaitGroup
	around, cancel := context.WithCancel(context.WithoutCancel(c.Context)) // until the agent has come to its end
	group.Go(func() { d.listen(around, a.Wake) })
	group.Go(func() { s.watch(around, c.Context, a) })
	log.Info("watching over this node", zap.String("scope", conf.settings.Scope), zap.String("name", conf.settings.Name),
		zap.String("data_dir", conf.settings.PostgreSQL.DataDir))
	s.ready("looking")
	err = a.Run(c.Context)
	cancel()
	release() // waits for a reload that is under way, so that next is safe to read
	group.Wait()
	return next, err
}

// onHangup has SIGHUP call reload, one at a time, until release.
func (p *program) onHangup(reload func()) (release func()) {
	if p.takeHangup == nil {
		return func() {}
	}
	var mu sync.Mutex
	give := p.takeHangup(func() {
		mu.Lock()
		defer mu.Unlock()
		reload()
	})
	return func() {
		give()
		mu.Lock()
		defer mu.Unlock()
	}
}

// agentDoor shuts the door of this node behind the agent, so that callbacks knock
// instead of working beside it. A worker that is inside is waited for.
func (p *program) agentDoor(ctx context.Context, conf *configuration, s *service, log *zap.Logger) (*door, error) {
	for told := false; ; told = true {
		d, err := openDoor(p.env, &conf.settings)
		if err != nil {
			return nil, err
		}
		err = d.enter()
		if err == nil {
			return d, nil
		}
		pid := d.holder()
		d.close()
		if !errors.Is(err, hook.ErrInProgress) {
			return nil, err
		}
		line := fmt.Sprintf("waiting for process %d, which is at work for this node, or is its agent", pid)
		if !told {
			log.Info(line)
		}
		s.ready(line)
		if err := wait(ctx, doorPause); err != nil {
			return nil, err
		}
	}
}

// doorPause is how often a shut door is tried, and one's own looked at for knocks.
const doorPause = time.Second

// listen calls wake when somebody has knocked.
func (d *door) listen(ctx context.Context, wake func()) {
	seen := d.knocks()
	for wait(ctx, doorPause) == nil {
		if now := d.knocks(); now != seen {
			seen = now
			wake()
		}
	}
}

// teller logs what an agent does, and tells the service manager.
type teller struct {
	log     *zap.Logger
	service *service

	mu   sync.Mutex
	last hook.AgentStatus
}

// status logs a line when the condition is new, work begins, or something else is
// said than how long it still takes; the service manager hears every line.
func (t *teller) status(s hook.AgentStatus) {
	t.mu.Lock()
	news := s.Condition != t.last.Condition || s.Working != t.last.Working
	t.last = s
	t.mu.Unlock()
	t.service.status(s.Line)
	level := zap.DebugLevel
	if news {
		level = zap.InfoLevel
		if s.Condition == hook.ConditionSecondPrimary || s.Condition == hook.ConditionRefused {
			level = zap.WarnLevel
		}
	}
	t.log.Log(level, s.Line, zap.String("condition", string(s.Condition)))
}

func (t *teller) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last.Line
}
