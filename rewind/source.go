package rewind

import (
	"context"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// File is one entry of a data directory, the source's or the target's.
type File struct {
	// Path is relative to PGDATA, with forward slashes, and never leaves it:
	// "base/5/1249", "pg_tblspc/16390/PG_15_202209061/5/16391". Entries below
	// a tablespace link or a linked pg_wal are listed under the link's name.
	Path string
	// Kind tells regular files, directories and symbolic links apart. A linked
	// pg_wal is reported as KindDir, a tablespace link as KindLink.
	Kind Kind
	// Size in bytes; zero unless Kind is KindFile.
	Size int64
	// Link is where a KindLink points to; empty otherwise.
	Link string
	// Mode holds the permission bits; zero where the source cannot tell.
	Mode fs.FileMode
}

// Kind is the type of a File.
type Kind uint8

// The kinds of files that a data directory holds. Sockets, pipes and devices
// are KindOther: they are never copied, changed or removed.
const (
	KindFile Kind = iota + 1
	KindDir
	KindLink
	KindOther
)

// Range is a run of bytes in one file of the source.
type Range struct {
	Path   string
	Offset int64
	// Length in bytes, at most MaxRange.
	Length int64
}

// MaxRange is the largest Range a Source is asked for, and so the unit of
// memory of a fetch: one such buffer per connection.
const MaxRange = 1 << 20

// Chunk is the answer to one Range.
type Chunk struct {
	Range
	// Data is what the file holds there: shorter than asked when the file ends
	// before. It is only valid until the callback that received it returns.
	Data []byte
	// Missing says that the file is not there (any more).
	Missing bool
}

// Sum is the answer to one Range that was asked to be hashed.
type Sum struct {
	// SHA256 of the bytes that a Chunk would have carried.
	SHA256 [32]byte
	// Missing says that the file is not there (any more).
	Missing bool
}

// SourceState is what a source says of itself at one moment.
type SourceState struct {
	// Running tells a server from a stopped data directory.
	Running bool
	// InRecovery is true for a standby, and for a server whose promotion has not ended.
	InRecovery bool
	// FlushLSN is the end of the WAL that a running primary has flushed: no page
	// reaches its disk before the WAL that changed it has. Zero in recovery and
	// for a stopped directory.
	FlushLSN pg.LSN
	// FullPageWrites is the server's current setting; true for a stopped
	// directory, whose pages cannot be torn by a concurrent write.
	FullPageWrites bool
}

// Source is where the blocks of the new primary come from. All methods may be
// called by several goroutines at once. Errors are of this package's kinds
// (ErrSourceUnavailable, ErrSourceAuth, ErrSourcePrivilege, …).
type Source interface {
	// State asks the source for its role and its end of WAL, now.
	State(ctx context.Context) (SourceState, error)
	// List calls fn for every file, directory and link of the data directory,
	// parents before their children, in no other order. Files that vanish
	// meanwhile are left out. A directory that cannot be read is reported by
	// fn's File with KindDir as usual and its children are left out, unless
	// PostgreSQL itself needs it.
	List(ctx context.Context, fn func(File) error) error
	// ReadFile returns a whole small file (at most 64 MiB; more is an error).
	// A missing file is fs.ErrNotExist.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// ReadRanges fetches the ranges and calls fn once for each, in the order
	// asked, from one goroutine. An error of fn ends the call with that error.
	ReadRanges(ctx context.Context, ranges []Range, fn func(Chunk) error) error
	// HashRanges returns one Sum per Range, in the order asked.
	HashRanges(ctx context.Context, ranges []Range) ([]Sum, error)
	// Close gives back connections and files.
	Close() error
}
