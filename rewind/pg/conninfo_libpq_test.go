package pg_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// psqlProbe shows what libpq makes of a connection string: psql connects to it,
// and it keeps what the startup packet and the password message say.
type psqlProbe struct {
	install  rewindtest.Install
	listener net.Listener
	seen     chan map[string]string
}

func newProbe(t *testing.T) *psqlProbe {
	t.Helper()
	install := rewindtest.Newest(t, "psql")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &psqlProbe{install: install, listener: listener, seen: make(chan map[string]string, 8)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			seen, err := serve(conn)
			if err != nil {
				t.Errorf("serve psql: %v", err)
			}
			p.seen <- seen
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return p
}

// serve asks one client for its password in clear text and then hangs up
// (protocol 3.0, "Message Formats" in PostgreSQL's manual).
func serve(conn net.Conn) (map[string]string, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	startup, err := message(conn)
	if errors.Is(err, io.EOF) { // not psql, but run's sign that there is no more
		return nil, nil
	}
	if err != nil || len(startup) < 5 {
		return nil, fmt.Errorf("read startup packet: %q, %w", startup, err)
	}
	seen := map[string]string{}
	words := strings.Split(string(startup[4:]), "\x00")
	for i := 0; i+1 < len(words) && words[i] != ""; i += 2 {
		seen[words[i]] = words[i+1]
	}
	if _, err := conn.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}); err != nil {
		return nil, err
	}
	kind := make([]byte, 1)
	if _, err := io.ReadFull(conn, kind); err != nil { // no password: it hangs up
		return seen, nil
	}
	password, err := message(conn)
	seen["password"] = strings.TrimSuffix(string(password), "\x00")
	return seen, err
}

func message(r io.Reader) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length)
	if n < 4 || n > 1<<16 {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(r, body)
	return body, err
}

// run starts psql with a connection string. connected tells whether libpq
// understood it so far as to connect.
func (p *psqlProbe) run(t *testing.T, conninfo string) (seen map[string]string, connected bool, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.install.Path("psql"), "-X", "-w", "-d", conninfo)
	cmd.Env = []string{"PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGPASSFILE=/dev/null", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("psql with %q ends well:\n%s", conninfo, out)
	}
	// Connections are served in their order: when this one has been, so has psql's.
	last, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	for one := range p.seen {
		if one == nil {
			break
		}
		seen = one
	}
	return seen, seen != nil, string(out)
}

// redirected makes a connection string lead to the probe: later values win.
func (p *psqlProbe) redirected(s string) string {
	host, port, _ := net.SplitHostPort(p.listener.Addr().String())
	if _, uri, ok := strings.Cut(s, "://"); ok && strings.HasPrefix(s, "postgres") {
		sep := "?"
		switch {
		case strings.HasSuffix(s, "&"):
			sep = ""
		case strings.Contains(uri, "?") && strings.Contains(uri[strings.LastIndex(uri, "?"):], "="):
			sep = "&"
		}
		return s + sep + "host=" + host + "&port=" + port + "&sslmode=disable"
	}
	ours := "host=" + host + " port=" + port + " sslmode=disable"
	if strings.HasSuffix(s, `\`) {
		return ours + " " + s
	}
	return s + " " + ours
}

// startupNames gives the keywords that a startup packet shows, by their names there.
func startupNames() map[string]string {
	return map[string]string{"user": "user", "password": "password", "dbname": "database", "application_name": "application_name", "options": "options"}
}

func (p *psqlProbe) compare(t *testing.T, conninfo string, want pg.Conninfo) {
	t.Helper()
	seen, connected, out := p.run(t, conninfo)
	if !connected {
		t.Errorf("libpq does not connect with %q:\n%s", conninfo, out)
		return
	}
	for key, name := range startupNames() {
		if value, ok := want.Get(key); ok && value != "" && seen[name] != value {
			t.Errorf("%q: libpq takes %s for %q, this package for %q", conninfo, key, seen[name], value)
		}
	}
}

// libpq reads a connection string as ParseConninfo does.
func TestLibpqParsesAlike(t *testing.T) {
	p := newProbe(t)
	for _, tt := range goodConninfos() {
		if tt.in == strings.TrimSpace(tt.in) && tt.in != "" { // else psql takes it for a database name
			p.compare(t, p.redirected(tt.in), tt.want)
		}
	}
	for _, s := range badConninfos() {
		if !strings.Contains(s, "=") && !strings.Contains(s, "://") {
			continue
		}
		if _, connected, out := p.run(t, s); connected || !strings.Contains(out, "psql: error: ") {
			t.Errorf("libpq takes %q:\n%s", s, out)
		}
	}
}

// libpq reads back what String wrote.
func TestLibpqReadsString(t *testing.T) {
	p := newProbe(t)
	host, port, _ := net.SplitHostPort(p.listener.Addr().String())
	for _, v := range nastyValues() {
		c := pg.Conninfo{{Key: "user", Value: v}, {Key: "password", Value: v}, {Key: "application_name", Value: v},
			{Key: "options", Value: v}, {Key: "dbname", Value: v}, {Key: "host", Value: host}, {Key: "port", Value: port}}
		p.compare(t, c.String(), c)
	}
}
