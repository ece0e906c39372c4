package dcs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStand(t *testing.T) {
	history := []Switch{{Timeline: 1, LSN: 1000}, {Timeline: 3, LSN: 3000}}
	leader := &Member{Name: "l", Role: RolePrimary, Timeline: 4, LSN: 5000}
	n := func(v int64) *int64 { return &v }
	tests := []struct {
		name   string
		m      Member
		leader *Member
		want   Stand
	}{
		{"the leader", *leader, leader, Stand{Standing: StandingLeads}},
		{"nobody leads", Member{Name: "a", Timeline: 4}, nil, Stand{Standing: StandingUnknown, Why: "nobody leads"}},
		{"it tells nothing", Member{Name: "a", LSN: 5}, leader, Stand{Standing: StandingUnknown, Why: "its manager reports no timeline"}},
		{"the leader tells nothing", Member{Name: "a", Timeline: 4}, &Member{Name: "l"}, Stand{Standing: StandingUnknown, Why: "the leader reports no timeline"}},
		{"streams", Member{Name: "a", Timeline: 4, LSN: 4900, Replication: "streaming"}, leader, Stand{Standing: StandingStreams, Behind: n(100)}},
		{"streams, reported later", Member{Name: "a", Timeline: 4, LSN: 5100, Replication: "streaming"}, leader, Stand{Standing: StandingStreams, Behind: n(0)}},
		{"from the archive", Member{Name: "a", Timeline: 4, LSN: 5000, Replication: "in archive recovery"}, leader,
			Stand{Standing: StandingFollows, Behind: n(0), Why: "in archive recovery"}},
		{"an old manager", Member{Name: "a", Timeline: 4}, leader, Stand{Standing: StandingFollows, Why: "on the leader's timeline; whether it streams is not told"}},
		{"a second primary", Member{Name: "a", Role: RolePrimary, Timeline: 4, LSN: 9}, leader, Stand{Standing: StandingUnknown, Why: "it is a primary on the leader's timeline"}},
		{"a newer timeline", Member{Name: "a", Timeline: 5, LSN: 9}, leader, Stand{Standing: StandingDiverged, Why: "timeline 5 is not the leader's"}},
		{"past the fork", Member{Name: "a", Timeline: 1, LSN: 1024}, leader,
			Stand{Standing: StandingDiverged, Why: "timeline 1 ended at 0/3E8 for the leader", Diverged: n(24), Fork: &history[0]}},
		{"at the fork", Member{Name: "a", Timeline: 1, LSN: 1000}, leader,
			Stand{Standing: StandingBehind, Why: "still on timeline 1, and not past its end at 0/3E8", Behind: n(4000)}},
		{"no position", Member{Name: "a", Timeline: 3}, leader, Stand{Standing: StandingUnknown, Why: "on timeline 3; its manager reports no position"}},
		{"another branch", Member{Name: "a", Timeline: 2, LSN: 1}, leader, Stand{Standing: StandingDiverged, Why: "timeline 2 is not in the leader's history"}},
		{"the history is late", Member{Name: "a", Timeline: 4, LSN: 1}, &Member{Name: "l", Timeline: 5}, Stand{Standing: StandingUnknown, Why: "timeline 4 is newer than the history in etcd"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, stand(tt.m, tt.leader, history)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if got := stand(Member{Name: "a", Timeline: 3}, leader, nil); got.Standing != StandingUnknown {
		t.Errorf("without a history: %+v", got)
	}
}

func TestParseHistory(t *testing.T) {
	good, err := parseHistory([]byte(`[[1,53697008,"no recovery target specified","2026-11-21T07:35:29.181924+00:00","n2"],[2,53697009,"a\nb"],[4,60000000]]`))
	if err != nil || len(good) != 3 || good[0].Leader != "n2" || good[0].At.IsZero() || good[1].Reason != "a?b" || good[2].LSN != 60000000 {
		t.Errorf("got %+v, %v", good, err)
	}
	if none, err := parseHistory(nil); none != nil || err != nil {
		t.Errorf("none: %v, %v", none, err)
	}
	for _, bad := range []string{
		`{}`, `[1]`, `[[1]]`, `[["1",2]]`, `[[1,-2]]`, `[[1,2.5]]`, `[[0,1]]`, `[[4294967296,1]]`, `[[2,5],[1,6]]`, `[[1,5],[1,6]]`, `[[1,5],[2,4]]`, `[[1,2],`, `null null`,
	} {
		if got, err := parseHistory([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
