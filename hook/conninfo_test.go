package hook

import (
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestConninfo(t *testing.T) {
	n2 := dcs.Member{Name: "n2", Host: "10.0.0.2", Port: 5433}
	tests := []struct {
		name                string
		source, replication string
		leader              dcs.Member
		wantSource          string
		wantPrimary         string
	}{
		{"nothing said", "", "", n2,
			"host=10.0.0.2 port=5433 dbname=postgres connect_timeout=5",
			"host=10.0.0.2 port=5433 application_name=n-1"},
		{"login and TLS are shared, the session is not",
			"user=rewinder password=secret sslmode=verify-full sslrootcert=/ca.pem dbname=template1 connect_timeout=2 options=-cwork_mem=1MB pool_max_conns=9", "", n2,
			"user=rewinder password=secret sslmode=verify-full sslrootcert=/ca.pem dbname=template1 connect_timeout=2 options=-cwork_mem=1MB pool_max_conns=9 host=10.0.0.2 port=5433",
			"user=rewinder password=secret sslmode=verify-full sslrootcert=/ca.pem connect_timeout=2 host=10.0.0.2 port=5433 application_name=n-1"},
		{"addresses and choices are replaced",
			"host=a,b hostaddr=1.1.1.1 port=1,2 target_session_attrs=read-write load_balance_hosts=random user=u",
			"host=c hostaddr=2.2.2.2 port=3 target_session_attrs=any user=r replication=true application_name=wrong", n2,
			"user=u host=10.0.0.2 port=5433 dbname=postgres connect_timeout=5",
			"user=r host=10.0.0.2 port=5433 application_name=n-1"},
		{"replication has its own login", "user=u password=p", "user=r passfile=/pgpass dbname=replication", n2,
			"user=u password=p host=10.0.0.2 port=5433 dbname=postgres connect_timeout=5",
			"user=r passfile=/pgpass dbname=replication host=10.0.0.2 port=5433 application_name=n-1"},
		{"no port, an IPv6 address", "", "", dcs.Member{Host: "fe80::2"},
			"host=fe80::2 port=5432 dbname=postgres connect_timeout=5",
			"host=fe80::2 port=5432 application_name=n-1"},
		{"URI", "postgres://u:p%20w@old:1/db?sslmode=require", "", n2,
			"user=u password='p w' host=10.0.0.2 port=5433 dbname=db sslmode=require connect_timeout=5",
			"user=u password='p w' sslmode=require host=10.0.0.2 port=5433 application_name=n-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Name: "n-1", SourceConninfo: tt.source, ReplicationConninfo: tt.replication}
			source, err := c.sourceConninfo(tt.leader)
			must(t, err)
			sameOptions(t, "source", source, tt.wantSource)
			standby, err := c.standby(tt.leader, "n_1")
			must(t, err)
			sameOptions(t, "primary_conninfo", standby.Conninfo, tt.wantPrimary)
			if standby.Slot != "n_1" {
				t.Errorf("got slot %q, want n_1", standby.Slot)
			}
		})
	}
}

// sameOptions compares connection strings by what they say; the order of the
// options means nothing.
func sameOptions(t *testing.T, what, got, want string) {
	t.Helper()
	options := func(s string) map[string]string {
		ci, err := pg.ParseConninfo(s)
		must(t, err)
		m := make(map[string]string)
		for _, p := range ci {
			if _, twice := m[p.Key]; twice {
				t.Errorf("%s: %s twice", what, p.Key)
			}
			m[p.Key] = p.Value
		}
		return m
	}
	g, w := options(got), options(want)
	for k := range w {
		if g[k] != w[k] {
			t.Errorf("%s: got %s=%q, want %q", what, k, g[k], w[k])
		}
	}
	for k := range g {
		if _, ok := w[k]; !ok {
			t.Errorf("%s: got %s=%q, want none", what, k, g[k])
		}
	}
}

func TestShownHasNoSecrets(t *testing.T) {
	c := Config{Name: "n1", SourceConninfo: "user=u password=hunter2 sslpassword=hunter3"}
	standby, err := c.standby(dcs.Member{Host: "h", Port: 1}, "s")
	must(t, err)
	if !strings.Contains(standby.Conninfo, "hunter2") {
		t.Errorf("the password is not in primary_conninfo: %s", standby.Conninfo)
	}
	got, err := shown(standby)
	must(t, err)
	if strings.Contains(got.PrimaryConninfo, "hunter") || got.PrimarySlotName != "s" || got.RecoveryTargetTimeline != "latest" {
		t.Errorf("got %+v", got)
	}
}

func TestSlot(t *testing.T) {
	for _, tt := range []struct {
		slots   string
		cluster bool
		want    string
	}{
		{SlotsAuto, true, "n_1"}, {SlotsAuto, false, ""}, {SlotsOn, false, "n_1"}, {SlotsOff, true, ""},
	} {
		topology := dcs.Topology{Config: dcs.Config{UseSlots: tt.cluster}}
		if got := (Config{Name: "N-1", Slots: tt.slots}).slot(topology); got != tt.want {
			t.Errorf("%s with use_slots %v: got %q, want %q", tt.slots, tt.cluster, got, tt.want)
		}
	}
}
