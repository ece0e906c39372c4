package pg_test

import (
	"embed"
	"path"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// testdata holds what servers of all majors wrote: TestServerFiles -capture.
//
//go:embed testdata
var testdata embed.FS

// capturedFiles are those of a name, of all majors.
func capturedFiles(t testing.TB, name string) map[string][]byte {
	t.Helper()
	entries, err := testdata.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "-"+name) {
			continue
		}
		if files[e.Name()], err = testdata.ReadFile(path.Join("testdata", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestCapturedFiles(t *testing.T) {
	const majors = int(pg.NewestMajor - pg.OldestMajor + 1)
	for name, want := range map[string]int{"history": majors, "backup_label": majors, "label_on_2": majors, "auto.conf": majors, "incremental_label": 2} {
		files := capturedFiles(t, name)
		if len(files) != want {
			t.Errorf("%d files %s, want %d", len(files), name, want)
		}
		for _, content := range files {
			readServerText(t, name, content)
		}
	}
}
