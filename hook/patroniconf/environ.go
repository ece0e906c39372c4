package patroniconf

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// envPrefix begins the names of Patroni's variables.
const envPrefix = "PATRONI_"

// wholeVariable holds all of the configuration where there is no file.
const wholeVariable = envPrefix + "CONFIGURATION"

// environment makes a configuration of PATRONI_* variables, by Patroni's rules:
// the same value may be text in one variable and a list in another. Only what
// could count here is taken over. A value that Patroni would pass over with a
// line in its log is passed over here too.
type environment struct {
	vars map[string]string
	root *node
}

func fromEnvironment(vars map[string]string) *node {
	e := &environment{vars: vars, root: mappingNode("env " + envPrefix + "*")}
	for _, name := range []string{"name", "namespace", "scope"} {
		e.take(name, name)
	}
	for section, keys := range map[string][]string{
		"restapi":    {"listen", "connect_address", "certfile", "keyfile", "keyfile_password", "cafile", "verify_client"},
		"ctl":        {"insecure", "cacert", "certfile", "keyfile", "keyfile_password"},
		"postgresql": {"listen", "connect_address", "config_dir", "data_dir", "bin_dir"},
		"raft":       {"data_dir", "self_addr", "bind_addr"},
	} {
		for _, key := range keys {
			e.take(section+"_"+key, section, key)
		}
	}
	for _, program := range []string{"pg_ctl", "postgres"} {
		e.take("postgresql_bin_"+program, "postgresql", "bin_name", program)
	}
	for _, section := range []string{"ctl", "restapi"} {
		e.take(section+"_username", section, "authentication", "username")
		e.take(section+"_password", section, "authentication", "password")
	}
	for _, role := range []string{"replication", "superuser", "rewind"} {
		for _, key := range authKeys() {
			e.take(role+"_"+key, "postgresql", "authentication", role, key)
		}
	}
	e.stores()
	return e.root
}

func mappingNode(from string) *node {
	return &node{kind: kindMapping, from: from, keys: make(map[string]*node)}
}

// take sets one key to a variable's text; an empty one counts as absent.
func (e *environment) take(variable string, path ...string) {
	name := envPrefix + strings.ToUpper(variable)
	if text := e.vars[name]; text != "" {
		e.set(&node{kind: kindText, text: text, from: "env " + name}, path...)
	}
}

func (e *environment) set(value *node, path ...string) {
	at := e.root
	for _, key := range path[:len(path)-1] {
		if at.keys[key] == nil {
			at.keys[key] = mappingNode(value.from)
		}
		at = at.keys[key]
	}
	at.keys[path[len(path)-1]] = value
}

// stores takes PATRONI_ETCD3_HOSTS and the like: the name up to the first
// underscore is the section's, and any such variable makes the section. User
// and password are only taken for an etcd section that another variable has
// made: Patroni does not combine them with a file's hosts.
func (e *environment) stores() {
	known := strings.Fields(`HOST HOSTS PORT USE_PROXIES PROTOCOL SRV SRV_SUFFIX URL PROXY CACERT CERT KEY VERIFY TOKEN CHECKS DC CONSISTENCY
		REGISTER_SERVICE SERVICE_CHECK_INTERVAL SERVICE_CHECK_TLS_SERVER_NAME SERVICE_TAGS NAMESPACE CONTEXT USE_ENDPOINTS SCOPE_LABEL ROLE_LABEL
		POD_IP PORTS LABELS BYPASS_API_SERVICE RETRIABLE_HTTP_CODES KEY_PASSWORD USE_SSL SET_ACLS GROUP DATABASE LEADER_LABEL_VALUE
		FOLLOWER_LABEL_VALUE STANDBY_LEADER_LABEL_VALUE TMP_ROLE_LABEL AUTH_DATA`)
	for _, variable := range slices.Sorted(maps.Keys(e.vars)) {
		rest, ours := strings.CutPrefix(variable, envPrefix)
		section, key, _ := strings.Cut(rest, "_")
		if !ours || section == "" || e.vars[variable] == "" || !slices.Contains(known, key) {
			continue
		}
		if section == "CITUS" && key != "GROUP" && key != "DATABASE" {
			continue
		}
		if value := storeValue(variable, key, e.vars[variable]); value != nil {
			e.set(value, strings.ToLower(section), strings.ToLower(key))
		}
	}
	for _, section := range []string{"etcd", "etcd3"} {
		if e.root.keys[section] != nil {
			e.take(section+"_username", section, "username")
			e.take(section+"_password", section, "password")
		}
	}
}

// storeValue reads a variable's text as Patroni does; nil for what it drops.
func storeValue(variable, key, text string) *node {
	from := "env " + variable
	switch key {
	case "PORT", "GROUP":
		if _, err := strconv.Atoi(strings.TrimSpace(text)); err != nil {
			return nil
		}
		return &node{kind: kindNumber, text: strings.TrimSpace(text), from: from}
	case "HOSTS":
		if !strings.HasPrefix(strings.TrimSpace(text), "-") && !strings.Contains(text, "[") {
			text = "[" + text + "]"
		}
		n, err := newBuilder(from, from).document([]byte(text))
		if err != nil {
			return nil
		}
		return n
	}
	return &node{kind: kindText, text: text, from: from}
}
