package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPrecedence(t *testing.T) {
	file := writeConfig(t, "scope: s\netcd:\n  endpoints: [file:1, \"file:2,comma\"]\n  dial_timeout: 7s\n")
	all := func(drop ...string) sources {
		s := sources{
			file:  file,
			flags: map[string]string{"etcd-endpoints": "flag:1,flag:2"},
			env: map[string]string{
				"FAILBACK_HOOK_ETCD_ENDPOINTS": "env:1", "ETCDCTL_ENDPOINTS": "etcdctl:1",
				"FAILBACK_HOOK_ETCD_DIAL_TIMEOUT": "", "ETCDCTL_DIAL_TIMEOUT": "9s",
			},
			defaultFile: "/nonexistent/f.yml",
		}
		for _, d := range drop {
			switch d {
			case "flags":
				s.flags = nil
			case "file":
				s.file = ""
			default:
				delete(s.env, d)
			}
		}
		return s
	}
	tests := []struct {
		name   string
		src    sources
		want   []string
		origin string
	}{
		{"flag before all", all(), []string{"flag:1", "flag:2"}, "--etcd-endpoints"},
		{"then our environment", all("flags"), []string{"env:1"}, "env FAILBACK_HOOK_ETCD_ENDPOINTS"},
		{"then the file", all("flags", "FAILBACK_HOOK_ETCD_ENDPOINTS"), []string{"file:1", "file:2,comma"}, file + ":3"},
		{"then etcdctl's", all("flags", "FAILBACK_HOOK_ETCD_ENDPOINTS", "file"), []string{"etcdctl:1"}, "env ETCDCTL_ENDPOINTS"},
		{"then the default", all("flags", "FAILBACK_HOOK_ETCD_ENDPOINTS", "file", "ETCDCTL_ENDPOINTS"), []string{"127.0.0.1:2379"}, "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(tt.src)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.settings.Etcd.Endpoints); diff != "" {
				t.Error(diff)
			}
			if got := c.origin["etcd.endpoints"]; got != tt.origin {
				t.Errorf("origin %q, want %q", got, tt.origin)
			}
		})
	}
	c, err := load(all())
	if err != nil {
		t.Fatal(err)
	}
	if c.settings.Etcd.DialTimeout != 7*time.Second {
		t.Errorf("dial_timeout %s: an empty variable must count as absent, and the file goes before ETCDCTL_*", c.settings.Etcd.DialTimeout)
	}
}

func TestForeignEnvironment(t *testing.T) {
	c, err := load(sources{env: map[string]string{
		"ETCDCTL_USER": "root:a:b", "ETCDCTL_INSECURE_SKIP_TLS_VERIFY": "true", "PGDATA": "/pg",
		"ETCDCTL_CACERT": "/ca", "ETCDCTL_CERT": "/cert", "ETCDCTL_KEY": "/key",
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.settings.Etcd.Username, c.settings.Etcd.Password, c.settings.Etcd.InsecureSkipVerify, c.settings.PostgreSQL.DataDir,
		c.settings.Etcd.CACert, c.settings.Etcd.Cert, c.settings.Etcd.Key}
	if diff := cmp.Diff([]any{"root", "a:b", true, "/pg", "/ca", "/cert", "/key"}, got); diff != "" {
		t.Error(diff)
	}
	c, err = load(sources{env: map[string]string{"ETCDCTL_USER": "root", "ETCDCTL_PASSWORD": "pw"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.settings.Etcd.Username + "/" + c.settings.Etcd.Password; got != "root/pw" {
		t.Errorf("got %s", got)
	}
}

// TestEverySetting sets each row by each of its doors, so that no row can be
// wired to another row's field.
func TestEverySetting(t *testing.T) {
	silent := writeConfig(t, "watchdog: {mode: off}\n") // a Patroni's that sets nothing here
	sample := func(row setting) string {
		switch row.field(new(settings)).(type) {
		case *bool:
			return "true"
		case *int:
			return "7"
		case *time.Duration:
			return "42s"
		case *[]string:
			return "one,two"
		}
		if row.key == "patroni_config" {
			return silent
		}
		if len(row.oneOf) > 0 {
			return row.oneOf[len(row.oneOf)-1]
		}
		return "/x/y"
	}
	doors := map[string]func(setting, string) sources{
		"flag": func(r setting, v string) sources { return sources{flags: map[string]string{r.flag(): v}} },
		"env":  func(r setting, v string) sources { return sources{env: map[string]string{r.env(): v}} },
		"yaml": func(r setting, v string) sources {
			section, name, ok := strings.Cut(r.key, ".")
			text := r.key + ": " + v
			if ok {
				text = section + ":\n  " + name + ": " + v
			}
			return sources{file: writeConfig(t, text)}
		},
	}
	defaults, err := load(sources{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, row := range settingTable() {
		if row.help == "" || seen[row.key] || row.flag() != "" && seen["--"+row.flag()] {
			t.Errorf("%s: no help, or a name given twice", row.key)
		}
		seen[row.key], seen["--"+row.flag()] = true, true
		for name, door := range doors {
			if name == "flag" && row.flag() == "" {
				continue
			}
			c, err := load(door(row, sample(row)))
			if err != nil {
				t.Errorf("%s by %s: %v", row.key, name, err)
				continue
			}
			for _, other := range settingTable() {
				changed := !cmp.Equal(other.shown(&defaults.settings), other.shown(&c.settings))
				if changed != (other.key == row.key) {
					t.Errorf("%s by %s: %s changed: %t", row.key, name, other.key, changed)
				}
			}
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	file := writeConfig(t, "lock:\n  ttl: 30\nnonsense: 1\n")
	_, err := load(sources{
		file:  file,
		env:   map[string]string{"FAILBACK_HOOK_TIMEOUT": "soon"},
		flags: map[string]string{"source-connections": "0"},
	})
	for _, want := range []string{"lock.ttl", "nonsense", "env FAILBACK_HOOK_TIMEOUT", "--source-connections"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestPasswordOnCommandLine(t *testing.T) {
	for _, option := range []string{"--source-conninfo", "--source-privileged-conninfo", "--replication-conninfo"} {
		for _, conninfo := range []string{"user=a password=secret", "postgresql://a:secret@/x", "user=a sslpassword=secret"} {
			got := run(t, nil, nil, append(node(), option, conninfo)...)
			if got.code != exitUsage || !strings.Contains(got.stderr, option+": a password may not be given") ||
				!strings.Contains(got.stderr, "hint: everybody on this host can read it") {
				t.Errorf("%s %s: %+v", option, conninfo, got)
			}
			if strings.Contains(got.stderr, "=secret") || strings.Contains(got.stderr, ":secret") {
				t.Errorf("the password is shown: %s", got.stderr)
			}
		}
	}
	for _, row := range settingTable() {
		if row.secret && row.flag() != "" {
			t.Errorf("%s is secret and has an option", row.key)
		}
	}
}

func TestCheck(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := map[string]string{"scope": "main", "name": "n1", "data-dir": "/pgdata"}
	with := func(kv ...string) map[string]string {
		m := make(map[string]string)
		for k, v := range base {
			m[k] = v
		}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	tests := []struct {
		name  string
		flags map[string]string
		env   map[string]string
		want  string // empty: no error
	}{
		{"enough", base, nil, ""},
		{"nothing", nil, nil, "scope is not set: use --scope, FAILBACK_HOOK_SCOPE or the configuration file"},
		{"command without commands", with("control", "command"), nil, "postgresql.stop_command (not set)"},
		{"relative directory", with("data-dir", "x"), nil, `postgresql.data_dir (--data-dir): "x" is not an absolute path`},
		{"certificate without key", with("etcd-cert", "/c"), nil, "etcd: "},
		{"two passwords", with("etcd-password-file", password, "etcd-username", "u"), map[string]string{"FAILBACK_HOOK_ETCD_PASSWORD": "x"},
			"etcd.password (env FAILBACK_HOOK_ETCD_PASSWORD) and etcd.password_file (--etcd-password-file) are both set"},
		{"password file", with("etcd-password-file", password, "etcd-username", "u"), nil, ""},
		{"no such password file", with("etcd-password-file", "/nonexistent"), nil, "etcd.password_file: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(sources{flags: tt.flags, env: tt.env})
			if err != nil {
				t.Fatal(err)
			}
			err = c.check()
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, errInput)):
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
	c, err := load(sources{flags: with("etcd-password-file", password)})
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err := c.settings.dcsConfig(); err != nil || cfg.Password != "from file" {
		t.Errorf("password %q, %v", cfg.Password, err)
	}
}

// TestDefaults compares the table's defaults with those of the packages that
// use them: config show must not tell another truth.
func TestDefaults(t *testing.T) {
	c, err := load(sources{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.settings.dcsConfig()
	if err != nil {
		t.Fatal(err)
	}
	want := dcs.ClientConfig{
		Endpoints: got.Endpoints, Layout: dcs.LayoutPatroni, Namespace: dcs.DefaultNamespace, LockPrefix: dcs.DefaultLockPrefix,
		DialTimeout: dcs.DefaultDialTimeout, RequestTimeout: dcs.DefaultRequestTimeout,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantHook := hook.Config{
		RestoreCommand: hook.DefaultRestoreCommand,
		Slots:          hook.DefaultSlots, Control: hook.DefaultControl, StartLog: hook.DefaultStartLog,
		StopTimeout: hook.DefaultStopTimeout, StartTimeout: hook.DefaultStartTimeout, StreamTimeout: hook.DefaultStreamTimeout,
		OnFailure:     hook.DefaultOnFailure,
		Salvage:       rewind.Salvage{Keep: 5, MaxAge: 30 * 24 * time.Hour},
		SettleTimeout: hook.DefaultSettleTimeout, Wait: hook.DefaultWait, Connections: hook.DefaultConnections,
		LockLimit: hook.DefaultLockLimit, LockTTL: hook.DefaultLockTTL, Version: "v",
	}
	if diff := cmp.Diff(wantHook, c.settings.hookConfig("v")); diff != "" {
		t.Error(diff)
	}
	if got := c.settings.Source.Silence; got != source.DefaultSilence {
		t.Errorf("source.silence is %s, package source's default %s", got, source.DefaultSilence)
	}
	c.settings.PostgreSQL.SettleTimeout, c.settings.Wait = 0, 0
	if got := c.settings.hookConfig(""); got.SettleTimeout >= 0 || got.Wait >= 0 {
		t.Errorf("0s became %s and %s: package hook takes zero for its default", got.SettleTimeout, got.Wait)
	}
}

func TestReadableSecretWarning(t *testing.T) {
	file := writeConfig(t, "etcd:\n  password: x\n")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		c, err := load(sources{file: file})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.warnings) == 1; got != want {
			t.Errorf("mode %o: warnings %v", mode, c.warnings)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"scope", "scpoe", 2}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
