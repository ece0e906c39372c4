package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/failback-hook/failback-hook/"

// layer is what a package may import besides the standard library.
type layer struct {
	pkg string
	// own are packages of this module, others modules by prefix.
	own, others []string
}

// layers is the dependency rule: imports point downwards only. Tests are free.
func layers() []layer {
	formats := []string{"rewind/pg", "rewind/pgcontrol", "rewind/pgwal", "rewind/pgpage", "rewind/journal", "rewind/postmaster"}
	return []layer{
		{"rewind/pg", nil, nil},
		{"rewind/pgcontrol", []string{"rewind/pg"}, nil},
		{"rewind/pgpage", []string{"rewind/pg"}, nil},
		{"rewind/pgwal", []string{"rewind/pg", "rewind/pgcontrol", "rewind/pgpage"}, nil},
		{"rewind/journal", []string{"rewind/pg"}, nil},
		{"rewind/postmaster", nil, nil},
		{"rewind", formats, []string{"golang.org/x/sync", "golang.org/x/sys", "github.com/klauspost/compress/s2"}},
		{"rewind/source", append([]string{"rewind"}, formats...),
			[]string{"golang.org/x/sync", "golang.org/x/sys", "github.com/jackc/pgx/v5", "github.com/cenkalti/backoff/v5"}},
		{"dcs", []string{"rewind/pg"},
			[]string{"go.etcd.io/etcd/client", "go.etcd.io/etcd/api", "google.golang.org/grpc", "go.uber.org/zap", "golang.org/x/sync", "github.com/cenkalti/backoff/v5"}},
		{"hook", []string{"dcs", "rewind", "rewind/pg", "rewind/pgcontrol", "rewind/journal", "rewind/postmaster"},
			[]string{"go.uber.org/zap", "golang.org/x/sync", "golang.org/x/sys", "github.com/cenkalti/backoff/v5"}},
		{"hook/patroni", nil, nil},
		{"hook/patroniconf", []string{"rewind/pg"}, []string{"go.yaml.in/yaml/v3"}},
		{"cmd/failback-hook", []string{"dcs", "hook", "hook/patroni", "hook/patroniconf", "rewind", "rewind/pg", "rewind/source"},
			[]string{"github.com/urfave/cli/v2", "go.uber.org/zap", "go.yaml.in/yaml/v3", "github.com/dustin/go-humanize",
				"github.com/schollz/progressbar/v3", "golang.org/x/term", "golang.org/x/sys", "github.com/coreos/go-systemd/v22/daemon", "github.com/prometheus/client_golang"}},
	}
}

// testOnly packages serve tests and examples and must not reach the program.
func testOnly(pkg string) bool {
	return strings.HasPrefix(pkg, "examples/") || strings.HasPrefix(pkg, "cmd/failback-hook/e2e") || strings.HasPrefix(pkg, "rewind/rewindtest/") || strings.HasSuffix(pkg, "test") && pkg != "test"
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v: %s", args, err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestImports(t *testing.T) {
	rules := make(map[string]layer)
	for _, l := range layers() {
		rules[l.pkg] = l
	}
	seen := 0
	for _, line := range goList(t, "-e", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...") {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		if testOnly(pkg) {
			continue
		}
		rule, ok := rules[pkg]
		if !ok {
			t.Errorf("%s has no layer: add it to layers, and say what it may import", pkg)
			continue
		}
		seen++
		for _, imported := range fields[1:] {
			if !rule.allows(imported) {
				t.Errorf("%s imports %s: its layer forbids that", pkg, imported)
			}
		}
	}
	if seen != len(rules) {
		t.Errorf("%d of %d layers were found", seen, len(rules))
	}
}

// allows: the standard library, which has no dot in its first element, and
// what the layer names.
func (l layer) allows(imported string) bool {
	if own, ok := strings.CutPrefix(imported, module); ok {
		return slices.Contains(l.own, own)
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return imported != "testing"
	}
	return slices.ContainsFunc(l.others, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") })
}

// TestProgramDependencies looks at everything that ends up in the binary.
func TestProgramDependencies(t *testing.T) {
	deps := goList(t, "-deps", "./cmd/failback-hook")
	if !slices.Contains(deps, module+"hook") {
		t.Fatalf("go list -deps gave %d packages without package hook", len(deps))
	}
	for _, dep := range deps {
		own, ours := strings.CutPrefix(dep, module)
		switch {
		case ours && testOnly(own):
			t.Errorf("the program contains %s, which is for tests", dep)
		case dep == "testing" || strings.HasPrefix(dep, "go.etcd.io/etcd/server/") || strings.HasPrefix(dep, "go.etcd.io/bbolt"):
			t.Errorf("the program contains %s", dep)
		}
	}
}
