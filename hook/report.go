package hook

import (
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Outcome is how a run ended, in one word for programs.
type Outcome string

// The outcomes of a run that ended without an error. Where Config.Control is
// ControlNone the node is ready to be started, and was not seen streaming.
const (
	// OutcomeRejoined: the node was rewound and streams.
	OutcomeRejoined Outcome = "rejoined"
	// OutcomeConfigured: nothing had to be copied; the node was made a standby and streams.
	OutcomeConfigured Outcome = "configured"
	// OutcomeNothing: the node already streams from the leader.
	OutcomeNothing Outcome = "nothing to do"
	// OutcomeReinitialized: the node's manager was asked to make it anew, and it streams.
	OutcomeReinitialized Outcome = "reinitialized"
	// OutcomePlanned: a dry run; nothing was changed.
	OutcomePlanned Outcome = "planned"
)

// Report tells what a run did, for people and as JSON.
type Report struct {
	// Outcome is empty next to an error.
	Outcome  Outcome   `json:"outcome"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Scope    string    `json:"scope"`
	Member   string    `json:"member"`
	// Leader is the member that was rewound from.
	Leader   string       `json:"leader"`
	Decision Decision     `json:"decision"`
	Topology dcs.Topology `json:"topology"`
	// Local is the node as it was last looked at, before the work; nil when it could not be.
	Local *Local `json:"local,omitempty"`
	// Locks are the rejoins of the cluster that a dry run found at work.
	Locks []dcs.Owner `json:"locks,omitempty"`
	// Plan is what was or would be done; nil when nothing had to be planned.
	Plan *rewind.Plan `json:"plan,omitempty"`
	// LostNames say what Plan.Lost counts by file, by the path there, where the
	// leader knows it for certain; at most the 1000 relations with the most rows.
	LostNames map[string]RelationName `json:"lost_names,omitempty"`
	// LostPlaces name the databases and schemas there that the WAL does not name.
	LostPlaces map[pg.Oid]DatabaseNames `json:"lost_places,omitempty"`
	// Standby is what is, or would be, written as the standby settings, without secrets.
	Standby *StandbySettings `json:"standby,omitempty"`
	// SlotCreated: the slot was not there on the leader and was made.
	SlotCreated bool `json:"slot_created,omitempty"`
	// FetchedBytes came from the leader, FetchedWALBytes of them are WAL;
	// DatabaseBytes is the size of its data directory without WAL.
	FetchedBytes    int64 `json:"fetched_bytes"`
	FetchedWALBytes int64 `json:"fetched_wal_bytes"`
	DatabaseBytes   int64 `json:"database_bytes"`
	// Salvaged is where the WAL went that only this node had.
	Salvaged *rewind.Salvaged `json:"salvaged,omitempty"`
	// Undone is what was given back of the work of a run that failed.
	Undone *rewind.Undone `json:"undone,omitempty"`
	// Steps are the steps of the run with how long each took.
	Steps []Step `json:"steps"`
	// Phases are what the step "apply" consisted of.
	Phases []rewind.PhaseDuration `json:"phases,omitempty"`
	// Warnings are what stopped nothing and should be known; the plan has its own.
	Warnings []string `json:"warnings,omitempty"`
	// Streaming is what the leader showed of this node at the end.
	Streaming *Streaming `json:"streaming,omitempty"`
}

// StandbySettings are the settings of the standby, with secrets masked.
type StandbySettings struct {
	PrimaryConninfo        string `json:"primary_conninfo"`
	PrimarySlotName        string `json:"primary_slot_name,omitempty"`
	RecoveryTargetTimeline string `json:"recovery_target_timeline"`
}

// Step is a named stretch of the run.
type Step struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"duration_ns"`
}

// Streaming is the leader's view of this node's walsender.
type Streaming struct {
	Timeline pg.Timeline   `json:"timeline"`
	State    string        `json:"state"`
	SentLSN  pg.LSN        `json:"sent_lsn"`
	After    time.Duration `json:"after_ns"`
}
