package main

import "slices"

// settingTable returns every setting, in the order in which they are shown.
func settingTable() []setting {
	return slices.Concat(clusterSettings(), etcdSettings(), patroniSettings(), serverSettings(), workSettings())
}

func clusterSettings() []setting {
	return []setting{
		{key: "patroni_config", field: func(s *settings) any { return &s.PatroniConfig },
			help: "Patroni's file, or directory of files, that gives what is not set here; env: its environment"},
		{key: "scope", field: func(s *settings) any { return &s.Scope }, required: true,
			help: "name of the cluster, as its manager calls it"},
		{key: "namespace", field: func(s *settings) any { return &s.Namespace }, def: "/service/",
			help: "prefix of the manager's keys in etcd"},
		{key: "name", field: func(s *settings) any { return &s.Name }, required: true,
			help: "member name of this node"},
		{key: "layout", field: func(s *settings) any { return &s.Layout }, def: "patroni",
			oneOf: []string{"patroni", "plain"},
			help:  "who keeps the cluster's keys in etcd: patroni, plain (a script of yours)"},
	}
}

func etcdSettings() []setting {
	return []setting{
		{key: "etcd.endpoints", field: func(s *settings) any { return &s.Etcd.Endpoints }, def: "127.0.0.1:2379",
			foreign: []foreignEnv{{name: "ETCDCTL_ENDPOINTS"}},
			help:    "addresses of etcd, separated by commas"},
		{key: "etcd.cacert", field: func(s *settings) any { return &s.Etcd.CACert },
			foreign: []foreignEnv{{name: "ETCDCTL_CACERT"}},
			help:    "file with the CA certificates that etcd's certificate is checked against"},
		{key: "etcd.cert", field: func(s *settings) any { return &s.Etcd.Cert },
			foreign: []foreignEnv{{name: "ETCDCTL_CERT"}},
			help:    "file with the client certificate for etcd"},
		{key: "etcd.key", field: func(s *settings) any { return &s.Etcd.Key },
			foreign: []foreignEnv{{name: "ETCDCTL_KEY"}},
			help:    "file with the key of that certificate"},
		{key: "etcd.insecure_skip_verify", field: func(s *settings) any { return &s.Etcd.InsecureSkipVerify }, def: "false",
			foreign: []foreignEnv{{name: "ETCDCTL_INSECURE_SKIP_TLS_VERIFY"}},
			help:    "do not check etcd's certificate"},
		{key: "etcd.username", field: func(s *settings) any { return &s.Etcd.Username },
			foreign: []foreignEnv{{name: "ETCDCTL_USER", part: userName}},
			help:    "user in etcd"},
		{key: "etcd.password", field: func(s *settings) any { return &s.Etcd.Password }, secret: true,
			foreign: []foreignEnv{{name: "ETCDCTL_PASSWORD"}, {name: "ETCDCTL_USER", part: userPassword}},
			help:    "password of that user"},
		{key: "etcd.password_file", field: func(s *settings) any { return &s.Etcd.PasswordFile },
			help: "file that holds the password of that user"},
		{key: "etcd.dial_timeout", field: func(s *settings) any { return &s.Etcd.DialTimeout }, def: "5s",
			foreign: []foreignEnv{{name: "ETCDCTL_DIAL_TIMEOUT"}},
			help:    "how long a connection to etcd may take"},
		{key: "etcd.request_timeout", field: func(s *settings) any { return &s.Etcd.RequestTimeout }, def: "10s",
			help: "how long etcd may take to answer, retries included"},
		{key: "etcd.lock_prefix", field: func(s *settings) any { return &s.Etcd.LockPrefix }, def: "/failback/",
			help: "prefix of this program's own keys in etcd"},
	}
}

func patroniSettings() []setting {
	return []setting{
		{key: "patroni.rest_url", field: func(s *settings) any { return &s.Patroni.RESTURL },
			help: "address of this node's Patroni, for control: patroni; that of its member key when empty"},
		{key: "patroni.username", field: func(s *settings) any { return &s.Patroni.Username },
			help: "user of restapi.authentication"},
		{key: "patroni.password", field: func(s *settings) any { return &s.Patroni.Password }, secret: true,
			help: "password of that user"},
		{key: "patroni.cacert", field: func(s *settings) any { return &s.Patroni.CACert },
			help: "file with the CA certificates that Patroni's certificate is checked against"},
		{key: "patroni.cert", field: func(s *settings) any { return &s.Patroni.Cert },
			help: "file with the client certificate for Patroni"},
		{key: "patroni.key", field: func(s *settings) any { return &s.Patroni.Key },
			help: "file with the key of that certificate"},
		{key: "patroni.insecure_skip_verify", field: func(s *settings) any { return &s.Patroni.InsecureSkipVerify }, def: "false",
			help: "do not check Patroni's certificate"},
		{key: "patroni.keep_failed", field: func(s *settings) any { return &s.Patroni.KeepFailed },
			help: "create-replica: where a data directory goes that could not be rewound, before Patroni removes it"},
	}
}

func serverSettings() []setting {
	return []setting{
		{key: "postgresql.data_dir", flagName: "data-dir", short: []string{"D", "pgdata"},
			field: func(s *settings) any { return &s.PostgreSQL.DataDir }, required: true,
			foreign: []foreignEnv{{name: "PGDATA"}},
			help:    "data directory of this node"},
		{key: "postgresql.bin_dir", flagName: "bin-dir", field: func(s *settings) any { return &s.PostgreSQL.BinDir },
			help: "directory of postgres and pg_ctl; looked up by the data directory's version"},
		{key: "postgresql.config_file", flagName: "pg-config-file", field: func(s *settings) any { return &s.PostgreSQL.ConfigFile },
			help: "postgresql.conf, where it lies outside of the data directory"},
		{key: "postgresql.control", flagName: "control", field: func(s *settings) any { return &s.PostgreSQL.Control }, def: "pg_ctl",
			oneOf: []string{"pg_ctl", "command", "none", "patroni"},
			help:  "who stops and starts the server: pg_ctl, command, none; patroni: asked to, while it is alive and not paused"},
		{key: "postgresql.stop_command", flagName: "stop-command", field: func(s *settings) any { return &s.PostgreSQL.StopCommand },
			help: "shell command that stops the server, for control: command"},
		{key: "postgresql.start_command", flagName: "start-command", field: func(s *settings) any { return &s.PostgreSQL.StartCommand },
			help: "shell command that starts the server, for control: command"},
		{key: "postgresql.stop_timeout", flagName: "stop-timeout", field: func(s *settings) any { return &s.PostgreSQL.StopTimeout }, def: "60s",
			help: "how long the server may take to stop"},
		{key: "postgresql.start_timeout", flagName: "start-timeout", field: func(s *settings) any { return &s.PostgreSQL.StartTimeout }, def: "60s",
			help: "how long the server may take to accept connections"},
		{key: "postgresql.start_log", flagName: "start-log", field: func(s *settings) any { return &s.PostgreSQL.StartLog }, def: "log/failback-hook-start.log",
			help: "file for what the server prints before its own log begins"},
		{key: "postgresql.restore_command", flagName: "restore-command", field: func(s *settings) any { return &s.PostgreSQL.RestoreCommand }, def: "auto",
			help: "shell command that fetches missing WAL from the archive; auto: the server's own; cluster: or else the manager's in etcd; never"},
		{key: "postgresql.stream_timeout", flagName: "stream-timeout", field: func(s *settings) any { return &s.PostgreSQL.StreamTimeout }, def: "60s",
			help: "how long the node may take until it streams"},
		{key: "postgresql.settle_timeout", flagName: "settle-timeout", field: func(s *settings) any { return &s.PostgreSQL.SettleTimeout }, def: "5s",
			zero: "no time",
			help: "how long a running standby may take to begin streaming by itself; 0s: no time"},
	}
}

func workSettings() []setting {
	return []setting{
		{key: "source.conninfo", conninfo: true, field: func(s *settings) any { return &s.Source.Conninfo },
			help: "how to connect to any leader but for host and port: user=… sslmode=…"},
		{key: "source.privileged_conninfo", conninfo: true, field: func(s *settings) any { return &s.Source.PrivilegedConninfo },
			help: "the same for what that user may not: to see who streams, to make a slot; nobody when empty"},
		{key: "source.connections", field: func(s *settings) any { return &s.Source.Connections }, def: "4",
			help: "connections that fetch at the same time"},
		{key: "source.silence", field: func(s *settings) any { return &s.Source.Silence }, def: "60s",
			zero: "for ever",
			help: "how long the leader may send nothing while it is asked for data; 0s: for ever"},
		{key: "replication.conninfo", conninfo: true, field: func(s *settings) any { return &s.Replication.Conninfo },
			help: "the same for primary_conninfo; source.conninfo's when empty"},
		{key: "replication.slots", flagName: "slots", field: func(s *settings) any { return &s.Replication.Slots }, def: "auto",
			oneOf: []string{"auto", "on", "off"},
			help:  "use a replication slot on the leader: on, off, auto (as the cluster does)"},

		{key: "preserve", field: func(s *settings) any { return &s.Preserve },
			help: "further paths in the data directory that stay this node's own"},
		{key: "on_failure", field: func(s *settings) any { return &s.OnFailure }, def: "undo",
			oneOf: []string{"undo", "keep"},
			help:  "what a run that gives up half way does: undo (the directory is as it was), keep (run again to go on)"},
		{key: "salvage.dir", field: func(s *settings) any { return &s.Salvage.Dir }, def: salvageAuto,
			help: "where the WAL goes that only this node had: a directory, off, auto (beside the log of a callback's worker)"},
		{key: "salvage.keep", field: func(s *settings) any { return &s.Salvage.Keep }, def: "5",
			help: "how many branches of one cluster are kept there"},
		{key: "salvage.max_age", field: func(s *settings) any { return &s.Salvage.MaxAge }, def: "720h", zero: "for ever",
			help: "how long they are kept; 0s: for ever"},
		{key: "state_dir", field: func(s *settings) any { return &s.StateDir }, def: salvageAuto,
			help: "where this node keeps records of its rejoins: a directory, off, auto (beside the log of a callback's worker)"},
		{key: "no_undo", field: func(s *settings) any { return &s.NoUndo }, def: "false",
			help: "save nothing of what is overwritten, where the room is missing"},
		{key: "lock.limit", field: func(s *settings) any { return &s.Lock.Limit }, def: "1",
			help: "how many nodes may rejoin from one leader at a time"},
		{key: "lock.ttl", field: func(s *settings) any { return &s.Lock.TTL }, def: "30s",
			help: "how long the lock outlives a program that has died"},
		{key: "callback.wait", field: func(s *settings) any { return &s.Callback.Wait }, def: "10m",
			zero: "one try",
			help: "how long a callback's worker keeps trying while the leader is not ready; 0s: one try"},
		{key: "agent.interval", field: func(s *settings) any { return &s.Agent.Interval }, def: "10s",
			help: "how often the agent looks at this node while nothing calls it"},
		{key: "agent.down_after", field: func(s *settings) any { return &s.Agent.DownAfter }, def: "10s",
			help: "how long the server may be down before the agent rejoins the node"},
		{key: "agent.stuck_after", field: func(s *settings) any { return &s.Agent.StuckAfter }, def: "30s",
			help: "how long a standby may run without streaming before the agent rejoins the node"},
		{key: "agent.fence_after", field: func(s *settings) any { return &s.Agent.FenceAfter }, def: "0s", zero: "never",
			help: "how long the server may run as a primary beside the leader before the agent stops it; 0s: never"},

		{key: "log.level", field: func(s *settings) any { return &s.Log.Level }, def: "info",
			oneOf: []string{"debug", "info", "warn", "error"},
			help:  "debug, info, warn, error; by hand on a terminal warn when not set"},
		{key: "log.format", field: func(s *settings) any { return &s.Log.Format }, def: "console",
			oneOf: []string{"console", "json"},
			help:  "console, json"},
		{key: "log.file", field: func(s *settings) any { return &s.Log.File },
			help: "log file of a callback's worker"},
		{key: "wait", field: func(s *settings) any { return &s.Wait }, def: "5m", zero: "not at all",
			help: "how long one kind of trouble that may pass by itself is waited out; 0s: not at all"},
		{key: "timeout", field: func(s *settings) any { return &s.Timeout }, def: "0s", zero: "never",
			help: "give the whole run up after this long; 0s: never"},
	}
}

// settingsByKey finds rows by key.
func settingsByKey() map[string]setting {
	m := make(map[string]setting)
	for _, s := range settingTable() {
		m[s.key] = s
	}
	return m
}
