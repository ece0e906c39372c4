package torture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// Templates are data directories to begin with, with schema, one for each
// installation and kind of settings: initdb takes longer than a copy. Made when
// first asked for.
type Templates struct {
	// Root is an existing directory to keep them in.
	Root string

	mu   sync.Mutex
	made map[string]*template
}

type template struct {
	dir string
	lz4 bool // whether the installation compresses WAL by it
}

func (t *Templates) get(install rewindtest.Install, s Settings) (*template, error) {
	name := fmt.Sprintf("t%d-%t-%d", install.Major, s.Checksums, s.WALSegSize)
	t.mu.Lock()
	defer t.mu.Unlock()
	if made := t.made[name]; made != nil {
		return made, nil
	}
	made, err := t.make(name, install, s)
	if err != nil {
		return nil, fmt.Errorf("make template %s: %w", name, err)
	}
	if t.made == nil {
		t.made = map[string]*template{}
	}
	t.made[name] = made
	return made, nil
}

func (t *Templates) make(name string, install rewindtest.Install, s Settings) (*template, error) {
	n, err := rewindtest.CreatePrimary(t.Root, install, rewindtest.Options{
		Name: name, WalSegSize: s.WALSegSize, NoChecksums: !s.Checksums,
		InitArgs: []string{"--allow-group-access"}, // a schedule that wants none takes it away
	})
	if err != nil {
		return nil, err
	}
	if install.HasExtension("amcheck") {
		for _, db := range []string{"template1", "postgres"} {
			if err := n.ExecIn(db, "CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
				return nil, err
			}
		}
	}
	if err := prepare(n); err != nil {
		return nil, err
	}
	ways, err := n.Value("SELECT coalesce(enumvals::text, '') FROM pg_settings WHERE name = 'wal_compression'")
	if err != nil {
		return nil, err
	}
	if err := n.Stop(rewindtest.Fast); err != nil {
		return nil, err
	}
	dir := filepath.Join(t.Root, name+".data")
	if err := os.Rename(n.Dir, dir); err != nil {
		return nil, err
	}
	return &template{dir: dir, lz4: strings.Contains(ways, "lz4")}, n.Close()
}

// prepare makes the databases and their schema.
func prepare(n *rewindtest.Node) error {
	if err := n.Exec("CREATE DATABASE " + secondDB); err != nil {
		return err
	}
	for _, db := range []string{firstDB, secondDB} {
		if err := n.ExecIn(db, schemaSQL()...); err != nil {
			return err
		}
	}
	return nil
}

// conf is what the installation can do of what the settings ask for.
func (t *template) conf(conf map[string]string) map[string]string {
	conf = maps.Clone(conf)
	conf["wal_init_zero"] = "off" // so that new segments cost nothing
	if conf["wal_compression"] == "lz4" && !t.lz4 {
		conf["wal_compression"] = "on"
	}
	return conf
}
