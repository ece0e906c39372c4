package patroniconf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestREST(t *testing.T) {
	tests := []struct {
		name, text string
		env        map[string]string
		want       REST
	}{
		{"nothing", "scope: s\n", nil, REST{}},
		{"plain", "restapi: {listen: '0.0.0.0:8008', connect_address: '192.0.2.1:8008'}\n", nil, REST{URL: "http://192.0.2.1:8008"}},
		{"listens everywhere", "restapi: {listen: '[::]:8008'}\n", nil, REST{URL: "http://localhost:8008"}},
		{"a login", "restapi: {listen: 'h:1', authentication: {username: u, password: p}}\n", nil, REST{URL: "http://h:1", Username: "u", Password: "p"}},
		{"patronictl's before it", "restapi: {authentication: {username: u, password: p}}\nctl: {authentication: {username: v, password: q}}\n", nil,
			REST{Username: "v", Password: "q"}},
		{"in one", "ctl: {auth: 'u:p:q'}\n", nil, REST{Username: "u", Password: "p:q"}},
		{"TLS", "restapi: {listen: 'h:1', certfile: /s, keyfile: /sk, cafile: /sca}\nctl: {cacert: /ca, certfile: /c, keyfile: /k, keyfile_password: p, insecure: 'on'}\n",
			nil, REST{URL: "https://h:1", CACert: "/ca", Cert: "/c", Key: "/k", KeyPassword: "p", Insecure: true}},
		{"the server's CA", "restapi: {cafile: /sca}\n", nil, REST{CACert: "/sca"}},
		{"the server's certificate where one is required", "restapi: {certfile: /s, keyfile: /sk, verify_client: required}\n", nil, REST{Cert: "/s", Key: "/sk"}},
		{"and only there", "restapi: {certfile: /s, keyfile: /sk, verify_client: optional}\n", nil, REST{}},
		{"environment", "restapi: {listen: 'h:1'}\n", map[string]string{"PATRONI_RESTAPI_USERNAME": "u", "PATRONI_RESTAPI_PASSWORD": "p",
			"PATRONI_RESTAPI_CONNECT_ADDRESS": "i:2", "PATRONI_CTL_INSECURE": "yes"}, REST{URL: "http://i:2", Username: "u", Password: "p", Insecure: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mustRead(t, file(tt.text), tt.env).REST()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	c := mustRead(t, testFile(t, "tls.yml"), nil)
	got, err := c.REST()
	if err != nil || got.Cert != "/etc/pki/ctl.crt" || got.URL != "https://localhost:8008" || got.Password != "REST-secret" {
		t.Errorf("%v, %+v", err, got)
	}
	if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, "secret") {
		t.Errorf("a secret is shown: %s", text)
	}
	// What is wrong here is no reason to refuse a rejoin.
	c = mustRead(t, file("etcd3: {host: h}\nrestapi: 1\nctl: {insecure: maybe}\n"), nil)
	_, err = c.REST()
	if err == nil || !strings.Contains(err.Error(), "p.yml:2: restapi: want keys and values, found a number") ||
		!strings.Contains(err.Error(), "p.yml:3: ctl.insecure: want true or false, found text") {
		t.Errorf("got %v", err)
	}
}
