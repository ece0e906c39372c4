package rewindtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want []string
		to   []string
	}{
		{"nothing to write", []string{"-test.v=true", "-test.run", "X"}, []string{"-test.v=true", "-test.run", "X"}, nil},
		{"absolute", []string{"-test.coverprofile=/b/c.out"}, []string{"-test.coverprofile=/tmp/o/0-coverprofile"}, []string{"/b/c.out"}},
		{
			"relative to outputdir", []string{"-test.cpuprofile=cpu", "-test.outputdir=/res"},
			[]string{"-test.cpuprofile=/tmp/o/0-cpuprofile", "-test.outputdir=/tmp/o/1-outputdir"},
			[]string{"/res/cpu", "/res"},
		},
		{
			"two words, two dashes", []string{"--test.trace", "tr", "-test.testlogfile=log"},
			[]string{"--test.trace", "/tmp/o/0-trace", "-test.testlogfile=/tmp/o/2-testlogfile"},
			[]string{"/cwd/tr", "/cwd/log"},
		},
		{"empty", []string{"-test.coverprofile="}, []string{"-test.coverprofile="}, nil},
		{"after the flags", []string{"--", "-test.trace=x"}, []string{"--", "-test.trace=x"}, nil},
	} {
		got, moves := redirect(c.args, "/cwd", "/tmp/o")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: arguments (-want +got)\n%s", c.name, diff)
		}
		var to []string
		for _, m := range moves {
			to = append(to, m.to)
		}
		if diff := cmp.Diff(c.to, to); diff != "" {
			t.Errorf("%s: places (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestFuzzing(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"-test.run=X"}, false},
		{[]string{"-test.fuzz="}, false},
		{[]string{"-test.fuzz=FuzzX"}, true},
		{[]string{"-test.fuzzworker"}, true},
		{[]string{"-test.fuzztime=3s"}, false},
	} {
		if got := fuzzing(c.args); got != c.want {
			t.Errorf("fuzzing(%q) = %v, want %v", c.args, got, c.want)
		}
	}
}

func TestCarry(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new")
	if err := os.MkdirAll(filepath.Join(from, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "a", "b", "c"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (move{from: from, to: to}).carry(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "a", "b", "c")); err != nil || string(got) != "x" {
		t.Errorf("carried file: %q, %v", got, err)
	}
	if err := (move{from: filepath.Join(from, "none"), to: to}).carry(); err != nil {
		t.Errorf("nothing written: %v", err)
	}
}

func TestOpenToAll(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if openToAll(inner) {
		t.Error("a directory below a closed one counts as open")
	}
	if !openToAll("/tmp") {
		t.Error("/tmp counts as closed")
	}
}

func TestConfQuoting(t *testing.T) {
	got := confText(map[string]string{"b": `it's a \`, "a": "1"})
	if want := "a = '1'\nb = 'it''s a \\\\'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
