package patroniconf

import (
	"errors"
	"fmt"
	"strings"
)

// MaxFile is the largest file that Read takes.
const MaxFile = 1 << 20

// File is a file of Patroni's configuration.
type File struct {
	// Name is how messages and origins call it.
	Name    string
	Content []byte
}

// Config is what Patroni's configuration says, in this program's words.
type Config struct {
	// Settings that it gives, each key once.
	Settings []Setting
	// SRV is where the addresses of etcd have to be looked up; nil where
	// Settings has them, or nothing has.
	SRV *SRV
	// Refused says why etcd cannot be asked as Patroni asks its store, nil where
	// it can: errors.Is finds ErrStore when that is another store than etcd v3.
	// What needs no etcd is still possible.
	Refused error
	// Warnings are of what Patroni heeds and this program does not.
	Warnings []string

	root *node
}

// Setting is one of this program's settings with Patroni's value for it.
type Setting struct {
	// Key is the name in this program's configuration file.
	Key string
	// Text is the value, or List for a setting that is a list.
	Text string
	List []string
	// From is where it was found: "FILE:LINE" or "env NAME".
	From string
}

// String does not show the value, which may be a secret.
func (s Setting) String() string { return s.Key + " (" + s.From + ")" }

// GoString is String: %#v must not print secrets either.
func (s Setting) GoString() string { return s.String() }

// String names the settings without their values.
func (c *Config) String() string { return fmt.Sprint(c.Settings) }

// GoString is String.
func (c *Config) GoString() string { return c.String() }

// Read understands Patroni's files, in the order in which Patroni reads them, or
// its environment alone where there is none. All errors are reported together.
func Read(files []File, env map[string]string) (*Config, error) {
	root, err := assemble(files, env)
	if err != nil {
		return nil, err
	}
	t := &translation{root: root}
	t.cluster()
	t.store()
	t.server()
	t.logins()
	if err := errors.Join(t.errs...); err != nil {
		return nil, err
	}
	return &Config{Settings: t.settings, SRV: t.srv, Refused: t.refused, Warnings: t.warnings, root: root}, nil
}

// assemble makes one tree of all sources.
func assemble(files []File, env map[string]string) (*node, error) {
	if len(files) == 0 {
		if whole := env[wholeVariable]; whole != "" {
			return parse(File{Name: "env " + wholeVariable, Content: []byte(whole)})
		}
	}
	root := mappingNode("")
	for _, f := range files {
		n, err := parse(f)
		if err != nil {
			return nil, err
		}
		patch(root, n)
	}
	patch(root, fromEnvironment(env))
	return root, nil
}

func parse(f File) (*node, error) {
	if len(f.Content) > MaxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.Name, MaxFile)
	}
	n, err := newBuilder(f.Name, "").document(f.Content)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, fmt.Errorf("%s: is empty, want Patroni's keys and values", f.Name)
	case n.kind != kindMapping:
		return nil, fmt.Errorf("%s: want keys and values, found %s", n.from, n.kind)
	}
	return n, nil
}

// translation is a Read under way.
type translation struct {
	root     *node
	settings []Setting
	srv      *SRV
	refused  error
	warnings []string
	errs     []error
}

func (t *translation) set(key, value string, from *node) {
	if value != "" {
		t.settings = append(t.settings, Setting{Key: key, Text: value, From: from.from})
	}
}

// copy sets a setting to a text of Patroni's.
func (t *translation) copy(key string, path ...string) {
	t.set(key, t.text(path...), t.root.get(path...))
}

func (t *translation) warn(n *node, format string, args ...any) {
	t.warnings = append(t.warnings, n.from+": "+fmt.Sprintf(format, args...))
}

// fail notes what is wrong, once: some values are looked at twice.
func (t *translation) fail(n *node, format string, args ...any) {
	err := fmt.Errorf("%s: "+format, append([]any{n.from}, args...)...)
	for _, e := range t.errs {
		if e.Error() == err.Error() {
			return
		}
	}
	t.errs = append(t.errs, err)
}

// text is a text of Patroni's; empty where there is none.
func (t *translation) text(path ...string) string {
	return t.textOf(t.root.get(path...), strings.Join(path, "."))
}

// textOf takes a number for text where Python would write it as it stands: a
// password may consist of digits. 0123, which is 83 to Patroni, has to be quoted.
func (t *translation) textOf(n *node, key string) string {
	switch {
	case n == nil || n.kind == kindNull:
		return ""
	case n.kind == kindText || n.kind == kindNumber && plainNumber(n.text):
		return n.text
	case n.kind == kindNumber || n.kind == kindBool || n.kind == kindOther:
		t.fail(n, "%s: want text, found %s: if it is meant as text, write it in quotes", key, n.kind)
	default:
		t.fail(n, "%s: want text, found %s", key, n.kind)
	}
	return ""
}

// plainNumber: a whole number in the one way in which Python writes it.
func plainNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return s == "0" || digits != "" && digits[0] != '0' && strings.Trim(digits, "0123456789") == ""
}

// section is a mapping; nil where there is none.
func (t *translation) section(path ...string) *node {
	n := t.root.get(path...)
	if n != nil && n.kind != kindMapping {
		t.fail(n, "%s: want keys and values, found %s", strings.Join(path, "."), n.kind)
		return nil
	}
	return n
}
