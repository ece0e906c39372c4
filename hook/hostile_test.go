package hook

import (
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// FuzzStandbyOfMember: whatever etcd holds about the leader, either it is refused,
// or the settings of the standby say one host, one port, this node's name, and
// nothing that was not configured, also after postgresql.auto.conf was read.
func FuzzStandbyOfMember(f *testing.F) {
	f.Add([]byte(`{"conn_url":"postgres://10.0.0.2:5433/postgres","role":"primary"}`), "user=u password='a b'")
	f.Add([]byte(`{"conn_url":"postgres://a'%20host=b%0A/postgres"}`), "")
	f.Add([]byte(`{"conn_url":"postgres://%2Ftmp%2Cb/postgres"}`), "postgres://u:p@old:1/db?sslmode=require")
	f.Fuzz(func(t *testing.T, value []byte, configured string) {
		kvs := []dcs.KeyValue{{Key: "/service/s/leader", Value: []byte("n2")}, {Key: "/service/s/members/n2", Value: value}}
		top, err := dcs.ParsePatroni(kvs, "s", "/service/s/", 1)
		if err != nil {
			return
		}
		m, ok := top.Member("n2")
		if !ok || m.Host == "" {
			return
		}
		given, err := pg.ParseConninfo(configured)
		if err != nil {
			return
		}
		c := Config{Name: "n1", SourceConninfo: configured}
		standby, err := c.standby(m, pg.SlotName("n1"))
		if err != nil {
			t.Fatal(err)
		}
		content, err := pg.SetConf(nil, []pg.Setting{{Name: "primary_conninfo", Value: standby.Conninfo}})
		if err != nil { // a line feed or a zero byte, which only the configuration can have brought
			if !strings.ContainsAny(configured, "\n\x00%") {
				t.Errorf("%q, %q: %v", value, configured, err)
			}
			return
		}
		settings, err := pg.ParseConf(content)
		if err != nil || len(settings) != 1 {
			t.Fatalf("%q: read as %+v, %v", content, settings, err)
		}
		got, err := pg.ParseConninfo(settings[0].Value)
		if err != nil {
			t.Fatalf("%q: %v", settings[0].Value, err)
		}
		for _, p := range got {
			switch p.Key {
			case "host":
				if p.Value != m.Host || strings.ContainsAny(p.Value, ",/ '=\n") {
					t.Errorf("host %q, of %q", p.Value, value)
				}
			case "port":
			case "application_name":
				if p.Value != "n1" {
					t.Errorf("application_name %q", p.Value)
				}
			default:
				if was, ok := given.Get(p.Key); !ok || was != p.Value {
					t.Errorf("%s=%q was not configured", p.Key, p.Value)
				}
			}
		}
	})
}
