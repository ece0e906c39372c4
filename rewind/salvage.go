package rewind

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Salvage says what becomes of the WAL that only this node has when the work is
// done: it is moved to a directory of its own below Dir, where pg_waldump and
// ReadSalvage read it. The zero value removes it.
type Salvage struct {
	// Dir is an absolute path outside PGDATA; empty for none.
	Dir string
	// Keep is how many branches of one cluster stay there, the newest; zero for all.
	Keep int
	// MaxAge is how long one stays at least as long as others fit into Keep; zero for ever.
	MaxAge time.Duration
	// Report is kept beside the WAL as report.json; the plan if empty.
	Report []byte
}

// Salvaged is where the WAL of a branch went.
type Salvaged struct {
	Dir   string `json:"dir"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	// Pruned are directories of older branches that were removed for it.
	Pruned []string `json:"pruned,omitempty"`
}

// salvage moves the WAL that lies aside to where the operator wants it; nil when
// there is none, or none that reaches behind the fork. It can be interrupted
// after any file: what was moved is found again.
func (w *writer) salvage(plans []*Plan, to Salvage) (*Salvaged, error) {
	p := plans[len(plans)-1]
	if to.Dir == "" || p.Fork.LSN == pg.MaxLSN || p.Target.EndOfWAL <= p.Fork.LSN {
		return nil, nil
	}
	names := salvageNames(plans)
	m := NewSalvageManifest(p, pgwal.DefaultPageSize, time.Now())
	dir, err := salvagePlace(filepath.Join(to.Dir, m.SalvageDir()))
	if err != nil {
		return nil, salvageError(to.Dir, err)
	}
	out := &Salvaged{Dir: dir}
	for _, name := range names {
		if err := w.salvageFile(name, dir); err != nil {
			return nil, salvageError(dir, err)
		}
	}
	for _, name := range names {
		switch err := m.AddFile(dir, name); {
		case errors.Is(err, fs.ErrNotExist): // listed, and not there any more when the work began
		case err != nil:
			return nil, err
		}
	}
	if len(m.Files) == 0 {
		return nil, os.Remove(dir)
	}
	if err := w.salvageReport(m, dir, p, to.Report); err != nil {
		return nil, salvageError(dir, err)
	}
	for _, f := range m.Files {
		out.Files++
		out.Bytes += f.Size
	}
	out.Pruned = pruneSalvage(filepath.Dir(dir), dir, to, time.Now())
	return out, nil
}

func salvageError(dir string, err error) error {
	return &Error{Op: "salvage WAL to", Path: dir, Err: errors.Join(ErrNotWritable, err),
		Advice: "the WAL is still in the data directory; make the directory writable, or choose another, and run this again"}
}

// salvageNames are the segments and histories of the target's own that were set
// aside by any run. A run that continues sets aside what the one before it had brought.
func salvageNames(plans []*Plan) []string {
	var names []string
	all, brought := &resume{plans: plans}, map[string]bool{}
	for _, p := range plans {
		for _, s := range p.WAL.SetAside {
			if brought[s] || !all.ownsWAL(path.Base(s)) {
				continue
			}
			name := path.Base(s)
			_, _, segment := pg.ParseSegmentName(name, p.WALSegSize)
			_, history := pg.ParseHistoryFileName(name)
			if path.Dir(s) == "pg_wal" && (segment || history || pg.IsPartialName(name)) {
				names = append(names, name)
			}
		}
		for _, s := range p.WAL.in() {
			brought[s] = true
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// salvagePlace makes the directory. One that is complete is another run's, about
// the same branch; it is left as it is.
func salvagePlace(dir string) (string, error) {
	place := dir
	for n := 2; ; n++ {
		_, err := os.Lstat(filepath.Join(place, SalvageManifestName))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		place = fmt.Sprintf("%s.%d", dir, n)
	}
	return place, makeOutside(place, 0o700)
}

// salvageFile moves one file: by renaming, or by a copy to another file system.
func (w *writer) salvageFile(name, dir string) error {
	from, to := w.realPath(asideDir+"/"+name), filepath.Join(dir, name)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := w.step("salvage", name); err != nil {
		return err
	}
	err := journal.Rename(from, to)
	if errors.Is(err, unix.EXDEV) {
		err = copyDurably(from, to)
	}
	return err
}

// copyDurably makes a whole copy, or none.
func copyDurably(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer closing(&err, src.Close)
	part := to + ".part"
	dst, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return journal.Rename(part, to)
}

// salvageReport writes what is known of the branch, the manifest last.
func (w *writer) salvageReport(m *SalvageManifest, dir string, p *Plan, report []byte) error {
	if len(report) == 0 {
		var err error
		if report, err = json.Marshal(p); err != nil {
			return err
		}
	}
	if err := journal.WriteFile(filepath.Join(dir, SalvageReportName), report, 0o600); err != nil {
		return err
	}
	if err := m.AddFile(dir, SalvageReportName); err != nil {
		return err
	}
	return WriteSalvageManifest(dir, m)
}

// pruneSalvage removes branches of the same cluster that are too many or too
// old, and only what their manifests name: whatever else lies there is somebody
// else's. What cannot be removed stays; the next run tries again.
func pruneSalvage(cluster, keep string, to Salvage, now time.Time) []string {
	entries, err := os.ReadDir(cluster)
	if err != nil {
		return nil
	}
	type branch struct {
		dir string
		m   *SalvageManifest
	}
	var others []branch
	for _, e := range entries {
		dir := filepath.Join(cluster, e.Name())
		if m, err := ReadSalvageManifest(dir); err == nil && dir != keep {
			others = append(others, branch{dir, m})
		}
	}
	slices.SortFunc(others, func(a, b branch) int { return b.m.Time.Compare(a.m.Time) })
	var pruned []string
	for i, b := range others {
		tooMany := to.Keep > 0 && i+1 >= to.Keep
		tooOld := to.MaxAge > 0 && now.Sub(b.m.Time) > to.MaxAge
		if (tooMany || tooOld) && removeBranch(b.dir, b.m) == nil {
			pruned = append(pruned, b.dir)
		}
	}
	return pruned
}

// removeBranch removes the manifest last, so that a rest is found again.
func removeBranch(dir string, m *SalvageManifest) error {
	for _, f := range m.Files {
		if err := os.Remove(filepath.Join(dir, f.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, SalvageManifestName)); err != nil {
		return err
	}
	_ = os.Remove(dir) // unless somebody put something into it
	return nil
}
