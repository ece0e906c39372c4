package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// scope is the demo cluster's name.
const scope = "demo"

// stage holds everything that the demo has set up, and gives it back.
type stage struct {
	root    string
	hook    string
	install rewindtest.Install
	etcd    *dcstest.Server
	client  *clientv3.Client
	cluster *dcstest.Cluster
	n1, n2  *rewindtest.Node
}

func newStage(hook string) (s *stage, err error) {
	majors := rewindtest.Majors()
	if len(majors) == 0 {
		return nil, errors.New("no PostgreSQL server found: make demo installs one")
	}
	s = &stage{hook: hook, install: majors[len(majors)-1]}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.root, err = os.MkdirTemp("", "fbdemo"); err != nil {
		return nil, err
	}
	if s.etcd, err = dcstest.NewServer(filepath.Join(s.root, "etcd")); err != nil {
		return nil, err
	}
	s.client, err = clientv3.New(clientv3.Config{Endpoints: []string{s.etcd.Endpoint()}, Logger: zap.NewNop()})
	return s, err
}

func (s *stage) close() error {
	var errs []error
	for _, n := range []*rewindtest.Node{s.n1, s.n2} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.etcd != nil {
		errs = append(errs, s.etcd.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.root))...)
}

// member is a node's key as Patroni would write it.
func member(n *rewindtest.Node, role string) dcstest.Member {
	return dcstest.Member{
		Name:    n.Name,
		ConnURL: fmt.Sprintf("postgres://127.0.0.1:%d/postgres", n.Port),
		State:   "running",
		Role:    role,
		Version: "4.0.7",
	}
}

// stopped is the key of a node whose manager was shut down with it.
func stopped(n *rewindtest.Node) dcstest.Member {
	m := member(n, "replica")
	m.State = "stopped"
	return m
}

// writeConfig writes the configuration file of one node's failback-hook.
func (s *stage) writeConfig(n *rewindtest.Node, lines ...string) (string, error) {
	path := filepath.Join(s.root, n.Name+".yml")
	return path, os.WriteFile(path, []byte(fmt.Sprintf(`scope: %s
name: %s
etcd:
  endpoints: [%s]
postgresql:
  data_dir: %s
source:
  conninfo: user=postgres dbname=postgres
%s`, scope, n.Name, s.etcd.Endpoint(), n.Dir, strings.Join(lines, "\n"))), 0o600)
}

// command runs failback-hook as a person would, in this terminal.
func (s *stage) command(ctx context.Context, args ...string) error {
	shown := strings.ReplaceAll(strings.Join(args, " "), s.root+"/", "")
	fmt.Printf("\n%s$ failback-hook %s%s\n", bold, shown, plain)
	cmd := exec.CommandContext(ctx, s.hook, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
