package dcs_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
)

var update = flag.Bool("update", false, "write testdata/*/topology.json anew")

const prefix = "/service/lab/"

// dump reads testdata/<case>/keys.json. The values have the form that was read
// from etcd under Patroni of the version in the name, most of them word for
// word; each case was put together of them by hand, so that not every number in
// it goes with every other. Revisions and leases are made up: keys with a
// session have lease 7.
func dump(t testing.TB, dir string) []dcs.KeyValue {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(b, &values); err != nil {
		t.Fatal(err)
	}
	return keys(values)
}

// keys makes what etcd returns: sorted, below the prefix.
func keys(values map[string]string) []dcs.KeyValue {
	var kvs []dcs.KeyValue
	for key, value := range values {
		kv := dcs.KeyValue{Key: prefix + key, Value: []byte(value), CreateRevision: 40, ModRevision: 41}
		if key == "leader" || strings.HasPrefix(key, "members/") {
			kv.Lease = 7
		}
		kvs = append(kvs, kv)
	}
	slices.SortFunc(kvs, func(a, b dcs.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return kvs
}

func parse(values map[string]string, required ...string) (dcs.Topology, error) {
	return dcs.ParsePatroni(keys(values), "lab", prefix, 99, required...)
}

func TestParseCapturedClusters(t *testing.T) {
	dirs, err := filepath.Glob("testdata/patroni-*")
	if err != nil || len(dirs) < 6 {
		t.Fatalf("%d cases, error %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			top, err := dcs.ParsePatroni(dump(t, dir), "lab", prefix, 99)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(top, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join(dir, "topology.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("topology (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMember(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        dcs.Member
	}{
		{"old word for primary", `{"role":"master"}`, dcs.Member{Role: dcs.RolePrimary}},
		{"new word for primary", `{"role":"primary"}`, dcs.Member{Role: dcs.RolePrimary}},
		{"promoting", `{"role":"promoted","checkpoint_after_promote":false}`, dcs.Member{Role: dcs.RolePromoting, CheckpointPending: true}},
		{"flag comes before the role", `{"role":"replica","checkpoint_after_promote":false}`, dcs.Member{Role: dcs.RoleReplica, CheckpointPending: true}},
		{"flag of a standby leader", `{"role":"standby_leader","checkpoint_after_promote":false}`, dcs.Member{Role: dcs.RoleStandbyLeader}},
		{"flag true", `{"role":"primary","checkpoint_after_promote":true}`, dcs.Member{Role: dcs.RolePrimary}},
		{"demoted", `{"role":"demoted","state":"stopping"}`, dcs.Member{Role: dcs.RoleDemoted, State: "stopping"}},
		{"uninitialized", `{"role":"uninitialized"}`, dcs.Member{Role: dcs.RoleUninitialized}},
		{"unknown words", `{"role":"emperor","state":"levitating"}`, dcs.Member{Role: dcs.RoleUnknown, State: "levitating"}},
		{"no role", `{}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"role in another case is not the role", `{"Role":"primary"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"large position", `{"xlog_location":18446744073709551615,"timeline":4294967295}`,
			dcs.Member{Role: dcs.RoleUnknown, LSN: 1<<64 - 1, Timeline: 1<<32 - 1}},
		{"nulls", `{"role":null,"timeline":null,"tags":null,"conn_url":null}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"IPv6", `{"conn_url":"postgres://[fd00::1]:6432/postgres"}`,
			dcs.Member{Role: dcs.RoleUnknown, ConnURL: "postgres://[fd00::1]:6432/postgres", Host: "fd00::1", Port: 6432}},
		{"default port", `{"conn_url":"postgresql://db.example/postgres"}`,
			dcs.Member{Role: dcs.RoleUnknown, ConnURL: "postgresql://db.example/postgres", Host: "db.example", Port: 5432}},
		{"IPv6, default port", `{"conn_url":"postgres://[::1]"}`, dcs.Member{Role: dcs.RoleUnknown, ConnURL: "postgres://[::1]", Host: "::1", Port: 5432}},
		{"several hosts", `{"conn_url":"postgres://a:1,b:2/postgres?target_session_attrs=any"}`,
			dcs.Member{Role: dcs.RoleUnknown, ConnURL: "postgres://a:1,b:2/postgres?target_session_attrs=any", Host: "a", Port: 1}},
		{"a password is dropped", `{"conn_url":"postgres://joe:s3cret@a:1/postgres"}`,
			dcs.Member{Role: dcs.RoleUnknown, ConnURL: "postgres://joe@a:1/postgres", Host: "a", Port: 1}},
		// What cannot be understood leaves a member that is known by name only.
		{"not JSON", `{`, dcs.Member{Role: dcs.RoleUnknown}},
		{"empty", ``, dcs.Member{Role: dcs.RoleUnknown}},
		{"a list", `[]`, dcs.Member{Role: dcs.RoleUnknown}},
		{"timeline of another type", `{"role":"replica","timeline":"3"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"negative timeline", `{"timeline":-1}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"timeline too large", `{"timeline":4294967296}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"port too large", `{"conn_url":"postgres://a:65536/"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"port zero", `{"conn_url":"postgres://a:0/"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"no host", `{"conn_url":"postgres:///postgres"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"no scheme", `{"conn_url":"a:5432"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"bare IPv6", `{"conn_url":"postgres://fd00::1:5432/"}`, dcs.Member{Role: dcs.RoleUnknown}},
		{"open bracket", `{"conn_url":"postgres://[fd00::1/"}`, dcs.Member{Role: dcs.RoleUnknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			top, err := parse(map[string]string{"members/n1": test.value, "members/n2": `{"role":"primary"}`, "leader": "n2"})
			if err != nil {
				t.Fatal(err)
			}
			test.want.Name, test.want.Lease = "n1", 7
			got, _ := top.Member("n1")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whoever may write a key may write anything.
func TestHostileMembers(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, value := range map[string]string{
		"a socket on this host":          `{"conn_url":"postgres://%2Fvar%2Frun%2Fpostgresql/postgres"}`,
		"an abstract socket":             `{"conn_url":"postgres://%40socket/postgres"}`,
		"several hosts behind an escape": `{"conn_url":"postgres://a%2Cb:5432/postgres"}`,
		"a line feed":                    `{"conn_url":"postgres://a%0Ab/postgres"}`,
		"a plain line feed":              `{"conn_url":"postgres://a\nprimary_slot_name='x'/postgres"}`,
		"a quote":                        `{"conn_url":"postgres://a'%20host=b/postgres"}`,
		"a blank":                        `{"conn_url":"postgres://a%20host=b/postgres"}`,
		"a zero byte":                    `{"conn_url":"postgres://a%00b/postgres"}`,
		"a comma in brackets":            `{"conn_url":"postgres://[a b]:5/postgres"}`,
		"an option":                      `{"conn_url":"postgres://-x/postgres"}`,
		"a long host":                    `{"conn_url":"postgres://` + long + `/postgres"}`,
		"another scheme":                 `{"conn_url":"file:///etc/passwd"}`,
		"an API of another scheme":       `{"api_url":"file:///etc/passwd"}`,
		"an API of gopher":               `{"api_url":"gopher://a:70/x"}`,
		"an API with a user":             `{"api_url":"http://a:b@c/patroni"}`,
		"an API without a host":          `{"api_url":"http:///patroni"}`,
		"an API with a line feed":        `{"api_url":"http://a\n/patroni"}`,
		"a long API":                     `{"api_url":"http://a/` + strings.Repeat("x", 2000) + `"}`,
		"huge":                           `{"tags":{"a":"` + strings.Repeat("x", 70000) + `"}}`,
		"deep":                           `{"tags":{"a":` + strings.Repeat("[", 20000) + `}`,
	} {
		_, err := parse(map[string]string{"leader": "n2", "members/n2": value})
		if !errors.Is(err, dcs.ErrMalformed) || !strings.Contains(err.Error(), "members/n2") || len(err.Error()) > 300 {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for name, leader := range map[string]string{"a line feed": "n2\nfake line", "not UTF-8": "n\xff", "too long": long, "an escape": "n\x1b[2J"} {
		if _, err := parse(map[string]string{"leader": leader}); !errors.Is(err, dcs.ErrMalformed) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("leader with %s: %v", name, err)
		}
		if top, err := parse(map[string]string{"leader": "n1", "members/" + leader: `{}`, "members/n1": `{}`}); err != nil || len(top.Members) != 1 {
			t.Errorf("member with %s: %+v, %v", name, top.Members, err)
		}
	}
	many := map[string]string{"leader": "n1"}
	for i := range 1001 {
		many[fmt.Sprintf("members/n%d", i)] = "{}"
	}
	if _, err := parse(many); !errors.Is(err, dcs.ErrMalformed) {
		t.Errorf("too many members: %v", err)
	}
	// A password in the parameters is as secret as one before the host.
	top, err := parse(map[string]string{"leader": "n2", "members/n2": `{"conn_url":"postgres://a/db?password=s3cret&%70assword=s3cret&sslmode=require&sslpassword=s3cret"}`})
	if err != nil || top.Members[0].ConnURL != "postgres://a/db?sslmode=require" {
		t.Errorf("%+v, %v", top.Members, err)
	}
}

func TestParseConfig(t *testing.T) {
	for value, want := range map[string]dcs.Config{
		`{}`:                  {UseSlots: true},
		`{"pause":true}`:      {UseSlots: true, Paused: true},
		`{"pause":"on"}`:      {UseSlots: true, Paused: true},
		`{"pause":false}`:     {UseSlots: true},
		`{"pause":null}`:      {UseSlots: true},
		`{"Pause":true}`:      {UseSlots: true},
		`{"postgresql":{}}`:   {UseSlots: true},
		`{"postgresql":null}`: {UseSlots: true},
		`{"postgresql":{"create_replica_methods":["failback","basebackup"]}}`:                                            {UseSlots: true, ReplicaMethods: []string{"failback", "basebackup"}},
		`{"postgresql":{"create_replica_methods":"failback"}}`:                                                           {UseSlots: true},
		`{"postgresql":{"create_replica_methods":["a"]},"standby_cluster":{"port":1,"create_replica_methods":["b",""]}}`: {UseSlots: true, StandbyCluster: true, ReplicaMethods: []string{"b", ""}},
		`{"postgresql":{"create_replica_methods":["a"]},"standby_cluster":{"port":1}}`:                                   {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{}}`:                                                                        {UseSlots: true},
		`{"standby_cluster":null}`:                                                                      {UseSlots: true},
		`{"standby_cluster":"host"}`:                                                                    {UseSlots: true},
		`{"standby_cluster":{"host":"","port":null}}`:                                                   {UseSlots: true},
		`{"standby_cluster":{"host":"a"}}`:                                                              {UseSlots: true, StandbyCluster: true, Primary: []dcs.Address{{"a", 5432}}},
		`{"standby_cluster":{"host":"a, b","port":"1,2"}}`:                                              {UseSlots: true, StandbyCluster: true, Primary: []dcs.Address{{"a", 1}, {"b", 2}}},
		`{"standby_cluster":{"host":["a","::1"],"port":6501}}`:                                          {UseSlots: true, StandbyCluster: true, Primary: []dcs.Address{{"a", 6501}, {"::1", 6501}}},
		`{"standby_cluster":{"host":"a,b,c","port":"1,2"}}`:                                             {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"host":"a","port":"0"}}`:                                                   {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"host":"/tmp","port":1}}`:                                                  {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"host":"a b"}}`:                                                            {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"host":{"a":1}}}`:                                                          {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"port":5432}}`:                                                             {UseSlots: true, StandbyCluster: true},
		`{"standby_cluster":{"restore_command":"cp"}}`:                                                  {UseSlots: true, StandbyCluster: true},
		`{"postgresql":{"use_slots":false}}`:                                                            {},
		`{"postgresql":{"parameters":{"Restore_Command":"a"},"recovery_conf":{"restore_command":"b"}}}`: {UseSlots: true, RestoreCommand: "a"},
		`{"postgresql":{"parameters":{"restore_command":""},"recovery_conf":{"restore_command":"b"}}}`:  {UseSlots: true, RestoreCommand: "b"},
		`{"postgresql":{"parameters":"x","recovery_conf":{"restore_command":"b"}}}`:                     {UseSlots: true, RestoreCommand: "b"},
		`{"postgresql":{"recovery_conf":{"restore_command":7}}}`:                                        {UseSlots: true},
		`{"postgresql":{"recovery_conf":{"restore_command":"a\u0000"}}}`:                                {UseSlots: true},
		`{"postgresql":{"use_slots":"off"},"pause":"1"}`:                                                {Paused: true},
	} {
		top, err := parse(map[string]string{"config": value})
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
		if diff := cmp.Diff(want, top.Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	good := `{"role":"replica"}`
	for name, test := range map[string]struct {
		values   map[string]string
		required []string
		key      string
	}{
		"leader's member": {map[string]string{"leader": "n2", "members/n1": good, "members/n2": `{"role":`}, nil, "members/n2"},
		"our own member":  {map[string]string{"leader": "n2", "members/n1": `7`, "members/n2": good}, []string{"n1"}, "members/n1"},
		"config":          {map[string]string{"config": `{"pause"`, "members/n1": good}, nil, "config"},
		"empty config":    {map[string]string{"config": ``, "members/n1": good}, nil, "config"},
		"initialize":      {map[string]string{"initialize": `77x`, "members/n1": good}, nil, "initialize"},
		"zero initialize": {map[string]string{"initialize": `0`, "members/n1": good}, nil, "initialize"},
		"empty leader":    {map[string]string{"leader": ``, "members/n1": good}, nil, "leader"},
	} {
		_, err := parse(test.values, test.required...)
		if !errors.Is(err, dcs.ErrMalformed) || !strings.Contains(err.Error(), prefix+test.key+":") {
			t.Errorf("%s: error %v does not name %s", name, err, test.key)
		}
	}
	if _, err := parse(map[string]string{"leader": "n2", "members/n2": `{"conn_url":"postgres://u:s3cret@:x/"}`}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error with a password in it, or none: %v", err)
	}
}

func TestParseNoCluster(t *testing.T) {
	for name, test := range map[string]struct {
		values      map[string]string
		inText, tip string
	}{
		"nothing":           {nil, "/service/lab/", "v2"},
		"only foreign keys": {map[string]string{"failback/lock/n1": "x", "members/a/b": "{}", "members/": "{}"}, "/service/lab/", "v2"},
		"Citus": {map[string]string{"10/leader": "a", "0/leader": "b", "0/members/b": "{}", "2/config": "{}", "01/leader": "c"},
			"groups 0, 2, 10", `"lab/0"`},
	} {
		_, err := parse(test.values)
		if !errors.Is(err, dcs.ErrNoCluster) || !strings.Contains(err.Error(), test.inText) || !strings.Contains(hint(err), test.tip) {
			t.Errorf("%s: error %v, hint %q", name, err, hint(err))
		}
	}
}

func TestParseOtherPrefixIsIgnored(t *testing.T) {
	kvs := keys(map[string]string{"leader": "n1", "initialize": "5"})
	kvs = append(kvs, dcs.KeyValue{Key: "/service/lab2/leader", Value: []byte("n9")}, dcs.KeyValue{Key: "/service/lab", Value: []byte("x")})
	top, err := dcs.ParsePatroni(kvs, "lab", prefix, 1)
	if err != nil || top.Leader.Name != "n1" {
		t.Errorf("leader %+v, error %v", top.Leader, err)
	}
}

func TestPrefix(t *testing.T) {
	for _, test := range [][3]string{
		{"", "lab", "/service/lab/"},
		{"service", "lab", "/service/lab/"},
		{"/service/", "/lab/", "/service/lab/"},
		{"//a///b/", "lab//0", "/a/b/lab/0/"},
		{"/postgresql-common/", "15-main", "/postgresql-common/15-main/"},
		{"/", "lab", "/service/lab/"},
	} {
		if got := dcs.Prefix(test[0], test[1]); got != test[2] {
			t.Errorf("Prefix(%q, %q) = %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

func FuzzParsePatroni(f *testing.F) {
	dirs, err := filepath.Glob("testdata/patroni-*")
	if err != nil {
		f.Fatal(err)
	}
	for _, dir := range dirs {
		for _, kv := range dump(f, dir) {
			f.Add(strings.TrimPrefix(kv.Key, prefix), kv.Value, kv.Lease)
		}
	}
	f.Add("members/x", []byte(`{"conn_url":"postgres://%2Ftmp,b:2/?password=x","api_url":"ftp://x"}`), int64(1))
	f.Add("history", []byte(`[[1,53697008,"no recovery target specified","2026-11-21T07:35:29.181924+00:00","n2"]]`), int64(0))
	f.Add("members/x", []byte(`{"conn_url":"postgres://[::1]:1,b:2/"}`), int64(1))
	f.Fuzz(func(t *testing.T, key string, value []byte, lease int64) {
		kvs := append(keys(map[string]string{"leader": "n1", "members/n1": `{"role":"primary"}`}),
			dcs.KeyValue{Key: prefix + key, Value: value, Lease: lease})
		top, err := dcs.ParsePatroni(kvs, "lab", prefix, 1, "n1")
		if err != nil {
			if !errors.Is(err, dcs.ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		for _, m := range top.Members {
			if m.Name == "" || m.Role == "" || (m.Host == "") != (m.Port == 0) {
				t.Fatalf("member %+v", m)
			}
			for _, s := range []string{m.Name, m.State, m.Version, m.Replication, m.Host} {
				fitForALine(t, s)
			}
			if strings.HasPrefix(m.Host, "/") || strings.ContainsAny(m.Host, ",@' =\\") {
				t.Fatalf("host %q", m.Host)
			}
		}
	})
}
