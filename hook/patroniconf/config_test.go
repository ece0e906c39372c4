package patroniconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// said is a Config's settings in a form that is easy to compare: value and origin.
type said map[string][2]string

func settingsOf(c *Config) said {
	all := said{}
	for _, s := range c.Settings {
		value := s.Text
		if s.List != nil {
			value = strings.Join(s.List, " ")
		}
		if _, twice := all[s.Key]; twice {
			value = "given twice"
		}
		all[s.Key] = [2]string{value, s.From}
	}
	return all
}

func file(text string) []File { return []File{{Name: "p.yml", Content: []byte(text)}} }

func testFile(t *testing.T, name string) []File {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return []File{{Name: name, Content: content}}
}

func mustRead(t *testing.T, files []File, env map[string]string) *Config {
	t.Helper()
	c, err := Read(files, env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDebian(t *testing.T) {
	c := mustRead(t, testFile(t, "debian.yml"), nil)
	want := said{
		"scope":                  {"15-main", "debian.yml:2"},
		"namespace":              {"/postgresql-common/", "debian.yml:3"},
		"name":                   {"db1", "debian.yml:4"},
		"etcd.endpoints":         {"http://192.0.2.10:2379", "debian.yml:7"},
		"postgresql.data_dir":    {"/var/lib/postgresql/15/main", "debian.yml:29"},
		"postgresql.bin_dir":     {"/usr/lib/postgresql/15/bin", "debian.yml:30"},
		"postgresql.config_file": {"/etc/postgresql/15/main/postgresql.conf", "debian.yml:31"},
		// Where the file says nothing, what all nodes have in etcd counts.
		"postgresql.restore_command": {"cluster", "debian.yml:23"},
		"source.conninfo":            {"user=postgres", "debian.yml:37"},
		"replication.conninfo": {
			`user=replicator password='r3p pass\'word' dbname=postgres sslmode=prefer gssencmode=prefer channel_binding=prefer`, "debian.yml:34"},
	}
	if diff := cmp.Diff(want, settingsOf(c)); diff != "" {
		t.Error(diff)
	}
	if c.Refused != nil || len(c.Warnings) > 0 || c.SRV != nil {
		t.Errorf("refused %v, warnings %v, SRV %v", c.Refused, c.Warnings, c.SRV)
	}
}

func TestTLS(t *testing.T) {
	c := mustRead(t, testFile(t, "tls.yml"), nil)
	want := said{
		"scope":                      {"prod/2", "tls.yml:4"},
		"namespace":                  {"/db/", "tls.yml:5"},
		"name":                       {"node-a", "tls.yml:6"},
		"etcd.endpoints":             {"https://etcd1.example.com:2379 https://[2001:db8::2]:2479 https://etcd3.example.com:2380", "tls.yml:9"},
		"etcd.cacert":                {"/etc/pki/etcd-ca.crt", "tls.yml:15"},
		"etcd.cert":                  {"/etc/pki/etcd.crt", "tls.yml:16"},
		"etcd.key":                   {"/etc/pki/etcd.key", "tls.yml:17"},
		"etcd.username":              {"patroni", "tls.yml:19"},
		"etcd.password":              {"20261121", "tls.yml:19"},
		"postgresql.data_dir":        {"/pg/data", "tls.yml:32"},
		"postgresql.restore_command": {"get %f %p", "tls.yml:52"},
		"source.conninfo": {"user=rewind_user password=RW-secret sslmode=verify-full sslcert=/etc/pki/rw.crt sslkey=/etc/pki/rw.key " +
			"sslpassword=KEY-secret sslrootcert=/etc/pki/ca.crt channel_binding=require dbname=app", "tls.yml:35"},
		"source.privileged_conninfo": {"user=postgres password=SU-secret dbname=app", "tls.yml:44"},
		"replication.conninfo": {"user=rep sslmode=require sslrootcert=/etc/pki/ca.crt dbname=app gssencmode=prefer channel_binding=prefer krbsrvname=pg",
			"tls.yml:45"},
	}
	if diff := cmp.Diff(want, settingsOf(c)); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%v %+v %#v", c.Settings, c.Settings[0], c.Settings)} {
		if strings.Contains(text, "secret") || strings.Contains(text, "20261121") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

// TestPatch: later files and variables go before earlier files, key by key; null
// takes away, but only from a mapping that is there.
func TestPatch(t *testing.T) {
	files := []File{
		{"00.yml", []byte("scope: a\nname: n\netcd3: {hosts: 'a:1,b:2', username: u, password: p}\n" +
			"postgresql: {data_dir: /a, bin_dir: /bin, authentication: {superuser: {username: s, password: }}}\n")},
		{"10.yml", []byte("name: ~\netcd3: {hosts: [c:3], password: ~}\npostgresql:\n  data_dir: /b\n  authentication:\n    superuser: {password: x}\n")},
	}
	env := map[string]string{"PATRONI_NAME": "m", "PATRONI_SUPERUSER_SSLMODE": "require", "PATRONI_SCOPE": "", "PATRONI_POSTGRESQL_BIN_DIR": "/b2"}
	want := said{
		"scope":                      {"a", "00.yml:1"},
		"name":                       {"m", "env PATRONI_NAME"},
		"etcd.endpoints":             {"http://c:3", "10.yml:2"},
		"postgresql.data_dir":        {"/b", "10.yml:4"},
		"postgresql.bin_dir":         {"/b2", "env PATRONI_POSTGRESQL_BIN_DIR"},
		"postgresql.restore_command": {"cluster", "00.yml:4"},
		"source.conninfo":            {"user=s password=x sslmode=require", "00.yml:4"},
	}
	if diff := cmp.Diff(want, settingsOf(mustRead(t, files, env))); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentAlone(t *testing.T) {
	env := map[string]string{
		"PATRONI_SCOPE": "s", "PATRONI_NAMESPACE": "/ns/", "PATRONI_NAME": "n",
		"PATRONI_ETCD3_HOSTS": "'a:1', b:2", "PATRONI_ETCD3_PROTOCOL": "https", "PATRONI_ETCD3_CACERT": "/ca", "PATRONI_ETCD3_CERT": "/pair",
		"PATRONI_ETCD3_USERNAME": "u", "PATRONI_ETCD3_PASSWORD": "p",
		"PATRONI_CITUS_GROUP": " 3 ", "PATRONI_CITUS_DATABASE": "c",
		"PATRONI_POSTGRESQL_DATA_DIR": "/d", "PATRONI_POSTGRESQL_BIN_DIR": "/b", "PATRONI_POSTGRESQL_CONFIG_DIR": "/c",
		"PATRONI_SUPERUSER_USERNAME": "su", "PATRONI_REWIND_USERNAME": "rw", "PATRONI_REWIND_PASSWORD": "0123", "PATRONI_REWIND_SSLNEGOTIATION": "direct",
		"PATRONI_REPLICATION_USERNAME": "rep", "PATRONI_REPLICATION_GSSENCMODE": "disable",
		"PATRONI_POSTGRESQL_BIN_POSTGRES": "postgres.real", "PATRONI_admin_PASSWORD": "bootstrap's",
	}
	c := mustRead(t, nil, env)
	want := said{
		"scope": {"s/3", "env PATRONI_SCOPE"}, "namespace": {"/ns/", "env PATRONI_NAMESPACE"}, "name": {"n", "env PATRONI_NAME"},
		"etcd.endpoints": {"https://a:1 https://b:2", "env PATRONI_ETCD3_HOSTS"},
		"etcd.cacert":    {"/ca", "env PATRONI_ETCD3_CACERT"}, "etcd.cert": {"/pair", "env PATRONI_ETCD3_CERT"}, "etcd.key": {"/pair", "env PATRONI_ETCD3_CERT"},
		"etcd.username": {"u", "env PATRONI_ETCD3_PASSWORD"}, "etcd.password": {"p", "env PATRONI_ETCD3_PASSWORD"},
		"postgresql.data_dir": {"/d", "env PATRONI_POSTGRESQL_DATA_DIR"}, "postgresql.bin_dir": {"/b", "env PATRONI_POSTGRESQL_BIN_DIR"},
		"postgresql.config_file":     {"/c/postgresql.conf", "env PATRONI_POSTGRESQL_CONFIG_DIR"},
		"postgresql.restore_command": {"cluster", "env PATRONI_POSTGRESQL_CONFIG_DIR"},
		"source.conninfo":            {"user=rw password=0123 sslnegotiation=direct", "env PATRONI_REWIND_USERNAME"},
		"replication.conninfo":       {"user=rep gssencmode=disable dbname=postgres sslmode=prefer channel_binding=prefer", "env PATRONI_REPLICATION_USERNAME"},
	}
	if diff := cmp.Diff(want, settingsOf(c)); diff != "" {
		t.Error(diff)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "env PATRONI_POSTGRESQL_BIN_POSTGRES: postgresql.bin_name.postgres is not heeded") {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// TestEnvironmentRules: what Patroni does not combine is not combined here.
func TestEnvironmentRules(t *testing.T) {
	yml := file("scope: f\netcd3: {host: h}\n")
	tests := []struct {
		name  string
		files []File
		env   map[string]string
		want  said
	}{
		{"the whole in one variable, and then no other", nil,
			map[string]string{"PATRONI_CONFIGURATION": "scope: w\netcd3: {host: h}", "PATRONI_NAME": "n", "PATRONI_ETCD3_HOST": "x"},
			said{"scope": {"w", "env PATRONI_CONFIGURATION:1"}, "etcd.endpoints": {"http://h:2379", "env PATRONI_CONFIGURATION:2"}}},
		{"but a file goes before it", yml, map[string]string{"PATRONI_CONFIGURATION": "scope: w"},
			said{"scope": {"f", "p.yml:1"}, "etcd.endpoints": {"http://h:2379", "p.yml:2"}}},
		{"user and password for a file's hosts", yml, map[string]string{"PATRONI_ETCD3_USERNAME": "u", "PATRONI_ETCD3_PASSWORD": "p"},
			said{"scope": {"f", "p.yml:1"}, "etcd.endpoints": {"http://h:2379", "p.yml:2"}}},
		{"a port that is none", yml, map[string]string{"PATRONI_ETCD3_PORT": "many", "PATRONI_CITUS_GROUP": "one", "PATRONI_CITUS_DATABASE": "d"},
			said{"scope": {"f", "p.yml:1"}, "etcd.endpoints": {"http://h:2379", "p.yml:2"}}},
		{"a list that is none", yml, map[string]string{"PATRONI_ETCD3_HOSTS": "[a"},
			said{"scope": {"f", "p.yml:1"}, "etcd.endpoints": {"http://h:2379", "p.yml:2"}}},
		{"a list as YAML", yml, map[string]string{"PATRONI_ETCD3_HOSTS": "- a:1\n- b:2"},
			said{"scope": {"f", "p.yml:1"}, "etcd.endpoints": {"http://a:1 http://b:2", "env PATRONI_ETCD3_HOSTS"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, settingsOf(mustRead(t, tt.files, tt.env))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestServer has the smaller rules of the section postgresql.
func TestServer(t *testing.T) {
	const head = "etcd3: {host: h}\n"
	tests := []struct{ name, text, key, want string }{
		{"name of old", "postgresql: {name: n}\n", "name", "n"},
		{"name of today before it", "name: m\npostgresql: {name: n}\n", "name", "m"},
		{"logins of old", "postgresql: {replication: {username: r}, superuser: {username: s}}\n", "source.conninfo", "user=s"},
		{"no rewind user of old", "postgresql: {rewind: {username: w}, pg_rewind: {username: p}}\n", "source.conninfo", "user=p"},
		{"superuser of old", "postgresql: {authentication: {replication: {username: r}}, pg_rewind: {username: p}}\n", "source.conninfo", "user=p"},
		{"superuser for what the rewind user may not", "postgresql: {authentication: {rewind: {username: r}, superuser: {username: s, sslcert: /c}}}\n",
			"source.privileged_conninfo", "user=s sslcert=/c"},
		{"but not one of this node's socket", "postgresql: {authentication: {rewind: {username: r}, superuser: {username: s, password: }}}\n",
			"source.privileged_conninfo", ""},
		{"nor twice", "postgresql: {authentication: {superuser: {username: s, password: p}}}\n", "source.privileged_conninfo", ""},
		{"no login at all", "postgresql: {data_dir: /d}\n", "source.conninfo", ""},
		{"config_dir is data_dir", "postgresql: {data_dir: /d, config_dir: /d/}\n", "postgresql.config_file", ""},
		{"another name of postgresql.conf", "postgresql: {data_dir: /d, config_base_name: pg}\n", "postgresql.config_file", "/d/pg.conf"},
		{"both", "postgresql: {data_dir: /d, config_dir: /c, config_base_name: pg}\n", "postgresql.config_file", "/c/pg.conf"},
		{"recovery_conf", "postgresql: {recovery_conf: {restore_command: get}}\n", "postgresql.restore_command", "get"},
		{"which another recovery parameter hides", "postgresql: {recovery_conf: {restore_command: get}, parameters: {recovery_end_command: x}}\n",
			"postgresql.restore_command", ""},
		{"in two spellings", "postgresql: {parameters: {restore_command: get, RESTORE_COMMAND: x}}\n", "postgresql.restore_command", "get"},
		{"a section that has none", "postgresql: {recovery_conf: {}}\n", "postgresql.restore_command", ""},
		{"nothing here", "postgresql: {parameters: {port: 1}}\n", "postgresql.restore_command", "cluster"},
		{"but no other parameter", "postgresql: {recovery_conf: {restore_command: get}, parameters: {port: 1}}\n", "postgresql.restore_command", "get"},
		{"slots of the file do not count", "postgresql: {use_slots: false}\n", "replication.slots", ""},
		{"group of a database that is none", "scope: s\ncitus: {group: 1}\n", "scope", "s"},
		{"group that is no number", "scope: s\ncitus: {group: '1', database: d}\n", "scope", "s"},
		{"group 0", "scope: s\ncitus: {group: 0, database: d}\n", "scope", "s/0"},
		{"group without scope", "citus: {group: 0, database: d}\n", "scope", ""},
		{"nothing below it", "postgresql:\n", "postgresql.data_dir", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := settingsOf(mustRead(t, file(head+tt.text), nil))[tt.key][0]; got != tt.want {
				t.Errorf("%s is %q, want %q", tt.key, got, tt.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	const etcd = "etcd3: {host: h}\n"
	tests := []struct{ name, text, want string }{
		{"list for text", etcd + "scope: [a]\n", "p.yml:2: scope: want text, found a list"},
		{"keys for text", etcd + "postgresql:\n  data_dir: {a: b}\n", "p.yml:3: postgresql.data_dir: want text, found keys and values"},
		{"text for keys", etcd + "postgresql: x\n", "p.yml:2: postgresql: want keys and values, found text"},
		{"boolean for text", etcd + "name: on\n", "p.yml:2: name: want text, found true or false: if it is meant as text, write it in quotes"},
		{"octal password", etcd + "postgresql:\n  authentication:\n    superuser:\n      password: 0777\n",
			"p.yml:5: postgresql.authentication.superuser.password: want text, found a number: if it is meant as text, write it in quotes"},
		{"date", etcd + "name: 2026-11-21\n", "p.yml:2: name: want text, found a value with a tag or a date: if it is meant as text, write it in quotes"},
		{"login that is text", etcd + "postgresql:\n  authentication:\n    rewind: me\n",
			"p.yml:4: postgresql.authentication.rewind: want keys and values, found text"},
		{"hosts of keys", "etcd3:\n  hosts: {a: b}\n", "p.yml:2: etcd3.hosts: want text, found keys and values"},
		{"hosts with a list inside", "etcd3:\n  hosts:\n  - [a]\n", "p.yml:3: etcd3.hosts: want text, found a list"},
		{"etcd3 that is text", "etcd3: host\n", "p.yml:1: etcd3: want keys and values, found text"},
		{"protocol", "etcd3:\n  host: h\n  protocol: ftp\n", "p.yml:3: etcd3.protocol: want http or https"},
		{"url", "etcd3:\n  url: 'h:2379'\n", "p.yml:2: etcd3.url: want http://HOST:PORT or https://HOST:PORT"},
		{"merging text", "a: &a x\netcd3:\n  <<: *a\n", "p.yml:3: <<: want keys and values to merge, found text"},
		{"empty", "# nothing\n", "p.yml: is empty, want Patroni's keys and values"},
		{"a list", "- a\n", "p.yml:1: want keys and values, found a list"},
		{"two documents", "a: b\n---\nc: d\n", "p.yml: holds more than one YAML document"},
		{"not YAML", "a: b: c\n", "p.yml: yaml: mapping values are not allowed"},
		{"alias of nothing", "password: *secret\n", "p.yml: an alias stands for no anchor: text that begins with * has to be quoted"},
		{"too large", strings.Repeat("#", MaxFile+1), "p.yml is larger than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(file(tt.text), nil)
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	_, err := Read(file("scope: [a]\nname: {b: c}\netcd3: {hosts: {}}\n"), nil)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want all three errors, got %v", err)
	}
}

// TestErrorsShowNoSecret puts a secret of the wrong kind where each one belongs.
func TestErrorsShowNoSecret(t *testing.T) {
	const secret = "TOPSECRET"
	for _, value := range []string{"[" + secret + "]", "{" + secret + ": " + secret + "}", "[[" + secret, "*" + secret, "!" + secret + " x",
		"&a " + secret + ": x", "\"" + secret, "@" + secret, "`" + secret, "%" + secret, "- " + secret, "|" + secret, secret + ": " + secret} {
		for _, key := range []string{"etcd3:\n  host: h\n  username: u\n  password: ", "etcd3:\n  url: ",
			"etcd3:\n  proxy: http://u:" + secret + "@h:port ", "etcd3:\n  hosts: ",
			"etcd3: {host: h}\npostgresql:\n  authentication:\n    superuser:\n      sslpassword: "} {
			if _, err := Read(file(key+value+"\n"), nil); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s%s: %v", key, value, err)
			}
		}
	}
}
