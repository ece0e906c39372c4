package patroniconf

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// cluster translates which cluster, and which member of it.
func (t *translation) cluster() {
	t.copy("scope", "scope")
	if group := t.citusGroup(); group != "" && len(t.settings) > 0 {
		t.settings[0].Text += "/" + group
	}
	t.copy("namespace", "namespace")
	if n := t.root.get("namespace"); n != nil && n.kind == kindText && strings.Trim(n.text, "/") == "" {
		t.refused = errors.New(n.from + ": namespace: is empty, so that Patroni's keys lie at the root of etcd; that is not supported")
	}
	if t.root.get("name") != nil {
		t.copy("name", "name")
	} else {
		t.copy("name", "postgresql", "name") // as configurations of old had it
	}
}

// citusGroup is the group under whose number the keys of a Citus cluster lie.
// Patroni passes over a section in which either value is not as it should be.
func (t *translation) citusGroup() string {
	group, database := t.root.get("citus", "group"), t.root.get("citus", "database")
	if group == nil || database == nil || group.kind != kindNumber || database.kind != kindText || !plainNumber(group.text) {
		return ""
	}
	return group.text
}

// server translates where the node's server is and how it fetches WAL.
func (t *translation) server() {
	if t.section("postgresql") == nil {
		return
	}
	t.copy("postgresql.data_dir", "postgresql", "data_dir")
	t.copy("postgresql.bin_dir", "postgresql", "bin_dir")
	t.configFile()
	t.restoreCommand()
	for _, program := range []string{"pg_ctl", "postgres"} {
		if n := t.root.get("postgresql", "bin_name", program); n != nil && n.text != program {
			t.warn(n, "postgresql.bin_name.%s is not heeded: the program of PostgreSQL's own name in bin_dir is used", program)
		}
	}
}

// configFile is where Patroni writes postgresql.conf, when that is not the data
// directory or not of that name.
func (t *translation) configFile() {
	dataDir, configDir := t.text("postgresql", "data_dir"), t.text("postgresql", "config_dir")
	base, from := t.text("postgresql", "config_base_name"), t.root.get("postgresql", "config_base_name")
	if configDir != "" {
		from = t.root.get("postgresql", "config_dir")
	} else {
		configDir = dataDir
	}
	if base == "" {
		base = "postgresql"
	}
	if from == nil || configDir == "" || base == "postgresql" && path.Clean(configDir) == path.Clean(dataDir) {
		return
	}
	t.set("postgresql.config_file", path.Join(configDir, base+".conf"), from)
}

// fromCluster is the value of postgresql.restore_command for what Patroni keeps
// in etcd for all nodes, which counts where the file says nothing.
const fromCluster = "cluster"

// restoreCommand: a recovery parameter among the server's parameters makes
// Patroni forget the section recovery_conf.
func (t *translation) restoreCommand() {
	recovery, command := false, ""
	if parameters := t.section("postgresql", "parameters"); parameters != nil {
		for _, name := range sortedKeys(parameters) { // of several spellings the last is the lower case one
			recovery = recovery || slices.Contains(recoveryParameters(), strings.ToLower(name))
			if strings.EqualFold(name, "restore_command") {
				command = name
			}
		}
	}
	switch {
	case command != "":
		t.copy("postgresql.restore_command", "postgresql", "parameters", command)
	case recovery:
		// Patroni does not look any further.
	case t.section("postgresql", "recovery_conf") != nil:
		t.copy("postgresql.restore_command", "postgresql", "recovery_conf", "restore_command")
	default:
		t.set("postgresql.restore_command", fromCluster, t.root.get("postgresql"))
	}
}

// recoveryParameters are those that were in recovery.conf before PostgreSQL 12.
func recoveryParameters() []string {
	return []string{
		"archive_cleanup_command", "pause_at_recovery_target", "primary_conninfo", "primary_slot_name", "promote_trigger_file",
		"recovery_end_command", "recovery_min_apply_delay", "recovery_target", "recovery_target_action", "recovery_target_inclusive",
		"recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_timeline", "recovery_target_xid",
		"restore_command", "standby_mode", "trigger_file",
	}
}

// authKeys are what Patroni takes from a section of postgresql.authentication.
func authKeys() []string {
	return []string{
		"username", "password", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir",
		"gssencmode", "channel_binding", "sslnegotiation",
	}
}

// login is the section of one role and how it is called.
type login struct {
	*node
	key string
}

// logins translates who logs in to the leader: to fetch from it as the rewind
// user, else as the superuser, as Patroni's pg_rewind does; and for streaming.
func (t *translation) logins() {
	fetch, superuser := t.login("rewind"), t.login("superuser")
	switch {
	case fetch.node == nil:
		fetch = superuser
	case superuser.node != nil:
		t.privileged(superuser)
	}
	if fetch.node != nil {
		t.set("source.conninfo", t.conninfo(fetch).String(), fetch.node)
	}
	replication := t.login("replication")
	if replication.node == nil {
		return
	}
	ci := t.conninfo(replication)
	// What Patroni writes where nothing is said. Without it Patroni would find
	// primary_conninfo changed, and set it and reload once more.
	for _, p := range []pg.Param{{Key: "dbname", Value: "postgres"}, {Key: "sslmode", Value: "prefer"},
		{Key: "gssencmode", Value: "prefer"}, {Key: "channel_binding", Value: "prefer"}} {
		if _, ok := ci.Get(p.Key); !ok {
			ci.Set(p.Key, p.Value)
		}
	}
	if name := t.text("postgresql", "krbsrvname"); name != "" {
		ci.Set("krbsrvname", name)
	}
	t.set("replication.conninfo", ci.String(), replication.node)
}

// privileged: Patroni lets its rewind user read files and no more, so that it is
// for the superuser to see who streams. One without a password or a certificate
// is for this node's own socket, and no login anywhere else.
func (t *translation) privileged(superuser login) {
	ci := t.conninfo(superuser)
	_, password := ci.Get("password")
	_, cert := ci.Get("sslcert")
	if password || cert {
		t.set("source.privileged_conninfo", ci.String(), superuser.node)
	}
}

// login finds the section of a role, in today's place or in that of old.
func (t *translation) login(role string) login {
	find := func(path ...string) login {
		return login{t.section(path...), strings.Join(path, ".")}
	}
	in := []string{"postgresql"}
	if t.root.get("postgresql", "authentication") != nil {
		in = append(in, "authentication")
		if t.section(in...) == nil {
			return login{}
		}
	} else if role == "rewind" {
		return login{}
	}
	found := find(append(in, role)...)
	if found.node == nil && role == "superuser" {
		found = find("postgresql", "pg_rewind")
	}
	return found
}

// conninfo is how a role logs in, in libpq's words, but for the address.
func (t *translation) conninfo(l login) pg.Conninfo {
	var ci pg.Conninfo
	for _, key := range authKeys() {
		value := t.textOf(l.get(key), l.key+"."+key)
		if value == "" {
			continue
		}
		if key == "username" {
			key = "user"
		}
		ci.Set(key, value)
	}
	if database := t.text("postgresql", "database"); database != "" {
		ci.Set("dbname", database)
	}
	return ci
}
