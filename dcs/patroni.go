package dcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// KeyValue is one key of etcd as a range read returns it.
type KeyValue struct {
	Key            string
	Value          []byte
	CreateRevision int64
	ModRevision    int64
	Lease          int64
}

// ParsePatroni makes a Topology of the keys under prefix, which were read
// together at revision. It understands what Patroni 1.6 to 4.1 writes with
// etcd3: and ignores every other key.
//
// A value that decisions hang on must be well-formed, or the error is
// ErrMalformed and names the key: leader, initialize, config, the member key of
// the leader and those of the members in required (empty names are skipped). A
// malformed value of any other member makes that one RoleUnknown: a broken
// bystander must not keep the rest from being rejoined. A member whose name could
// not be one is left out.
//
// Without any key of a cluster the error is a *NoClusterError.
func ParsePatroni(kvs []KeyValue, scope, prefix string, revision int64, required ...string) (Topology, error) {
	t := Topology{Layout: LayoutPatroni, Scope: scope, Prefix: prefix, Revision: revision, Config: Config{UseSlots: true}}
	found := false
	groups := map[string]bool{}
	broken := map[string]error{}
	for _, kv := range kvs {
		name, ok := strings.CutPrefix(kv.Key, prefix)
		if !ok {
			continue
		}
		known, err := t.takePatroniKey(name, kv, broken)
		if err != nil {
			return Topology{}, err
		}
		found = found || known
		if g, _, ok := strings.Cut(name, "/"); ok && isCitusGroup(g) {
			groups[g] = true
		}
	}
	if !found {
		return Topology{}, &NoClusterError{Prefix: prefix, Groups: sortedNumbers(groups)}
	}
	if err := t.complete(required, broken); err != nil {
		return Topology{}, err
	}
	return t, nil
}

// takePatroniKey files one key; known is false for a key that is not
// Patroni's. Why a member's value is not understood goes to broken.
func (t *Topology) takePatroniKey(name string, kv KeyValue, broken map[string]error) (known bool, err error) {
	switch name {
	case "leader":
		t.Leader, err = parseLeader(kv)
	case "initialize":
		t.SystemID, err = parseInitialize(kv.Value)
	case "config":
		t.Config, err = parseConfig(kv.Value)
	case "history", "status", "sync", "failover", "failsafe", "optime/leader":
	default:
		member, ok := memberIn(name)
		if !ok {
			return false, nil
		}
		if checkName(member) != nil {
			return true, nil // nobody can be called so; as leader it is refused
		}
		m, err := parseMember(kv.Value)
		if err != nil {
			broken[member] = err
			m = Member{Role: RoleUnknown}
		}
		m.Name, m.Lease = member, kv.Lease
		t.Members = append(t.Members, m)
	}
	if err != nil {
		return true, malformed(kv.Key, err)
	}
	return true, nil
}

// parseLeader reads the leader key: a bare member name.
func parseLeader(kv KeyValue) (*Leader, error) {
	if len(kv.Value) == 0 {
		return nil, errors.New("the name of the leader is empty")
	}
	if err := checkName(string(kv.Value)); err != nil {
		return nil, fmt.Errorf("the name of the leader: %w", err)
	}
	return &Leader{Name: string(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}, nil
}

// Bounds of what is taken from etcd. A member's value is a few hundred bytes; its
// tags are the user's.
const (
	maxMembers     = 1000
	maxMemberBytes = 64 << 10
)

// checkName refuses names that nobody can be called by: they go into settings of
// PostgreSQL, into keys, and into lines that people read.
func checkName(name string) error {
	switch {
	case len(name) > maxWord:
		return fmt.Errorf("%d bytes are more than a name has", len(name))
	case plain(name, maxWord) != name:
		return errors.New("it holds characters that cannot be printed")
	}
	return nil
}

// parseInitialize reads the system identifier; it is empty while members race
// for the bootstrap.
func parseInitialize(value []byte) (pg.SystemID, error) {
	if len(value) == 0 {
		return 0, nil
	}
	return pg.ParseSystemID(string(value))
}

// parseConfig reads the dynamic configuration.
func parseConfig(value []byte) (Config, error) {
	c := Config{UseSlots: true}
	top, err := object(value)
	if err != nil {
		return c, err
	}
	c.Paused = truth(top["pause"], false)
	if section := top["postgresql"]; section != nil {
		if postgresql, err := object(section); err == nil {
			c.UseSlots = truth(postgresql["use_slots"], true)
			c.RestoreCommand = restoreCommand(postgresql)
		}
	}
	c.StandbyCluster, c.Primary = parseStandbyCluster(top["standby_cluster"])
	c.ReplicaMethods = replicaMethods(top, c.StandbyCluster)
	return c, nil
}

// replicaMethods reads the list of names; what is no list counts as none.
func replicaMethods(top map[string]json.RawMessage, standbyCluster bool) []string {
	of := "postgresql"
	if standbyCluster {
		of = "standby_cluster"
	}
	section, err := object(top[of])
	if err != nil {
		return nil
	}
	for _, key := range []string{"create_replica_methods", "create_replica_method"} {
		var names []string
		if json.Unmarshal(section[key], &names) == nil && len(names) > 0 && len(names) <= maxMethods {
			for i := range names {
				names[i] = plain(names[i], maxWord)
			}
			return names
		}
	}
	return nil
}

// maxMethods is more than anybody has.
const maxMethods = 100

// restoreCommand is the server parameter of that name, or else the one in the
// section for recovery; empty for what is no command.
func restoreCommand(postgresql map[string]json.RawMessage) string {
	for _, section := range []string{"parameters", "recovery_conf"} {
		settings, err := object(postgresql[section])
		if err != nil {
			continue
		}
		for name, value := range settings {
			var command string
			if strings.EqualFold(name, "restore_command") && json.Unmarshal(value, &command) == nil &&
				command != "" && !strings.Contains(command, "\x00") {
				return command
			}
		}
	}
	return ""
}

// truth reads a boolean as Patroni does, which takes the words of a
// configuration file too; anything else is the default.
func truth(value json.RawMessage, otherwise bool) bool {
	word := strings.ToLower(strings.Trim(string(bytes.TrimSpace(value)), `"`))
	switch word {
	case "true", "on", "yes", "1":
		return true
	case "false", "off", "no", "0":
		return false
	default:
		return otherwise
	}
}

// parseMember reads a member's value. Fields that are absent stay zero: a
// server that cannot be queried reports neither timeline nor position.
func parseMember(value []byte) (Member, error) {
	if len(value) > maxMemberBytes {
		return Member{}, fmt.Errorf("%d bytes are more than a member says of itself", len(value))
	}
	fields, err := object(value)
	if err != nil {
		return Member{}, err
	}
	var m Member
	var role string
	var timeline uint32
	var lsn uint64
	checkpoint := true
	var paused json.RawMessage
	for _, f := range []struct {
		key string
		to  any
	}{
		{"role", &role},
		{"state", &m.State},
		{"replication_state", &m.Replication},
		{"conn_url", &m.ConnURL},
		{"api_url", &m.APIURL},
		{"version", &m.Version},
		{"timeline", &timeline},
		{"xlog_location", &lsn},
		{"checkpoint_after_promote", &checkpoint},
		{"tags", &m.Tags},
		{"pause", &paused},
	} {
		if raw, ok := fields[f.key]; ok {
			if err := json.Unmarshal(raw, f.to); err != nil {
				return Member{}, fmt.Errorf("field %s: %w", f.key, err)
			}
		}
	}
	for _, word := range []*string{&m.State, &m.Replication, &m.Version} {
		*word = plain(*word, maxWord)
	}
	if err := checkAPIURL(m.APIURL); err != nil {
		return Member{}, fmt.Errorf("field api_url: %w", err)
	}
	m.Paused = truth(paused, false)
	m.Role, m.Timeline, m.LSN = foldRole(role), pg.Timeline(timeline), pg.LSN(lsn)
	// A standby leader is never promoted, and its flag stays false for ever.
	m.CheckpointPending = !checkpoint && m.Role != RoleStandbyLeader
	if m.ConnURL != "" {
		if m.ConnURL, m.Host, m.Port, err = splitConnURL(m.ConnURL); err != nil {
			return Member{}, fmt.Errorf("field conn_url: %w", err)
		}
	}
	return m, nil
}

// foldRole maps Patroni's words; 4.0 writes "primary" where older ones write
// "master", and a rolling upgrade shows both.
func foldRole(word string) Role {
	switch word {
	case "master", "primary":
		return RolePrimary
	case "promoted":
		return RolePromoting
	case "replica":
		return RoleReplica
	case "standby_leader":
		return RoleStandbyLeader
	case "demoted":
		return RoleDemoted
	case "uninitialized":
		return RoleUninitialized
	default:
		return RoleUnknown
	}
}

// object reads a JSON object without encoding/json's matching of field names
// in any case: "Pause" is not "pause".
func object(value []byte) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(value)) == 0 {
		return nil, errors.New("it is empty where a JSON object should be")
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(value, &m); err != nil {
		return nil, err
	}
	return m, nil
}

// isCitusGroup matches the children that Patroni takes for Citus groups:
// decimal numbers without leading zeros.
func isCitusGroup(s string) bool {
	n, err := strconv.ParseUint(s, 10, 31)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// sortedNumbers returns the groups in the order of their numbers.
func sortedNumbers(set map[string]bool) []string {
	var list []string
	for s := range set {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) { // no leading zeros: the longer is the greater
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return list
}

// scopeIn is the name directly below root in key.
func scopeIn(key, root string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, root), "/")
	return name
}

// field is one member of a JSON object, its value as it was written.
type field struct {
	key   string
	value json.RawMessage
}

// orderedObject reads a JSON object whose order matters to people.
func orderedObject(value []byte) ([]field, error) {
	if _, err := object(value); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(value))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var fields []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{key: fmt.Sprint(name)}
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}
