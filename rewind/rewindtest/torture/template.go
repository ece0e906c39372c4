package torture

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// Templates are data directories to begin with, with schema, one for each
// installation and kind of settings: initdb takes longer than a copy. They are
// made when first asked for, and found again by later runs.
type Templates struct {
	// Root is an existing directory to keep them in.
	Root string

	mu   sync.Mutex
	made map[string]*template
}

type template struct {
	once sync.Once
	dir  string
	lz4  bool // whether the installation compresses WAL by it
	err  error
}

func (t *Templates) get(install rewindtest.Install, s Settings) (*template, error) {
	schema := crc32.ChecksumIEEE([]byte(strings.Join(schemaSQL(), "")))
	name := fmt.Sprintf("t%s-%t-%d-%08x", install.Version, s.Checksums, s.WALSegSize, schema)
	t.mu.Lock()
	if t.made == nil {
		t.made = map[string]*template{}
	}
	m := t.made[name]
	if m == nil {
		m = &template{dir: filepath.Join(t.Root, name)}
		t.made[name] = m
	}
	t.mu.Unlock()
	m.once.Do(func() {
		if m.err = m.find(); errors.Is(m.err, fs.ErrNotExist) {
			m.err = t.make(m, install, s)
		}
	})
	if m.err != nil {
		return nil, fmt.Errorf("make template %s: %w", name, m.err)
	}
	return m, nil
}

// find looks for one that an earlier run has made.
func (m *template) find() error {
	if _, err := os.Stat(m.dir); err != nil {
		return err
	}
	_, err := os.Stat(m.dir + ".lz4")
	m.lz4 = err == nil
	return nil
}

func (t *Templates) make(m *template, install rewindtest.Install, s Settings) error {
	n, err := rewindtest.CreatePrimary(t.Root, install, rewindtest.Options{
		Name: fmt.Sprintf("new%d-%d-%t-%d", os.Getpid(), install.Major, s.Checksums, s.WALSegSize), WalSegSize: s.WALSegSize, NoChecksums: !s.Checksums,
		InitArgs: []string{"--allow-group-access"}, // a schedule that wants none takes it away
	})
	if err != nil {
		return err
	}
	if err := m.keep(n); err != nil {
		return errors.Join(err, n.Close())
	}
	return n.Close()
}

// keep prepares a cluster and moves it to where it is looked for.
func (m *template) keep(n *rewindtest.Node) error {
	if n.Install.HasExtension("amcheck") {
		for _, db := range []string{"template1", firstDB} {
			if err := n.ExecIn(db, "CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
				return err
			}
		}
	}
	if err := prepare(n); err != nil {
		return err
	}
	ways, err := n.Value("SELECT coalesce(enumvals::text, '') FROM pg_settings WHERE name = 'wal_compression'")
	if err != nil {
		return err
	}
	if m.lz4 = strings.Contains(ways, "lz4"); m.lz4 {
		if err := os.WriteFile(m.dir+".lz4", nil, 0o644); err != nil {
			return err
		}
	}
	if err := n.Stop(rewindtest.Fast); err != nil {
		return err
	}
	return os.Rename(n.Dir, m.dir)
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
