// Command bench measures failback-hook against stock pg_rewind: the same
// diverged pair, copied for every round, rewound by the one and by the other in
// turn, in one run on one machine. It prints times, peak memory and the ratio.
//
// What is compared is the rewinding: all of a pg_rewind run, against the steps
// "plan" and "apply" of a failback-hook run, which is given whole as well (it
// also reads etcd, takes the lock, starts the server and sees it stream).
//
//	bench -hook PATH-OF-failback-hook [-size MB] [-rounds N]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func main() {
	var o options
	flag.StringVar(&o.hook, "hook", "", "path of the failback-hook program")
	flag.IntVar(&o.size, "size", 1024, "size of the database in MB")
	flag.IntVar(&o.changes, "changes", 50, "changes after the fork in MB, about")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each program")
	flag.Parse()
	code, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
	}
	os.Exit(code)
}

type options struct {
	hook                  string
	size, changes, rounds int
}

func run(o options) (int, error) {
	if o.hook == "" {
		return 2, errors.New("no program given: use -hook PATH, or make bench")
	}
	if code, dropped, err := rewindtest.DropRoot(); dropped || err != nil {
		return code, err
	}
	b, err := newBench(o)
	if err != nil {
		return 1, err
	}
	if err := errors.Join(b.run(context.Background()), b.close()); err != nil {
		return 1, err
	}
	return 0, nil
}
