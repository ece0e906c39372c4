package rewindtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
)

// checksumsByHand is pg_checksums --check for installations without it.
func checksumsByHand(install Install, dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "global", "pg_control"))
	if err != nil {
		return err
	}
	control, err := pgcontrol.Parse(content)
	if err != nil {
		return err
	}
	if control.DataChecksumVersion == 0 || !control.State.Clean() {
		return fmt.Errorf("verify checksums of %s: checksum version %d, cluster %s", dir, control.DataChecksumVersion, control.State)
	}
	v := verifier{control: control, major: pg.Major(install.Major)}
	if err := v.tree(dir, ""); err != nil {
		return fmt.Errorf("verify checksums of %s: %w", dir, err)
	}
	spaces, err := os.ReadDir(filepath.Join(dir, "pg_tblspc"))
	if err != nil {
		return err
	}
	for _, space := range spaces {
		link := filepath.Join("pg_tblspc", space.Name())
		if err := v.tree(filepath.Join(dir, link)+"/", link); err != nil {
			return fmt.Errorf("verify checksums of %s: %w", dir, err)
		}
	}
	if v.pages == 0 {
		return fmt.Errorf("verify checksums of %s: no page found", dir)
	}
	return nil
}

type verifier struct {
	control *pgcontrol.Control
	major   pg.Major
	pages   int
}

// tree verifies the relations in a directory that is at path in PGDATA.
func (v *verifier) tree(dir, path string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel, ok := pg.ParseRelPath(filepath.Join(path, below), v.major)
		if !ok {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return v.file(filepath.Join(path, below), pg.BlockNo(rel.Segment*v.control.RelSegSize), content)
	})
}

func (v *verifier) file(path string, first pg.BlockNo, content []byte) error {
	size := int(v.control.BlockSize)
	for block := first; len(content) > 0; block++ {
		if len(content) < size {
			return fmt.Errorf("%s ends within block %d", path, block)
		}
		page := content[:size]
		content = content[size:]
		v.pages++
		if !pgpage.IsNew(page) && !pgpage.Verify(page, block) {
			return fmt.Errorf("checksum verification failed in file %s, block %d", path, block)
		}
	}
	return nil
}
