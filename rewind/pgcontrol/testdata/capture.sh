#!/bin/sh
# Captures the control files of this directory and the pages of package pgpage
# from clusters made for it. Run as an ordinary user, with the programs of
# PostgreSQL 15 in PATH: capture.sh EMPTY-DIRECTORY; the result is in its "out".
set -eu
work=$1 old=$1/old new=$1/new out=$1/out
export TZ=UTC LC_ALL=C PGHOST="$work" PGUSER=postgres PGDATABASE=postgres
mkdir "$out"

capture() { # DATADIR NAME
	cp "$1/global/pg_control" "$out/$2.bin"
	pg_controldata -D "$1" >"$out/$2.txt"
}
start() { pg_ctl -D "$1" -l "$1.log" -w start >&2; }
stop() { pg_ctl -D "$1" -m fast -w stop >&2; }
old() { psql -Xq -p 56432 "$@" >&2; }
new() { psql -Xq -p 56433 "$@" >&2; }

initdb -k -N -A trust -U postgres -E UTF8 --no-locale -D "$old" >&2
cat >>"$old/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
port = 56432
wal_level = logical
wal_log_hints = on
track_commit_timestamp = on
max_connections = 37
max_worker_processes = 9
max_wal_senders = 11
max_prepared_transactions = 3
max_locks_per_transaction = 77
autovacuum = off
CONF
start "$old"
old -c "CREATE TABLE t AS SELECT g FROM generate_series(1, 2000) g"
old -c "BEGIN; SELECT * FROM t WHERE g < 3 FOR SHARE; SAVEPOINT a; SELECT * FROM t WHERE g = 1 FOR UPDATE; COMMIT"
old -c "VACUUM (FREEZE) t" -c "CREATE INDEX ON t (g)" -c "CHECKPOINT"
capture "$old" in_production
heap=$old/$(psql -XAtp 56432 -c "SELECT pg_relation_filepath('t')")
btree=$old/$(psql -XAtp 56432 -c "SELECT pg_relation_filepath('t_g_idx')")
dd if="$heap" of="$out/heap_block3.bin" bs=8192 skip=3 count=1 status=none
dd if="$btree" of="$out/btree_block1.bin" bs=8192 skip=1 count=1 status=none
dd if="${heap}_vm" of="$out/vm_block0.bin" bs=8192 count=1 status=none

pg_basebackup -p 56432 -D "$new" -R -c fast
echo "port = 56433" >>"$new/postgresql.conf"
start "$new"
old -c "INSERT INTO t SELECT generate_series(1, 1000)" -c "CHECKPOINT"
end=$(psql -XAtp 56432 -c "SELECT pg_current_wal_flush_lsn()")
until [ "$(psql -XAtp 56433 -c "SELECT pg_last_wal_replay_lsn() >= '$end'")" = t ]; do sleep 0.1; done
new -c "CHECKPOINT"
capture "$new" in_archive_recovery
stop "$new"
capture "$new" shut_down_in_recovery
start "$new"
pg_ctl -D "$new" -w promote >&2
new -c "CHECKPOINT"
capture "$new" promoted
stop "$old"
capture "$old" shut_down
pg_rewind -N -D "$old" --source-server="port=56433"
capture "$old" rewound
stop "$new"
