package patroniconf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// ErrStore: Patroni keeps the cluster in another store than etcd by its v3 API.
// The error in the chain is a *StoreError.
var ErrStore = errors.New("this program reads etcd v3 only")

// StoreError says which store it is.
type StoreError struct {
	// Store is the section's name: "etcd" (the v2 API), "consul", "exhibitor",
	// "kubernetes", "raft" or "zookeeper".
	Store string
	From  string
	// Etcd3: there is a section etcd3 as well, which comes after it.
	Etcd3 bool
}

// Error names the store and the place.
func (e *StoreError) Error() string {
	in := e.Store
	if e.Store == "etcd" {
		in = "etcd by its v2 API (etcd:)"
	}
	text := fmt.Sprintf("%s: Patroni keeps this cluster in %s: %v", e.From, in, ErrStore)
	if e.Etcd3 {
		text += "; there is a section etcd3 as well, but Patroni takes " + e.Store + " before it"
	}
	return text
}

// Unwrap makes errors.Is(err, ErrStore) true.
func (e *StoreError) Unwrap() error { return ErrStore }

// Hint says what is possible without an etcd v3.
func (e *StoreError) Hint() string {
	const without = "what needs no etcd still works: as Patroni's pg_rewind (postgresql.bin_name.pg_rewind, or in bin_dir before Patroni 3.0.3), " +
		"as its replica method (failback-hook create-replica), failback-hook rewind, undo, and lost --source-conninfo 'host=…'"
	switch {
	case e.Etcd3:
		return "take the section " + e.Store + " out if it is not used, or set etcd.endpoints here; " + without
	case e.Store == "etcd":
		return "etcd serves the v3 API too, and Patroni uses it once etcd: is etcd3: on all nodes; until then " + without
	}
	return without
}

// stores are Patroni's, in the order in which it takes them.
func stores() []string {
	return []string{"consul", "etcd", "etcd3", "exhibitor", "kubernetes", "raft", "zookeeper"}
}

// store finds out which store Patroni uses, and how to reach it if that is etcd v3.
func (t *translation) store() {
	var found []string
	for _, name := range stores() {
		if _, ok := t.root.keys[name]; ok {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0:
		t.refuse(errors.New("no store is named: Patroni's configuration has no section etcd3"))
	case found[0] != "etcd3":
		t.refuse(&StoreError{Store: found[0], From: t.root.keys[found[0]].from, Etcd3: slices.Contains(found, "etcd3")})
	case t.section("etcd3") == nil:
		t.refuse(errors.New(t.root.keys["etcd3"].from + ": etcd3: says nothing"))
	default:
		t.etcd3()
	}
}

// refuse: which store it is goes before what is wrong with names in it.
func (t *translation) refuse(err error) { t.refused = err }

// SRV is a domain whose DNS records name the servers of etcd.
type SRV struct {
	Domain, Suffix, From string
}

// Service is one kind of record, as net.LookupSRV wants it.
type Service struct {
	Name   string
	Secure bool
}

// Services are the kinds of records in the order in which Patroni asks for them,
// without those that name peers of etcd: these would have to be asked in turn.
func (s SRV) Services() []Service {
	list := []Service{{"etcd-client-ssl", true}, {"etcd-client", false}, {"etcd-ssl", true}, {"etcd", false}}
	if s.Suffix != "" {
		for i := range list {
			list[i].Name += "-" + s.Suffix
		}
	}
	return list
}

// etcd3 translates addresses and access. What Patroni would not use is left out,
// so that it cannot contradict what it uses: certificates for plain text, a user
// without a password.
func (t *translation) etcd3() {
	login := t.login3()
	secure := false
	switch {
	case t.root.get("etcd3", "proxy") != nil || t.root.get("etcd3", "url") != nil:
		secure = t.byURL(&login)
	case t.root.get("etcd3", "srv") != nil || t.root.get("etcd3", "discovery_srv") != nil || t.root.get("etcd3", "srv_domain") != nil:
		secure = true // it is known by the records, and certificates are of use then
		t.bySRV()
		t.byHosts()
	default:
		secure = t.byHosts()
	}
	if t.refused != nil {
		return
	}
	if login.username != "" && login.password != "" {
		t.set("etcd.username", login.username, login.from)
		t.set("etcd.password", login.password, login.from)
	}
	t.certificates(secure)
}

// login3 is who logs in to etcd.
type login3 struct {
	username, password string
	from               *node
}

func (t *translation) login3() login3 {
	return login3{t.text("etcd3", "username"), t.text("etcd3", "password"),
		cmp.Or(t.root.get("etcd3", "password"), t.root.get("etcd3", "username"))}
}

// byURL reads the one address that has a scheme. Its user goes before the
// section's, even where it has none. Messages quote nothing of it.
func (t *translation) byURL(login *login3) (secure bool) {
	key := "url"
	if t.root.get("etcd3", "proxy") != nil {
		key = "proxy"
	}
	n, text := t.root.get("etcd3", key), t.text("etcd3", key)
	if text == "" {
		return false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		t.fail(n, "etcd3.%s: want http://HOST:PORT or https://HOST:PORT", key)
		return false
	}
	password, _ := u.User.Password()
	*login = login3{u.User.Username(), password, n}
	t.endpoints([]string{u.Scheme + "://" + hostPort(u.Hostname(), u.Port())}, n)
	return u.Scheme == "https"
}

// byHosts reads hosts, a list or text with commas, or else host. The port beside
// them counts for one host before its own, for several after theirs.
func (t *translation) byHosts() (secure bool) {
	protocol := cmp.Or(t.text("etcd3", "protocol"), "http")
	if protocol != "http" && protocol != "https" {
		t.fail(t.root.get("etcd3", "protocol"), "etcd3.protocol: want http or https")
		return false
	}
	list, from := t.hosts()
	beside, single := t.text("etcd3", "port"), t.root.get("etcd3", "hosts") == nil
	var endpoints []string
	for _, address := range list {
		if address = strings.TrimSpace(address); address == "" {
			continue
		}
		host, port := splitPort(address)
		if port == "" || single && beside != "" {
			port = beside
		}
		endpoints = append(endpoints, protocol+"://"+hostPort(host, port))
	}
	if len(endpoints) > 0 {
		t.endpoints(endpoints, from)
	} else if t.srv == nil && len(t.errs) == 0 {
		t.refuse(errors.New(t.root.keys["etcd3"].from + ": etcd3: has none of hosts, host, url, proxy and srv"))
	}
	return protocol == "https"
}

// hosts are the addresses as they are written.
func (t *translation) hosts() (list []string, from *node) {
	from = t.root.get("etcd3", "hosts")
	switch {
	case from == nil:
		return []string{t.text("etcd3", "host")}, t.root.get("etcd3", "host")
	case from.kind != kindList:
		return strings.Split(t.text("etcd3", "hosts"), ","), from
	}
	for _, item := range from.items {
		list = append(list, t.textOf(item, "etcd3.hosts"))
	}
	return list, from
}

func (t *translation) endpoints(list []string, from *node) {
	t.settings = append(t.settings, Setting{Key: "etcd.endpoints", List: list, From: from.from})
}

// bySRV notes the domain; of its three names the last one counts.
func (t *translation) bySRV() {
	for _, key := range []string{"srv", "discovery_srv", "srv_domain"} {
		if domain := t.text("etcd3", key); domain != "" {
			t.srv = &SRV{Domain: domain, Suffix: t.text("etcd3", "srv_suffix"), From: t.root.get("etcd3", key).from}
		}
	}
}

// certificates translates TLS. A certificate without a key is in one file with it.
func (t *translation) certificates(secure bool) {
	if !secure {
		for _, key := range []string{"cacert", "cert"} {
			if n := t.root.get("etcd3", key); n != nil {
				t.warn(n, "etcd3.%s is of no use: etcd is spoken to in plain text (protocol is not https)", key)
			}
		}
		return
	}
	t.copy("etcd.cacert", "etcd3", "cacert")
	if cert := t.root.get("etcd3", "cert"); cert != nil {
		t.copy("etcd.cert", "etcd3", "cert")
		if t.root.get("etcd3", "key") != nil {
			t.copy("etcd.key", "etcd3", "key")
		} else {
			t.copy("etcd.key", "etcd3", "cert")
		}
	}
}

// splitPort cuts the port off, and the brackets of an IPv6 address.
func splitPort(s string) (host, port string) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	return strings.Trim(host, "[]"), port
}

// hostPort puts them together again; 2379 is etcd's port.
func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + cmp.Or(port, "2379")
}

// sortedKeys are a mapping's.
func sortedKeys(n *node) []string { return slices.Sorted(maps.Keys(n.keys)) }
