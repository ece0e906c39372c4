package main

import (
	"os/user"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// conninfoVariables are libpq's environment variables by keyword, as far as
// they can be of use to a server: it does not run in our environment, so that
// what they say has to be written down.
func conninfoVariables() [][2]string {
	return [][2]string{
		{"host", "PGHOST"}, {"hostaddr", "PGHOSTADDR"}, {"port", "PGPORT"}, {"user", "PGUSER"}, {"password", "PGPASSWORD"},
		{"passfile", "PGPASSFILE"}, {"service", "PGSERVICE"}, {"channel_binding", "PGCHANNELBINDING"}, {"sslmode", "PGSSLMODE"},
		{"sslcert", "PGSSLCERT"}, {"sslkey", "PGSSLKEY"}, {"sslrootcert", "PGSSLROOTCERT"}, {"sslcrl", "PGSSLCRL"},
		{"sslcrldir", "PGSSLCRLDIR"}, {"sslsni", "PGSSLSNI"}, {"requirepeer", "PGREQUIREPEER"},
		{"ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"}, {"ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"},
		{"gssencmode", "PGGSSENCMODE"}, {"krbsrvname", "PGKRBSRVNAME"}, {"target_session_attrs", "PGTARGETSESSIONATTRS"},
		{"application_name", "PGAPPNAME"}, {"connect_timeout", "PGCONNECT_TIMEOUT"},
	}
}

// dbnameMajor is the first version whose standbys have a use for a database:
// slots that are synchronized (pg_rewind writes it from there on).
const dbnameMajor = 18

// standbyConninfo is the primary_conninfo that -R writes: what --source-server
// says and the environment adds, without what belongs to this connection alone.
func standbyConninfo(server string, env map[string]string, major int) (string, error) {
	c, err := pg.ParseConninfo(server)
	if err != nil {
		return "", err
	}
	for _, v := range conninfoVariables() {
		if _, given := c.Get(v[0]); !given && env[v[1]] != "" {
			c.Set(v[0], env[v[1]])
		}
	}
	if _, given := c.Get("user"); !given {
		if u, err := user.Current(); err == nil {
			c.Set("user", u.Username)
		}
	}
	dbname, given := c.Get("dbname")
	c = c.Without("dbname", "replication", "fallback_application_name")
	for _, p := range c {
		if p.Value == "" {
			c.Delete(p.Key)
		}
	}
	if !given {
		dbname = env["PGDATABASE"]
	}
	if dbname != "" && major >= dbnameMajor {
		c.Set("dbname", dbname)
	}
	return c.String(), nil
}
