package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Schedule is one scene from its beginning to the last comparison. It is data,
// and follows from Seed and Major alone.
type Schedule struct {
	Seed  uint64
	Major int
	// Traits name what is special about it, one of each sort: "target=old".
	Traits   []string
	Settings Settings
	Steps    []Step
}

// Settings are what all nodes of a schedule have in common.
type Settings struct {
	// Checksums on, or wal_log_hints.
	Checksums bool
	// WALSegSize in MB.
	WALSegSize int
	// GroupRead makes the data directory readable for the group.
	GroupRead bool
	// Linked are the names of nodes whose pg_wal is a link.
	Linked []string
	// Tablespace makes a tablespace outside the data directory.
	Tablespace bool
	// Conf is for postgresql.conf.
	Conf map[string]string
}

// Op is what a step does.
type Op string

// The operations. Node is whom they are done to; what the other fields of the
// step mean is said where they are played.
const (
	OpCreate     Op = "create"     // make the primary, with schema
	OpClone      Op = "clone"      // make a standby of the stopped With, by copying
	OpBackup     Op = "backup"     // make a standby of the running With, by a base backup
	OpFollow     Op = "follow"     // let the stopped node follow With
	OpCut        Op = "cut"        // stop the standby's receiver
	OpStart      Op = "start"      //
	OpStop       Op = "stop"       // in mode With
	OpKill       Op = "kill"       //
	OpPromote    Op = "promote"    //
	OpAlone      Op = "alone"      // make the stopped primary a standby of nobody
	OpPause      Op = "pause"      // pause replay
	OpResume     Op = "resume"     //
	OpCatchup    Op = "catchup"    // wait until the node has replayed what With has written
	OpReceive    Op = "receive"    // wait until the node has received what With has written
	OpCheckpoint Op = "checkpoint" //
	OpWork       Op = "work"       // Count steps of a writer
	OpExec       Op = "exec"       // SQL in database With
	OpSession    Op = "session"    // SQL in a session that stays, named With
	OpLoad       Op = "load"       // start Count writers in the background
	OpAwait      Op = "await"      // wait until they have done Count further steps
	OpQuiet      Op = "quiet"      // end them
	OpLook       Op = "look"       // read all tables
	OpInterrupt  Op = "interrupt"  // begin to rewind the node from With, and break off
	OpRejoin     Op = "rejoin"     // rewind the node from With, and start it
	OpSettle     Op = "settle"     // end the primary's prepared transactions
	OpCheck      Op = "check"      // compare the node with its leader With
	OpFinal      Op = "final"      // stop the leader With, promote the node, and write
)

// Step is one thing to do.
type Step struct {
	Op    Op
	Node  string
	With  string
	Seed  uint64
	Count int
	SQL   []string
	// From is the source of a rejoin where it is not With itself: another node,
	// or "dir" for the stopped directory of With.
	From string
}

// String prints the step on one line, but for its SQL, which follows.
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.Op, s.Node)
	if s.With != "" {
		fmt.Fprintf(&b, " with=%s", s.With)
	}
	if s.From != "" {
		fmt.Fprintf(&b, " from=%s", s.From)
	}
	if s.Seed != 0 {
		fmt.Fprintf(&b, " seed=%d", s.Seed)
	}
	if s.Count != 0 {
		fmt.Fprintf(&b, " count=%d", s.Count)
	}
	for _, q := range s.SQL {
		fmt.Fprintf(&b, "\n\t%s", strings.Join(strings.Fields(q), " "))
	}
	return b.String()
}

// String prints the schedule; equal schedules print the same.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, PostgreSQL %d: %s\n", s.Seed, s.Major, s.Kind())
	fmt.Fprintf(&b, "checksums %t, WAL segments of %d MB, group %t, linked pg_wal %q, tablespace %t\n",
		s.Settings.Checksums, s.Settings.WALSegSize, s.Settings.GroupRead, s.Settings.Linked, s.Settings.Tablespace)
	for _, k := range slices.Sorted(maps.Keys(s.Settings.Conf)) {
		fmt.Fprintf(&b, "%s = %s\n", k, s.Settings.Conf[k])
	}
	for i, step := range s.Steps {
		fmt.Fprintf(&b, "%3d %s\n", i, step)
	}
	return b.String()
}

// Kind is the traits on one line.
func (s Schedule) Kind() string { return strings.Join(s.Traits, " ") }
