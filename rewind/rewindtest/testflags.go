package rewindtest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Flags of a test binary that name what it will write.
var (
	outputFiles = []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace", "testlogfile"}
	outputDirs  = []string{"outputdir", "gocoverdir"}
)

// move says where something that the tests wrote belongs.
type move struct {
	from, to string
	dir      bool // must exist before the tests begin
}

// fuzzing tells whether the arguments start a fuzz coordinator or worker.
func fuzzing(args []string) bool {
	for _, arg := range args {
		name, value, _ := testFlag(arg)
		if name == "fuzzworker" || name == "fuzz" && value != "" {
			return true
		}
	}
	return false
}

// testFlag splits "-test.name=value"; the value is only known when it is in the
// same argument, which is how the go command writes them.
func testFlag(arg string) (name, value string, assigned bool) {
	rest, ok := strings.CutPrefix(arg, "-test.")
	if !ok {
		rest, ok = strings.CutPrefix(arg, "--test.")
	}
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "=")
}

// redirect rewrites the arguments of a test binary so that everything it writes
// goes below dir, and says where each piece belongs afterwards. cwd is what
// relative names refer to. Both "-test.x=y" and "-test.x y" are understood.
func redirect(args []string, cwd, dir string) (rewritten []string, moves []move) {
	base := cwd
	eachOutput(args, func(_ int, name, value string) {
		if name == "outputdir" && value != "" {
			base = absolute(value, cwd)
		}
	})
	rewritten = append([]string(nil), args...)
	eachOutput(args, func(i int, name, value string) {
		if value == "" {
			return
		}
		m := move{from: filepath.Join(dir, strconv.Itoa(i)+"-"+name), to: absolute(value, base), dir: isOutputDir(name)}
		if name == "testlogfile" || m.dir {
			m.to = absolute(value, cwd)
		}
		moves = append(moves, m)
		if _, _, assigned := testFlag(args[i]); assigned {
			rewritten[i] = "-test." + name + "=" + m.from
		} else {
			rewritten[i+1] = m.from
		}
	})
	return rewritten, moves
}

// eachOutput calls fn for every argument that names an output.
func eachOutput(args []string, fn func(i int, name, value string)) {
	for i, arg := range args {
		if arg == "--" || arg == "-args" {
			return
		}
		name, value, assigned := testFlag(arg)
		if !isOutputDir(name) && !slices.Contains(outputFiles, name) {
			continue
		}
		if !assigned && i+1 < len(args) {
			value = args[i+1]
		}
		fn(i, name, value)
	}
}

func isOutputDir(name string) bool { return slices.Contains(outputDirs, name) }

func absolute(path, base string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// carry copies what the tests wrote to where it belongs. What was not written,
// because the run ended before, is no error.
func (m move) carry() error {
	return filepath.WalkDir(m.from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(m.from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(m.to, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return copyFile(path, to, 0o644)
	})
}

// copyFile copies contents, with a mode of its own; the target is replaced.
func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
