package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// LostReport tells what only one node has.
type LostReport struct {
	Scope  string `json:"scope,omitempty"`
	Member string `json:"member,omitempty"`
	// Leader is the member that was compared with; empty where it was a server
	// that a connection string names, or nobody.
	Leader string `json:"leader,omitempty"`
	// Directory that was looked at: a data directory, or with Salvage a salvage
	// directory.
	Directory string `json:"directory"`
	Salvage   bool   `json:"salvage,omitempty"`
	*rewind.LostBranch
	// LostNames and LostPlaces are those of Report.
	LostNames  map[string]RelationName  `json:"lost_names,omitempty"`
	LostPlaces map[pg.Oid]DatabaseNames `json:"lost_places,omitempty"`
}

// Lost compares this node with the leader that etcd names, and changes nothing
// anywhere. A node that streams is compared as well; what would make Rejoin wait
// or refuse is the same error here.
func (h *Hook) Lost(ctx context.Context) (*LostReport, error) {
	r := h.begin()
	if err := r.check(); err != nil {
		return nil, err
	}
	d, err := r.lookAs(ctx, "look")
	if err != nil {
		return nil, err
	}
	if err := d.error(); err != nil {
		return nil, err
	}
	leader, ok := leaderMember(r.facts.Topology)
	if !ok {
		return nil, fmt.Errorf("look: %w", ErrUnknownLeader)
	}
	if r.facts.Origin != nil { // of a standby cluster, whose leader may have the same too much
		leader = r.facts.Origin.Member
	}
	conninfo, err := r.cfg.sourceConninfo(leader)
	if err != nil {
		return nil, err
	}
	out := &LostReport{Scope: r.report.Scope, Member: r.cfg.Name, Leader: leader.Name, Directory: r.cfg.PGData}
	if err := r.lost(ctx, out, conninfo); err != nil {
		return nil, fmt.Errorf("compare with the leader %s: %w", leader.Name, err)
	}
	return out, nil
}

// LostAgainst compares the data directory with the server of a connection string
// instead; neither name nor etcd are needed.
func (h *Hook) LostAgainst(ctx context.Context, conninfo string) (*LostReport, error) {
	r := h.begin()
	if err := checkUser(os.Geteuid(), r.cfg.PGData); err != nil {
		return nil, err
	}
	out := &LostReport{Directory: r.cfg.PGData}
	if err := r.lost(ctx, out, conninfo); err != nil {
		return nil, err
	}
	return out, nil
}

// lost asks the engine, and then the server for names.
func (r *run) lost(ctx context.Context, out *LostReport, conninfo string) (err error) {
	src, err := r.h.OpenSource(ctx, conninfo, r.cfg.Connections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	err = r.step("count", func() (err error) {
		out.LostBranch, err = r.newEngine(src, rewind.Options{AllowRunning: true}).Lost(ctx)
		return err
	})
	if err != nil {
		return err
	}
	out.LostNames, out.LostPlaces = r.names(ctx, &out.Lost, func(ctx context.Context, fn func(Server) error) error {
		s, err := r.h.OpenServer(ctx, conninfo)
		if err != nil {
			return err
		}
		return errors.Join(fn(s), s.Close())
	})
	return nil
}

// maxReport bounds a saved report.
const maxReport = 256 << 20

// LostSalvaged reads a salvage directory, and takes the names that the report in
// it has. Nothing else is asked.
func LostSalvaged(ctx context.Context, dir string) (*LostReport, error) {
	branch, err := rewind.ReadSalvage(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := &LostReport{Directory: dir, Salvage: true, LostBranch: branch}
	if err := out.readSaved(dir); err != nil {
		branch.Warnings = append(branch.Warnings, fmt.Sprintf("the report that was saved with the WAL cannot be read, and gives no names: %v", err))
	}
	return out, nil
}

// readSaved takes over what the saved report knows; that there is none is no error.
func (l *LostReport) readSaved(dir string) (err error) {
	f, err := os.OpenInRoot(dir, rewind.SalvageReportName)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var saved struct {
		Scope      string                   `json:"scope"`
		Member     string                   `json:"member"`
		Leader     string                   `json:"leader"`
		LostNames  map[string]RelationName  `json:"lost_names"`
		LostPlaces map[pg.Oid]DatabaseNames `json:"lost_places"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxReport)).Decode(&saved); err != nil {
		return err
	}
	l.Scope, l.Member, l.Leader = saved.Scope, saved.Member, saved.Leader
	l.LostNames, l.LostPlaces = saved.LostNames, saved.LostPlaces
	return nil
}
