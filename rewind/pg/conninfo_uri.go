package pg

import "strings"

// uriParser reads a connection URI behind its scheme, as conninfo_uri_parse in
// interfaces/libpq/fe-connect.c does. net/url is no substitute: it refuses
// several hosts, "/" as the beginning of a socket directory when it is
// percent-encoded in the host, and passwords that libpq takes.
type uriParser struct {
	rest string
	// at is where rest begins in the connection string, for messages.
	at int
	c  Conninfo
}

// take gives everything before the first of the bytes in stops and moves there.
func (u *uriParser) take(stops string) string {
	end := strings.IndexAny(u.rest, stops)
	if end < 0 {
		end = len(u.rest)
	}
	taken := u.rest[:end]
	u.skip(end)
	return taken
}

func (u *uriParser) skip(n int) {
	u.rest = u.rest[n:]
	u.at += n
}

// next tells whether the next byte is b, and moves behind it if so.
func (u *uriParser) next(b byte) bool {
	if u.rest == "" || u.rest[0] != b {
		return false
	}
	u.skip(1)
	return true
}

// set keeps a percent-encoded value that began at byte at.
func (u *uriParser) set(key, encoded string, at int) error {
	value, ok := percentDecode(encoded)
	if !ok {
		return conninfoError(at, "invalid percent-encoding or bare space in what begins")
	}
	u.c.Set(key, value)
	return nil
}

func (u *uriParser) setUnlessEmpty(key, encoded string, at int) error {
	if encoded == "" {
		return nil
	}
	return u.set(key, encoded, at)
}

func (u *uriParser) parse() (Conninfo, error) {
	if err := u.user(); err != nil {
		return nil, err
	}
	if err := u.hosts(); err != nil {
		return nil, err
	}
	if u.next('/') {
		at := u.at
		if err := u.setUnlessEmpty("dbname", u.take("?"), at); err != nil {
			return nil, err
		}
	}
	if u.next('?') {
		if err := u.params(); err != nil {
			return nil, err
		}
	}
	return u.c, nil
}

// user reads "user:password@", if it is there: if a "@" comes before any "/".
func (u *uriParser) user() error {
	end := strings.IndexAny(u.rest, "@/")
	if end < 0 || u.rest[end] != '@' {
		return nil
	}
	at := u.at
	name, password, _ := strings.Cut(u.rest[:end], ":")
	u.skip(end + 1)
	if err := u.setUnlessEmpty("user", name, at); err != nil {
		return err
	}
	return u.setUnlessEmpty("password", password, at+len(name)+1)
}

// hosts reads "host:port,host:port". libpq keeps both as lists with commas.
func (u *uriParser) hosts() error {
	start := u.at
	var hosts, ports []string
	for {
		host, err := u.host()
		if err != nil {
			return err
		}
		port := ""
		if u.next(':') {
			port = u.take("/?,")
		}
		hosts, ports = append(hosts, host), append(ports, port)
		if !u.next(',') {
			break
		}
	}
	if err := u.setUnlessEmpty("host", strings.Join(hosts, ","), start); err != nil {
		return err
	}
	return u.setUnlessEmpty("port", strings.Join(ports, ","), start)
}

// host reads one host: a name, an address, or an IPv6 address in brackets.
func (u *uriParser) host() (string, error) {
	if !u.next('[') {
		return u.take(":/?,"), nil
	}
	host := u.take("]")
	if host == "" || !u.next(']') {
		return "", conninfoError(u.at, "missing IPv6 address or closing bracket")
	}
	if u.rest != "" && !strings.ContainsRune(":/?,", rune(u.rest[0])) {
		return "", conninfoError(u.at, "unexpected character behind an IPv6 address")
	}
	return host, nil
}

// params reads "key=value&key=value".
func (u *uriParser) params() error {
	for u.rest != "" {
		at := u.at
		pair := u.take("&")
		u.next('&')
		encodedKey, encoded, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(encoded, "=") {
			return conninfoError(at, `want one "=" in each parameter`)
		}
		key, ok := percentDecode(encodedKey)
		if !ok || !validKeyword(key) {
			return conninfoError(at, "no keyword")
		}
		if key == "ssl" && encoded == "true" { // JDBC's spelling, which libpq understands
			key, encoded = "sslmode", "require"
		}
		if err := u.set(key, encoded, at+len(encodedKey)+1); err != nil {
			return err
		}
	}
	return nil
}

// percentDecode decodes "%41". "%00" cannot be part of a value. Spaces must be encoded: libpq
// refuses them from 17 on, and before it kept them by accident.
func percentDecode(s string) (decoded string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case isSpace(s[i]):
			return "", false
		case s[i] != '%':
			b.WriteByte(s[i])
		default:
			if i+2 >= len(s) {
				return "", false
			}
			hi, okHi := hexDigit(s[i+1])
			lo, okLo := hexDigit(s[i+2])
			if !okHi || !okLo || hi|lo == 0 {
				return "", false
			}
			b.WriteByte(hi<<4 | lo)
			i += 2
		}
	}
	return b.String(), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
