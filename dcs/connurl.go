package dcs

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// defaultPostgresPort is what libpq takes where a URL names no port.
const defaultPostgresPort = 5432

// splitConnURL takes host and port out of a connection URL of libpq's
// (postgresql.org/docs/current/libpq-connect.html, "Connection URIs"), and
// returns the URL without a password if it had one. Of several hosts the first
// counts: a member is one server. net/url refuses lists of hosts, hence by
// hand. Errors do not repeat the URL.
//
// What comes out goes into primary_conninfo and into a connection of our own, and
// anybody may have written it who may write a member's key. So a host has to look
// like one: libpq takes one that begins with a slash for a directory with a socket
// and one with a comma for several, and a member is one server on another host.
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
	clean = scheme + "://" + user + authority + withoutSecrets(tail)
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
	switch {
	case host == "":
		return "", "", errors.New("it names no host")
	case len(host) > maxHost || strings.ContainsFunc(host, notInHost) || strings.HasPrefix(host, "-"):
		return "", "", errors.New("the host is neither a name nor an address")
	}
	return host, port, nil
}

// maxHost is the longest name that DNS knows.
const maxHost = 253

// notInHost are the characters that no name and no address has. A percent sign
// stands before the zone of an IPv6 address.
func notInHost(r rune) bool {
	return r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_:%", r)
}

// withoutSecrets takes the parameters of a URL out that libpq takes for secrets:
// the URL is shown in reports.
func withoutSecrets(tail string) string {
	path, query, ok := strings.Cut(tail, "?")
	if !ok {
		return tail
	}
	var kept []string
	for param := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(param, "=")
		key, err := url.QueryUnescape(key)
		if err == nil && !strings.Contains(strings.ToLower(key), "password") && !strings.Contains(strings.ToLower(key), "secret") {
			kept = append(kept, param)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// checkAPIURL refuses what is no address of a manager's REST interface: it will be
// spoken to, perhaps with a password.
func checkAPIURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case len(s) > maxAPIURL || err != nil:
		return errors.New("it is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the scheme is neither http nor https")
	case u.User != nil:
		return errors.New("there is a user in it")
	}
	_, _, err = splitHostPort(u.Host)
	return err
}

// maxAPIURL is far above what a host, a port and a path take.
const maxAPIURL = 1024
