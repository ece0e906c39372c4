package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxOptions bounds what is read of postmaster.opts.
const maxOptions = 64 << 10

// startOptions are the options for postgres besides -D: those it was started
// with the last time, and the configured config_file. Without the former a
// server that was started with "-p 5433", or with its configuration in /etc,
// would come up as another one, or not at all.
func startOptions(cfg Config) ([]string, error) {
	b, err := readBounded(filepath.Join(cfg.PGData, "postmaster.opts"), maxOptions)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read postmaster.opts: %w", err)
	}
	options := lastOptions(string(b), cfg.PGData)
	if cfg.ConfigFile != "" {
		options = append(options, "-c", "config_file="+cfg.ConfigFile)
	}
	for _, o := range options {
		if strings.Contains(strings.ReplaceAll(o, "-", "_"), "config_file=") {
			return options, nil
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.PGData, "postgresql.conf")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrConfig, &FieldError{Key: "postgresql.config_file",
			Problem: "needed: there is no postgresql.conf in the data directory"})
	}
	return options, nil
}

// lastOptions reads postmaster.opts (CreateOptsFile in postmaster.c): the path
// of postgres, then each argument in double quotes, which are not escaped
// inside of it. The data directory is left out; where -D named a directory
// with the configuration only, that is said in its place.
func lastOptions(line, pgdata string) []string {
	_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ` "`)
	if !ok {
		return nil
	}
	var options []string
	args := strings.Split(strings.TrimSuffix(rest, `"`), `" "`)
	for i := 0; i < len(args); i++ {
		dir, isDir := strings.CutPrefix(args[i], "-D")
		if !isDir {
			options = append(options, args[i])
			continue
		}
		if dir == "" && i+1 < len(args) {
			i++
			dir = args[i]
		}
		if !sameDir(dir, pgdata) && !isDataDir(dir) {
			options = append(options, "-c", "config_file="+filepath.Join(dir, "postgresql.conf"))
		}
	}
	return options
}

// isDataDir: a whole data directory was named, and not one with configuration
// only, so ours is a copy of it. The copy must not come up with the settings of
// the original, its port among them.
func isDataDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "PG_VERSION"))
	return err == nil
}

// sameDir compares directories as the system sees them. A relative one was
// relative to a place that is not known any more, and can only be PGDATA: the
// file with the options lies there.
func sameDir(dir, pgdata string) bool {
	if !filepath.IsAbs(dir) {
		return true
	}
	a, err := os.Stat(dir)
	if err != nil {
		return true // the directory was moved since
	}
	b, err := os.Stat(pgdata)
	return err == nil && os.SameFile(a, b)
}
