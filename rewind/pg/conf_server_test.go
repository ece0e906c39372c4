package pg_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// nastyValues are what quoting can go wrong with.
func nastyValues() []string {
	return []string{
		"plain", "two words", "'", "''", `\`, `\\`, `\'`, `'\`, `it's`, `end\`, "# no comment", "a=b", "=", " lead and trail ",
		`\n \t \b \101 \0`, "tab\there", "cr\rhere", `"double"`, "käse ñ 日本 😀", "\u00a0", "a;b,c:d/e?f&g%41@h", "$PATH `x` $(y)",
		"%p %f", "--", "/* */", "{a}", "-c x=y", "***", strings.Repeat(`\'`, 40), "\b\f",
	}
}

// dataDir makes a cluster that is never started.
func dataDir(t *testing.T, install rewindtest.Install) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	out, err := exec.Command(install.Path("initdb"), "-D", dir, "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return dir
}

// ask gives the value that a server on dir would have for a setting.
func ask(t *testing.T, install rewindtest.Install, dir, name string) string {
	t.Helper()
	out, err := exec.Command(install.Path("postgres"), "-D", dir, "-C", name).Output()
	if err != nil {
		t.Fatalf("postgres -C %s: %v", name, err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func setAutoConf(t *testing.T, dir string, settings ...pg.Setting) {
	t.Helper()
	name := filepath.Join(dir, "postgresql.auto.conf")
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content, err := pg.SetConf(old, settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server reads back exactly what SetConf wrote.
func TestServerReadsConf(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		dir := dataDir(t, install)
		for _, v := range nastyValues() {
			c := pg.Conninfo{{Key: "host", Value: "/tmp"}, {Key: "password", Value: v}}
			setAutoConf(t, dir, pg.Set("primary_conninfo", c.String()), pg.Set("cluster.value", v))
			if got := ask(t, install, dir, "primary_conninfo"); got != c.String() {
				t.Errorf("primary_conninfo\n got %q\nwant %q", got, c)
			}
			if got := ask(t, install, dir, "cluster.value"); got != v {
				t.Errorf("cluster.value: got %q, want %q", got, v)
			}
		}
		setAutoConf(t, dir, pg.Set("cluster.value", ""), pg.Unset("primary_conninfo"))
		if got := ask(t, install, dir, "primary_conninfo") + ask(t, install, dir, "cluster.value"); got != "" {
			t.Errorf("removed and empty settings read as %q", got)
		}
	})
}

// What SetConf wrote survives the server's own rewriting of the file, and
// ParseConf reads what the server makes of it.
func TestConfSurvivesAlterSystem(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		dir := dataDir(t, install)
		all := pg.Conninfo{{Key: "password", Value: strings.Join(nastyValues(), "|")}}
		setAutoConf(t, dir, pg.Set("primary_conninfo", all.String()))
		cmd := exec.Command(install.Path("postgres"), "--single", "-F", "-D", dir, "postgres")
		cmd.Stdin = strings.NewReader("ALTER SYSTEM SET application_name = 'it''s \\ set';\n")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
			t.Fatalf("ALTER SYSTEM: %v\n%s", err, out)
		}
		content, err := os.ReadFile(filepath.Join(dir, "postgresql.auto.conf"))
		if err != nil {
			t.Fatal(err)
		}
		settings, err := pg.ParseConf(content)
		if err != nil {
			t.Fatal(err)
		}
		want := []pg.Setting{pg.Set("primary_conninfo", all.String()), pg.Set("application_name", `it's \ set`)}
		if len(settings) != 2 || settings[0] != want[0] || settings[1] != want[1] {
			t.Errorf("got %v\nwant %v", settings, want)
		}
		if got := ask(t, install, dir, "primary_conninfo"); got != all.String() {
			t.Errorf("primary_conninfo\n got %q\nwant %q", got, all)
		}
	})
}

// initdb's own files can be read.
func TestParseConfOfInitdb(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		content, err := os.ReadFile(filepath.Join(dataDir(t, install), "postgresql.conf"))
		if err != nil {
			t.Fatal(err)
		}
		settings, err := pg.ParseConf(content)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, s := range settings {
			found[s.Name] = s.Value
		}
		if found["lc_messages"] != "C" || found["max_connections"] == "" || len(found) < 10 {
			t.Errorf("read %v", found)
		}
	})
}
