package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestConfigurationOutside: as Debian's packages have it, postgresql.conf and
// its like are not in the data directory, and must not come to it either.
func TestConfigurationOutside(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 167, Rows: 500, KillOld: true})
	etc := filepath.Join(s.dir, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	files := []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"}
	for _, name := range files {
		if err := os.Rename(filepath.Join(s.old.Dir, name), filepath.Join(etc, name)); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(etc, "postgresql.conf")
	writeFile(t, conf, readFile(t, conf)+"data_directory = '"+s.old.Dir+"'\nhba_file = '"+etc+"/pg_hba.conf'\nident_file = '"+etc+"/pg_ident.conf'\n")

	before := takeSnapshot(t, s.old.Dir)
	res := s.run(t, s.old).must(t, 2)
	if !strings.Contains(res.stderr, "postgresql.config_file") {
		t.Errorf("what is missing is not named:\n%s", res.stderr)
	}
	before.unchanged(t, s.old.Dir)

	s.rejoin(t, s.old, "rejoined", "--pg-config-file", conf)
	follows(t, s.old, s.leader)
	if got := s.old.Must(t).Value("SHOW config_file"); got != conf {
		t.Errorf("config_file = %s, want %s", got, conf)
	}
	for _, name := range files {
		if _, err := os.Lstat(filepath.Join(s.old.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s came into the data directory (%v)", name, err)
		}
	}

	// What the server was started with is remembered: the second time nobody has to say it.
	s.old.Must(t).Stop(rewindtest.Fast)
	s.rejoin(t, s.old, "configured")
	follows(t, s.old, s.leader)
}
