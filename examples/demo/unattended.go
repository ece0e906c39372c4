package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// unattended is the second story: no cluster manager, two kinds of keys that a script
// keeps, and an agent that brings the old primary back without being asked.
func (s *stage) unattended(ctx context.Context) error {
	act("6. Without a cluster manager: the agent")
	// What Patroni's shape had goes; the plain layout is a name and addresses.
	if err := errors.Join(s.plainKeys(ctx), s.failoverAgain(ctx)); err != nil {
		return err
	}
	config, err := s.writeConfig(s.n1, "layout: plain", "agent: {down_after: 2s, interval: 1s}", "")
	if err != nil {
		return err
	}
	say("node1 comes back, with nothing but its agent (as a service: examples/systemd):")
	if err := s.agent(ctx, config); err != nil {
		return err
	}
	return s.prove(s.n1, s.n2)
}

func (s *stage) put(ctx context.Context, key, value string) error {
	key = "/service/" + scope + "/" + key
	fmt.Printf("%s$ etcdctl put %s %s%s\n", bold, key, value, plain)
	_, err := s.client.Put(ctx, key, value)
	return err
}

func (s *stage) plainKeys(ctx context.Context) error {
	var errs []error
	for _, n := range []*rewindtest.Node{s.n1, s.n2} {
		errs = append(errs, s.put(ctx, "members/"+n.Name, fmt.Sprintf("postgres://127.0.0.1:%d", n.Port)))
	}
	return errors.Join(append(errs, s.put(ctx, "leader", "node1"))...)
}

// failoverAgain kills node1 while it is written to, as before.
func (s *stage) failoverAgain(ctx context.Context) error {
	client := startClient(ctx, s.n1)
	if err := client.await(50); err != nil {
		return err
	}
	if err := s.n2.Promote(); err != nil {
		return err
	}
	if err := client.await(50); err != nil {
		return err
	}
	if err := errors.Join(s.n1.Kill(), client.stop(), s.n2.Exec(writing("node2"))); err != nil {
		return err
	}
	say("\nnode1 is killed while a client writes, and node2 promoted:")
	return s.put(ctx, "leader", "node2")
}

// agent runs the agent until the node streams.
func (s *stage) agent(ctx context.Context, config string) error {
	fmt.Printf("\n%s$ failback-hook agent --config %s.yml%s\n", bold, s.n1.Name, plain)
	cmd := exec.CommandContext(ctx, s.hook, "agent", "--config", config)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	timeline, err := s.n2.Timeline()
	if err == nil {
		err = s.n2.WaitStreaming(s.n1.Name, timeline)
	}
	return errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
}
