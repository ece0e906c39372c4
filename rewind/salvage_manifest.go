package rewind

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// SalvageFormat is the version of a SalvageManifest's JSON form.
const SalvageFormat = 1

// Names in a salvage directory besides those of WAL segments and histories.
const (
	// SalvageManifestName is written last: a directory without it is not complete.
	SalvageManifestName = "manifest.json"
	// SalvageReportName is the report of the run that moved the WAL there.
	SalvageReportName = "report.json"
)

// Bounds of what a manifest may say, and of its own size.
const (
	maxManifestSize = 64 << 20
	maxSalvageFiles = 200_000
	maxReportSize   = 256 << 20
)

// SalvageManifest describes a directory with the WAL of a branch that was given
// up: whose it is, where it begins to be lost, where it ends, and which files it
// consists of. It says nothing of the host that it was written on.
type SalvageManifest struct {
	Format      int         `json:"format"`
	SystemID    pg.SystemID `json:"system_id"`
	Major       pg.Major    `json:"major"`
	WALSegSize  uint32      `json:"wal_segment_size"`
	WALPageSize uint32      `json:"wal_page_size"`
	Checksums   bool        `json:"checksums"`
	// Timeline is the one that the node was on, History the way to it.
	Timeline pg.Timeline `json:"timeline"`
	History  pg.History  `json:"history"`
	// Fork is where the branch left what both nodes have.
	Fork pg.Fork `json:"fork"`
	// From is a position before the fork from which the WAL may be read, if the
	// files reach back that far: a redo position, or the fork itself.
	From pg.LSN `json:"from"`
	// EndOfWAL is the end of the branch's last valid record.
	EndOfWAL pg.LSN    `json:"end_of_wal"`
	Time     time.Time `json:"time"`
	// Files are all that belong to it, by name.
	Files []SalvageFile `json:"files"`
}

// SalvageFile is one file of a salvage directory.
type SalvageFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	// SHA256 of the content, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// NewSalvageManifest describes the branch that a plan gives up; the files are
// added by AddFile. now is when.
func NewSalvageManifest(p *Plan, walPageSize uint32, now time.Time) *SalvageManifest {
	from := p.Fork.LSN
	if p.Replay.Redo != 0 && p.Replay.Redo < from {
		from = p.Replay.Redo
	}
	return &SalvageManifest{
		Format: SalvageFormat, SystemID: p.SystemID, Major: p.Major, WALSegSize: p.WALSegSize, WALPageSize: walPageSize,
		Checksums: p.Checksums, Timeline: p.Target.Timeline, History: p.Target.History, Fork: p.Fork,
		From: from, EndOfWAL: p.Target.EndOfWAL, Time: now.UTC(),
	}
}

// SalvageDir is the place of the branch below the configured directory:
// SYSTEM_ID/TIMELINE-FORK, the fork in hexadecimal without its slash.
func (m *SalvageManifest) SalvageDir() string {
	return filepath.Join(m.SystemID.String(), fmt.Sprintf("%d-%016X", m.Timeline, uint64(m.Fork.LSN)))
}

// AddFile reads a file of the directory and adds it; one of the same name is
// replaced.
func (m *SalvageManifest) AddFile(dir, name string) error {
	f, err := m.describe(dir, name)
	if err != nil {
		return &Error{Op: "read salvaged file", Path: name, Err: err}
	}
	m.Files = slices.DeleteFunc(m.Files, func(o SalvageFile) bool { return o.Name == name })
	m.Files = append(m.Files, f)
	slices.SortFunc(m.Files, func(a, b SalvageFile) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func (m *SalvageManifest) describe(dir, name string) (_ SalvageFile, err error) {
	f, err := os.OpenInRoot(dir, name)
	if err != nil {
		return SalvageFile{}, err
	}
	defer closing(&err, f.Close)
	h := sha256.New()
	n, err := io.Copy(h, f)
	return SalvageFile{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// WriteSalvageManifest makes the manifest durable in its directory, replacing an
// older one. It refuses what ReadSalvageManifest would refuse.
func WriteSalvageManifest(dir string, m *SalvageManifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		_, err = parseManifest(b)
	}
	if err == nil {
		err = journal.WriteFile(filepath.Join(dir, SalvageManifestName), append(b, '\n'), 0o600)
	}
	if err != nil {
		return &Error{Op: "write salvage manifest", Path: SalvageManifestName, Err: err}
	}
	return nil
}

// ReadSalvageManifest reads the manifest of a directory. A directory without one
// is ErrNotSalvage, a format that is not known ErrUnsupported, and what
// contradicts itself ErrDamaged. The files are not looked at.
func ReadSalvageManifest(dir string) (*SalvageManifest, error) {
	b, err := readInRoot(dir, SalvageManifestName, maxManifestSize)
	if err != nil {
		return nil, &Error{Op: "read salvage manifest", Path: filepath.Join(dir, SalvageManifestName), Err: fmt.Errorf("%w: %w", ErrNotSalvage, err),
			Advice: "name the directory of one branch, SALVAGE_DIR/SYSTEM_ID/TIMELINE-FORK, that has a " + SalvageManifestName}
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, &Error{Op: "read salvage manifest", Path: filepath.Join(dir, SalvageManifestName), Err: err}
	}
	return m, nil
}

// readInRoot reads a regular file of at most limit bytes that lies in dir.
func readInRoot(dir, name string, limit int64) (b []byte, err error) {
	f, err := os.OpenInRoot(dir, name)
	if err != nil {
		return nil, err
	}
	defer closing(&err, f.Close)
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case fi.Size() > limit:
		return nil, fmt.Errorf("%d bytes are more than the %d such a file can have", fi.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func parseManifest(b []byte) (*SalvageManifest, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if head.Format != SalvageFormat {
		return nil, fmt.Errorf("%w: manifest of format %d, this program knows %d", ErrUnsupported, head.Format, SalvageFormat)
	}
	var m SalvageManifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// check refuses what cannot be true.
func (m *SalvageManifest) check() error {
	if m.Major < pg.OldestMajor || m.Major > pg.NewestMajor || m.WALPageSize != pgwal.DefaultPageSize {
		return fmt.Errorf("%w: PostgreSQL %d with WAL pages of %d bytes", ErrUnsupported, m.Major, m.WALPageSize)
	}
	problem := ""
	switch {
	case m.SystemID == 0:
		problem = "no system identifier"
	case !pg.ValidSegmentSize(m.WALSegSize):
		problem = fmt.Sprintf("a WAL segment size of %d", m.WALSegSize)
	case m.Timeline == 0 || m.History.Last() != m.Timeline || !validHistory(m.History):
		problem = fmt.Sprintf("a history that does not lead to timeline %d", m.Timeline)
	case m.Fork.LSN == 0 || m.Fork.LSN == pg.MaxLSN || m.EndOfWAL <= m.Fork.LSN || m.From == 0 || m.From > m.Fork.LSN:
		problem = fmt.Sprintf("WAL from %s to %s that parts at %s", m.From, m.EndOfWAL, m.Fork.LSN)
	case !m.History.Contains(m.Fork.Timeline, m.Fork.LSN):
		problem = fmt.Sprintf("a fork on timeline %d that is not in its history", m.Fork.Timeline)
	case len(m.Files) > maxSalvageFiles:
		problem = fmt.Sprintf("%d files", len(m.Files))
	}
	if problem != "" {
		return fmt.Errorf("%w: the manifest names %s", ErrDamaged, problem)
	}
	return m.checkFiles()
}

// validHistory: each entry begins where the one before ends, as
// pg.ParseHistory makes them.
func validHistory(h pg.History) bool {
	var before pg.HistoryEntry
	for i, e := range h {
		last := i == len(h)-1
		if e.Timeline <= before.Timeline || e.Begin != before.End || e.End < e.Begin || (e.End == pg.MaxLSN) != last {
			return false
		}
		before = e
	}
	return len(h) > 0
}

// checkFiles lets no name out of the directory, and no size be a surprise.
func (m *SalvageManifest) checkFiles() error {
	last := ""
	for _, f := range m.Files {
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil || len(sum) != sha256.Size || f.Name <= last || !m.validSize(f) {
			return fmt.Errorf("%w: the manifest names the file %s with %d bytes and the hash %s, after %s",
				ErrDamaged, strconv.QuoteToASCII(f.Name), f.Size, strconv.QuoteToASCII(f.SHA256), strconv.QuoteToASCII(last))
		}
		last = f.Name
	}
	return nil
}

func (m *SalvageManifest) validSize(f SalvageFile) bool {
	if f.Size < 0 {
		return false
	}
	if _, _, ok := pg.ParseSegmentName(f.Name, m.WALSegSize); ok || pg.IsPartialName(f.Name) {
		return f.Size == int64(m.WALSegSize)
	}
	if _, ok := pg.ParseHistoryFileName(f.Name); ok {
		return f.Size <= pg.MaxHistorySize
	}
	return f.Name == SalvageReportName && f.Size <= maxReportSize
}
