package patroni

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReinitialize(t *testing.T) {
	for _, test := range []struct {
		name, text string
		status     int
		want       error
	}{
		{"begun", "reinitialize started", 200, nil},
		{"no user", "no auth header received", 401, ErrAccess},
		{"no certificate", "client certificate required", 403, ErrAccess},
		{"already", "reinitialize already in progress", 503, ErrInProgress},
		{"the leader", "I am the leader, can not reinitialize", 503, ErrRefused},
		{"no leader", "Cluster has no leader, can not reinitialize", 503, ErrRefused},
		{"another server", strings.Repeat("x", 100_000), 404, ErrRefused},
		{"elsewhere", "", 307, ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				body, _ := io.ReadAll(r.Body)
				asked = append(asked, r.Method+" "+r.URL.Path+" "+user+":"+password+" "+string(body))
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.text)
			}))
			defer server.Close()
			err := Client{Username: "patroni", Password: "secret"}.Reinitialize(t.Context(), server.URL+"/patroni")
			if !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if len(asked) != 1 || asked[0] != "POST /reinitialize patroni:secret {}" {
				t.Errorf("it was asked %q", asked)
			}
			if err != nil && (len(err.Error()) > 10_000 || strings.Contains(err.Error(), "secret")) {
				t.Errorf("the error holds too much: %.300s", err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"http://10.0.0.1:8008/patroni": "http://10.0.0.1:8008", "https://h:1/x?y": "https://h:1", "": "", "file:///etc/passwd": "",
		"http:///x": "", "10.0.0.1:8008": "", "http://a@b/": "", "://": "", "gopher://h/": "",
	} {
		if got, err := baseURL("", address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
	if got, _ := baseURL("http://configured", "http://named"); got != "http://configured" {
		t.Errorf("the configured address is not preferred: %q", got)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = nil
	if err := (Client{}).Reinitialize(t.Context(), server.URL); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a certificate of nobody's: %v", err)
	}
	if err := (Client{InsecureSkipVerify: true}).Reinitialize(t.Context(), server.URL); err != nil {
		t.Error(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Client{CAFile: ca}).Reinitialize(t.Context(), server.URL); err != nil {
		t.Error(err)
	}
	for _, c := range []Client{{CAFile: "/does/not/exist"}, {CAFile: os.Args[0]}, {CertFile: ca, KeyFile: ca}} {
		if err := c.Reinitialize(t.Context(), server.URL); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
