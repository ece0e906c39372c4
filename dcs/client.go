package dcs

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
)

// How the connection is kept and how much an answer may hold.
const (
	// pingAfter may not be below what servers allow (5 s), or they hang up.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	// reconnectAtMost keeps an outage that ends within a lease's life from
	// being stretched over its end; gRPC's own default is two minutes.
	reconnectAtMost = time.Second
	maxAnswerBytes  = 32 << 20
	// quickRetries is for a token that has expired or a connection that just
	// broke. The client's own hundred would hide a wrong certificate until the
	// time is up; trying again for longer is what retry is for.
	quickRetries = 3
	// maxScopes bounds what a hint lists.
	maxScopes = 20
)

// Client reads one cluster's topology and takes its locks. Its methods may be
// called from several goroutines. It logs nothing.
type Client struct {
	cfg    ClientConfig
	prefix string
	prober prober
	shown  []string
	etcd   *clientv3.Client
	leases pb.LeaseClient
	close  context.CancelFunc
}

// Open connects and proves by one read of the cluster's prefix that etcd can
// be reached, that it accepts us, and that the prefix may be read. It tries as
// long as etcd cannot be reached, but for no more than DialTimeout; ErrAuth and
// ErrTLS end it at once. An empty prefix is no error here.
func Open(ctx context.Context, cfg ClientConfig) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure etcd: %w", err)
	}
	list, err := cfg.endpoints()
	if err != nil {
		return nil, fmt.Errorf("configure etcd: %w", err)
	}
	tlsConfig, err := cfg.tlsConfig(list[0].secure)
	if err != nil {
		return nil, fmt.Errorf("configure etcd: %w", err)
	}
	c := &Client{cfg: cfg, prefix: Prefix(cfg.Namespace, cfg.Scope), prober: prober{endpoints: list, tls: tlsConfig}}
	for _, e := range list {
		c.shown = append(c.shown, e.String())
	}
	_, err = retry(ctx, c, "connect to etcd", cfg.DialTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.connect(ctx)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// connect makes the client and asks it for the number of keys, once.
func (c *Client) connect(ctx context.Context) error {
	// The client outlives ctx; while it is being made it must obey it.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: c.shown, TLS: c.prober.tls,
		Username: c.cfg.Username, Password: c.cfg.Password,
		DialTimeout:       c.cfg.DialTimeout,
		DialKeepAliveTime: pingAfter, DialKeepAliveTimeout: pingTimeout,
		MaxCallRecvMsgSize: maxAnswerBytes,
		Context:            own, Logger: zap.NewNop(),
		MaxUnaryRetries: quickRetries, DialOptions: c.dialOptions(),
	})
	if err != nil {
		cancel()
		return err
	}
	if _, err := etcd.Get(ctx, c.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil {
		cancel()
		return errors.Join(err, ignoreCanceled(etcd.Close()))
	}
	c.etcd, c.leases, c.close = etcd, pb.NewLeaseClient(etcd.ActiveConnection()), cancel
	return nil
}

// dialOptions are what the etcd client has no setting for.
func (c *Client) dialOptions() []grpc.DialOption {
	list := []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectAtMost},
		MinConnectTimeout: c.cfg.DialTimeout,
	})}
	if c.cfg.ServerName != "" {
		// tls.Config.ServerName is not enough: the etcd client's resolver puts
		// each endpoint's own host over it.
		list = append(list, grpc.WithAuthority(c.cfg.ServerName))
	}
	return list
}

// ignoreCanceled drops the "context canceled" that closing a client reports
// about the context it has cancelled itself.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Close ends all connections. Locks have to be released before.
func (c *Client) Close() error {
	defer c.close()
	if err := ignoreCanceled(c.etcd.Close()); err != nil {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// Topology reads everything under the cluster's prefix in one linearizable
// request, so that all of it was true at one revision. It tries again while
// etcd cannot be reached, for at most RequestTimeout.
func (c *Client) Topology(ctx context.Context) (Topology, error) {
	resp, err := retry(ctx, c, "read topology", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, c.prefix, clientv3.WithPrefix())
	})
	if err != nil {
		return Topology{}, err
	}
	return c.topology(ctx, keyValues((*pb.RangeResponse)(resp)), resp.Header.Revision)
}

// topology reads the keys under the cluster's prefix; where there are none it
// looks for what else there is.
func (c *Client) topology(ctx context.Context, kvs []KeyValue, revision int64) (Topology, error) {
	parse := ParsePatroni
	if c.cfg.Layout == LayoutPlain {
		parse = ParsePlain
	}
	t, err := parse(kvs, trimSlashes(c.cfg.Scope), c.prefix, revision, c.cfg.Member)
	var none *NoClusterError
	if errors.As(err, &none) && len(none.Groups) == 0 {
		none.Others = c.scopes(ctx)
	}
	return t, err
}

// scopes lists what lies in the namespace, for a hint: it skips from one scope
// to the next with one key read each, and gives up silently where it may not
// read.
func (c *Client) scopes(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout/4)
	defer cancel()
	root := namespacePrefix(c.cfg.Namespace)
	end := clientv3.GetPrefixRangeEnd(root)
	var found []string
	for from := root; len(found) < maxScopes; {
		resp, err := c.etcd.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil || len(resp.Kvs) == 0 {
			return found
		}
		name := scopeIn(string(resp.Kvs[0].Key), root)
		found = append(found, plain(name, maxWord))
		from = clientv3.GetPrefixRangeEnd(root + name + "/")
	}
	return found
}
