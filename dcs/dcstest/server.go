package dcstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// startTimeout bounds how long etcd may take to elect itself.
const startTimeout = 30 * time.Second

// Option changes how a Server is started.
type Option func(*Server)

// WithTLS makes etcd speak TLS with this certificate.
func WithTLS(pair KeyPair) Option {
	return func(s *Server) { s.tls = &pair }
}

// WithClientCerts makes etcd ask for a client certificate signed by ca, and
// names the one that the server's own admin client shows. It needs WithTLS.
func WithClientCerts(ca *CA, admin KeyPair) Option {
	return func(s *Server) { s.clientCA, s.admin = ca.File, &admin }
}

// WithAuth switches etcd's authentication on, with a user root of this
// password.
func WithAuth(rootPassword string) Option {
	return func(s *Server) { s.rootPassword = rootPassword }
}

// WithGateway serves the JSON gateway too, by which Patroni talks to etcd.
func WithGateway() Option {
	return func(s *Server) { s.gateway = true }
}

// Server is one etcd with its data directory and its address.
type Server struct {
	dir          string
	tls          *KeyPair
	clientCA     string
	admin        *KeyPair
	rootPassword string
	gateway      bool

	proxy *proxy
	etcd  *embed.Etcd
}

// NewServer starts etcd with its data below dir, on a free port of 127.0.0.1.
// The caller ends it with Close.
func NewServer(dir string, opts ...Option) (*Server, error) {
	s := &Server{dir: dir}
	for _, o := range opts {
		o(s)
	}
	var err error
	if s.proxy, err = newProxy(); err != nil {
		return nil, fmt.Errorf("start etcd proxy: %w", err)
	}
	if err := s.Restart(); err != nil {
		return nil, errors.Join(err, s.proxy.close())
	}
	if s.rootPassword != "" {
		if err := s.enableAuth(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Start is NewServer for the time of a test.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := NewServer(t.TempDir(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close etcd: %v", err)
		}
	})
	return s
}

// Endpoint is the address for clients, with its scheme. It stays the same over
// Stop and Restart.
func (s *Server) Endpoint() string { return s.scheme() + "://" + s.Address() }

func (s *Server) scheme() string {
	if s.tls != nil {
		return "https"
	}
	return "http"
}

// Address is the endpoint without a scheme.
func (s *Server) Address() string { return s.proxy.address() }

// Stop ends etcd; clients find connections reset until Restart.
func (s *Server) Stop() {
	s.proxy.cut()
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// Restart starts etcd with the data it had.
func (s *Server) Restart() error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(startTimeout):
		etcd.Close()
		return fmt.Errorf("start etcd: not ready after %s", startTimeout)
	}
	s.etcd = etcd
	s.proxy.forward(s.inside())
	return nil
}

// Stall keeps all connections open and passes nothing on, until Resume.
func (s *Server) Stall() { s.proxy.stall() }

// Resume passes on what Stall held back.
func (s *Server) Resume() { s.proxy.resume() }

// Cut disconnects all clients but those of Inside, while etcd goes on.
func (s *Server) Cut() { s.proxy.cut() }

// Reconnect ends Cut.
func (s *Server) Reconnect() { s.proxy.forward(s.inside()) }

// inside is the address of etcd itself; it changes with Restart.
func (s *Server) inside() string { return s.etcd.Clients[0].Addr().String() }

// Inside is an administrator's client that does not pass through the proxy: it
// works during Stall and Cut, but not beyond a Stop.
func (s *Server) Inside(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := s.client(s.inside(), s.rootUser(), s.rootPassword)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it reports its own cancelled context
	return c
}

// Close ends etcd for good.
func (s *Server) Close() error {
	s.Stop()
	return s.proxy.close()
}

// config is for a quick single member: no fsync, short elections (and with
// them a shortest lease of one second), cheap passwords.
func (s *Server) config() (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(s.dir, "etcd")
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 20, 200
	cfg.BcryptCost = 4
	cfg.EnableGRPCGateway = s.gateway
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if s.tls != nil {
		cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = s.tls.CertFile, s.tls.KeyFile
		cfg.ClientTLSInfo.ClientCertAuth, cfg.ClientTLSInfo.TrustedCAFile = s.clientCA != "", s.clientCA
	}
	listen := "127.0.0.1:0"
	if s.gateway {
		// The gateway dials the address as it is configured, zero and all.
		var err error
		if listen, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	client, err := url.Parse(s.scheme() + "://" + listen)
	if err != nil {
		return nil, err
	}
	// Patroni asks etcd for the addresses of its members and goes on with those.
	public, err := url.Parse(s.Endpoint())
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse("http://127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*public}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return cfg, nil
}

// Client connects as the administrator. The caller closes it.
func (s *Server) Client() (*clientv3.Client, error) {
	return s.client(s.Address(), s.rootUser(), s.rootPassword)
}

// rootUser is the administrator's name, empty without authentication.
func (s *Server) rootUser() string {
	if s.rootPassword == "" {
		return ""
	}
	return "root"
}

// AdminClient is Client for the time of a test.
func (s *Server) AdminClient(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it reports its own cancelled context
	return c
}

// client connects to an address as a user, or as nobody.
func (s *Server) client(address, user, password string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: []string{s.scheme() + "://" + address}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		Username: user, Password: password,
	}
	if s.tls != nil {
		t, err := s.tls.adminTLS(s.admin)
		if err != nil {
			return nil, err
		}
		cfg.TLS = t
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	return c, nil
}

// enableAuth makes root and switches authentication on.
func (s *Server) enableAuth() error {
	c, err := s.client(s.Address(), "", "")
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := c.UserAdd(ctx, "root", s.rootPassword); err != nil {
		return fmt.Errorf("add etcd user root: %w", err)
	}
	if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
		return fmt.Errorf("grant etcd role root: %w", err)
	}
	if _, err := c.AuthEnable(ctx); err != nil {
		return fmt.Errorf("enable etcd authentication: %w", err)
	}
	return nil
}

// Grants is what a user may do: prefixes to read, and to read and write.
type Grants struct {
	Read      []string
	ReadWrite []string
}

// AddUser makes a user with a role of its own.
func (s *Server) AddUser(ctx context.Context, name, password string, grants Grants) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.UserAdd(ctx, name, password); err != nil {
		return fmt.Errorf("add etcd user %s: %w", name, err)
	}
	if _, err := c.RoleAdd(ctx, name); err != nil {
		return fmt.Errorf("add etcd role %s: %w", name, err)
	}
	for kind, prefixes := range map[clientv3.PermissionType][]string{
		clientv3.PermissionType(clientv3.PermRead):      grants.Read,
		clientv3.PermissionType(clientv3.PermReadWrite): grants.ReadWrite,
	} {
		for _, p := range prefixes {
			if _, err := c.RoleGrantPermission(ctx, name, p, clientv3.GetPrefixRangeEnd(p), kind); err != nil {
				return fmt.Errorf("grant etcd role %s: %w", name, err)
			}
		}
	}
	if _, err := c.UserGrantRole(ctx, name, name); err != nil {
		return fmt.Errorf("grant etcd role %s: %w", name, err)
	}
	return nil
}

// FreeAddress is an address of this machine on which nobody listens (any more).
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
