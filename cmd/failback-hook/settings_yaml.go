package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/failback-hook/failback-hook/hook/patroniconf"
)

// maxConfigFile bounds the file that is read into memory.
const maxConfigFile = 1 << 20

// yamlReader walks a YAML file by the table of settings. It walks the nodes
// instead of decoding into a struct with KnownFields because every value's
// line is wanted, as its origin and for errors.
type yamlReader struct {
	file   string
	rows   map[string]setting
	into   *settings
	origin map[string]string
	errs   []error
}

// readYAML sets what the file holds and notes each value's line. All errors
// of the file are reported together.
func readYAML(file string, content []byte, into *settings, origin map[string]string) error {
	r := &yamlReader{file: file, rows: settingsByKey(), into: into, origin: origin}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", file, patroniconf.SafeError(err))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: holds more than one YAML document", file)
	}
	if len(doc.Content) == 1 {
		r.mapping("", doc.Content[0])
	}
	return errors.Join(r.errs...)
}

func (r *yamlReader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: "+format, append([]any{r.file, n.Line}, args...)...))
}

// mapping reads one level of keys. The table has no key below a setting, so
// the recursion is as deep as the table and no deeper.
func (r *yamlReader) mapping(path string, n *yaml.Node) {
	n = follow(n)
	if isNull(n) {
		return // a section whose lines are all commented out
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s: want keys and values here", cmp.Or(path, "the file"))
		return
	}
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		full := key.Value
		if path != "" {
			full = path + "." + key.Value
		}
		if line, ok := lines[full]; ok {
			r.fail(key, "%s: given already on line %d", full, line)
			continue
		}
		lines[full] = key.Line
		r.entry(full, key, value)
	}
}

func (r *yamlReader) entry(full string, key, value *yaml.Node) {
	row, ok := r.rows[full]
	switch {
	case ok:
		if err := r.value(row, follow(value)); err != nil {
			r.fail(value, "%s: %w", full, err)
			return
		}
		r.origin[full] = fmt.Sprintf("%s:%d", r.file, key.Line)
	case r.isSection(full):
		r.mapping(full, value)
	default:
		r.fail(key, "%s: unknown key%s", full, didYouMean(full, r.names()))
	}
}

// value assigns one node to one setting.
func (r *yamlReader) value(row setting, n *yaml.Node) error {
	switch n.Kind {
	case yaml.SequenceNode:
		items := make([]string, 0, len(n.Content))
		for _, c := range n.Content {
			c = follow(c)
			if c.Kind != yaml.ScalarNode || isNull(c) {
				return errors.New("a list of plain values is wanted")
			}
			items = append(items, c.Value)
		}
		return row.assignList(r.into, items)
	case yaml.ScalarNode:
		if isNull(n) {
			return errors.New("has no value: give one or take the line out")
		}
		if _, text := row.field(r.into).(*string); text && n.Tag == "!!bool" && !slices.Contains(row.oneOf, n.Value) {
			return fmt.Errorf("want text: write it in quotes, %q", n.Value)
		}
		return row.assign(r.into, n.Value)
	}
	return errors.New("want a value, not further keys")
}

func (r *yamlReader) isSection(path string) bool {
	for key := range r.rows {
		if strings.HasPrefix(key, path+".") {
			return true
		}
	}
	return false
}

func (r *yamlReader) names() []string {
	var names []string
	for _, s := range settingTable() {
		names = append(names, s.key)
		if section, _, ok := strings.Cut(s.key, "."); ok && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return names
}

// follow gives what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
