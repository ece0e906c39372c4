package hook

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// sourceConninfo is how to connect to the server of a member: the configured
// options with that member's address. Whatever chooses among several servers
// is taken out, as the choice has been made: a target_session_attrs could only
// hide what the server says of its role.
func (c Config) sourceConninfo(m dcs.Member) (string, error) {
	return atLeader("source.conninfo", c.SourceConninfo, m)
}

// atLeader is a login of the setting of that name, at that member's address.
func atLeader(key, login string, m dcs.Member) (string, error) {
	ci, err := pg.ParseConninfo(login)
	if err != nil {
		return "", fmt.Errorf("read %s: %w: %w", key, ErrConfig, err)
	}
	ci = ci.Without("hostaddr", "target_session_attrs", "load_balance_hosts")
	ci = atMember(ci, m)
	ci = orDefault(ci, "dbname", DefaultDatabase)
	ci = orDefault(ci, "connect_timeout", strconv.Itoa(int(DefaultConnectTimeout/time.Second)))
	return ci.String(), nil
}

// standby is what the rewound directory is to follow: primary_conninfo and the
// slot, the latter empty for none.
func (c Config) standby(m dcs.Member, slot string) (*rewind.Standby, error) {
	ci, err := c.primaryConninfo(m)
	if err != nil {
		return nil, err
	}
	return &rewind.Standby{Conninfo: ci.String(), Slot: slot}, nil
}

func (c Config) primaryConninfo(m dcs.Member) (pg.Conninfo, error) {
	ci, err := pg.ParseConninfo(c.ReplicationConninfo)
	if err != nil {
		return nil, fmt.Errorf("read replication.conninfo: %w: %w", ErrConfig, err)
	}
	if c.ReplicationConninfo == "" {
		if ci, err = pg.ParseConninfo(c.SourceConninfo); err != nil {
			return nil, fmt.Errorf("read source.conninfo: %w: %w", ErrConfig, err)
		}
		ci = onlyLogin(ci)
	}
	// The walreceiver sets replication by itself; a hostaddr or a choice of
	// servers would lead it elsewhere than to this leader.
	ci = ci.Without("hostaddr", "target_session_attrs", "load_balance_hosts", "replication")
	ci = atMember(ci, m)
	// This is how the leader will know the node: pg_stat_replication shows it,
	// and synchronous_standby_names refers to it.
	return with(ci, "application_name", c.Name), nil
}

// onlyLogin keeps who logs in and how the connection is made safe and kept
// alive. What is left out concerns the session of this program (dbname,
// options), or is known to its driver and not to libpq, which would refuse the
// whole string.
func onlyLogin(ci pg.Conninfo) pg.Conninfo {
	keep := []string{
		"user", "password", "passfile", "require_auth", "channel_binding", "requirepeer", "service", "servicefile",
		"sslmode", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslpassword", "sslcertmode", "sslrootcert",
		"sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
		"gssencmode", "krbsrvname", "gsslib", "gssdelegation",
		"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
	}
	var out pg.Conninfo
	for _, p := range ci {
		if slices.Contains(keep, p.Key) {
			out = append(out, p)
		}
	}
	return out
}

// atMember sets the address.
func atMember(ci pg.Conninfo, m dcs.Member) pg.Conninfo {
	ci = with(ci, "host", m.Host)
	if m.Port == 0 {
		return with(ci, "port", defaultPort)
	}
	return with(ci, "port", strconv.Itoa(int(m.Port)))
}

// shown is a standby's settings without its secrets.
func shown(s *rewind.Standby) (*StandbySettings, error) {
	ci, err := pg.ParseConninfo(s.Conninfo)
	if err != nil {
		return nil, fmt.Errorf("read primary_conninfo: %w", err)
	}
	return &StandbySettings{PrimaryConninfo: ci.Redacted(), PrimarySlotName: s.Slot, RecoveryTargetTimeline: "latest"}, nil
}

// slot is the name of the physical slot to use on the leader; empty for none.
func (c Config) slot(t dcs.Topology) string {
	if c.Slots == SlotsOff || c.Slots == SlotsAuto && !t.Config.UseSlots {
		return ""
	}
	return pg.SlotName(c.Name)
}

// with sets one option.
func with(ci pg.Conninfo, key, value string) pg.Conninfo {
	ci.Set(key, value)
	return ci
}

// orDefault sets one option that is not there.
func orDefault(ci pg.Conninfo, key, value string) pg.Conninfo {
	if _, ok := ci.Get(key); ok {
		return ci
	}
	return with(ci, key, value)
}
