package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// bench holds the pair and what it needs around it.
type bench struct {
	options
	root    string
	install rewindtest.Install
	etcd    *dcstest.Server
	client  *clientv3.Client
	old     *rewindtest.Node
	leader  *rewindtest.Node
}

// sample is one run of one program.
type sample struct {
	rewind, whole time.Duration
	peak          int64 // kB
	fetched       int64 // bytes; zero where not known
}

func newBench(o options) (b *bench, err error) {
	majors := rewindtest.Majors()
	if len(majors) == 0 {
		return nil, errors.New("no PostgreSQL server found: make bench installs one")
	}
	b = &bench{options: o, install: majors[len(majors)-1]}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.root, err = os.MkdirTemp("", "fbbench"); err != nil {
		return nil, err
	}
	if b.etcd, err = dcstest.NewServer(filepath.Join(b.root, "etcd")); err != nil {
		return nil, err
	}
	b.client, err = clientv3.New(clientv3.Config{Endpoints: []string{b.etcd.Endpoint()}, Logger: zap.NewNop()})
	return b, err
}

func (b *bench) close() error {
	var errs []error
	for _, n := range []*rewindtest.Node{b.old, b.leader} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	if b.client != nil {
		errs = append(errs, b.client.Close())
	}
	if b.etcd != nil {
		errs = append(errs, b.etcd.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.root))...)
}

func (b *bench) run(ctx context.Context) error {
	if err := b.makePair(); err != nil {
		return err
	}
	var stock, ours, with, without []sample
	for range b.rounds {
		s, err := b.round(b.stock)
		if err != nil {
			return fmt.Errorf("pg_rewind: %w", err)
		}
		stock = append(stock, s)
		s, err = b.round(func(n *rewindtest.Node) (sample, error) { return b.ours(ctx, n) })
		if err != nil {
			return fmt.Errorf("failback-hook: %w", err)
		}
		ours = append(ours, s)
		if s, err = b.round(b.dropIn()); err != nil {
			return fmt.Errorf("failback-hook rewind: %w", err)
		}
		with = append(with, s)
		if s, err = b.round(b.dropIn("--no-undo")); err != nil {
			return fmt.Errorf("failback-hook rewind --no-undo: %w", err)
		}
		without = append(without, s)
	}
	b.print(stock, ours)
	fmt.Printf("what saving for undo costs (failback-hook rewind, with and without --no-undo): %+.0f %% (%.2f s, %.2f s)\n",
		100*(median(with).Seconds()/median(without).Seconds()-1), median(with).Seconds(), median(without).Seconds())
	return nil
}

// dropIn runs the program by pg_rewind's command line.
func (b *bench) dropIn(options ...string) func(*rewindtest.Node) (sample, error) {
	return func(n *rewindtest.Node) (sample, error) {
		args := append([]string{"rewind", "-D", n.Dir, "--source-server", b.leader.Conninfo()}, options...)
		return timed(exec.Command(b.hook, args...))
	}
}

// makePair makes the diverged pair with pgbench's tables and transactions.
func (b *bench) makePair() (err error) {
	conf := map[string]string{"shared_buffers": "128MB", "max_wal_size": "4GB", "wal_keep_size": "4GB"}
	if b.old, err = rewindtest.CreatePrimary(b.root, b.install, rewindtest.Options{Name: "old", Conf: conf}); err != nil {
		return err
	}
	scale := max(1, b.size/15) // pgbench makes about 15 MB for each unit
	if err := b.pgbench(b.old, "-i", "-q", "-s", strconv.Itoa(scale)); err != nil {
		return err
	}
	if err := b.old.Checkpoint(); err != nil {
		return err
	}
	if b.leader, err = b.old.CreateStandby(rewindtest.StandbyOptions{Name: "leader"}); err != nil {
		return err
	}
	if err := b.leader.WaitForCatchup(b.old); err != nil {
		return err
	}
	if err := errors.Join(b.leader.Promote(), b.leader.Checkpoint()); err != nil {
		return err
	}
	// A transaction of pgbench touches a random 8 kB page of accounts, and little else.
	for _, n := range []*rewindtest.Node{b.old, b.leader} {
		if err := b.pgbench(n, "-n", "-t", strconv.Itoa(b.changes*128/4), "-c", "4"); err != nil {
			return err
		}
	}
	return errors.Join(b.old.Checkpoint(), b.old.Stop(rewindtest.Fast), b.leader.Checkpoint())
}

func (b *bench) pgbench(n *rewindtest.Node, args ...string) error {
	cmd := exec.Command(b.install.Path("pgbench"), append(args, n.Conninfo())...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench: %w: %s", err, out)
	}
	return nil
}

// round runs one program on a fresh copy, with everything written back before.
func (b *bench) round(program func(*rewindtest.Node) (sample, error)) (s sample, err error) {
	n, err := b.old.CreateClone("copy")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	syscall.Sync()
	return program(n)
}

func (b *bench) stock(n *rewindtest.Node) (sample, error) {
	cmd := exec.Command(b.install.Path("pg_rewind"), "-D", n.Dir, "--source-server", b.leader.Conninfo())
	return timed(cmd)
}

func timed(cmd *exec.Cmd) (sample, error) {
	var out bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, out.Bytes())
	}
	d := time.Since(start)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return sample{rewind: d, whole: d, peak: usage.Maxrss}, nil
}

func (b *bench) ours(ctx context.Context, n *rewindtest.Node) (sample, error) {
	id, err := b.leader.Value("SELECT system_identifier FROM pg_control_system()")
	if err != nil {
		return sample{}, err
	}
	sysid, err := pg.ParseSystemID(id)
	if err != nil {
		return sample{}, err
	}
	url := fmt.Sprintf("postgres://127.0.0.1:%d/postgres", b.leader.Port)
	_, err = dcstest.PutCluster(ctx, b.client, dcstest.Spec{
		Scope: "bench", SystemID: uint64(sysid), Leader: "leader",
		Members: []dcstest.Member{{Name: "leader", ConnURL: url, State: "running", Role: "primary"}},
	})
	if err != nil {
		return sample{}, err
	}
	cmd := exec.Command(b.hook, "--scope", "bench", "--name", "copy", "--etcd-endpoints", b.etcd.Endpoint(),
		"-D", n.Dir, "--source-conninfo", "user=postgres dbname=postgres", "--output", "json", "--quiet")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	s, err := timed(cmd)
	if err != nil {
		return s, err
	}
	var report hook.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		return s, fmt.Errorf("read report: %w", err)
	}
	s.rewind, s.fetched = 0, report.FetchedBytes
	for _, step := range report.Steps {
		if step.Name == "plan" || step.Name == "apply" {
			s.rewind += step.Duration
		}
	}
	return s, nil
}

func (b *bench) print(stock, ours []sample) {
	fmt.Printf("PostgreSQL %s, database %d MB, about %d MB changed on each side, %d rounds in turn, warm cache, loopback\n",
		b.install.Version, b.size, b.changes, b.rounds)
	show("pg_rewind", stock)
	show("failback-hook", ours)
	fmt.Printf("ratio of the medians (failback-hook / pg_rewind): %.2f\n", median(ours).Seconds()/median(stock).Seconds())
}

func show(name string, samples []sample) {
	for _, s := range samples {
		fmt.Printf("%-14s rewind %6.2f s   whole run %6.2f s   peak memory %3d MB", name, s.rewind.Seconds(), s.whole.Seconds(), s.peak>>10)
		if s.fetched > 0 {
			fmt.Printf("   fetched %d MB", s.fetched>>20)
		}
		fmt.Println()
	}
}

func median(samples []sample) time.Duration {
	var ds []time.Duration
	for _, s := range samples {
		ds = append(ds, s.rewind)
	}
	slices.Sort(ds)
	return ds[len(ds)/2]
}
