package rewind

import (
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Lost is what only the target has: the branch of WAL behind the fork, and what
// transactions that ended there had written before it. All lists are bounded;
// what found no room in them is counted.
type Lost struct {
	From    pg.LSN `json:"from"`
	To      pg.LSN `json:"to"`
	Bytes   int64  `json:"bytes"`
	Records int64  `json:"records"`
	// Commits and Aborts count transactions that ended there, prepared ones
	// included. A savepoint that was rolled back counts as an abort where something
	// had been written since: the WAL does not tell the two apart.
	Commits int64 `json:"commits"`
	Aborts  int64 `json:"aborts"`
	// Prepared counts those that were prepared and not finished, Open those that
	// had no end at all.
	Prepared int64 `json:"prepared"`
	Open     int64 `json:"open"`
	// FirstCommit and LastCommit are zero when there is none.
	FirstCommit time.Time `json:"first_commit,omitzero"`
	LastCommit  time.Time `json:"last_commit,omitzero"`
	// Relations that were changed there, by their files, most changes first, at
	// most MaxLostRelations; Rest sums up the others, nil where there are none.
	Relations []LostRelation `json:"relations"`
	Rest      *LostRelation  `json:"rest,omitempty"`
	// Changes are what committed transactions did to the schema, in their order,
	// at most MaxLostChanges; MoreChanges counts the others, and UnreadChanges the
	// rows of catalogs whose change could not be read: the WAL that is here begins
	// too late for it, or its page images are compressed by zstd.
	Changes       []LostChange `json:"changes,omitempty"`
	MoreChanges   int64        `json:"more_changes,omitempty"`
	UnreadChanges int64        `json:"unread_changes,omitempty"`
	// Transactions are the newest, in the order of their ends, at most
	// MaxLostTransactions, then those without an end; MoreTransactions counts the
	// older ones. A Plan has no such list.
	Transactions     []LostTransaction `json:"transactions,omitempty"`
	MoreTransactions int64             `json:"more_transactions,omitempty"`
	// Unattributed counts rows that stand among the committed ones although it is
	// not known how their transaction ended: there were too many at once.
	Unattributed int64 `json:"unattributed_rows,omitempty"`
}

// Bounds of the lists in Lost, and so of the memory that counting takes.
const (
	MaxLostRelations    = 20_000
	MaxLostChanges      = 1_000
	MaxLostTransactions = 1_000
)

// LostRows counts rows by what was done to them.
type LostRows struct {
	Inserted int64 `json:"inserted"`
	Updated  int64 `json:"updated"`
	Deleted  int64 `json:"deleted"`
}

// Sum is the number of all of them.
func (r LostRows) Sum() int64 { return r.Inserted + r.Updated + r.Deleted }

// Add adds other to r.
func (r *LostRows) Add(other LostRows) {
	r.Inserted += other.Inserted
	r.Updated += other.Updated
	r.Deleted += other.Deleted
}

// LostRelation counts what happened to one relation behind the fork. The rows
// that it embeds are those of committed transactions.
type LostRelation struct {
	Locator pg.RelFileLocator `json:"locator"`
	Path    string            `json:"path"`
	LostRows
	// RolledBack are the rows of transactions that were rolled back, Unfinished of
	// those that were prepared or had no end.
	RolledBack LostRows `json:"rolled_back,omitzero"`
	Unfinished LostRows `json:"unfinished,omitzero"`
	// Copied counts rows that are in the file because the table was rewritten;
	// they are not among the inserted ones.
	Copied int64 `json:"copied,omitempty"`
	// Records counts WAL records behind the fork that touch the relation in any way.
	Records int64 `json:"records"`
	// Created: the file, or its database, was made behind the fork. The source
	// may have given the same number to something else.
	Created bool `json:"created,omitempty"`
	// Removed: the file went with a committed transaction: its relation was
	// dropped, or was given another file (see Lost.Changes).
	Removed bool `json:"removed,omitempty"`
	// LastValue is where a sequence came to, up to 32 more than it gave out.
	LastValue *int64 `json:"last_value,omitempty"`
	// Kind in the words of LostChange.Kind, Database, Schema and Name as the
	// target's catalogs have them, as far as the WAL tells.
	Kind     string `json:"kind,omitempty"`
	Database string `json:"database,omitempty"`
	SchemaID pg.Oid `json:"schema_id,omitempty"`
	Schema   string `json:"schema,omitempty"`
	Name     string `json:"name,omitempty"`
}

// TransactionState is how a transaction stands at the end of the target's WAL.
type TransactionState string

// The states of a LostTransaction.
const (
	TransactionCommitted  TransactionState = "committed"
	TransactionRolledBack TransactionState = "rolled back"
	TransactionPrepared   TransactionState = "prepared"
	TransactionOpen       TransactionState = "open"
)

// LostTransaction is one transaction of the lost branch, its subtransactions included.
type LostTransaction struct {
	XID   pg.XID           `json:"xid"`
	State TransactionState `json:"state"`
	// Time of the commit, abort or prepare; zero for those without one.
	Time time.Time `json:"time,omitzero"`
	// GID is the name it was prepared under.
	GID string `json:"gid,omitempty"`
	LostRows
	// BeganBefore: it had written before the fork, which the source has as the
	// work of a transaction that never ended, or that is still prepared.
	BeganBefore bool `json:"began_before,omitempty"`
}

// LostChange is a change of the schema.
type LostChange struct {
	// Verb is "created", "dropped", "renamed", "moved" (to another schema or
	// tablespace), "emptied" (TRUNCATE), "rewritten" (VACUUM FULL, CLUSTER, ALTER
	// TABLE and the like), "rebuilt" (an index) or "altered" (columns were added).
	Verb string `json:"verb"`
	// Kind is "table", "index", "sequence", "view", "materialized view", "foreign
	// table", "type", "database", "schema", "tablespace", "role", "function",
	// "extension" or "system catalogs".
	Kind string `json:"kind"`
	// Database and SchemaID are where it is, zero for what all databases share and
	// for what is in no schema. Their names are empty where the WAL does not tell.
	Database     pg.Oid `json:"database,omitempty"`
	DatabaseName string `json:"database_name,omitempty"`
	SchemaID     pg.Oid `json:"schema_id,omitempty"`
	Schema       string `json:"schema,omitempty"`
	// OID and Name of the thing itself; the name is empty where the WAL does not
	// tell. NewName is what it was renamed to.
	OID     pg.Oid `json:"oid,omitempty"`
	Name    string `json:"name,omitempty"`
	NewName string `json:"new_name,omitempty"`
	// XID and Time of the transaction that did it.
	XID  pg.XID    `json:"xid"`
	Time time.Time `json:"time,omitzero"`
}
