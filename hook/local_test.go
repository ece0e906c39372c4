package hook

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
)

func TestReadLocal(t *testing.T) {
	plain := Local{SystemID: fixtureID, Major: 15, State: "shut down", Timeline: 1}
	tests := []struct {
		name  string
		setup func(t *testing.T, dir string, want *Local)
		err   error
	}{
		{"stopped primary", func(*testing.T, string, *Local) {}, nil},
		{"standby", func(t *testing.T, dir string, want *Local) {
			write(t, filepath.Join(dir, "standby.signal"), "")
			want.StandbySignal = true
		}, nil},
		{"recovery.signal", func(t *testing.T, dir string, want *Local) {
			write(t, filepath.Join(dir, "recovery.signal"), "")
			want.StandbySignal = true
		}, nil},
		{"no data directory", func(t *testing.T, dir string, _ *Local) { must(t, os.RemoveAll(dir)) }, rewind.ErrNotDataDir},
		{"no version", func(t *testing.T, dir string, _ *Local) { must(t, os.Remove(filepath.Join(dir, "PG_VERSION"))) }, rewind.ErrNotDataDir},
		{"version of old", func(t *testing.T, dir string, _ *Local) { write(t, filepath.Join(dir, "PG_VERSION"), "9.6\n") }, rewind.ErrUnsupported},
		{"version to come", func(t *testing.T, dir string, _ *Local) { write(t, filepath.Join(dir, "PG_VERSION"), "99\n") }, rewind.ErrUnsupported},
		{"version and control file differ", func(t *testing.T, dir string, _ *Local) { write(t, filepath.Join(dir, "PG_VERSION"), "16\n") }, rewind.ErrDamaged},
		{"no control file, no journal", func(t *testing.T, dir string, _ *Local) { must(t, os.Remove(filepath.Join(dir, controlFile))) }, rewind.ErrNotDataDir},
		{"control file damaged", func(t *testing.T, dir string, _ *Local) {
			bad := []byte(string(controlImage))
			bad[20]++
			write(t, filepath.Join(dir, controlFile), string(bad))
		}, rewind.ErrDamaged},
		{"control file cut off", func(t *testing.T, dir string, _ *Local) {
			write(t, filepath.Join(dir, controlFile), string(controlImage[:100]))
		}, rewind.ErrDamaged},
		{"control file far too long", func(t *testing.T, dir string, _ *Local) {
			must(t, os.Truncate(filepath.Join(dir, controlFile), 1<<30))
		}, rewind.ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, want := newDataDir(t), plain
			tt.setup(t, dir, &want)
			got, err := ReadLocal(t.Context(), dir)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Fatalf("got %v, want %v", err, tt.err)
				}
				return
			}
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// A server writes its control file in place: what a reader sees half of is
// whole a moment later.
func TestReadLocalWaitsForWriter(t *testing.T) {
	dir := newDataDir(t)
	torn := []byte(string(controlImage))
	torn[20]++
	name := filepath.Join(dir, controlFile)
	write(t, name, string(torn))
	done := make(chan error, 1)
	go func() {
		if err := sleep(t.Context(), 3*controlPause); err != nil {
			done <- err
			return
		}
		done <- os.WriteFile(name, controlImage, 0o600)
	}()
	l, err := ReadLocal(t.Context(), dir)
	must(t, <-done)
	if err != nil || l.SystemID != fixtureID {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestCheckUser(t *testing.T) {
	dir := newDataDir(t)
	for _, tt := range []struct {
		name string
		euid int
		dir  string
		want error
	}{
		{"owner", os.Geteuid(), dir, nil},
		{"root", 0, dir, ErrRoot},
		{"root, of a directory that is not there", 0, dir + "x", ErrRoot},
		{"another user", os.Geteuid() + 1, dir, ErrNotOwner},
		{"no directory", os.Geteuid(), dir + "x", rewind.ErrNotDataDir},
	} {
		if err := checkUser(tt.euid, tt.dir); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}
