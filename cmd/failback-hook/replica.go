package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// errNoData: the method was called for a node without data. Patroni goes on to
// the next one of create_replica_methods.
var errNoData = errors.New("there is no data directory to rewind")

const replicaHelp = `failback-hook create-replica is a method of Patroni's create_replica_methods: it rewinds the
data directory that is there while Patroni waits, and leaves configuration and start to it.

USAGE
  failback-hook create-replica [OPTIONS] --scope=… --role=replica --datadir=… --connstring=…

In patroni.yml, with basebackup for what is empty or cannot be rewound:
  postgresql:
    create_replica_methods: [failback, basebackup]
    failback:
      command: /usr/bin/failback-hook create-replica --config /etc/failback-hook/failback-hook.yml
      keep_data: true
    basebackup: {checkpoint: fast}

Options of failback-hook are understood, those of the method's section too (name: n1 becomes
--name=n1); what else Patroni passes is ignored. The leader is the one that etcd names, and
not --connstring, which may be a replica's. Only where patroni_config names a Patroni that
keeps its keys elsewhere (consul, zookeeper, kubernetes, etcd's v2 API) there is nobody else
to ask: then the server of --connstring is taken, if it is a primary, and there is no lock.

Exit code 0: the directory is a standby's, ready to be started. Otherwise it is as it was
before, or in patroni.keep_failed, and Patroni goes on to its next method. When all methods
fail Patroni removes the directory. Code 25: there was nothing to rewind.
`

// replicaArgs makes options of this program of a replica method's arguments:
// Patroni passes each key of the method's section as --key=value, whatever it is,
// and then scope, role, datadir and connstring.
func replicaArgs(args []string) (known, ignored []string) {
	values := []string{"config", "c", "output", "o"}
	switches := []string{"quiet", "q", "help", "h"}
	for _, row := range settingTable() {
		if row.flag() == "" {
			continue
		}
		if _, ok := row.field(new(settings)).(*bool); ok {
			switches = append(switches, append(row.short, row.flag())...)
			continue
		}
		values = append(values, append(row.short, row.flag())...)
	}
	for i := 0; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		bare := strings.TrimLeft(name, "-")
		switch {
		case bare == name: // a word that belongs to an option which is not ours
			ignored = append(ignored, args[i])
		case bare == "datadir" && assigned:
			known = append(known, "--data-dir="+value)
		case slices.Contains(values, bare) && (assigned || i+1 == len(args)), slices.Contains(switches, bare):
			known = append(known, args[i])
		case slices.Contains(values, bare):
			known = append(known, args[i], args[i+1])
			i++
		default:
			ignored = append(ignored, name) // the value may be a secret
		}
	}
	return known, ignored
}

// createReplica is the command of that name.
func (p *program) createReplica(c *cli.Context) (*hook.Report, error) {
	conf, err := p.configuration(c)
	if err != nil {
		return nil, err
	}
	s := &conf.settings
	s.PostgreSQL.Control, s.PostgreSQL.StopCommand, s.PostgreSQL.StartCommand = hook.ControlNone, "", ""
	s.Replication.Slots = hook.SlotsOff // Patroni on the leader makes them
	log := p.logger(conf)
	if len(p.ignored) > 0 {
		log.Debug("what Patroni passes and is not ours", zap.Strings("options", p.ignored))
	}
	without, err := conf.withoutEtcd(p.connstring)
	if err != nil {
		return nil, err
	}
	if without != nil {
		log.Warn("Patroni's keys are not in an etcd v3: there is no lock, and the leader is the server that Patroni names",
			zap.String("leader", without.topology.Leader.Name))
	}
	if err := conf.check(); err != nil {
		return nil, err
	}
	if err := hasData(s.PostgreSQL.DataDir); err != nil {
		return nil, err
	}
	aside := newAside(s, log)
	ctx, cancel := conf.limited(c.Context)
	defer cancel()
	if aside != nil {
		// What is moved away in a moment is given back there: Patroni kills a
		// method 10 seconds after it has told it to end.
		s.OnFailure = hook.FailureKeep
	}
	report, err := p.work(ctx, c, conf, log, without)
	if err != nil && aside != nil && !errors.Is(err, hook.ErrNotDiverged) {
		err = aside.keep(ctx, err)
	}
	logEnd(ctx, log, report, err)
	return report, err
}

// hasData refuses what Patroni has to fill: a directory that is not there, or in
// which neither a control file nor a journal lies.
func hasData(dir string) error {
	_, err := os.Stat(filepath.Join(dir, "global", "pg_control"))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	_, begun, err := rewind.ReadInterrupted(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !begun {
		return fmt.Errorf("%s: %w", dir, errNoData)
	}
	return err
}

// aside is the place where a data directory goes that could not be rewound,
// before Patroni removes it.
type aside struct {
	dir, to string
	log     *zap.Logger
}

// newAside finds out whether the directory can be moved there; nil when it cannot
// or is not to be. Only a rename will do: a copy would take hours, and what is
// half copied when Patroni's patience ends is lost.
func newAside(s *settings, log *zap.Logger) *aside {
	to := s.Patroni.KeepFailed
	if to == "" {
		return nil
	}
	why := func() error {
		if info, err := os.Lstat(s.PostgreSQL.DataDir); err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return errors.Join(err, errors.New("the data directory is a link, of which Patroni removes nothing but itself"))
		}
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		for _, other := range []string{to, filepath.Dir(s.PostgreSQL.DataDir)} {
			if !sameDevice(s.PostgreSQL.DataDir, other) {
				return fmt.Errorf("%s lies on another file system", other)
			}
		}
		return nil
	}()
	if why != nil {
		log.Warn("the data directory cannot be kept in patroni.keep_failed, should the rewind fail", zap.Error(why))
		return nil
	}
	name := fileName(s.Scope, s.Name) + "." + time.Now().UTC().Format("20060102T150405Z")
	return &aside{dir: s.PostgreSQL.DataDir, to: filepath.Join(to, name), log: log}
}

func sameDevice(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev
}

// keep moves the directory, and gives it back there as it was.
func (a *aside) keep(ctx context.Context, cause error) error {
	if err := os.Rename(a.dir, a.to); err != nil {
		return fmt.Errorf("%w (and the data directory could not be moved to %s: %w)", cause, a.to, err)
	}
	if _, begun, err := rewind.ReadInterrupted(a.to); err != nil || !begun {
		return fmt.Errorf("%w (the data directory is kept as %s)", cause, a.to)
	}
	if _, err := hook.Undo(context.WithoutCancel(ctx), a.to); err != nil {
		return fmt.Errorf("%w (the data directory is kept as %s, half rewound: %w)", cause, a.to, err)
	}
	return fmt.Errorf("%w (the data directory is kept as %s, as it was)", cause, a.to)
}
