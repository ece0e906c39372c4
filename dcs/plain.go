package dcs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParsePlain makes a Topology of the keys under prefix in the layout for
// clusters without a manager, which a script keeps with etcdctl:
//
//	leader          the name of the member that leads; on a lease, so that it
//	                goes when whoever keeps it dies
//	members/NAME    where that member's server is: a URL as libpq takes them,
//	                postgres://10.0.0.1:5432, without user and password
//	initialize      the system identifier; may be missing
//	config          as with Patroni: {"pause": true, "postgresql": {"use_slots": true}};
//	                may be missing
//
// Roles, states and timelines are in no key: the servers are asked. Every other key
// is ignored. Errors are those of ParsePatroni, and required means the same.
func ParsePlain(kvs []KeyValue, scope, prefix string, revision int64, required ...string) (Topology, error) {
	t := Topology{Layout: LayoutPlain, Scope: scope, Prefix: prefix, Revision: revision, Config: Config{UseSlots: true}}
	found := false
	broken := map[string]error{}
	for _, kv := range kvs {
		name, ok := strings.CutPrefix(kv.Key, prefix)
		if !ok {
			continue
		}
		known, err := t.takePlainKey(name, kv, broken)
		if err != nil {
			return Topology{}, malformed(kv.Key, err)
		}
		found = found || known
	}
	if !found {
		return Topology{}, &NoClusterError{Prefix: prefix}
	}
	if err := t.complete(required, broken); err != nil {
		return Topology{}, err
	}
	return t, nil
}

func (t *Topology) takePlainKey(name string, kv KeyValue, broken map[string]error) (known bool, err error) {
	switch name {
	case "leader":
		if value := string(kv.Value); len(value) < 100 && strings.TrimSpace(value) != value {
			return true, fmt.Errorf("the name of the leader %q has a space or a line end around it: use printf, not echo", value)
		}
		t.Leader, err = parseLeader(kv)
		return true, err
	case "initialize":
		t.SystemID, err = parseInitialize(kv.Value)
		return true, err
	case "config":
		t.Config, err = parseConfig(kv.Value)
		return true, err
	}
	member, ok := memberIn(name)
	if !ok {
		return false, nil
	}
	if checkName(member) != nil {
		return true, nil // nobody can be called so; as leader it is refused
	}
	m, err := parsePlainMember(kv.Value)
	if err != nil {
		broken[member] = err
	}
	m.Name, m.Lease, m.Role = member, kv.Lease, RoleUnknown
	t.Members = append(t.Members, m)
	return true, nil
}

func parsePlainMember(value []byte) (m Member, err error) {
	url := strings.TrimSpace(string(value))
	if url == "" {
		return m, errors.New("it is empty where the URL of the member's server should be")
	}
	if m.ConnURL, m.Host, m.Port, err = splitConnURL(url); err != nil {
		return Member{}, fmt.Errorf("the URL of the member's server: %w", err)
	}
	return m, nil
}

// memberIn is the name in a member's key, without the prefix.
func memberIn(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, "members/")
	return name, ok && name != "" && !strings.Contains(name, "/")
}

// complete sorts the members and returns why one that has to be understood was not.
func (t *Topology) complete(required []string, broken map[string]error) error {
	if t.Leader != nil {
		required = append(slices.Clone(required), t.Leader.Name)
	}
	for _, name := range required {
		if err := broken[name]; err != nil {
			return malformed(t.Prefix+"members/"+name, err)
		}
	}
	if len(t.Members) > maxMembers {
		return malformed(t.Prefix+"members/", fmt.Errorf("%d members are more than a cluster has", len(t.Members)))
	}
	slices.SortFunc(t.Members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
