package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestConnectErrors goes through the real connect to an etcd that is not there.
func TestConnectErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nobody answers", []string{"--etcd-endpoints", closed}, 7, closed},
		{"no such CA file", []string{"--etcd-endpoints", "https://" + closed, "--etcd-cacert", "/nonexistent/ca.pem"}, exitUsage, "/nonexistent/ca.pem"},
		{"not an address", []string{"--etcd-endpoints", "ftp://x"}, exitUsage, "ftp://x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := &program{
				args:   append(append([]string{"failback-hook", "--etcd-dial-timeout", "300ms", "--wait", "0s"}, node()...), tt.args...),
				stdout: &stdout, stderr: &stderr, connect: connect,
				defaultFile: filepath.Join(t.TempDir(), "absent.yml"),
			}
			if code := p.run(t.Context()); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("code %d, want %d: %s", code, tt.code, stderr.String())
			}
		})
	}
}
