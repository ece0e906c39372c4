package rewind

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// joined is one path as both sides have it.
type joined struct {
	path string
	// src and dst are nil where the side lacks the path.
	src, dst *File
	// rel is set when the path is a relation's file.
	rel   pg.RelFile
	isRel bool
	// unlogged: the source has an init fork for the relation.
	unlogged bool
}

// fileMap is the join of both listings.
type fileMap struct {
	major pg.Major
	files map[string]*joined
	// unlogged are the relations with an init fork on the source.
	unlogged map[pg.RelFileLocator]struct{}

	sourceBytes, targetBytes int64
	sourceFiles, targetFiles int
}

// listBoth lists source and target and joins them.
func listBoth(ctx context.Context, t *target, src Source, major pg.Major) (*fileMap, error) {
	m := &fileMap{major: major, files: map[string]*joined{}, unlogged: map[pg.RelFileLocator]struct{}{}}
	err := src.List(ctx, func(f File) error {
		if err := pg.SafePath(f.Path); err != nil {
			return &Error{Op: "list the source's files", Err: err}
		}
		return m.add(f, true)
	})
	if err != nil {
		return nil, err
	}
	if err := t.list(major, func(f File) error { return m.add(f, false) }); err != nil {
		return nil, err
	}
	for _, j := range m.files {
		_, j.unlogged = m.unlogged[j.rel.RelFileLocator]
	}
	return m, nil
}

func (m *fileMap) add(f File, source bool) error {
	j := m.files[f.Path]
	if j == nil {
		j = &joined{path: f.Path}
		j.rel, j.isRel = pg.ParseRelPath(f.Path, m.major)
		m.files[f.Path] = j
	}
	side, bytes, count := &j.dst, &m.targetBytes, &m.targetFiles
	if source {
		side, bytes, count = &j.src, &m.sourceBytes, &m.sourceFiles
	}
	if *side != nil {
		return &Error{Op: "list files", Path: f.Path, Err: fmt.Errorf("%w: listed twice", ErrDamaged)}
	}
	*side = &f
	if f.Kind == KindFile && !inWAL(f.Path) {
		*bytes += f.Size
		*count++
	}
	if source && j.isRel && j.rel.Fork == pg.InitFork {
		m.unlogged[j.rel.RelFileLocator] = struct{}{}
	}
	return nil
}

func inWAL(p string) bool { return p == "pg_wal" || strings.HasPrefix(p, "pg_wal/") }

// decider holds what the decision about one path depends on.
type decider struct {
	major            pg.Major
	blocksPerSegment uint32
	pages            *pageMap
	preserve         []string
	// mirror: files outside PostgreSQL's directories become the source's.
	mirror bool
	// closed are such directories of the target that lead elsewhere.
	closed map[string]bool
	// begun is what interrupted runs may have written, or nil.
	begun *begun
}

// verdict is the decision about one path.
type verdict struct {
	// entry is what to do; its Action is zero for nothing.
	entry Entry
	// compare: the file would be copied whole and both sides are equally long;
	// it is worth comparing first.
	compare bool
	// kept: the node's own, deliberately left alone.
	kept bool
}

// decide is the heart of the plan: one path in, one verdict out.
func (d *decider) decide(j *joined) (verdict, error) {
	switch {
	case j.path == controlRel || ours(j.path) || inWAL(j.path):
		return verdict{}, nil // the end of the work, our own, and planWAL
	case d.mirror && strings.Contains(j.path, ".DS_Store"):
		return verdict{}, nil // as pg_rewind: no server wrote it
	case pg.Excluded(j.path), d.mirror && excludedByName(j.path):
		return d.excluded(j), nil
	case pg.Guest(j.path, d.major), !pg.InDataDirs(j.path) && !d.mirror && !d.begun.whole(j.path), d.preserved(j.path):
		return verdict{kept: j.dst != nil}, nil
	case !pg.InDataDirs(j.path):
		return d.foreign(j)
	case j.isRel && j.rel.TempOwner >= 0:
		return d.remove(j, "temporary relation"), nil
	case j.unlogged && j.rel.Fork != pg.InitFork:
		return verdict{}, nil // the server makes it anew from the init fork
	case j.src == nil:
		return d.remove(j, "only on the target"), nil
	case (j.src.Kind == KindOther || j.dst != nil && j.dst.Kind == KindOther) && !j.isRel:
		return verdict{}, nil // sockets and the like
	case j.dst == nil && j.src.Kind != KindOther:
		return d.create(j), nil
	case path.Dir(j.path) == "pg_tblspc" && isPlace(j.src.Kind) && isPlace(j.dst.Kind):
		return verdict{}, nil // where a node has its tablespace is its own affair
	case j.dst == nil || j.src.Kind != j.dst.Kind || j.src.Kind == KindOther:
		return verdict{}, j.misfit()
	case j.src.Kind != KindFile || path.Base(j.path) == "PG_VERSION":
		return verdict{}, nil
	case j.isRel && j.rel.Fork == pg.MainFork:
		return d.blocks(j), nil
	}
	return d.whole(j, "no WAL tells what changed in it"), nil
}

// isPlace: a tablespace is a link, or a directory if it was made in place.
func isPlace(k Kind) bool { return k == KindLink || k == KindDir }

// misfit refuses what is of different kinds on the two sides.
func (j *joined) misfit() error {
	name := func(f *File) string {
		switch {
		case f == nil:
			return "nothing"
		case f.Kind == KindOther:
			return "something that is no file"
		}
		return "a " + f.Kind.String()
	}
	return &Error{Op: "compare files", Path: j.path, Err: fmt.Errorf("%w: %s here, %s at the source", ErrIncompatible, name(j.dst), name(j.src))}
}

// excluded handles what is never copied: it goes from the target, but for the
// directories themselves.
func (d *decider) excluded(j *joined) verdict { return d.remove(j, "not to be carried over") }

func (d *decider) preserved(p string) bool {
	for _, pattern := range d.preserve {
		if ok, err := path.Match(pattern, p); (ok && err == nil) || strings.HasPrefix(p, strings.TrimSuffix(pattern, "/")+"/") {
			return true
		}
	}
	return false
}

func (d *decider) remove(j *joined, reason string) verdict {
	if j.dst == nil || j.dst.Kind == KindOther {
		return verdict{}
	}
	return verdict{entry: Entry{Path: j.path, Action: ActionRemove, Kind: j.dst.Kind, TargetSize: j.dst.Size, Reason: reason}}
}

func (d *decider) create(j *joined) verdict {
	e := Entry{Path: j.path, Kind: j.src.Kind, SourceSize: j.src.Size, Reason: "only on the source"}
	switch j.src.Kind {
	case KindDir:
		e.Action = ActionMkdir
	case KindLink:
		e.Action, e.Link = ActionSymlink, j.src.Link
	default:
		e.Action = ActionCopy
	}
	return verdict{entry: e}
}

// whole copies a file as a whole, unless a comparison shows that it is equal.
// Two empty files are, and need not be read; see applier.empty.
func (d *decider) whole(j *joined, reason string) verdict {
	if j.src.Size == 0 && j.dst.Size == 0 && !j.isRel {
		return verdict{}
	}
	return verdict{
		compare: j.src.Size == j.dst.Size,
		entry: Entry{Path: j.path, Action: ActionCopy, Kind: KindFile, SourceSize: j.src.Size, TargetSize: j.dst.Size,
			Reason: reason},
	}
}

// blocks decides about a segment of a main fork that both sides have.
func (d *decider) blocks(j *joined) verdict {
	if d.begun.whole(j.path) {
		return d.whole(j, "an interrupted run began to copy it")
	}
	e := Entry{Path: j.path, Kind: KindFile, SourceSize: j.src.Size, TargetSize: j.dst.Size}
	// Only whole blocks that both have count; a torn end of the target's file
	// is part of the tail.
	common := uint32(min(j.src.Size, j.dst.Size) / blockSize)
	e.Blocks = d.pages.runs(j.rel.RelFileLocator, j.rel.Segment, d.blocksPerSegment, common)
	e.Blocks = d.begun.addBlocks(j.path, e.Blocks, common)
	switch {
	case j.dst.Size < j.src.Size:
		e.Action, e.Reason = ActionTail, "longer on the source"
	case j.dst.Size > j.src.Size:
		e.Action, e.Reason = ActionTruncate, "shorter on the source"
	case len(e.Blocks) > 0:
		e.Action = ActionBlocks
	}
	if len(e.Blocks) > 0 {
		e.Reason = strings.TrimPrefix(e.Reason+", changed after the last common checkpoint", ", ")
	}
	return verdict{entry: e}
}

// tailStart is where the tail of an entry begins: behind the target's last whole block.
func (e Entry) tailStart() int64 { return e.TargetSize / blockSize * blockSize }

// entries decides about all paths. Those to be compared come back apart.
func (m *fileMap) entries(d *decider) (entries, compare []Entry, kept []string, err error) {
	paths := make([]string, 0, len(m.files))
	for p := range m.files {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		v, err := d.decide(m.files[p])
		if err != nil {
			return nil, nil, nil, err
		}
		switch {
		case v.kept:
			kept = append(kept, p)
		case v.compare:
			compare = append(compare, v.entry)
		case v.entry.Action != 0:
			entries = append(entries, v.entry)
		}
	}
	return m.keepParents(entries, kept), compare, kept, nil
}

// keepParents drops the removal of directories that something stays in: what is
// kept, and what is never removed because it is no file.
func (m *fileMap) keepParents(entries []Entry, kept []string) []Entry {
	stay := map[string]bool{}
	up := func(p string) {
		for p = path.Dir(p); p != "." && !stay[p]; p = path.Dir(p) {
			stay[p] = true
		}
	}
	for _, p := range kept {
		up(p)
	}
	for p, j := range m.files {
		if j.dst != nil && j.dst.Kind == KindOther {
			up(p)
		}
	}
	return slices.DeleteFunc(entries, func(e Entry) bool {
		return e.Action == ActionRemove && e.Kind == KindDir && stay[e.Path]
	})
}

// sortEntries brings entries into the order of execution: by action, by path;
// removals backwards, so that a directory goes after what is in it.
func sortEntries(es []Entry) {
	slices.SortFunc(es, func(a, b Entry) int {
		if c := cmp.Compare(a.Action, b.Action); c != 0 {
			return c
		}
		if a.Action == ActionRemove {
			return cmp.Compare(b.Path, a.Path)
		}
		return cmp.Compare(a.Path, b.Path)
	})
}
