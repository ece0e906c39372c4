package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHelp(t *testing.T) {
	got := run(t, nil, nil, "--help")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for line := range strings.Lines(got.stdout) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	golden(t, "help.txt", got.stdout)
	for _, args := range [][]string{{"config", "--help"}, {"config", "show", "--help"}, {"version", "-h"}, {"help"}} {
		if got := run(t, nil, nil, args...); got.code != 0 || got.stdout == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}, {"-V"}} {
		if got := run(t, nil, nil, args...); got.code != 0 || !strings.HasPrefix(got.stdout, "failback-hook ") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := run(t, nil, nil, "version", "-o", "json"); got.code != 0 || !strings.Contains(got.stdout, `"go": "go1.`) {
		t.Errorf("%+v", got)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"--no-such-option"}, {"config"}, {"config", "edit"}, {"config", "show", "x"}, {"config", "show", "--bogus"}, {"version", "--bogus"}} {
		got := run(t, nil, nil, args...)
		if got.code != exitUsage || !strings.Contains(got.stderr, "failback-hook: error: ") || !strings.Contains(got.stderr, "hint: ") || got.stdout != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for args, want := range map[string]string{
		"--dryrun":  "unknown option --dryrun; did you mean --dry-run?",
		"dry-run":   "unknown command: dry-run; did you mean --dry-run?",
		"rejoin":    "without a command this node is rejoined",
		"--name n1": "no configuration file was read: name one with --config",
		"--scope a --name b -D /c --source-conninfo usr=d": `source.conninfo (--source-conninfo): read connection string: unknown option "usr"`,
	} {
		if got := run(t, nil, nil, strings.Fields(args)...); got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
	if got := run(t, nil, nil, "--no-such-option", "--output", "json"); !strings.Contains(got.stdout, `"name": "usage"`) {
		t.Errorf("not JSON: %+v", got)
	}
}

// TestDocumentedTables keeps the tables of exit codes and settings in files of
// their own and in the README, between a pair of comments each.
// go test -update writes both.
func TestDocumentedTables(t *testing.T) {
	readme := filepath.Join("..", "..", "README.md")
	for name, table := range map[string]string{"exit-codes": exitMarkdown(), "settings": settingMarkdown()} {
		golden(t, name+".md", table)
		content, err := os.ReadFile(readme)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the golden file alone, until there is a README
		}
		if err != nil {
			t.Fatal(err)
		}
		begin, end := "<!-- "+name+": written by go test ./cmd/failback-hook -update -->\n", "<!-- end of "+name+" -->\n"
		before, rest, ok1 := strings.Cut(string(content), begin)
		inside, after, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Errorf("README.md: want the lines\n%s%s", begin, end)
			continue
		}
		if *update {
			if err := os.WriteFile(readme, []byte(before+begin+table+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if inside != table {
			t.Errorf("README.md: the table of %s is not the program's; go test ./cmd/failback-hook -update writes it", name)
		}
	}
}
