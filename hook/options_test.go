package hook

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func TestLastOptions(t *testing.T) {
	data, etc, original := t.TempDir(), t.TempDir(), newDataDir(t)
	tests := []struct {
		name, line string
		want       []string
	}{
		{"only the directory", `/bin/postgres "-D" "` + data + "\"\n", nil},
		{"glued", `/bin/postgres "-D` + data + "\"\n", nil},
		{"relative", `/bin/postgres "-D" "data" "-p" "5433"`, []string{"-p", "5433"}},
		{"Debian", `/bin/postgres "-D" "` + data + `" "-c" "config_file=/etc/pg/15/main/postgresql.conf"`, []string{"-c", "config_file=/etc/pg/15/main/postgresql.conf"}},
		{"Patroni", `postgres "-D" "` + data + `" "--config_file=/x.conf" "--port=5433" "--cluster_name=a b"`, []string{"--config_file=/x.conf", "--port=5433", "--cluster_name=a b"}},
		{"directory of the configuration", `postgres "-D" "` + etc + `"`, []string{"-c", "config_file=" + etc + "/postgresql.conf"}},
		{"directory that was moved", `postgres "-D" "/nowhere/at/all"`, nil},
		{"directory that was copied", `postgres "-D" "` + original + `"`, nil},
		{"no arguments", "/bin/postgres\n", nil},
		{"cut off", `/bin/postgres "-D`, nil},
		{"empty", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastOptions(tt.line, data); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStartOptionsWantConfiguration(t *testing.T) {
	dir := newDataDir(t)
	_, err := startOptions(Config{PGData: dir})
	if !errors.Is(err, ErrConfig) || !slices.Equal(fieldKeys(err), []string{"postgresql.config_file"}) {
		t.Errorf("no postgresql.conf: got %v", err)
	}
	got, err := startOptions(Config{PGData: dir, ConfigFile: "/etc/x.conf"})
	if want := []string{"-c", "config_file=/etc/x.conf"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("configured: got %q, %v, want %q", got, err, want)
	}
	write(t, filepath.Join(dir, "postgresql.conf"), "")
	if got, err := startOptions(Config{PGData: dir}); err != nil || len(got) > 0 {
		t.Errorf("postgresql.conf in PGDATA: got %q, %v", got, err)
	}
}

// What the server was started with is what it is started with again, also when
// the file that says so is gone by then.
func TestStartKeepsOptions(t *testing.T) {
	install := rewindtest.Newest(t)
	n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
	must(t, n.Stop(rewindtest.Fast))
	first, err := newServer(t.Context(), nodeConfig(n), pg.Major(install.Major))
	must(t, err)
	const name = `it's $HOME "x`
	first.options = append(first.options, "-c", "cluster_name="+name, "-p", strconv.Itoa(n.Port))
	must(t, first.start(t.Context()))

	second, err := newServer(t.Context(), nodeConfig(n), pg.Major(install.Major))
	must(t, err)
	must(t, second.stop(t.Context()))
	must(t, os.Remove(filepath.Join(n.Dir, "postmaster.opts")))
	must(t, second.start(t.Context()))
	if got := n.Must(t).Value("SHOW cluster_name"); got != name {
		t.Errorf("cluster_name is %q, want %q", got, name)
	}
	if !slices.Contains(second.options, "-p") || strings.Contains(strings.Join(second.options, " "), n.Dir) {
		t.Errorf("got options %q", second.options)
	}
	must(t, second.stop(t.Context()))
}
