package patroniconf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// etcd are the settings of etcd alone.
func etcdOf(c *Config) map[string]string {
	all := map[string]string{}
	for key, value := range settingsOf(c) {
		if name, ok := strings.CutPrefix(key, "etcd."); ok {
			all[name] = value[0]
		}
	}
	return all
}

func TestEtcd3(t *testing.T) {
	type m = map[string]string
	tests := []struct {
		name, text string
		want       m
	}{
		{"host", "host: h", m{"endpoints": "http://h:2379"}},
		{"host with port", "host: h:1", m{"endpoints": "http://h:1"}},
		{"the port beside one host counts", "{host: 'h:1', port: 2}", m{"endpoints": "http://h:2"}},
		{"but not beside several", "{hosts: 'h:1,i', port: 2}", m{"endpoints": "http://h:1 http://i:2"}},
		{"hosts before host", "{hosts: a, host: b}", m{"endpoints": "http://a:2379"}},
		{"spaces and empty ones", "hosts: ' a:1 , ,b '", m{"endpoints": "http://a:1 http://b:2379"}},
		{"IPv6", "hosts: ['[::1]:5', '[::2]']", m{"endpoints": "http://[::1]:5 http://[::2]:2379"}},
		{"IPv6 with a port beside it", "{host: '[::1]:5', port: 6}", m{"endpoints": "http://[::1]:6"}},
		{"IPv6 with the port beside it", "{host: '[::1]:5', port: 6}", m{"endpoints": "http://[::1]:6"}},
		{"url", "{url: 'https://h', cacert: /ca, host: x, protocol: http}", m{"endpoints": "https://h:2379", "cacert": "/ca"}},
		{"url with its user, before the section's", "{url: 'http://u:p%40@h:1', username: a, password: b}",
			m{"endpoints": "http://h:1", "username": "u", "password": "p@"}},
		{"url without one takes that away", "{url: 'http://h:1', username: a, password: b}", m{"endpoints": "http://h:1"}},
		{"proxy before url", "{url: 'http://h:1', proxy: 'https://p:2'}", m{"endpoints": "https://p:2"}},
		{"user without password", "{host: h, username: a}", m{"endpoints": "http://h:2379"}},
		{"certificates are not for plain text", "{host: h, cacert: /ca, cert: /c, key: /k}", m{"endpoints": "http://h:2379"}},
		{"certificate with its key in one file", "{host: h, protocol: https, cert: /c}", m{"endpoints": "https://h:2379", "cert": "/c", "key": "/c"}},
		{"key alone", "{host: h, protocol: https, key: /k}", m{"endpoints": "https://h:2379"}},
		{"srv, with hosts for when there are no records", "{srv: example.com, host: h, cacert: /ca}", m{"endpoints": "http://h:2379", "cacert": "/ca"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustRead(t, file("etcd3:\n  "+tt.text+"\n"), nil)
			if diff := cmp.Diff(tt.want, etcdOf(c)); diff != "" || c.Refused != nil {
				t.Errorf("refused %v, %s", c.Refused, diff)
			}
		})
	}
	c := mustRead(t, file("etcd3: {host: h, cacert: /ca, cert: /c}\n"), nil)
	if len(c.Warnings) != 2 || !strings.HasPrefix(c.Warnings[0], "p.yml:1: etcd3.cacert is of no use") {
		t.Errorf("warnings %v", c.Warnings)
	}
}

func TestSRV(t *testing.T) {
	c := mustRead(t, file("etcd3:\n  discovery_srv: example.com\n  srv_suffix: x\n"), nil)
	if diff := cmp.Diff(&SRV{Domain: "example.com", Suffix: "x", From: "p.yml:2"}, c.SRV); diff != "" || c.Refused != nil {
		t.Errorf("refused %v, %s", c.Refused, diff)
	}
	want := []Service{{"etcd-client-ssl-x", true}, {"etcd-client-x", false}, {"etcd-ssl-x", true}, {"etcd-x", false}}
	if diff := cmp.Diff(want, c.SRV.Services()); diff != "" {
		t.Error(diff)
	}
}

func TestOtherStores(t *testing.T) {
	tests := []struct {
		name, text, store string
		etcd3             bool
	}{
		{"v2", "etcd: {host: h}\n", "etcd", false},
		{"v2 before v3", "etcd3: {host: h}\netcd: {host: h}\n", "etcd", true},
		{"consul before v3", "etcd3: {host: h}\nconsul: {host: h}\n", "consul", true},
		{"consul", "consul: {host: h}\n", "consul", false},
		{"zookeeper", "zookeeper: {hosts: h}\n", "zookeeper", false},
		{"exhibitor", "exhibitor: {hosts: h}\n", "exhibitor", false},
		{"kubernetes, with nothing below", "kubernetes: {}\n", "kubernetes", false},
		{"raft", "raft: {self_addr: h}\n", "raft", false},
		{"v3 before zookeeper", "etcd3: {host: h}\nzookeeper: {hosts: h}\n", "", false},
		{"a section of null is none", "etcd3: {host: h}\nconsul:\n", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustRead(t, file(tt.text), nil)
			if tt.store == "" {
				if c.Refused != nil {
					t.Fatal(c.Refused)
				}
				return
			}
			var other *StoreError
			if !errors.Is(c.Refused, ErrStore) || !errors.As(c.Refused, &other) || other.Store != tt.store || other.Etcd3 != tt.etcd3 {
				t.Fatalf("refused: %#v, want %s", c.Refused, tt.store)
			}
			if text := c.Refused.Error(); !strings.HasPrefix(text, "p.yml:") || !strings.Contains(text, tt.store) {
				t.Errorf("got %s", text)
			}
			for _, want := range []string{"bin_name.pg_rewind", "undo", "lost --source-conninfo"} {
				if !strings.Contains(other.Hint(), want) {
					t.Errorf("the hint lacks %q: %s", want, other.Hint())
				}
			}
			if len(etcdOf(c)) > 0 {
				t.Errorf("settings of etcd: %v", etcdOf(c))
			}
		})
	}
	env := mustRead(t, file("etcd3: {host: h}\n"), map[string]string{"PATRONI_KUBERNETES_NAMESPACE": "x", "PATRONI_ETCD_HOSTS": "a:1"})
	if env.Refused == nil || !strings.HasPrefix(env.Refused.Error(), "env PATRONI_ETCD_HOSTS: ") {
		t.Errorf("refused %v, want for PATRONI_ETCD_HOSTS", env.Refused)
	}
}

// TestNoStore: without an address there is nothing to ask, and the default
// address of this program's own must not be taken for Patroni's.
func TestNoStore(t *testing.T) {
	for text, want := range map[string]string{
		"scope: s\n": "no store is named",
		"etcd3: {protocol: https, cacert: /ca}\n": "p.yml:1: etcd3: has none of hosts",
		"etcd3: {}\n":                             "p.yml:1: etcd3: has none of hosts",
		"etcd3: {hosts: ''}\n":                    "p.yml:1: etcd3: has none of hosts",
		"etcd3: {host: h}\nnamespace: ''\n":       "p.yml:2: namespace: is empty",
		"etcd3: {host: h}\nnamespace: //\n":       "p.yml:2: namespace: is empty",
		"etcd3: {host: h}\nnamespace: service\n":  "",
		"x: 1\netcd3: {host: h}\nnamespace: null": "",
	} {
		c := mustRead(t, file(text), nil)
		switch {
		case want == "" && c.Refused != nil, want != "" && (c.Refused == nil || !strings.HasPrefix(c.Refused.Error(), want)):
			t.Errorf("%q: refused %v, want %q", text, c.Refused, want)
		case errors.Is(c.Refused, ErrStore):
			t.Errorf("%q: not another store", text)
		}
	}
}
