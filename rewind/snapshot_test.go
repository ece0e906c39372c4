package rewind_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// snapshot describes everything below a data directory: kinds, modes, sizes,
// contents and where links point to; what linked directories hold as well.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(root, prefix string)
	walk = func(root, prefix string) {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if os.IsPermission(err) { // somebody else's, as a file system's lost+found
				return fs.SkipDir
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			name := filepath.Join(prefix, rel)
			if d.Type()&fs.ModeSymlink != 0 {
				to, err := os.Readlink(p)
				out[name] = "link to " + to
				if st, e := os.Stat(p); e == nil && st.IsDir() {
					walk(p+"/", name)
				}
				return err
			}
			out[name], err = describe(p, d)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(dir, "")
	return out
}

func describe(p string, d fs.DirEntry) (string, error) {
	fi, err := d.Info()
	if err != nil || !fi.Mode().IsRegular() {
		return fi.Mode().String(), err
	}
	b, err := os.ReadFile(p)
	if os.IsPermission(err) {
		b, err = nil, nil
	}
	return fmt.Sprintf("%s %d %x", fi.Mode(), fi.Size(), sha256.Sum256(b)), err
}

// sameSnapshot fails when something changed but for what ignore names.
func sameSnapshot(t *testing.T, what string, got, want map[string]string, ignore ...string) {
	t.Helper()
	drop := func(m map[string]string) map[string]string {
		out := map[string]string{}
	next:
		for p, v := range m {
			for _, i := range ignore {
				if p == i || strings.HasPrefix(p, i+"/") {
					continue next
				}
			}
			out[p] = v
		}
		return out
	}
	if diff := cmp.Diff(drop(want), drop(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
