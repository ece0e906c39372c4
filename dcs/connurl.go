package dcs

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// defaultPostgresPort is what libpq takes where a URL names no port.
const defaultPostgresPort = 5432

// splitConnURL takes host and port out of a connection URL of libpq's
// (postgresql.org/docs/current/libpq-connect.html, "Connection URIs"), and
// returns the URL without a password if it had one. Of several hosts the first
// counts: a member is one server. net/url refuses lists of hosts, hence by
// hand. Errors do not repeat the URL.
func splitConnURL(s string) (clean, host string, port uint16, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "postgres" && scheme != "postgresql") {
		return "", "", 0, errors.New("it does not begin with postgres:// or postgresql://")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, _, _ = strings.Cut(authority[:i], ":")
		user, authority = user+"@", authority[i+1:]
	}
	clean = scheme + "://" + user + authority + tail
	first, _, _ := strings.Cut(authority, ",")
	host, digits, err := splitHostPort(first)
	if err != nil {
		return "", "", 0, err
	}
	if digits == "" {
		return clean, host, defaultPostgresPort, nil
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", "", 0, errors.New("the port is not a number from 1 to 65535")
	}
	return clean, host, uint16(n), nil
}

// splitHostPort reads "host", "host:port" and "[v6]:port"; the host is
// returned without brackets and escapes.
func splitHostPort(s string) (host, port string, err error) {
	if after, ok := strings.CutPrefix(s, "["); ok {
		host, rest, ok := strings.Cut(after, "]")
		if !ok || (rest != "" && !strings.HasPrefix(rest, ":")) {
			return "", "", errors.New("the brackets of an IPv6 address do not match")
		}
		return nonEmpty(host, strings.TrimPrefix(rest, ":"))
	}
	host, port, _ = strings.Cut(s, ":")
	if strings.Contains(port, ":") {
		return "", "", errors.New("an IPv6 address needs brackets")
	}
	if host, err = url.PathUnescape(host); err != nil {
		return "", "", errors.New("the host has a wrong escape")
	}
	return nonEmpty(host, port)
}

// nonEmpty refuses an empty host: libpq would take the local socket, which on
// another node is another server.
func nonEmpty(host, port string) (string, string, error) {
	if host == "" {
		return "", "", errors.New("it names no host")
	}
	return host, port, nil
}
