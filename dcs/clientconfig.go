package dcs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// What the zero values of a ClientConfig stand for.
const (
	DefaultNamespace      = "/service/"
	DefaultLockPrefix     = "/failback/"
	DefaultDialTimeout    = 5 * time.Second
	DefaultRequestTimeout = 10 * time.Second
	DefaultPort           = "2379"
)

// ClientConfig is how etcd is reached and which cluster in it is meant.
type ClientConfig struct {
	// Endpoints are "host:port", "http://host:port" or "https://host:port";
	// 2379 is the port where none is said. Without a scheme, https is meant
	// when any of the TLS settings below is given. All of one kind: the client
	// has one set of credentials for all of them.
	Endpoints []string `json:"endpoints"`
	// CAFile holds the certificates that may have signed etcd's; empty means
	// the system's. CertFile and KeyFile are what we show to etcd.
	CAFile   string `json:"ca_file,omitempty"`
	CertFile string `json:"cert_file,omitempty"`
	KeyFile  string `json:"key_file,omitempty"`
	// InsecureSkipVerify takes any certificate of etcd's.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
	// ServerName is expected in etcd's certificate instead of the host.
	ServerName string `json:"server_name,omitempty"`
	// Username and Password for etcd's own authentication: both or neither.
	Username string `json:"username,omitempty"`
	Password string `json:"-"`
	// DialTimeout bounds Open, RequestTimeout every later request.
	DialTimeout    time.Duration `json:"dial_timeout,omitempty"`
	RequestTimeout time.Duration `json:"request_timeout,omitempty"`
	// Layout is how the cluster's keys are laid out; LayoutPatroni when empty.
	Layout Layout `json:"layout,omitempty"`
	// Namespace and Scope are Patroni's words for where the cluster's keys
	// lie: /<namespace>/<scope>/. A Citus group is part of the scope: "pg/0".
	Namespace string `json:"namespace,omitempty"`
	Scope     string `json:"scope"`
	// LockPrefix is where our own keys lie.
	LockPrefix string `json:"lock_prefix,omitempty"`
	// Member is the name of this node, when it is known: then its own member
	// key has to be readable, and not only the leader's.
	Member string `json:"member,omitempty"`
}

// String prints the settings without the password.
func (c ClientConfig) String() string {
	return fmt.Sprintf("endpoints %s, user %q, namespace %q, scope %q, lock prefix %q",
		strings.Join(c.Endpoints, ","), c.Username, c.Namespace, c.Scope, c.LockPrefix)
}

// GoString is String: %#v must not print the password either.
func (c ClientConfig) GoString() string { return c.String() }

// Validate names everything that is wrong, each with its key. It reads no
// file: whether the certificates can be loaded shows at Open.
func (c ClientConfig) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
	}
	if _, err := c.endpoints(); err != nil {
		errs = append(errs, err)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad(missing("cert_file", c.CertFile, "key_file"), "the certificate and its key are needed together")
	}
	if (c.Username == "") != (c.Password == "") {
		bad(missing("username", c.Username, "password"), "user and password are needed together")
	}
	if c.Layout != "" && c.Layout != LayoutPatroni && c.Layout != LayoutPlain {
		bad("layout", "%q is neither %s nor %s", c.Layout, LayoutPatroni, LayoutPlain)
	}
	if trimSlashes(c.Scope) == "" {
		bad("scope", "the name of the cluster is needed")
	}
	if c.DialTimeout < 0 {
		bad("dial_timeout", "%s is negative", c.DialTimeout)
	}
	if c.RequestTimeout < 0 {
		bad("request_timeout", "%s is negative", c.RequestTimeout)
	}
	lock, cluster := c.lockRoot(), Prefix(c.Namespace, c.Scope)
	if strings.HasPrefix(lock, cluster) {
		bad("lock_prefix", "%s lies among the cluster's own keys %s: the manager removes and rewrites those", lock, cluster)
	}
	return errors.Join(errs...)
}

// missing is the key of a pair that is empty.
func missing(first, value, second string) string {
	if value == "" {
		return first
	}
	return second
}

// withDefaults fills in what was left zero.
func (c ClientConfig) withDefaults() ClientConfig {
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	return c
}

// Prefix is where Patroni keeps the keys of a cluster: /<namespace>/<scope>/,
// runs of slashes made one, the default namespace for an empty one.
func Prefix(namespace, scope string) string {
	return namespacePrefix(namespace) + trimSlashes(scope) + "/"
}

// namespacePrefix is the parent of every cluster's prefix.
func namespacePrefix(namespace string) string {
	if trimSlashes(namespace) == "" {
		return DefaultNamespace
	}
	return "/" + trimSlashes(namespace) + "/"
}

// lockRoot is where the locks of this cluster lie.
func (c ClientConfig) lockRoot() string {
	prefix := c.LockPrefix
	if trimSlashes(prefix) == "" {
		prefix = DefaultLockPrefix
	}
	return "/" + trimSlashes(prefix) + "/" + trimSlashes(c.Scope) + "/"
}

// trimSlashes removes slashes at the ends and makes runs of them one.
func trimSlashes(s string) string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '/' })
	return strings.Join(parts, "/")
}

// endpoint is one address of etcd, understood.
type endpoint struct {
	address string // host:port
	host    string
	secure  bool
}

// String is the form that the etcd client takes and that messages show.
func (e endpoint) String() string {
	if e.secure {
		return "https://" + e.address
	}
	return "http://" + e.address
}

// wantsTLS tells whether any TLS setting was given.
func (c ClientConfig) wantsTLS() bool {
	return c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.InsecureSkipVerify || c.ServerName != ""
}

// endpoints understands all endpoints, or names those that it does not.
func (c ClientConfig) endpoints() ([]endpoint, error) {
	if len(c.Endpoints) == 0 {
		return nil, errors.New("endpoints: at least one is needed")
	}
	var list []endpoint
	var errs []error
	for _, s := range c.Endpoints {
		e, err := parseEndpoint(s, c.wantsTLS())
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("endpoints: %w", err))
		case !e.secure && c.wantsTLS():
			errs = append(errs, fmt.Errorf("endpoints: %s would be spoken to in plain text although TLS settings are given", e))
		default:
			list = append(list, e)
		}
	}
	for _, e := range list {
		if e.secure != list[0].secure {
			errs = append(errs, fmt.Errorf("endpoints: %s and %s cannot be mixed: either all use TLS or none", list[0], e))
			break
		}
	}
	return list, errors.Join(errs...)
}

// parseEndpoint reads one endpoint. A message never repeats what stands before
// an "@": it could be a password.
func parseEndpoint(s string, secure bool) (endpoint, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return endpoint{}, errors.New("an empty one")
	}
	if strings.Contains(s, "@") {
		return endpoint{}, errors.New("a user in the address is not understood: use username and password")
	}
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return endpoint{}, fmt.Errorf("%q: the scheme is neither http nor https", s)
		}
		secure, rest = scheme == "https", strings.TrimSuffix(after, "/")
	}
	u, err := url.Parse("//" + rest)
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("%q is not of the form host:port", s)
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	return endpoint{address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), secure: secure}, nil
}

// tlsConfig loads the files; nil when the endpoints are not secure.
func (c ClientConfig) tlsConfig(secure bool) (*tls.Config, error) {
	if !secure {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertFile == "" {
		return t, nil
	}
	// Loaded here to tell about a bad file at once, and again at every
	// handshake: a rejoin can outlast a short-lived certificate.
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return t, nil
}
