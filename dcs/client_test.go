package dcs_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

func TestTopologyFromEtcd(t *testing.T) {
	s := dcstest.Start(t)
	admin := s.AdminClient(t)
	cluster := dcstest.MustPutCluster(t, admin, twoNodes())
	cfg := configFor(s)
	cfg.Endpoints = []string{s.Address()} // without a scheme
	c := open(t, cfg)
	top := topology(t, c)
	head, err := admin.Get(t.Context(), cluster.Prefix+"leader")
	if err != nil {
		t.Fatal(err)
	}
	kv := head.Kvs[0]
	want := dcs.Topology{
		Layout: dcs.LayoutPatroni, Scope: "lab", Prefix: "/service/lab/", Revision: head.Header.Revision, SystemID: systemID,
		Leader: &dcs.Leader{Name: "n2", CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease},
		Members: []dcs.Member{
			{Name: "n1", Role: dcs.RoleReplica, State: "running", ConnURL: "postgres://127.0.0.1:6501/postgres", Host: "127.0.0.1", Port: 6501,
				Timeline: 1, LSN: 53697008, Version: "4.1.4", Lease: top.Members[0].Lease},
			{Name: "n2", Role: dcs.RolePrimary, State: "running", ConnURL: "postgres://127.0.0.1:6502/postgres", Host: "127.0.0.1", Port: 6502,
				Timeline: 2, LSN: 53698000, Version: "4.1.4", Lease: kv.Lease},
		},
		Config: dcs.Config{UseSlots: true},
	}
	if diff := cmp.Diff(want, top); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if top.Members[0].Lease == 0 || top.Members[0].Lease == kv.Lease || kv.Lease == 0 {
		t.Errorf("leases: member %x, leader %x", top.Members[0].Lease, kv.Lease)
	}
	if err := cluster.Crash(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if top = topology(t, c); top.Leader != nil || len(top.Members) != 1 {
		t.Errorf("after the leader's session ended: leader %v, members %v", top.Leader, top.Members)
	}
}

func TestOwnMemberMustBeReadable(t *testing.T) {
	s := dcstest.Start(t)
	cluster := dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	if err := cluster.Put(t.Context(), "members/n1", "rubbish"); err != nil {
		t.Fatal(err)
	}
	if top := topology(t, open(t, configFor(s))); len(top.Members) != 2 {
		t.Errorf("members %v", top.Members)
	}
	cfg := configFor(s)
	cfg.Member = "n1"
	_, err := open(t, cfg).Topology(t.Context())
	wantIs(t, err, dcs.ErrMalformed)
}

func TestNoClusterNamesItsNeighbours(t *testing.T) {
	s := dcstest.Start(t)
	admin := s.AdminClient(t)
	for i := range 25 {
		spec := twoNodes()
		spec.Scope = fmt.Sprintf("db%02d", i)
		spec.Members, spec.Leader = nil, ""
		dcstest.MustPutCluster(t, admin, spec)
	}
	cfg := configFor(s)
	_, err := open(t, cfg).Topology(t.Context())
	wantIs(t, err, dcs.ErrNoCluster)
	if h := hint(err); !strings.Contains(h, "db00, db01,") || !strings.HasSuffix(h, "db19") {
		t.Errorf("hint %q", h)
	}
	cfg.Namespace = "elsewhere"
	_, err = open(t, cfg).Topology(t.Context())
	wantIs(t, err, dcs.ErrNoCluster)
	if h := hint(err); !strings.Contains(h, "v2 API") {
		t.Errorf("hint %q", h)
	}
}

// failure is what Open is expected to say.
type failure struct {
	kind   error
	text   string
	hint   string
	atMost time.Duration
}

func wantFailure(t *testing.T, cfg dcs.ClientConfig, want failure) {
	t.Helper()
	begin := time.Now()
	c, err := dcs.Open(t.Context(), cfg)
	took := time.Since(begin)
	if err == nil {
		_ = c.Close()
		t.Fatal("Open succeeded")
	}
	t.Logf("after %s: %v", took.Round(time.Millisecond), err)
	for _, kind := range []error{dcs.ErrUnavailable, dcs.ErrAuth, dcs.ErrTLS} {
		if got := errors.Is(err, kind); got != (kind == want.kind) {
			t.Errorf("is %q: %v; error: %v", kind, got, err)
		}
	}
	if !strings.Contains(err.Error(), cfg.Endpoints[0]) || !strings.Contains(err.Error(), want.text) {
		t.Errorf("error %q lacks the endpoint %s or %q", err, cfg.Endpoints[0], want.text)
	}
	if !strings.Contains(hint(err), want.hint) {
		t.Errorf("hint %q lacks %q", hint(err), want.hint)
	}
	if cfg.Password != "" && strings.Contains(fmt.Sprintf("%v %+v %#v", err, cfg, cfg), cfg.Password) {
		t.Errorf("the password shows in %v or %+v", err, cfg)
	}
	if want.atMost == 0 {
		want.atMost = cfg.DialTimeout + 500*time.Millisecond
	}
	if took > want.atMost {
		t.Errorf("Open took %s, want at most %s", took, want.atMost)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, endpoint := range map[string]string{
		"refused": dcstest.FreeAddress(t),
		"silent":  silent.Addr().String(),
		"no name": "no-such-host.invalid:2379",
	} {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, dcs.ClientConfig{Endpoints: []string{"http://" + endpoint}, Scope: "lab", DialTimeout: time.Second},
				failure{kind: dcs.ErrUnavailable})
		})
	}
	t.Run("caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		begin := time.Now()
		_, err := dcs.Open(ctx, dcs.ClientConfig{Endpoints: []string{silent.Addr().String()}, Scope: "lab", DialTimeout: time.Minute})
		wantIs(t, err, context.Canceled)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestOneGoodEndpointIsEnough(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	cfg := configFor(s)
	cfg.Endpoints = []string{"http://" + dcstest.FreeAddress(t), s.Endpoint()}
	topology(t, open(t, cfg))
}

func TestTopologyWaitsForEtcd(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	cfg := configFor(s)
	cfg.RequestTimeout = 3 * time.Second
	c := open(t, cfg)
	s.Stop()
	restarted := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { restarted <- s.Restart() })
	topology(t, c)
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	s.Stop()
	begin := time.Now()
	_, err := c.Topology(t.Context())
	wantIs(t, err, dcs.ErrUnavailable)
	if took := time.Since(begin); took < 2*time.Second || took > 4*time.Second {
		t.Errorf("gave up after %s, want about the request timeout of 3s", took)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := dcstest.NewCA(t), dcstest.NewCA(t)
	admin := ca.Client(t, "admin")
	s := dcstest.Start(t, dcstest.WithTLS(ca.Server(t, nil)), dcstest.WithClientCerts(ca, admin))
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	good := ca.Client(t, "failback")
	base := configFor(s)
	base.CAFile, base.CertFile, base.KeyFile = ca.File, good.CertFile, good.KeyFile

	topology(t, open(t, base))
	bare := base
	bare.Endpoints = []string{s.Address()} // https is implied by the files
	topology(t, open(t, bare))

	for name, test := range map[string]struct {
		change func(*dcs.ClientConfig)
		want   failure
	}{
		"wrong CA": {func(c *dcs.ClientConfig) { c.CAFile = other.File },
			failure{kind: dcs.ErrTLS, text: "unknown authority", hint: "CA file"}},
		"wrong name": {func(c *dcs.ClientConfig) { c.ServerName = "etcd.example" },
			failure{kind: dcs.ErrTLS, text: "etcd.example", hint: "server name"}},
		"no client certificate": {func(c *dcs.ClientConfig) { c.CertFile, c.KeyFile = "", "" },
			failure{kind: dcs.ErrAuth, text: "certificate required", hint: "client certificate"}},
		"client certificate of another CA": {func(c *dcs.ClientConfig) {
			p := other.Client(t, "failback")
			c.CertFile, c.KeyFile = p.CertFile, p.KeyFile
		}, failure{kind: dcs.ErrAuth, text: "certificate", hint: "client certificate"}},
		"expired client certificate": {func(c *dcs.ClientConfig) {
			p := ca.Client(t, "failback", dcstest.Expired())
			c.CertFile, c.KeyFile = p.CertFile, p.KeyFile
		}, failure{kind: dcs.ErrAuth, text: "certificate", hint: "valid now"}},
		"plain text to a TLS port": {func(c *dcs.ClientConfig) {
			c.CAFile, c.CertFile, c.KeyFile = "", "", ""
			c.Endpoints = []string{"http://" + s.Address()}
		}, failure{kind: dcs.ErrTLS, text: "expects TLS", hint: "https://"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base
			test.change(&cfg)
			test.want.atMost = 2 * time.Second // not worth trying again
			wantFailure(t, cfg, test.want)
		})
	}
}

func TestExpiredServerCertificate(t *testing.T) {
	t.Parallel()
	ca := dcstest.NewCA(t)
	s := dcstest.Start(t, dcstest.WithTLS(ca.Server(t, nil, dcstest.Expired())))
	cfg := configFor(s)
	cfg.CAFile = ca.File
	wantFailure(t, cfg, failure{kind: dcs.ErrTLS, text: "expired", hint: "validity", atMost: 2 * time.Second})
	cfg.InsecureSkipVerify = true
	open(t, cfg)
}

func TestTLSToAPlainPort(t *testing.T) {
	t.Parallel()
	cfg := configFor(dcstest.Start(t))
	cfg.Endpoints[0] = strings.Replace(cfg.Endpoints[0], "http:", "https:", 1)
	wantFailure(t, cfg, failure{kind: dcs.ErrTLS, text: "does not speak TLS", hint: "http://", atMost: 2 * time.Second})
}

func TestClientCertificateIsLoadedAnew(t *testing.T) {
	t.Parallel()
	ca := dcstest.NewCA(t)
	s := dcstest.Start(t, dcstest.WithTLS(ca.Server(t, nil)), dcstest.WithClientCerts(ca, ca.Client(t, "admin")))
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	cfg := configFor(s)
	cfg.CAFile = ca.File
	dir := t.TempDir()
	cfg.CertFile, cfg.KeyFile = filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	write := func(p dcstest.KeyPair) {
		t.Helper()
		if err := errors.Join(os.WriteFile(cfg.CertFile, p.CertPEM, 0o600), os.WriteFile(cfg.KeyFile, p.KeyPEM, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(ca.Client(t, "failback"))
	c := open(t, cfg)
	topology(t, c)
	write(ca.Client(t, "failback", dcstest.Expired()))
	s.Stop()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	_, err := c.Topology(t.Context())
	wantIs(t, err, dcs.ErrAuth) // the bad pair was read: the good one is not kept for ever
	write(ca.Client(t, "failback"))
	topology(t, c)
}

func TestUnreadableTLSFiles(t *testing.T) {
	ca := dcstest.NewCA(t)
	pair := ca.Client(t, "x")
	cfg := dcs.ClientConfig{Endpoints: []string{"127.0.0.1:1"}, Scope: "lab", CAFile: filepath.Join(t.TempDir(), "absent")}
	if _, err := dcs.Open(t.Context(), cfg); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("absent CA: %v", err)
	}
	cfg.CAFile = pair.KeyFile
	if _, err := dcs.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("CA without a certificate: %v", err)
	}
	cfg.CAFile, cfg.CertFile, cfg.KeyFile = ca.File, pair.CertFile, ca.File
	if _, err := dcs.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "key_file") {
		t.Errorf("wrong key: %v", err)
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t, dcstest.WithAuth("root-pw"))
	admin := s.AdminClient(t)
	cluster := dcstest.MustPutCluster(t, admin, twoNodes())
	ctx := t.Context()
	// The least that our documentation says is enough.
	if err := s.AddUser(ctx, "failback", "s3cret-pw", dcstest.Grants{Read: []string{"/service/lab/"}, ReadWrite: []string{"/failback/lab/"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUser(ctx, "stranger", "s3cret-pw", dcstest.Grants{Read: []string{"/other/"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUser(ctx, "reader", "s3cret-pw", dcstest.Grants{Read: []string{"/service/"}}); err != nil {
		t.Fatal(err)
	}
	as := func(user, password string) dcs.ClientConfig {
		cfg := configFor(s)
		cfg.Username, cfg.Password = user, password
		return cfg
	}
	for name, test := range map[string]struct {
		cfg  dcs.ClientConfig
		want failure
	}{
		"no user":        {as("", ""), failure{text: "user name is empty", hint: "give a user"}},
		"wrong password": {as("failback", "wr0ng-pw"), failure{text: "invalid user ID or password", hint: "check the user"}},
		"unknown user":   {as("nobody", "wr0ng-pw"), failure{text: "invalid user ID or password", hint: "check the user"}},
		"no permission":  {as("stranger", "s3cret-pw"), failure{text: "permission denied", hint: "needs read"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.kind, test.want.atMost = dcs.ErrAuth, 2*time.Second
			wantFailure(t, test.cfg, test.want)
		})
	}

	c := open(t, as("failback", "s3cret-pw"))
	leader := *topology(t, c).Leader
	lock, err := c.Acquire(ctx, dcs.LockRequest{Member: "n1", Operation: "rejoin", Leader: leader, TTL: 2 * time.Second})
	if err != nil {
		t.Fatalf("the documented permissions are not enough: %v", err)
	}
	goesOn(t, lock.Context(), 2500*time.Millisecond) // keep-alives work too
	if err := lock.Check(ctx); err != nil {
		t.Error(err)
	}
	if _, held, err := c.Holder(ctx, "n1"); !held || err != nil {
		t.Errorf("held %v, error %v", held, err)
	}
	if err := cluster.SetLeader(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	wantIs(t, ends(t, lock.Context(), 5*time.Second), dcs.ErrLeaderChanged)
	if err := lock.Release(ctx); err != nil {
		t.Error(err)
	}

	reader := open(t, as("reader", "s3cret-pw"))
	before, err := admin.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Acquire(ctx, dcs.LockRequest{Member: "n1", Leader: *topology(t, reader).Leader})
	wantIs(t, err, dcs.ErrAuth)
	if after, err := admin.Leases(ctx); err != nil || len(after.Leases) != len(before.Leases) {
		t.Errorf("%d leases, before there were %d; error %v", len(after.Leases), len(before.Leases), err)
	}
}

func TestValidate(t *testing.T) {
	ok := dcs.ClientConfig{Endpoints: []string{"a:2379", "b", "[::1]:1", "[fd00::2]", " http://c:1/ "}, Scope: "lab"}
	if err := ok.Validate(); err != nil {
		t.Errorf("good one: %v", err)
	}
	for key, changes := range map[string][]func(*dcs.ClientConfig){
		"endpoints": {
			func(c *dcs.ClientConfig) { c.Endpoints = nil },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{""} },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{"ftp://a:1"} },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{"a:1/path"} },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{"a:b"} },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{"http://u:s3cret@a:1"} },
			func(c *dcs.ClientConfig) { c.Endpoints = []string{"http://a:1", "https://b:1"} },
			func(c *dcs.ClientConfig) { c.Endpoints, c.CAFile = []string{"http://a:1"}, "ca" },
		},
		"cert_file":       {func(c *dcs.ClientConfig) { c.KeyFile, c.Endpoints = "k", []string{"a"} }},
		"key_file":        {func(c *dcs.ClientConfig) { c.CertFile, c.Endpoints = "c", []string{"a"} }},
		"username":        {func(c *dcs.ClientConfig) { c.Password = "s3cret" }},
		"password":        {func(c *dcs.ClientConfig) { c.Username = "u" }},
		"scope":           {func(c *dcs.ClientConfig) { c.Scope = "/" }},
		"dial_timeout":    {func(c *dcs.ClientConfig) { c.DialTimeout = -1 }},
		"request_timeout": {func(c *dcs.ClientConfig) { c.RequestTimeout = -1 }},
		"lock_prefix":     {func(c *dcs.ClientConfig) { c.LockPrefix = "service/lab" }},
	} {
		for i, change := range changes {
			c := ok
			change(&c)
			err := c.Validate()
			if err == nil || !strings.HasPrefix(err.Error(), key+":") || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s, change %d: error %v", key, i, err)
			}
		}
	}
	if err := (dcs.ClientConfig{}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not all errors are reported: %v", err)
	}
}
