package patroniconf

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestKinds has the types that PyYAML gives to plain scalars.
func TestKinds(t *testing.T) {
	for want, texts := range map[kind][]string{
		kindText: {"a", "'12'", `"on"`, "10.0.0.1:2379", "1.2.3", "yEs", "y", "n", "1e3", "0x", "09", "08", "1:60", "1:2:3a", "!!str 12", "-a", "+", ".", "2026-11",
			"etcd:2379", "Null1", "nUll", "|-\n  012"},
		kindNumber: {"0", "12", "-12", "+1", "0777", "0b11", "0x1F", "1_000", "1:30", "1.5", "1.", ".5", "1.0e+3", ".inf", "-.INF", ".NaN", "190:20:30.15"},
		kindBool:   {"on", "Off", "YES", "no", "true", "False", "TRUE"},
		kindNull:   {"", "~", "null", "Null", "NULL"},
		kindOther:  {"2026-11-21", "2026-1-2 03:04:05", "!!int '5'", "!vault x", "!!binary aGk="},
	} {
		for _, text := range texts {
			n, err := newBuilder("f", "").document([]byte("k: " + text + "\n"))
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if got := n.keys["k"].kind; got != want {
				t.Errorf("%s is %s, want %s", text, got, want)
			}
		}
	}
}

// TestMergeKeys: own keys before merged ones wherever they stand, the first of a
// list before the later ones, and of two alike the last.
func TestMergeKeys(t *testing.T) {
	const text = `
a: &a {x: a, y: a, z: a}
b: &b {<<: *a, y: b, w: b}
one: {x: own, <<: *b}
list: {<<: [{x: first}, *b, {v: last, w: last}], y: own}
twice: {x: 1, x: 2}
quoted: {"<<": text}
`
	n, err := newBuilder("f", "").document([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"one.x": "own", "one.y": "b", "one.z": "a", "one.w": "b",
		"list.x": "first", "list.y": "own", "list.z": "a", "list.w": "b", "list.v": "last",
		"twice.x": "2", "quoted.<<": "text",
	} {
		got := n.get(strings.Split(path, ".")...)
		if got == nil || got.text != want {
			t.Errorf("%s: %+v, want %q", path, got, want)
		}
	}
}

// TestAliasBombs: what a few lines unfold to, or never end to be, is refused in
// no time.
func TestAliasBombs(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	merges := "m0: &m0 {a: x, b: x, c: x, d: x, e: x}\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
		merges += fmt.Sprintf("m%d: &m%d {<<: [%s], k%d: *m%d}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*m%d, ", i-1), 10), ", "), i, i-1)
	}
	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"laughs":     {laughs, errTooMany},
		"merges":     {merges, errTooMany},
		"itself":     {"a: &a {b: *a}\n", errTooDeep},
		"in a list":  {"a: &a [*a]\n", errTooDeep},
		"merged":     {"a: &a {<<: *a}\n", errTooDeep},
		"as its key": {"a: &a {? *a : x}\n", nil},
		"deep":       {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n", errTooDeep},
		"wide":       {"a: [" + strings.Repeat("x,", maxNodes) + "]\n", errTooMany},
	} {
		begun := time.Now()
		_, err := Read(file(tt.text+"etcd3: {host: h}\n"), nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// FuzzRead: any bytes, as a file and as variables, end in settings or an error.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"scope: a\nname: b\netcd3: {hosts: 'a:1,b:2', protocol: https, cert: /c}\n",
		"a: &a {b: *a}\n", "x: &x {k: v}\netcd3:\n  <<: [*x, {url: 'http://u:p@h'}]\n", "postgresql: {authentication: {rewind: {password: 0123}}}\n",
		"namespace: //\ncitus: {group: 1, database: d}\nrestapi: {listen: ':1', auth: 'a:b'}\nctl: {insecure: maybe}\n",
		"- a:1\n- [b]\n", "? [a]\n: b\n", "etcd3: {srv: d, host: '[::1]'}\n", "!!binary x: !y z\n",
	} {
		f.Add([]byte(text), text)
	}
	f.Fuzz(func(t *testing.T, content []byte, variable string) {
		env := map[string]string{}
		for _, name := range []string{"CONFIGURATION", "SCOPE", "ETCD3_HOSTS", "ETCD3_PORT", "CITUS_GROUP", "REWIND_PASSWORD", "POSTGRESQL_BIN_PG_CTL", "CTL_INSECURE"} {
			env[envPrefix+name] = variable
		}
		for _, files := range [][]File{nil, {{"a", content}}, {{"a", content}, {"b", []byte(variable)}}} {
			c, err := Read(files, env)
			if err != nil {
				continue
			}
			for _, s := range c.Settings {
				if s.Key == "" || s.From == "" || s.Text == "" && len(s.List) == 0 {
					t.Errorf("half a setting: %s %q %q", s, s.Text, s.List)
				}
			}
			if _, err := c.REST(); err != nil && err.Error() == "" {
				t.Error("an error that says nothing")
			}
		}
	})
}
