package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// outcomeFailed is the outcome in the record of a run that ended with an error.
const outcomeFailed = "failed"

// rememberWithin bounds what a run spends on its record: the node is what counts.
const rememberWithin = 5 * time.Second

// remember writes down, in etcd and on this node, that there was a rejoin: one that
// did something to the node, however it ended. A node that was found in order
// leaves no record, or the callbacks of a quiet month would push out the one that
// matters. It never fails: what cannot be written is a warning.
func (r *run) remember(ctx context.Context, cause error) {
	if !r.worked {
		return
	}
	// Also when the run was told to end: that is worth a record as well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberWithin)
	defer cancel()
	record := r.record(cause)
	if err := r.h.Cluster.Remember(ctx, record); err != nil {
		r.warn("etcd has no record of this rejoin: %v", err)
	}
	if r.cfg.StateDir == "" {
		return
	}
	if err := (PastHere{Dir: r.cfg.StateDir}).Add(record); err != nil {
		r.warn("this node has no record of this rejoin: %v", err)
	}
}

// record is what is worth keeping of the report.
func (r *run) record(cause error) dcs.PastRejoin {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	rep := r.report
	past := dcs.PastRejoin{
		Scope: rep.Scope, Member: rep.Member, Host: host, Leader: rep.Leader,
		Started: rep.Started.UTC(), Finished: time.Now().UTC(), Outcome: string(rep.Outcome),
		Reason: r.why, FetchedBytes: rep.FetchedBytes, Program: r.cfg.Version,
	}
	if p := rep.Plan; p != nil {
		past.Strategy, past.LostBytes, past.LostCommits = string(p.Strategy), p.Lost.Bytes, p.Lost.Commits
		if p.Fork.LSN != pg.MaxLSN { // the histories are the same
			past.Fork = fmt.Sprintf("timeline %d at %s", p.Fork.Timeline, p.Fork.LSN)
		}
	}
	if rep.Salvaged != nil {
		past.Salvaged = rep.Salvaged.Dir
	}
	if cause != nil {
		past.Outcome, past.Error = outcomeFailed, cause.Error()
	}
	return past
}

// PastHere are the records of this node's rejoins in a directory of the node: one
// file each, the oldest removed beyond mostPast.
type PastHere struct{ Dir string }

// mostPast is how many are kept of one cluster.
const mostPast = dcs.DefaultPastKept

// maxPastFile bounds what is read of a file.
const maxPastFile = 64 << 10

// dir is where the records of a cluster lie. The name is escaped: a scope may
// hold a slash, and must not lead elsewhere.
func (p PastHere) dir(scope string) string {
	return filepath.Join(p.Dir, "history", "scope-"+url.PathEscape(scope))
}

// Add writes a record durably.
func (p PastHere) Add(r dcs.PastRejoin) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	dir := p.dir(r.Scope)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of records: %w", err)
	}
	if err := journal.WriteFile(filepath.Join(dir, r.ID()+".json"), append(b, '\n'), 0o600); err != nil {
		return err
	}
	names, err := p.names(r.Scope)
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range names[:max(len(names)-mostPast, 0)] {
		errs = append(errs, os.Remove(filepath.Join(dir, old)))
	}
	return errors.Join(errs...)
}

// names are the files of a cluster's records, the oldest first.
func (p PastHere) names(scope string) ([]string, error) {
	entries, err := os.ReadDir(p.dir(scope))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read directory of records: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// List returns the newest records of a cluster, the newest first, at most limit
// (zero: all). Next to those that can be read there may be an error that names
// one that cannot.
func (p PastHere) List(scope string, limit int) ([]dcs.PastRejoin, error) {
	names, err := p.names(scope)
	if err != nil {
		return nil, err
	}
	slices.Reverse(names)
	if limit > 0 {
		names = names[:min(len(names), limit)]
	}
	var list []dcs.PastRejoin
	var errs []error
	for _, name := range names {
		file := filepath.Join(p.dir(scope), name)
		b, err := readBounded(file, maxPastFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("read record of a rejoin: %w", err))
			continue
		}
		r, err := dcs.DecodePastRejoin(b)
		if err != nil {
			errs = append(errs, fmt.Errorf("file %s: %w", file, err))
			continue
		}
		list = append(list, r)
	}
	return list, errors.Join(errs...)
}
