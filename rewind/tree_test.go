package rewind_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// tree is all that is in a data directory, by path: kind, mode, size, content,
// and of files the time of the last change. What linked directories hold is in it too.
type tree map[string]entryState

type entryState struct {
	what string // kind, mode, size, where a link leads
	sum  [sha256.Size]byte
	time time.Time
}

func readTree(t *testing.T, dir string) tree {
	t.Helper()
	out, err := treeOf(dir)
	must(t, err)
	return out
}

func treeOf(dir string) (tree, error) { return treeSince(dir, nil) }

// treeSince reads a copy of the directory that was before: files whose sizes and
// times have not changed since are not read. Undoing sets times back; what comes
// of that has to be read.
func treeSince(dir string, before tree) (tree, error) {
	out := tree{}
	return out, out.add(dir, dir, "", before)
}

// add reads what is in dir; home is the data directory, links to beside which
// are the same in every copy.
func (out tree) add(home, dir, prefix string, before tree) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if os.IsPermission(err) { // somebody else's, as a file system's lost+found
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		name, s := filepath.Join(prefix, rel), entryState{what: fi.Mode().String()}
		switch {
		case fi.Mode().IsRegular():
			s.what, s.time = fmt.Sprintf("%s %d", fi.Mode(), fi.Size()), fi.ModTime()
			if was, ok := before[name]; ok && was.what == s.what && was.time.Equal(s.time) {
				s.sum = was.sum
				break
			}
			b, err := os.ReadFile(p)
			if err != nil && !os.IsPermission(err) {
				return err
			}
			s.sum = sha256.Sum256(b)
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s.what = "link to " + strings.ReplaceAll(to, home, "$PGDATA")
			if st, err := os.Stat(p); err == nil && st.IsDir() {
				if err := out.add(home, p+"/", name, before); err != nil {
					return err
				}
			}
		}
		out[name] = s
		return nil
	})
}

// diff says in what a tree is not another one: some of its paths.
func (out tree) diff(want tree) error {
	var d []string
	for p, w := range want {
		switch got, ok := out[p]; {
		case !ok:
			d = append(d, p+" is missing")
		case got.what != w.what:
			d = append(d, fmt.Sprintf("%s is %s, was %s", p, got.what, w.what))
		case got.sum != w.sum:
			d = append(d, p+" has another content")
		case !got.time.Equal(w.time):
			d = append(d, fmt.Sprintf("%s is of %s, was of %s", p, got.time, w.time))
		}
	}
	for p := range out {
		if _, ok := want[p]; !ok {
			d = append(d, p+" is new")
		}
	}
	if len(d) == 0 {
		return nil
	}
	slices.Sort(d)
	return fmt.Errorf("%d paths are not what they were: %s", len(d), strings.Join(d[:min(len(d), 12)], "; "))
}

// without is the tree but for some directories.
func (out tree) without(dirs ...string) tree {
	rest := maps.Clone(out)
	maps.DeleteFunc(rest, func(p string, _ entryState) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") })
	})
	return rest
}

// hash stands for the whole tree; with times only where they count.
func (out tree) hash(times bool) string {
	h := sha256.New()
	for _, p := range out.paths() {
		s := out[p]
		fmt.Fprintf(h, "%q %q %x", p, s.what, s.sum)
		if times {
			fmt.Fprint(h, s.time.UnixNano())
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func (out tree) paths() []string {
	var paths []string
	for p := range out {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

var labelTime = regexp.MustCompile(`(?m)^START TIME: .*$`)

// resultHash stands for the content of a rewound directory, but for the two
// times of day in it: that of the control file and that of the label. Directories
// with the same hash are the same to a server.
func resultHash(dir string, before tree) (string, error) {
	out, err := treeSince(dir, before)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(dir, "global/pg_control"))
	if err != nil {
		return "", err
	}
	c, err := pgcontrol.Parse(b)
	if err != nil {
		return "", err
	}
	c.Time = time.Unix(0, 0)
	s := out["global/pg_control"]
	s.sum = sha256.Sum256(c.Encode())
	out["global/pg_control"] = s
	switch b, err := os.ReadFile(filepath.Join(dir, "backup_label")); {
	case err == nil:
		s := out["backup_label"]
		s.sum = sha256.Sum256(labelTime.ReplaceAll(b, nil))
		out["backup_label"] = s
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return out.hash(false), nil
}
