"""Captures what Patroni makes of configurations: random ones, by a seed.

Each is read by Patroni's own Config and, for etcd3, by its get_etcd_client; what
is left to this script is to give the results this program's names. To run it
Patroni and what it imports have to be on PYTHONPATH; unpacked packages of Debian
will do (patroni, python3-etcd, -dnspython, -urllib3, -psutil, -psycopg2, -dateutil,
-six). 3.0.2 and 4.0.7 give the same:

    python3 capture.py 150 > captured.json
"""
import copy, json, logging, os, random, shutil, sys, tempfile

import patroni.dcs.etcd as etcd
from patroni.config import Config
from patroni.postgresql.config import ConfigHandler

rnd = random.Random(20261121)
logging.disable(logging.CRITICAL)


def chance(p):
    return rnd.random() < p


def document():
    lines, pick = [], rnd.choice

    def put(depth, key, p, *values):
        if chance(p):
            lines.append('  ' * depth + key + ': ' + pick(values))

    put(0, 'x', .2, '&m {sslmode: require, username: merged, password: pm}')
    merge = bool(lines)
    put(0, 'scope', .8, 'main', '"15-main"', 'a/b')
    put(0, 'namespace', .4, '/ns/', 'ns', '//n//m/')
    put(0, 'name', .7, 'n1', '"n.2"', "'007'", '!!str on')
    put(0, 'citus', .2, '{group: 0, database: c}', '{group: 12, database: c}', '{group: "2", database: c}', '{group: 1, database: 5}', '{group: 1}')
    put(0, 'etcd', .06, '{host: x}', '', '{}')
    if chance(.85):
        lines.append('etcd3:')
        before = len(lines)
        put(1, 'hosts', .5, 'h1,h2:2380', "[h1, 'h2:2380', '[::1]:2379']", '"a:1, b"', '~')
        put(1, 'host', .5, 'h1', 'h2:2380', "'[::1]:2379'", '10.0.0.1:2379')
        put(1, 'port', .2, '2390', '2391')
        put(1, 'protocol', .3, 'http', 'https', 'https')
        put(1, 'url', .15, 'http://u:p@h9:1', 'https://h9', '"http://h8:23"')
        put(1, 'proxy', .08, 'http://px:1', 'https://px')
        put(1, 'username', .3, 'u', '"7"', '~', '')
        put(1, 'password', .3, 'p', '77', '"012"', '~')
        put(1, 'cacert', .3, '/ca')
        put(1, 'cert', .3, '/cert')
        put(1, 'key', .3, '/key')
        if len(lines) == before:
            lines[-1] = 'etcd3: {}'
    lines.append('postgresql:')
    put(1, 'listen', 1, "'*:5432'")
    put(1, 'data_dir', .8, '/d', '/d/', 'data/x')
    put(1, 'bin_dir', .5, '/b', '~', "''")
    put(1, 'config_dir', .3, '/c', '/d', '~')
    put(1, 'config_base_name', .1, 'pg')
    put(1, 'database', .1, 'appdb')
    put(1, 'use_slots', .2, 'false')
    put(1, 'krbsrvname', .1, 'k')
    put(1, 'name', .1, 'old')
    put(1, 'recovery_conf', .3, '{restore_command: "get %f"}', '{recovery_target: x}')
    put(1, 'parameters', .4, '{port: 1}', '{restore_command: "cp %p"}', '{Restore_Command: q}', '{RECOVERY_END_COMMAND: x}', '{wal_level: x, hot_standby: on}')

    def role(name, depth):
        lines.append('  ' * depth + name + ':')
        if merge:
            put(depth + 1, '<<', .3, '*m')
        put(depth + 1, 'username', 1, 'u1', '"u 2"', '7')
        put(depth + 1, 'password', .6, 'pw', '"p \'w\\\\"', '123', '~', '', '"yes"', '-5', '1:2:3a')
        for key in ('sslmode', 'sslcert', 'sslkey', 'sslpassword', 'sslrootcert', 'sslcrl', 'sslcrldir', 'gssencmode', 'channel_binding', 'bogus'):
            put(depth + 1, key, .12, 'v1', 'prefer', '~')

    if chance(.8):
        lines.append('  authentication:')
        for name in [r for r in ('superuser', 'replication', 'rewind') if chance(.7)] or ['superuser']:
            role(name, 2)
    else:
        for name in [r for r in ('superuser', 'replication', 'pg_rewind') if chance(.6)]:
            role(name, 1)
    for drop in ('name: ~', 'scope: second', 'namespace: ~'):
        if drop.split(':')[0] not in [line.split(':')[0] for line in lines] and chance(.2):
            lines.append(drop)
    return '\n'.join(lines) + '\n'


VARIABLES = {
    'SCOPE': ['es'], 'NAME': ['en'], 'NAMESPACE': ['/ens/'], 'ETCD3_HOSTS': ['e1:1,e2:2', "['e1:1','[::3]:4']", '- z:1', '[broken'], 'ETCD3_HOST': ['eh:9'],
    'ETCD3_PORT': ['11', 'x'], 'ETCD3_PROTOCOL': ['https'], 'ETCD3_CACERT': ['/eca'], 'ETCD3_USERNAME': ['eu'], 'ETCD3_PASSWORD': ['ep', '012'],
    'ETCD3_URL': ['https://eu'], 'ETCD_HOST': ['v2'], 'CITUS_GROUP': ['4', 'x'], 'CITUS_DATABASE': ['ed'], 'POSTGRESQL_DATA_DIR': ['/ed'],
    'POSTGRESQL_BIN_DIR': ['/eb', ''], 'POSTGRESQL_CONFIG_DIR': ['/ec'], 'SUPERUSER_USERNAME': ['esu'], 'SUPERUSER_PASSWORD': ['esp', '01'],
    'REWIND_USERNAME': ['erw'], 'REWIND_PASSWORD': ['erp'], 'REPLICATION_USERNAME': ['erep'], 'REPLICATION_SSLMODE': ['require'],
    'CONFIGURATION': ['scope: whole\netcd3: {host: w}\nname: wn\n'],
}


def store(want, config):
    """Which store, and how Patroni reaches an etcd3."""
    found = [name for name in ('consul', 'etcd', 'etcd3') if name in config]
    if found[:1] != ['etcd3']:
        want['refused'] = found[0] if found else 'none'
        return
    given = {}

    class Client:
        machines = ['any']

        def __init__(self, config, _):
            given.update(config)

    etcd.AbstractEtcd.get_etcd_client(type('Etcd', (), {'set_socket_options': None}), copy.deepcopy(config['etcd3']), Client)
    protocol = given.get('protocol') or 'http'
    if 'host' in given and ('url' in given or not given.get('hosts')):
        given['hosts'] = [etcd.uri(protocol, (given['host'].strip('[]'), given['port']))]
    if not given.get('hosts'):
        want['refused'] = 'none'
        return
    want['etcd.endpoints'] = ' '.join(given['hosts'])
    if protocol == 'https':
        cert = given.get('cert')
        cert, key = cert if isinstance(cert, tuple) else (cert, cert)
        want.update({'etcd.cacert': given.get('ca_cert'), 'etcd.cert': cert, 'etcd.key': key})
    if given.get('username') and given.get('password'):
        want.update({'etcd.username': given['username'], 'etcd.password': given['password']})


def server(want, pg, local):
    """Directories and restore_command."""
    want.update({'postgresql.data_dir': pg.get('data_dir'), 'postgresql.bin_dir': pg.get('bin_dir')})
    data, base = pg.get('data_dir'), pg.get('config_base_name', 'postgresql') + '.conf'
    where = pg.get('config_dir') or data
    if where and (base != 'postgresql.conf' or os.path.normpath(where) != os.path.normpath(data or '')):
        want['postgresql.config_file'] = os.path.join(os.path.normpath(where), base)
    recovery = {k.lower(): v for k, v in pg['parameters'].items() if k.lower() in ConfigHandler._RECOVERY_PARAMETERS}
    command = (recovery or pg.get('recovery_conf') or {}).get('restore_command')
    if not recovery and 'recovery_conf' not in pg and local:
        command = 'cluster'
    want['postgresql.restore_command'] = command


def login(role, **defaults):
    """The words of libpq for a role's section."""
    ret = {'user' if k == 'username' else k: str(v) for k, v in role.items() if v not in (None, '')}
    return {**{k: v for k, v in defaults.items() if v}, **ret}


def expected(config, local):
    want = {'scope': config.get('scope'), 'namespace': config.get('namespace'), 'name': config.get('name')}
    if want['scope'] and isinstance(config.get('citus', {}).get('group'), int):
        want['scope'] += '/%d' % config['citus']['group']
    store(want, config)
    pg = config['postgresql']
    server(want, pg, local.get('postgresql'))
    auth, database = pg['authentication'], pg.get('database')
    fetch = auth.get('rewind', auth.get('superuser'))
    if fetch is not None:
        want['source.conninfo'] = login(fetch, dbname=database)
    if 'rewind' in auth and any(auth.get('superuser', {}).get(k) for k in ('password', 'sslcert')):
        want['source.privileged_conninfo'] = login(auth['superuser'], dbname=database)
    if auth.get('replication') is not None:
        want['replication.conninfo'] = login(auth['replication'], dbname=database or 'postgres', sslmode='prefer', gssencmode='prefer', channel_binding='prefer',
                                             krbsrvname=pg.get('krbsrvname'))
    return {k: v if isinstance(v, dict) else str(v) for k, v in want.items() if v not in (None, '', {})}


def main():
    cases = []
    while len(cases) < int(sys.argv[1]):
        files = [document() for _ in range(rnd.choice([0, 1, 1, 1, 2]))]
        env = {'PATRONI_' + k: rnd.choice(v) for k, v in VARIABLES.items() if chance(.08 if files else .35)}
        place = tempfile.mkdtemp()
        for i, text in enumerate(files):
            with open(os.path.join(place, '%d.yml' % i), 'w') as f:
                f.write(text)
        os.environ.update(env)
        try:
            config = Config(place if files else None, validator=None)
            cases.append({'files': files, 'env': env, 'want': expected(config.copy(), config._local_configuration)})
        except (TypeError, ValueError, AttributeError):
            pass  # no configuration that Patroni could work with
        finally:
            shutil.rmtree(place)
            for name in [n for n in os.environ if n.startswith('PATRONI_')]:
                del os.environ[name]
    json.dump(cases, sys.stdout, indent=1, sort_keys=True)


main()
