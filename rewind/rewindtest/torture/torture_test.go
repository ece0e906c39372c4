package torture_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/torture"
)

func TestMain(m *testing.M) { os.Exit(rewindtest.Main(m)) }

var (
	seeds = flag.Int("seeds", 3, "how many seeds to play")
	start = flag.Uint64("start", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "play this seed only")
	jobs  = flag.Int("jobs", 2, "how many to play at a time")
	keep  = flag.String("keep", "", "keep the directories of failing seeds below this one")
	trait = flag.String("trait", "", "play the next so many seeds that have this trait, as in target=ahead")
	cache = flag.String("templates", "", "a directory to keep initial clusters in, for later runs")
	major = flag.Int("major", 0, "play on this major instead of the one that the seed picks")
)

// TestSeeds plays schedules. What it does is in the package's documentation.
func TestSeeds(t *testing.T) {
	installs := rewindtest.Majors()
	if len(installs) == 0 {
		rewindtest.Newest(t) // skips, or fails where one is required
	}
	first, count := *start, *seeds
	if *one != 0 {
		first, count = *one, 1
	}
	root, err := os.MkdirTemp(*keep, "tt-")
	if err != nil {
		t.Fatal(err)
	}
	if *cache == "" {
		*cache = root
	}
	run := &run{t: t, root: root, templates: &torture.Templates{Root: *cache}}
	slots := make(chan struct{}, *jobs)
	var wg sync.WaitGroup
	for seed := first; count > 0; seed++ {
		install := pick(t, installs, seed)
		if !has(torture.Generate(seed, install.Major), *trait) {
			continue
		}
		count--
		slots <- struct{}{}
		wg.Go(func() {
			run.play(seed, install)
			<-slots
		})
	}
	wg.Wait()
	fmt.Println(run.summary.String())
	run.tidy(*keep != "")
}

// pick chooses the installation for a seed.
func pick(t *testing.T, installs []rewindtest.Install, seed uint64) rewindtest.Install {
	for _, install := range installs {
		if install.Major == *major {
			return install
		}
	}
	if *major != 0 {
		t.Errorf("PostgreSQL %d is not there", *major)
	}
	return installs[seed%uint64(len(installs))]
}

// has tells whether a schedule is of those that were asked for.
func has(s torture.Schedule, traits string) bool {
	for _, t := range strings.Fields(traits) {
		if !slices.Contains(s.Traits, t) {
			return false
		}
	}
	return true
}

type run struct {
	t         *testing.T
	root      string
	templates *torture.Templates

	mu      sync.Mutex
	summary torture.Summary
}

func (r *run) play(seed uint64, install rewindtest.Install) {
	schedule := torture.Generate(seed, install.Major)
	dir := filepath.Join(r.root, fmt.Sprint(seed))
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.t.Error(err)
		return
	}
	result := torture.Play(dir, install, r.templates, schedule)
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Println(result)
	if *one != 0 {
		for _, e := range slices.Sorted(maps.Keys(result.Failures)) {
			fmt.Printf("%5d × %s\n", result.Failures[e], e)
		}
	}
	r.summary.Add(result)
	if result.StockSays != "" {
		fmt.Printf("  stock pg_rewind was %s: %s\n", result.Stock, shorten(result.StockSays))
	}
	if result.Err == nil {
		if err := os.RemoveAll(dir); err != nil {
			r.t.Error(err)
		}
		return
	}
	r.t.Errorf("seed %d: %v\n%s\nagain: make torture SEED=%d\ndirectory: %s", seed, result.Err, schedule, seed, dir)
	if err := os.WriteFile(filepath.Join(dir, "schedule"), []byte(fmt.Sprintf("%s\n%v\n", schedule, result.Err)), 0o644); err != nil {
		r.t.Error(err)
	}
}

func shorten(s string) string {
	if len(s) > 300 {
		return "…" + s[len(s)-300:]
	}
	return s
}

// tidy removes what no seed has left behind because it failed.
func (r *run) tidy(kept bool) {
	if !kept || r.summary.Failures == 0 {
		if err := os.RemoveAll(r.root); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Error(err)
		}
	}
}
