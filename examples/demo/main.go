// Command demo shows on this machine, in about a minute, what failback-hook is
// for: two PostgreSQL nodes, an etcd that holds a Patroni-shaped cluster, a
// primary that dies while clients write, and the one command that brings it
// back. It uses nothing but temporary directories and ports of 127.0.0.1, and
// leaves nothing behind.
//
//	demo -hook PATH-OF-failback-hook
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func main() {
	hook := flag.String("hook", "", "path of the failback-hook program")
	flag.Parse()
	code, err := run(*hook)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
	}
	os.Exit(code)
}

func run(hook string) (int, error) {
	if hook == "" {
		return 2, errors.New("no program given: use -hook PATH, or make demo")
	}
	// PostgreSQL refuses root, and so does failback-hook.
	if code, dropped, err := rewindtest.DropRoot(); dropped || err != nil {
		return code, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newStage(hook)
	if err != nil {
		return 1, err
	}
	err = errors.Join(s.play(ctx), s.close())
	if err != nil {
		return 1, err
	}
	return 0, nil
}
