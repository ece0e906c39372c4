package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/hook"
)

// patroniYAML is a Patroni's configuration with something for every setting.
const patroniYAML = `scope: main
namespace: /db/
name: n1
etcd3:
  hosts: a:1,b:2
  protocol: https
  cacert: /ca
  cert: /cert
  key: /key
  username: patroni
  password: topsecret
postgresql:
  data_dir: /pgdata
  bin_dir: /bin
  authentication:
    rewind: {username: rw, password: topsecret}
    replication: {username: rep, password: topsecret}
  recovery_conf: {restore_command: get %f %p}
restapi: {connect_address: "10.0.0.1:8008", authentication: {username: admin, password: topsecret}}
ctl: {insecure: true}
`

func TestPatroniLayer(t *testing.T) {
	file := writeConfig(t, patroniYAML)
	load := func(src sources) *configuration {
		t.Helper()
		if src.flags == nil {
			src.flags = map[string]string{}
		}
		if _, named := src.env["FAILBACK_HOOK_PATRONI_CONFIG"]; !named {
			src.flags["patroni-config"] = file
		}
		c, err := load(src)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	type m = map[string]string
	own := func(text string) string { return writeConfig(t, text) }
	tests := []struct {
		name string
		src  sources
		key  string
		want any
		from string
	}{
		{"it gives", sources{}, "etcd.endpoints", []string{"https://a:1", "https://b:2"}, file + ":5"},
		{"its environment goes before it", sources{env: m{"PATRONI_POSTGRESQL_DATA_DIR": "/other"}}, "postgresql.data_dir", "/other", "env PATRONI_POSTGRESQL_DATA_DIR"},
		{"our file before that", sources{file: own("# ours\nscope: ours\n"), env: m{"PATRONI_SCOPE": "p"}}, "scope", "ours", "OWN:2"},
		{"our environment too", sources{env: m{"FAILBACK_HOOK_SCOPE": "ours"}}, "scope", "ours", "env FAILBACK_HOOK_SCOPE"},
		{"our options too", sources{flags: m{"scope": "ours"}}, "scope", "ours", "--scope"},
		{"other programs' environment does not", sources{env: m{"PGDATA": "/x"}}, "postgresql.data_dir", "/pgdata", file + ":13"},
		{"no variable of etcdctl's is mixed in", sources{env: m{"ETCDCTL_INSECURE_SKIP_TLS_VERIFY": "true"}}, "etcd.insecure_skip_verify", false, "default"},
		{"our user, not its password", sources{env: m{"FAILBACK_HOOK_ETCD_USERNAME": "u"}}, "etcd.password", "", "default"},
		{"our password file, not its user", sources{flags: m{"etcd-password-file": "/f"}}, "etcd.username", "", "default"},
		{"our certificate, not its key", sources{flags: m{"etcd-cert": "/c"}}, "etcd.key", "", "default"},
		{"but its CA", sources{flags: m{"etcd-cert": "/c"}}, "etcd.cacert", "/ca", file + ":7"},
		{"named by our environment", sources{env: m{"FAILBACK_HOOK_PATRONI_CONFIG": file}}, "name", "n1", file + ":3"},
		{"named by our file", sources{file: own("patroni_config: " + file), env: m{"FAILBACK_HOOK_PATRONI_CONFIG": ""}}, "name", "n1", file + ":3"},
		{"login", sources{}, "source.conninfo", "user=rw password=***", file + ":16"},
		{"login for streaming", sources{}, "replication.conninfo",
			"user=rep password=*** dbname=postgres sslmode=prefer gssencmode=prefer channel_binding=prefer", file + ":17"},
		{"Patroni's address", sources{}, "patroni.rest_url", "http://10.0.0.1:8008", file},
		{"login at Patroni", sources{}, "patroni.username", "admin", file},
		{"its certificate", sources{}, "patroni.insecure_skip_verify", true, file},
		{"our login at Patroni, not its password", sources{flags: m{"patroni-username": "u"}}, "patroni.password", "", "default"},
		{"restore_command", sources{}, "postgresql.restore_command", "get %f %p", file + ":18"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(tt.src)
			if diff := cmp.Diff(tt.want, settingsByKey()[tt.key].shown(&c.settings)); diff != "" {
				t.Error(diff)
			}
			if got, want := c.origin[tt.key], strings.ReplaceAll(tt.from, "OWN", tt.src.file); got != want {
				t.Errorf("origin %q, want %q", got, want)
			}
			if len(c.warnings) > 0 || c.refused != nil {
				t.Errorf("warnings %v, refused %v", c.warnings, c.refused)
			}
		})
	}
	if c := load(sources{}); c.check() != nil {
		t.Errorf("with nothing but Patroni's: %v", c.check())
	}
}

// TestPatroniPlaces are the places of its configuration, and none.
func TestPatroniPlaces(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"20.yaml": "name: n2\n", "10.yml": "scope: s\nname: n1\n", "30.yml.bak": "name: n3\n", "00.txt": "["} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "40.yml"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PATRONI_CONFIGURATION": "scope: whole\nname: n\n"}
	for place, want := range map[string]string{dir: "s n2", "env": "whole n"} {
		c, err := load(sources{flags: map[string]string{"patroni-config": place}, env: env})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.settings.Scope + " " + c.settings.Name; got != want {
			t.Errorf("%s: %s, want %s", place, got, want)
		}
	}
	for place, want := range map[string]string{
		"/nonexistent/p.yml":                  "read Patroni's configuration: stat /nonexistent/p.yml: no such file",
		t.TempDir():                           "has no *.yml and no *.yaml files",
		writeConfig(t, "scope: [a]\n"):        ":1: scope: want text, found a list",
		writeConfig(t, "# nothing\n"):         "is empty, want Patroni's keys and values",
		writeConfig(t, "etcd3: {hosts: 1}\n"): "",
	} {
		_, err := load(sources{flags: map[string]string{"patroni-config": place}})
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, errInput)):
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestPatroniSRV: the first kind of record that there is counts.
func TestPatroniSRV(t *testing.T) {
	file := writeConfig(t, "scope: s\netcd3: {srv: example.com, cacert: /ca, hosts: 'h:1'}\n")
	var asked []string
	lookup := func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		asked = append(asked, service+" "+proto+" "+name)
		if service == "etcd-ssl" {
			return "", []*net.SRV{{Target: "e1.example.com.", Port: 2379}, {Target: "e2.example.com.", Port: 1}}, nil
		}
		return "", nil, errors.New("no such host")
	}
	flags := map[string]string{"patroni-config": file}
	c, err := load(sources{flags: flags, lookup: lookup})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://e1.example.com:2379", "https://e2.example.com:1"}, c.settings.Etcd.Endpoints); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"etcd-client-ssl tcp example.com", "etcd-client tcp example.com", "etcd-ssl tcp example.com"}, asked); diff != "" {
		t.Error(diff)
	}
	none := func(context.Context, string, string, string) (string, []*net.SRV, error) {
		return "", nil, errors.New("no such host")
	}
	if c, err = load(sources{flags: flags, lookup: none}); err != nil || c.refused != nil || c.settings.Etcd.Endpoints[0] != "http://h:1" {
		t.Errorf("without records: %v, refused %v, %v, want the hosts", err, c.refused, c.settings.Etcd.Endpoints)
	}
	flags["patroni-config"] = writeConfig(t, "scope: s\netcd3: {srv: example.com}\n")
	if c, err = load(sources{flags: flags, lookup: none}); err != nil {
		t.Fatal(err)
	}
	if got := exitFor(t.Context(), c.check()); got.name != "etcd_unreachable" {
		t.Errorf("without records and hosts: %s (%v), want etcd_unreachable", got.name, c.check())
	}
	asked = nil
	flags["etcd-endpoints"] = "x:1"
	if c, err = load(sources{flags: flags, lookup: lookup}); err != nil || c.refused != nil || len(asked) > 0 {
		t.Errorf("with our endpoints: %v, %v, asked %v", err, c.refused, asked)
	}
}

// TestOtherStore: what needs etcd says that Patroni has none of ours, and what
// is possible; what does not need it works.
func TestOtherStore(t *testing.T) {
	file := writeConfig(t, "scope: main\nname: n1\nconsul: {host: h}\npostgresql: {data_dir: "+t.TempDir()+"}\n")
	patroni := []string{"--patroni-config", file}
	for _, args := range [][]string{nil, {"--dry-run"}, {"lost"}, {"on_start", "replica", "main"}} {
		got := run(t, &fakeRejoiner{}, nil, append(patroni, args...)...)
		if got.code != 13 || !strings.Contains(got.stderr, file+":3: Patroni keeps this cluster in consul: this program reads etcd v3 only") ||
			!strings.Contains(got.stderr, "hint: what needs no etcd still works: as Patroni's pg_rewind") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	got := run(t, &fakeRejoiner{}, nil, append(patroni, "config", "show")...)
	if got.code != 0 || !strings.Contains(got.stderr, "warning: "+file+":3: Patroni keeps this cluster in consul") {
		t.Errorf("config show: %+v", got)
	}
	// There is no data directory worth the name, which is as far as these come.
	for _, args := range [][]string{{"undo"}, {"lost", "--source-conninfo", "host=127.0.0.1 port=1 user=u"}} {
		if got := run(t, &fakeRejoiner{}, nil, append(patroni, args...)...); got.code == 13 || strings.Contains(got.stderr, "consul") {
			t.Errorf("%v: %+v, want it to go on", args, got)
		}
	}
	if got := run(t, &fakeRejoiner{report: &hook.Report{}}, nil, append(patroni, "--etcd-endpoints", "e:1")...); got.code != 0 {
		t.Errorf("with endpoints of our own: %+v", got)
	}
	none := writeConfig(t, "scope: main\nname: n1\npostgresql: {data_dir: /d}\n")
	if got := run(t, &fakeRejoiner{}, nil, "--patroni-config", none); got.code != exitUsage || !strings.Contains(got.stderr, "no store is named") ||
		!strings.Contains(got.stderr, "hint: set etcd.endpoints") {
		t.Errorf("no store: %+v", got)
	}
}

// TestPatroniShown: config show has the origins and no secret.
func TestPatroniShown(t *testing.T) {
	file := writeConfig(t, patroniYAML)
	text := run(t, nil, nil, "config", "show", "--patroni-config", file)
	asJSON := run(t, nil, nil, "config", "show", "--patroni-config", file, "-o", "json")
	if text.code != 0 || asJSON.code != 0 || strings.Contains(text.stdout+text.stderr+asJSON.stdout+asJSON.stderr, "topsecret") {
		t.Errorf("%+v\n%+v", text, asJSON)
	}
	var shown struct{ Settings []shownSetting }
	if err := json.Unmarshal([]byte(asJSON.stdout), &shown); err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, s := range shown.Settings {
		if strings.HasPrefix(s.Origin, file+":") {
			from++
		}
	}
	if from != 14 {
		t.Errorf("%d settings come from Patroni's file, want 14:\n%s", from, text.stdout)
	}
}

// TestCitusCallback: the group is part of our scope and not of the callback's.
func TestCitusCallback(t *testing.T) {
	for scope, want := range map[string]bool{"pg": true, "pg/0": true, "p": false, "pg/1": false, "pg/": false} {
		c := configuration{origin: map[string]string{}}
		c.settings.Scope = "pg/0"
		if err := c.takeScope(scope); (err == nil) != want {
			t.Errorf("%s: %v", scope, err)
		}
	}
	c := configuration{origin: map[string]string{}}
	c.settings.Scope = "pg/x"
	if err := c.takeScope("pg"); err == nil {
		t.Error("pg/x is not a group of pg")
	}
}
