package dcs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

func parsePlain(values map[string]string, required ...string) (dcs.Topology, error) {
	return dcs.ParsePlain(keys(values), "lab", prefix, 99, required...)
}

func TestParsePlain(t *testing.T) {
	got, err := parsePlain(map[string]string{
		"leader":     "n2",
		"initialize": "7312345678901234567",
		"config":     `{"pause": true, "postgresql": {"use_slots": false}}`,
		"members/n2": "postgres://10.0.0.2:5433",
		"members/n1": "postgresql://10.0.0.1/\n", // echo adds a line end
		"notes/of":   "somebody's",
	}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	want := dcs.Topology{
		Layout: dcs.LayoutPlain, Scope: "lab", Prefix: prefix, Revision: 99, SystemID: pg.SystemID(7312345678901234567),
		Leader: &dcs.Leader{Name: "n2", CreateRevision: 40, ModRevision: 41, Lease: 7},
		Members: []dcs.Member{
			{Name: "n1", Role: dcs.RoleUnknown, ConnURL: "postgresql://10.0.0.1/", Host: "10.0.0.1", Port: 5432, Lease: 7},
			{Name: "n2", Role: dcs.RoleUnknown, ConnURL: "postgres://10.0.0.2:5433", Host: "10.0.0.2", Port: 5433, Lease: 7},
		},
		Config: dcs.Config{Paused: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParsePlainRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		values map[string]string
		err    error
		says   string
	}{
		"nothing there":             {map[string]string{"other": "x"}, dcs.ErrNoCluster, ""},
		"leader with a line end":    {map[string]string{"leader": "n2\n"}, dcs.ErrMalformed, "printf"},
		"leader without a name":     {map[string]string{"leader": ""}, dcs.ErrMalformed, "leader"},
		"leader's address":          {map[string]string{"leader": "n2", "members/n2": "10.0.0.2"}, dcs.ErrMalformed, "members/n2"},
		"leader's address is empty": {map[string]string{"leader": "n2", "members/n2": " "}, dcs.ErrMalformed, "members/n2"},
		"our own address":           {map[string]string{"leader": "n2", "members/n2": "postgres://b", "members/n1": "postgres://:5432"}, dcs.ErrMalformed, "members/n1"},
		"Patroni's member":          {map[string]string{"leader": "n2", "members/n2": `{"conn_url": "postgres://b"}`}, dcs.ErrMalformed, "members/n2"},
		"config":                    {map[string]string{"leader": "n2", "config": "pause"}, dcs.ErrMalformed, "config"},
		"system identifier":         {map[string]string{"initialize": "x"}, dcs.ErrMalformed, "initialize"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePlain(c.values, "n1")
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.err, c.says)
			}
		})
	}
}

// TestParsePlainBystander: a member that nobody needs may be broken.
func TestParsePlainBystander(t *testing.T) {
	got, err := parsePlain(map[string]string{"leader": "n2", "members/n2": "postgres://b", "members/n3": "?"}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := got.Member("n3"); !ok || m.Host != "" {
		t.Errorf("n3: %+v, %v", m, ok)
	}
}

// FuzzParsePlain: whatever lies in the keys, no panic, and a leader's member either
// has a host or is an error.
func FuzzParsePlain(f *testing.F) {
	f.Add("n2", "postgres://10.0.0.2:5432", "{}", "7312345678901234567")
	f.Add("n2\n", "postgres://[::1", `{"pause": 1}`, "")
	f.Add("../n2", "http://x", "", "-1")
	f.Fuzz(func(t *testing.T, leader, member, config, id string) {
		got, err := parsePlain(map[string]string{"leader": leader, "members/" + leader: member, "config": config, "initialize": id})
		if err != nil {
			return
		}
		if m, ok := got.Member(got.Leader.Name); ok && m.Host == "" {
			t.Errorf("%+v has no host", m)
		}
	})
}
