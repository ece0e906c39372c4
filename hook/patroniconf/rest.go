package patroniconf

import (
	"cmp"
	"errors"
	"strings"
)

// REST is how to call the REST API of this node's Patroni, as patronictl does.
type REST struct {
	// URL is scheme, host and port.
	URL                string
	Username, Password string
	// CACert is what Patroni's certificate is checked against, the system's when
	// empty; Cert, Key and KeyPassword are shown to it.
	CACert, Cert, Key, KeyPassword string
	// Insecure takes any certificate.
	Insecure bool
}

// String does not show the passwords.
func (r REST) String() string { return r.URL }

// GoString is String.
func (r REST) GoString() string { return r.String() }

// REST reads the sections restapi and ctl; the URL is empty where there is no
// address. It stands by itself so that a rejoin, which does not call Patroni,
// does not fail by what is wrong there.
func (c *Config) REST() (REST, error) {
	t := &translation{root: c.root}
	t.section("restapi")
	t.section("ctl")
	r := REST{
		CACert: cmp.Or(t.text("ctl", "cacert"), t.text("restapi", "cafile")),
		Cert:   t.text("ctl", "certfile"), Key: t.text("ctl", "keyfile"), KeyPassword: t.text("ctl", "keyfile_password"),
		Insecure: t.truth("ctl", "insecure"),
	}
	// Before 3.1 Patroni had no certificate of patronictl's own but this one.
	if r.Cert == "" && t.text("restapi", "verify_client") == "required" {
		r.Cert, r.Key, r.KeyPassword = t.text("restapi", "certfile"), t.text("restapi", "keyfile"), t.text("restapi", "keyfile_password")
	}
	r.Username, r.Password = t.restLogin()
	if address := cmp.Or(t.text("restapi", "connect_address"), t.text("restapi", "listen")); address != "" {
		scheme := "http://"
		if t.text("restapi", "certfile") != "" {
			scheme = "https://"
		}
		r.URL = scheme + localAddress(address)
	}
	return r, errors.Join(t.errs...)
}

// restLogin: patronictl's own login goes before the server's, which are the same
// unless somebody rolls a change out.
func (t *translation) restLogin() (username, password string) {
	for _, section := range []string{"ctl", "restapi"} {
		if t.section(section, "authentication") != nil {
			return t.text(section, "authentication", "username"), t.text(section, "authentication", "password")
		}
		if both := t.text(section, "auth"); both != "" {
			username, password, _ = strings.Cut(both, ":")
			return username, password
		}
	}
	return "", ""
}

// localAddress: where Patroni listens everywhere, it does so here as well.
func localAddress(s string) string {
	host, port := splitPort(s)
	switch host {
	case "", "*", "0.0.0.0", "::":
		host = "localhost"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" {
		return host
	}
	return host + ":" + port
}

// truth is a boolean in any of the words that Patroni takes.
func (t *translation) truth(path ...string) bool {
	n := t.root.get(path...)
	if n == nil {
		return false
	}
	switch strings.ToLower(n.text) {
	case "on", "true", "yes", "1":
		return true
	case "off", "false", "no", "0":
		return false
	}
	t.fail(n, "%s: want true or false, found %s", strings.Join(path, "."), n.kind)
	return false
}
