package rewindtest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long anything that the harness waits for may take.
const patience = 60 * time.Second

const logName = "postgresql.log"

// ErrRoot: servers cannot be run by root; see Main and DropRoot.
var ErrRoot = errors.New("PostgreSQL refuses to run as root (a TestMain with rewindtest.Main runs the tests as another user)")

// Node is one data directory and the server on it. Its methods are not for
// several goroutines at once, but for the SQL ones.
type Node struct {
	// Name is its application_name as a standby, and its directory's name.
	Name string
	// Install is the PostgreSQL it runs.
	Install Install
	// Dir is PGDATA.
	Dir string
	// Port on 127.0.0.1; it stays the same for the node's life.
	Port int
	// SocketDir is where its Unix socket is.
	SocketDir string

	root string // holds the nodes of one scene side by side
	opts Options
	port port
	proc *process // of the last Start; nil before
}

// CreatePrimary makes a cluster below root, an existing directory that belongs
// to the caller and is not too deep for a Unix socket, and starts it. Close it.
func CreatePrimary(root string, pg Install, opts Options) (*Node, error) {
	if opts.Name == "" {
		opts.Name = "primary"
	}
	n, err := newNode(root, opts.Name, pg, opts)
	if err != nil {
		return nil, err
	}
	err = n.initdb()
	if err == nil {
		err = n.WriteConf()
	}
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create primary %s: %w", n.Name, err), n.Close())
	}
	return n, nil
}

// CreateStandby copies the running node by a base backup, with tablespaces to
// directories of their own, and starts the copy as its standby. Where there is no
// pg_basebackup the harness makes the backup itself. Close it.
func (n *Node) CreateStandby(opts StandbyOptions) (*Node, error) {
	own := n.opts
	own.Name = opts.Name
	own.Conf = maps.Clone(n.opts.Conf)
	if own.Conf == nil {
		own.Conf = map[string]string{}
	}
	maps.Copy(own.Conf, opts.Conf)
	s, err := newNode(n.root, opts.Name, n.Install, own)
	if err != nil {
		return nil, err
	}
	if s.Install.Has("pg_basebackup") {
		err = s.baseBackup(n, opts.Slot)
	} else {
		err = s.backUpByHand(n, opts.Slot)
	}
	if err == nil {
		err = s.WriteConf()
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create standby %s of %s: %w", s.Name, n.Name, err), s.Close())
	}
	return s, nil
}

// newNode makes the directories and takes a port; PGDATA is not there yet.
func newNode(root, name string, pg Install, opts Options) (*Node, error) {
	if os.Geteuid() == 0 {
		return nil, ErrRoot
	}
	base := filepath.Join(root, name)
	n := &Node{
		Name: name, Install: pg, root: root, opts: opts,
		Dir: filepath.Join(base, "data"), SocketDir: filepath.Join(base, "socket"),
	}
	// sun_path holds 108 bytes, with ".s.PGSQL.nnnnn.lock" and the final zero.
	if len(n.SocketDir) > 85 {
		return nil, fmt.Errorf("create node %s: %s is too deep for a Unix socket", name, root)
	}
	if _, err := os.Lstat(base); err == nil {
		return nil, fmt.Errorf("create node %s: %s is already there", name, base)
	}
	for _, dir := range []string{n.SocketDir, filepath.Join(base, "log")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create node %s: %w", name, err)
		}
	}
	p, err := reservePort()
	if err != nil {
		return nil, fmt.Errorf("create node %s: %w", name, err)
	}
	n.port, n.Port = p, p.number
	return n, nil
}

func (n *Node) base() string { return filepath.Dir(n.Dir) }

func (n *Node) initdb() error {
	if n.opts.Template != "" {
		return CopyDir(n.opts.Template, n.Dir)
	}
	if templates := os.Getenv(templatesEnv); templates != "" && n.opts.Password == "" && len(n.opts.InitArgs) == 0 {
		return n.fromTemplate(templates)
	}
	pwfile := ""
	if n.opts.Password != "" {
		pwfile = filepath.Join(n.base(), "pwfile")
		if err := os.WriteFile(pwfile, []byte(n.opts.Password+"\n"), 0o600); err != nil {
			return err
		}
		defer os.Remove(pwfile)
	}
	_, err := n.run("initdb", n.opts.initArgs(n.Dir, pwfile, n.Install.Major)...)
	return err
}

func (n *Node) baseBackup(upstream *Node, slot string) error {
	args := []string{
		"-D", n.Dir, "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream",
		"--no-sync", "--no-manifest", "--dbname", upstream.plainConninfo("application_name=" + quoteConninfo(n.Name)),
	}
	if slot != "" {
		args = append(args, "--create-slot", "--slot="+slot)
	}
	spaces, err := upstream.Query(`SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace
		WHERE pg_tablespace_location(oid) LIKE '/%'`)
	if err != nil {
		return err
	}
	for _, space := range spaces {
		own := filepath.Join(n.base(), "tablespace", space[0])
		args = append(args, "--tablespace-mapping="+escapeMapping(space[1])+"="+escapeMapping(own))
	}
	_, err = n.run("pg_basebackup", args...)
	return err
}

func escapeMapping(dir string) string { return strings.ReplaceAll(dir, "=", `\=`) }

// WriteConf writes postgresql.conf anew: the harness's settings and those of
// Options.Conf. It undoes what pg_rewind copied over it.
func (n *Node) WriteConf() error {
	return os.WriteFile(filepath.Join(n.Dir, "postgresql.conf"), []byte(confText(n.settings())), 0o600)
}

// SetConf changes one setting in postgresql.conf for good; a running server is
// told to read it, one that needs a restart for it is not restarted.
func (n *Node) SetConf(name, value string) error {
	conf := maps.Clone(n.opts.Conf)
	if conf == nil {
		conf = map[string]string{}
	}
	conf[name] = value
	n.opts.Conf = conf
	if err := n.WriteConf(); err != nil {
		return err
	}
	if !n.Running() {
		return nil
	}
	return n.Exec("SELECT pg_reload_conf()")
}

// Follow makes the stopped node a standby of upstream: standby.signal, and
// primary_conninfo at the end of postgresql.auto.conf, where the last one counts.
func (n *Node) Follow(upstream *Node) error { return n.follow(upstream, "") }

func (n *Node) follow(upstream *Node, slot string) error {
	auto, err := os.OpenFile(filepath.Join(n.Dir, "postgresql.auto.conf"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	conninfo := upstream.Conninfo("application_name=" + quoteConninfo(n.Name))
	_, err = fmt.Fprintf(auto, "primary_conninfo = %s\nprimary_slot_name = %s\n", quoteConf(conninfo), quoteConf(slot))
	if err := errors.Join(err, auto.Close()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.Dir, "standby.signal"), nil, 0o600)
}

// Conninfo is a libpq connection string over TCP for the superuser and database
// postgres, with the password if there is one. Words of extra are appended and
// win over the same keys before them: "dbname=other".
func (n *Node) Conninfo(extra ...string) string {
	if n.opts.Password != "" {
		extra = append([]string{"password=" + quoteConninfo(n.opts.Password)}, extra...)
	}
	return n.plainConninfo(extra...)
}

// plainConninfo has no password, so that it may appear in a process list.
func (n *Node) plainConninfo(extra ...string) string {
	words := []string{"host=127.0.0.1", "port=" + strconv.Itoa(n.Port), "user=postgres", "dbname=postgres"}
	return strings.Join(append(words, extra...), " ")
}

// run runs one of PostgreSQL's programs to its end; an error holds its output.
func (n *Node) run(program string, args ...string) (output string, err error) {
	return runProgram(n.Install, n.environ(), program, args...)
}

func runProgram(pg Install, env []string, program string, args ...string) (output string, err error) {
	cmd := exec.Command(pg.Path(program), args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %s: %w\n%s", program, err, out)
	}
	return string(out), nil
}

// environ is this program's environment without libpq's variables, and with
// PostgreSQL's messages in English.
func (n *Node) environ() []string {
	env := cleanEnviron()
	if n.opts.Password != "" {
		env = append(env, "PGPASSWORD="+n.opts.Password)
	}
	return env
}

func cleanEnviron() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG")
	})
	return append(env, "LC_ALL=C")
}
