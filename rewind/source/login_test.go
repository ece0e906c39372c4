package source_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestOpenSQLErrors(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{Password: "top secret"})
	n.Must(t).Exec("CREATE ROLE few LOGIN PASSWORD 'top secret'",
		"GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO few")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	unused := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	must(t, free.Close())
	for _, test := range []struct {
		name, conninfo string
		want           error
		hint           string
	}{
		{"wrong password", n.Conninfo("password='pass word'"), rewind.ErrSourceAuth, "pg_hba.conf"},
		{"unknown user", n.Conninfo("user=nobody"), rewind.ErrSourceAuth, "user"},
		{"unknown database", n.Conninfo("dbname=nowhere"), rewind.ErrSourceAuth, "dbname=postgres"},
		{"nobody there", n.Conninfo("port=" + unused), rewind.ErrSourceUnavailable, ""},
		{"unknown host", n.Conninfo("host=no-such-host.invalid"), rewind.ErrSourceUnavailable, ""},
		{"missing grants", n.Conninfo("user=few"), rewind.ErrSourcePrivilege, "GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO"},
		{"no TLS there", n.Conninfo("sslmode=require"), nil, ""},
		{"unknown option", n.Conninfo("pasword=x"), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: test.conninfo})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !strings.Contains(hint(err), test.hint) {
				t.Errorf("hint is %q, want %q in it", hint(err), test.hint)
			}
			if text := err.Error() + hint(err); strings.Contains(text, "top secret") || strings.Contains(text, "pass word") {
				t.Errorf("the password is in the text: %s", text)
			}
			if test.name == "missing grants" && strings.Contains(hint(err), "pg_ls_dir") {
				t.Errorf("a grant that is there is asked for: %s", hint(err))
			}
		})
	}
}

func TestConninfoNeverQuotesPasswords(t *testing.T) {
	for _, conninfo := range []string{
		"password=se cret host=x", "password='secret", "postgres://u:se/cret@h/d", "postgres://u:secret@h:99999/d",
		"postgres://u:sec%zzret@h/d", "host=x password=secret port=secret", "password=secret sslmode=secret",
	} {
		_, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: conninfo})
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: %v", conninfo, err)
		}
	}
}

// TestConninfo: every way of naming a server that libpq has.
func TestConninfo(t *testing.T) {
	const password = `p@ss 'w\rd`
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{Password: password})
	port := strconv.Itoa(n.Port)
	dir := t.TempDir()
	passfile, services := filepath.Join(dir, "pgpass"), filepath.Join(dir, "services")
	must(t, os.WriteFile(passfile, []byte("db.example:"+port+":*:postgres:"+strings.ReplaceAll(password, `\`, `\\`)+"\n"+
		"*:"+port+":*:postgres:"+strings.ReplaceAll(password, `\`, `\\`)+"\n"), 0o600))
	must(t, os.WriteFile(services, []byte("[leader]\nhost=127.0.0.1\nport="+port+"\nuser=postgres\ndbname=postgres\nkeepalives=1\n"), 0o600))
	t.Setenv("PGPASSFILE", passfile)
	t.Setenv("PGSERVICEFILE", services)
	t.Setenv("PGGSSENCMODE", "disable")
	for name, conninfo := range map[string]string{
		"keywords": n.Conninfo(),
		"URI":      "postgresql://postgres:p%40ss%20%27w%5Crd@127.0.0.1:" + port + "/postgres?connect_timeout=5&gssencmode=disable",
		"passfile": "host=127.0.0.1 port=" + port + " user=postgres dbname=postgres",
		"service":  "service=leader",
		"socket":   "host=" + n.SocketDir + " port=" + port + " user=postgres dbname=postgres",
		"libpq's own": "host=127.0.0.1 port=" + port + " user=postgres dbname=postgres gssencmode=prefer keepalives=1 keepalives_idle=5" +
			" keepalives_interval=2 keepalives_count=2 tcp_user_timeout=1000 sslcompression=0 ssl_min_protocol_version=TLSv1.2" +
			" channel_binding=prefer target_session_attrs=read-write load_balance_hosts=disable replication=false requirepeer='' " +
			" fallback_application_name=x krbsrvname=postgres gsslib=gssapi sslsni=1 options='-c geqo=off' application_name=node1",
		"hostaddr and host": "host=db.example hostaddr=127.0.0.1 port=" + port + " user=postgres dbname=postgres",
		"hostaddr alone":    "hostaddr=127.0.0.1 port=" + port + " user=postgres dbname=postgres",
		"URI with hostaddr": "postgresql:///postgres?hostaddr=127.0.0.1&user=postgres&port=" + port,
		"several hosts":     "host=127.0.0.1,127.0.0.1 port=1," + port + ` user=postgres dbname=postgres password='p@ss \'w\\rd'`,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, source.SQLConfig{Conninfo: conninfo, Connections: 2})
			state, err := s.State(t.Context())
			if err != nil || !state.Running || state.InRecovery || state.FlushLSN == 0 || !state.FullPageWrites {
				t.Errorf("got %+v, %v", state, err)
			}
			if s.ServerMajor() != n.Install.Major || s.SystemIdentifier() == 0 {
				t.Errorf("major %d, system identifier %v", s.ServerMajor(), s.SystemIdentifier())
			}
		})
	}
}

// TestSessionSettings: what is set for the role does not end a long answer, and
// nothing can be written.
func TestSessionSettings(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	const timeout = time.Second // long enough for a login on a busy machine
	n.Must(t).Exec("ALTER ROLE postgres SET statement_timeout = '1s'", "ALTER ROLE postgres SET client_encoding = 'LATIN1'")
	if n.Install.Major >= 14 {
		n.Must(t).Exec("ALTER ROLE postgres SET idle_session_timeout = '1s'")
	}
	s := open(t, source.SQLConfig{Conninfo: n.Conninfo(), ApplicationName: "me", RetryFor: -1})
	time.Sleep(timeout + timeout/2) // that nothing happens has no event
	listing(t, s)
	got := n.Must(t).Value("SET statement_timeout = 0; SELECT count(*) FROM pg_stat_activity WHERE application_name = 'me'")
	if got != "1" {
		t.Errorf("%s sessions are called me, want 1", got)
	}
}

func TestStandbyAsSource(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	standby := n.Standby(t, "standby")
	s := open(t, source.SQLConfig{Conninfo: standby.Conninfo()})
	got, err := s.State(t.Context())
	if err != nil || !got.InRecovery || got.FlushLSN != 0 {
		t.Errorf("a standby: got %+v, %v", got, err)
	}
	standby.Must(t).Promote()
	got, err = s.State(t.Context())
	if err != nil || got.InRecovery || got.FlushLSN == 0 {
		t.Errorf("after its promotion: got %+v, %v", got, err)
	}
}
