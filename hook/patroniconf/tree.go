package patroniconf

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kind is what a value is, in words for error messages.
type kind string

const (
	kindText    kind = "text"
	kindNumber  kind = "a number"
	kindBool    kind = "true or false"
	kindNull    kind = "nothing"
	kindList    kind = "a list"
	kindMapping kind = "keys and values"
	kindOther   kind = "a value with a tag or a date"
)

// node is one value with everything below it and where it came from.
type node struct {
	kind  kind
	text  string
	from  string // "FILE:LINE" or "env NAME"
	items []*node
	keys  map[string]*node
}

// get follows keys downwards; nil where there is nothing, or null.
func (n *node) get(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		n = n.keys[key]
	}
	if n == nil || n.kind == kindNull {
		return nil
	}
	return n
}

// Bounds of what one document may hold. A configuration has a few hundred
// values; aliases can make millions out of a few lines.
const (
	maxNodes = 50_000
	maxDepth = 64
)

var (
	errTooMany = errors.New("more values than any configuration has: do aliases multiply them?")
	errTooDeep = errors.New("nested too deeply: does an alias hold itself?")
)

// builder makes nodes of YAML's.
type builder struct {
	file string
	// from is the origin of every node, in the place of file and line.
	from    string
	left    int
	numbers *regexp.Regexp
	dates   *regexp.Regexp
}

// newBuilder: from may be empty, then nodes come from lines of the file.
func newBuilder(file, from string) *builder {
	return &builder{
		file: file, from: from, left: maxNodes,
		// The implicit types of YAML 1.1, as PyYAML has them.
		numbers: regexp.MustCompile(`^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+` +
			`|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
			`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`),
		dates: regexp.MustCompile(`^[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:$|[Tt \t])`),
	}
}

// document parses one document. One that is empty is nil.
func (b *builder) document(content []byte) (*node, error) {
	dec := yaml.NewDecoder(strings.NewReader(string(content)))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", b.file, SafeError(err))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.file, SafeError(err))
		}
		return nil, fmt.Errorf("%s: holds more than one YAML document", b.file)
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	n, err := b.build(doc.Content[0], doc.Content[0].Line, 0)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// SafeError keeps out of sight what may be a password that begins with "*": the
// message of the YAML parser quotes the name of an alias.
func SafeError(err error) error {
	if strings.Contains(err.Error(), "unknown anchor") {
		return errors.New("an alias stands for no anchor: text that begins with * has to be quoted")
	}
	return err
}

func (b *builder) at(line int) string {
	if b.from != "" {
		return b.from
	}
	return fmt.Sprintf("%s:%d", b.file, line)
}

// build copies a YAML node and what is below it. line is that of its key, which
// is where a person looks.
func (b *builder) build(y *yaml.Node, line, depth int) (*node, error) {
	if b.left--; b.left < 0 {
		return nil, fmt.Errorf("%s: %w", b.at(line), errTooMany)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: %w", b.at(line), errTooDeep)
	}
	n := &node{from: b.at(line)}
	switch y.Kind {
	case yaml.AliasNode:
		return b.build(y.Alias, line, depth+1)
	case yaml.SequenceNode:
		n.kind = kindList
		for _, item := range y.Content {
			made, err := b.build(item, item.Line, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, made)
		}
	case yaml.MappingNode:
		n.kind, n.keys = kindMapping, make(map[string]*node)
		return n, b.mapping(y, n.keys, depth)
	default:
		n.kind, n.text = b.scalar(y), y.Value
	}
	return n, nil
}

// mapping takes what is merged first: keys of the mapping itself go before
// merged ones wherever they stand, and of two alike the last counts.
func (b *builder) mapping(y *yaml.Node, into map[string]*node, depth int) error {
	for i := 0; i+1 < len(y.Content); i += 2 {
		if y.Content[i].Tag == "!!merge" {
			if err := b.merge(y.Content[i+1], y.Content[i].Line, into, depth+1); err != nil {
				return err
			}
		}
	}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		for hops := 0; key.Kind == yaml.AliasNode && hops < maxDepth; hops++ {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			continue
		}
		n, err := b.build(y.Content[i+1], y.Content[i].Line, depth+1)
		if err != nil {
			return err
		}
		into[key.Value] = n
	}
	return nil
}

// merge takes over the keys of a mapping, or of each mapping in a list, of
// which the first counts most.
func (b *builder) merge(y *yaml.Node, line int, into map[string]*node, depth int) error {
	made, err := b.build(y, line, depth)
	if err != nil {
		return err
	}
	all := []*node{made}
	if made.kind == kindList {
		all = made.items
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].kind != kindMapping {
			return fmt.Errorf("%s: <<: want keys and values to merge, found %s", b.at(line), all[i].kind)
		}
		for key, n := range all[i].keys {
			into[key] = n
		}
	}
	return nil
}

// scalar tells the kind of a scalar by the rules of YAML 1.1.
func (b *builder) scalar(y *yaml.Node) kind {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if y.Style&yaml.TaggedStyle != 0 {
		if y.Tag == "!!str" {
			return kindText
		}
		return kindOther
	}
	if y.Style&quoted != 0 {
		return kindText
	}
	switch y.Value {
	case "", "~", "null", "Null", "NULL":
		return kindNull
	}
	switch strings.ToLower(y.Value) {
	case "yes", "no", "true", "false", "on", "off":
		if oneCase(y.Value) {
			return kindBool
		}
		return kindText
	}
	switch {
	case b.numbers.MatchString(y.Value):
		return kindNumber
	case b.dates.MatchString(y.Value):
		return kindOther
	}
	return kindText
}

// oneCase: yes, Yes and YES are booleans, yEs is not.
func oneCase(s string) bool {
	return s == strings.ToLower(s) || s == strings.ToUpper(s) || s[1:] == strings.ToLower(s[1:])
}

// patch puts data over what is there, as Patroni does: mappings are merged key
// by key, null takes a key out, everything else replaces what was there. A
// mapping that meets nothing, or no mapping, is taken whole, nulls included.
func patch(over, data *node) {
	for key, value := range data.keys {
		was, there := over.keys[key]
		switch {
		case value.kind == kindNull:
			delete(over.keys, key)
		case there && value.kind == kindMapping && was.kind == kindMapping:
			patch(was, value)
		default:
			over.keys[key] = value
		}
	}
}
