package pgwal

import (
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// ChangeKind says what a FileChange covers.
type ChangeKind uint8

const (
	// ChangeBlock: the one block Block of Fork of Locator.
	ChangeBlock ChangeKind = iota + 1
	// ChangeFrom: the blocks of Fork of Locator from Block on, and its length.
	ChangeFrom
	// ChangeDatabase: all files of database DB in tablespace Spc.
	ChangeDatabase
)

// FileChange is a change to relation files that no block reference shows.
type FileChange struct {
	Kind    ChangeKind
	Locator pg.RelFileLocator
	Fork    pg.ForkNo
	Block   pg.BlockNo
	Spc, DB pg.Oid
}

// Kinds of records that change files as such.
const (
	opStorageCreate    = 0x10 // XLOG_SMGR_CREATE in catalog/storage_xlog.h
	opStorageTruncate  = 0x20 // XLOG_SMGR_TRUNCATE
	truncatedHeap      = 0x01 // SMGR_TRUNCATE_HEAP
	truncatedVM        = 0x02 // SMGR_TRUNCATE_VM
	truncatedFSM       = 0x04 // SMGR_TRUNCATE_FSM
	opDatabaseCreate   = 0x00 // copying files; XLOG_DBASE_CREATE up to 14
	opDatabase0x10     = 0x10 // XLOG_DBASE_DROP up to 14, from 15 on ..._CREATE_WAL_LOG
	opDatabaseDropLate = 0x20 // XLOG_DBASE_DROP from 15 on
)

// FileChanges tells which files the record changes besides the pages in its
// block references: relations made, truncated or dropped, databases made or
// dropped, and the metapage of SP-GiST indexes, which PostgreSQL changes
// without a record of its own whenever it changes others of the index.
// Tablespaces come and go empty and are none of it.
//
// A record that marks itself as changing relation files in another way than by
// block references and is not known here makes an ErrUnknownChange: pages may
// differ of which the WAL says nothing.
func FileChanges(r *Record) ([]FileChange, error) {
	switch r.Rmgr {
	case RmgrStorage:
		return r.storageChanges()
	case RmgrDatabase:
		return r.databaseChanges()
	case RmgrTransaction:
		// 13 does not mark the commits and aborts that take files with them.
		if r.Info&infoSpecialRelUpdate != 0 || r.Major < 14 && r.endsTransaction() {
			return r.droppedRelations()
		}
	case RmgrSPGist:
		if r.Info&infoSpecialRelUpdate == 0 {
			return r.metapages(), nil
		}
	}
	if r.Info&infoSpecialRelUpdate != 0 {
		return nil, r.unknownChange()
	}
	return nil, nil
}

// CreatesFiles tells whether the FileChanges of the record are the making of
// what they name, a relation's fork or a database, and not its end or its cut.
func (r *Record) CreatesFiles() bool {
	switch r.Rmgr {
	case RmgrStorage:
		return r.Op() == opStorageCreate
	case RmgrDatabase:
		return r.Op() == opDatabaseCreate || r.Op() == opDatabase0x10 && r.Major >= 15
	}
	return false
}

// CopiesDatabase tells whether replay of the record copies a database's files.
func (r *Record) CopiesDatabase() bool { return r.is(RmgrDatabase, opDatabaseCreate) }

func (r *Record) unknownChange() error {
	return fmt.Errorf("%w: lsn %s, resource manager %s, info %02X", ErrUnknownChange, r.LSN, r.Rmgr, r.Info)
}

func (r *Record) malformed(what string) error {
	return fmt.Errorf("read %s record at %s: %w: %d bytes are too few", what, r.LSN, ErrMalformed, len(r.Main))
}

// storageChanges reads xl_smgr_create and xl_smgr_truncate.
func (r *Record) storageChanges() ([]FileChange, error) {
	c := cursor{b: r.Main}
	switch r.Op() {
	case opStorageCreate:
		loc, fork := c.locator(), c.u32()
		if c.short || fork > maxFork {
			return nil, r.malformed("storage create")
		}
		return []FileChange{{Kind: ChangeFrom, Locator: loc, Fork: pg.ForkNo(fork)}}, nil
	case opStorageTruncate:
		block, loc, forks := pg.BlockNo(c.u32()), c.locator(), c.u32()
		if c.short {
			return nil, r.malformed("storage truncate")
		}
		return truncated(loc, block, forks), nil
	}
	return nil, r.unknownChange()
}

// truncated gives the changes of a truncation. The block is one of the main
// fork; from where on the other two change is not said, so all of them does.
func truncated(loc pg.RelFileLocator, block pg.BlockNo, forks uint32) []FileChange {
	var out []FileChange
	if forks&truncatedHeap != 0 {
		out = append(out, FileChange{Kind: ChangeFrom, Locator: loc, Fork: pg.MainFork, Block: block})
	}
	if forks&truncatedVM != 0 {
		out = append(out, FileChange{Kind: ChangeFrom, Locator: loc, Fork: pg.VMFork})
	}
	if forks&truncatedFSM != 0 {
		out = append(out, FileChange{Kind: ChangeFrom, Locator: loc, Fork: pg.FSMFork})
	}
	return out
}

// databaseChanges reads the records of commands/dbcommands_xlog.h, whose codes
// moved with 15.
func (r *Record) databaseChanges() ([]FileChange, error) {
	op := r.Op()
	switch {
	case op == opDatabaseCreate, op == opDatabase0x10 && r.Major >= 15:
		c := cursor{b: r.Main}
		change := FileChange{Kind: ChangeDatabase, DB: c.oid(), Spc: c.oid()}
		if c.short {
			return nil, r.malformed("database create")
		}
		return []FileChange{change}, nil
	case op == opDatabase0x10, op == opDatabaseDropLate && r.Major >= 15:
		return r.droppedDatabase()
	}
	return nil, r.unknownChange()
}

// droppedDatabase reads xl_dbase_drop_rec, with all the tablespaces that the
// database had files in.
func (r *Record) droppedDatabase() ([]FileChange, error) {
	c := cursor{b: r.Main}
	db := c.oid()
	out := make([]FileChange, c.count(4))
	for i := range out {
		out[i] = FileChange{Kind: ChangeDatabase, DB: db, Spc: c.oid()}
	}
	if c.short {
		return nil, r.malformed("database drop")
	}
	return out, nil
}

// droppedRelations gives the relations whose files go with a commit or abort.
func (r *Record) droppedRelations() ([]FileChange, error) {
	x, ok, err := r.XactEnd()
	if err != nil {
		return nil, err
	}
	if !ok || x.Kind == XactPrepare {
		return nil, r.unknownChange()
	}
	out := make([]FileChange, 0, len(x.DroppedRels)*(maxFork+1))
	for _, loc := range x.DroppedRels {
		for fork := pg.ForkNo(0); fork <= maxFork; fork++ {
			out = append(out, FileChange{Kind: ChangeFrom, Locator: loc, Fork: fork})
		}
	}
	return out, nil
}

// metapages gives block 0 of every relation that the record names.
func (r *Record) metapages() []FileChange {
	var out []FileChange
	for i := range r.Blocks {
		loc := r.Blocks[i].Locator
		if n := len(out); n == 0 || out[n-1].Locator != loc {
			out = append(out, FileChange{Kind: ChangeBlock, Locator: loc, Fork: pg.MainFork})
		}
	}
	return out
}
