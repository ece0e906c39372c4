package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
)

// defaultConnectTimeout bounds one attempt to connect where the connection
// string sets nothing: a dead host must not take minutes to be noticed.
const defaultConnectTimeout = 10 * time.Second

// parseConninfo understands a connection string as libpq does, with PG*
// environment variables, the password file and the service file.
//
// pgconn takes every keyword that it does not know for a server setting. The
// ones of libpq arrive there as well, and are taken out and, where they mean
// something here, heeded. Whatever remains is a typing mistake, which libpq
// refuses too; the server would only say "unrecognized configuration parameter".
func parseConninfo(conninfo string, dial pgconn.DialFunc) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return nil, conninfoError(err)
	}
	if addrs := config.RuntimeParams["hostaddr"]; addrs != "" && hostMissing(config) {
		if config, err = pgconn.ParseConfig(withHost(conninfo, addrs)); err != nil {
			return nil, conninfoError(err)
		}
	}
	options := takeLibpqOptions(config.RuntimeParams)
	if unknown := unknownParams(config.RuntimeParams); len(unknown) > 0 {
		return nil, &rewind.Error{Op: "read connection string", Err: fmt.Errorf("unknown option %q", unknown[0])}
	}
	if err := useHostaddr(config, options["hostaddr"]); err != nil {
		return nil, err
	}
	if err := useTLSVersions(config, options); err != nil {
		return nil, err
	}
	if options["sslcrl"]+options["sslcrldir"] != "" {
		if err := useRevocationLists(config, options["sslcrl"], options["sslcrldir"]); err != nil {
			return nil, err
		}
	}
	if name := options["fallback_application_name"]; config.RuntimeParams["application_name"] == "" && name != "" {
		config.RuntimeParams["application_name"] = name
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = defaultConnectTimeout
	}
	if dial == nil {
		dial = dialer(options).DialContext
	}
	config.DialFunc = dial
	return config, nil
}

// conninfoError says what is wrong with a connection string without quoting
// it: pgconn masks passwords only where it can tell where they begin and end,
// and its reasons for not understanding a string quote pieces of it. So only
// reasons that speak of files are passed on.
func conninfoError(err error) error {
	reason := "not a keyword string or a postgresql:// address with valid values"
	if p, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		bare := *p
		bare.ConnString = ""
		text := strings.TrimPrefix(bare.Error(), "cannot parse ``: failed to ")
		if strings.HasPrefix(text, "configure TLS") || strings.HasPrefix(text, "read service") {
			reason = text
		}
	}
	return &rewind.Error{
		Op: "read connection string", Err: errors.New(reason),
		Advice: "write it as PostgreSQL does: \"host=… port=… user=… dbname=…\", with values that hold spaces in single quotes",
	}
}

// libpqOptions lists the keywords of libpq (13 to 18) that pgconn does not know.
func libpqOptions() []string {
	return []string{
		"authtype", "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "hostaddr",
		"keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts",
		"oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "replication", "requirepeer",
		"requiressl", "scram_client_key", "scram_server_key", "ssl_max_protocol_version", "ssl_min_protocol_version",
		"sslcompression", "sslcrl", "sslcrldir", "sslkeylogfile", "tcp_user_timeout", "tty",
	}
}

// takeLibpqOptions moves the keywords that are not server settings out of params.
func takeLibpqOptions(params map[string]string) map[string]string {
	taken := make(map[string]string)
	for _, key := range libpqOptions() {
		if value, ok := params[key]; ok {
			taken[key] = value
			delete(params, key)
		}
	}
	return taken
}

// unknownParams gives what libpq would not accept as a keyword, sorted.
func unknownParams(params map[string]string) []string {
	known := []string{"application_name", "client_encoding", "options", "timezone", "datestyle", "geqo"}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(known, strings.ToLower(key)) {
			unknown = append(unknown, key)
		}
	}
	return unknown
}

// hostMissing tells whether no host was named: pgconn then supposes a socket.
func hostMissing(c *pgconn.Config) bool { return strings.HasPrefix(c.Host, "/") }

// withHost adds the addresses as hosts to a connection string of either form.
func withHost(conninfo, hosts string) string {
	if !strings.HasPrefix(conninfo, "postgres://") && !strings.HasPrefix(conninfo, "postgresql://") {
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(hosts)
		return conninfo + " host='" + quoted + "'"
	}
	separator := "?"
	if strings.Contains(conninfo, "?") {
		separator = "&"
	}
	return conninfo + separator + "host=" + url.QueryEscape(hosts)
}

// useHostaddr makes the hosts resolve to the addresses given beside them; the
// names stay what certificates and the password file are looked up by.
func useHostaddr(c *pgconn.Config, hostaddr string) error {
	if hostaddr == "" {
		return nil
	}
	var hosts []string
	for _, host := range append([]string{c.Host}, fallbackHosts(c)...) {
		if len(hosts) == 0 || hosts[len(hosts)-1] != host {
			hosts = append(hosts, host) // one host occurs once for each TLS attempt
		}
	}
	addrs := strings.Split(hostaddr, ",")
	if len(addrs) != len(hosts) {
		return &rewind.Error{Op: "read connection string",
			Err: fmt.Errorf("%d values of hostaddr for %d hosts", len(addrs), len(hosts))}
	}
	byHost := make(map[string][]string, len(hosts))
	for i, host := range hosts {
		if addrs[i] != "" {
			byHost[host] = append(byHost[host], addrs[i])
		}
	}
	lookup := c.LookupFunc
	c.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if a := byHost[host]; len(a) > 0 {
			return a, nil
		}
		return lookup(ctx, host)
	}
	return nil
}

func fallbackHosts(c *pgconn.Config) []string {
	hosts := make([]string, len(c.Fallbacks))
	for i, f := range c.Fallbacks {
		hosts[i] = f.Host
	}
	return hosts
}

// tlsConfigs gives every TLS configuration that a connection may be tried with.
func tlsConfigs(c *pgconn.Config) []*tls.Config {
	configs := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	return slices.DeleteFunc(configs, func(t *tls.Config) bool { return t == nil })
}

// useTLSVersions heeds ssl_min_protocol_version and ssl_max_protocol_version.
func useTLSVersions(c *pgconn.Config, options map[string]string) error {
	versions := map[string]uint16{
		"": 0, "tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
	}
	for _, key := range []string{"ssl_min_protocol_version", "ssl_max_protocol_version"} {
		version, ok := versions[strings.ToLower(options[key])]
		if !ok {
			return &rewind.Error{Op: "read connection string", Err: fmt.Errorf("invalid value %q of %s", options[key], key)}
		}
		if version == 0 {
			continue
		}
		for _, t := range tlsConfigs(c) {
			if key == "ssl_min_protocol_version" {
				t.MinVersion = version
			} else {
				t.MaxVersion = version
			}
		}
	}
	return nil
}

// dialer has keepalives that notice a dead host within a minute while a long
// answer is awaited, or the ones that the connection string asks for.
func dialer(options map[string]string) *net.Dialer {
	seconds := func(key string, standard int) time.Duration {
		if n, err := strconv.Atoi(options[key]); err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
		return time.Duration(standard) * time.Second
	}
	count := 3
	if n, err := strconv.Atoi(options["keepalives_count"]); err == nil && n > 0 {
		count = n
	}
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   options["keepalives"] != "0",
		Idle:     seconds("keepalives_idle", 30),
		Interval: seconds("keepalives_interval", 10),
		Count:    count,
	}}
}
