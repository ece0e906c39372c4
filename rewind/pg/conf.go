package pg

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Setting is one assignment of a configuration file. SetConf takes two kinds of
// it: those made by Set and those made by Unset.
type Setting struct {
	// Name as written; upper and lower case mean the same.
	Name string
	// Value is plain, without quotes and escapes.
	Value string
	// Remove asks SetConf to remove the setting; Value means nothing then.
	Remove bool
}

// Set is a setting with a value. An empty value is a value.
func Set(name, value string) Setting { return Setting{Name: name, Value: value} }

// Unset asks SetConf to remove a setting.
func Unset(name string) Setting { return Setting{Name: name, Remove: true} }

// QuoteConf writes a value as a literal for postgresql.conf: quotes and
// backslashes doubled, as the server's own escape_single_quotes_ascii does, and
// control characters that would end the line or vanish written as escapes,
// which utils/misc/guc-file.l takes back. A zero byte cannot be expressed and
// ends the value, as it does in the server.
func QuoteConf(value string) string {
	value, _, _ = strings.Cut(value, "\x00")
	return "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(value) + "'"
}

// SetConf edits the text of a postgresql.auto.conf. Every assignment of the
// named settings goes, however it is spelled, and the new ones are appended in
// the order given; all other lines stay byte for byte. A second call with the
// same settings changes nothing.
//
// A value with a line feed is refused although a server would read it: its next
// ALTER SYSTEM would write it unescaped and so make the file unreadable, which
// is why ALTER SYSTEM itself refuses such values.
func SetConf(content []byte, settings []Setting) ([]byte, error) {
	named := map[string]bool{}
	for _, s := range settings {
		key := foldName(s.Name)
		switch {
		case !validSettingName(s.Name):
			return nil, fmt.Errorf("set configuration: %.64q is not the name of a setting", s.Name)
		case named[key]:
			return nil, fmt.Errorf("set configuration: %s is there twice", s.Name)
		case !s.Remove && strings.ContainsAny(s.Value, "\n\x00"):
			return nil, fmt.Errorf("set configuration: the value of %s holds a line feed or a zero byte", s.Name)
		}
		named[key] = true
	}
	var out bytes.Buffer
	for line := range bytes.Lines(content) {
		if name, _ := cutName(string(line)); !named[foldName(name)] {
			out.Write(line)
		}
	}
	for _, s := range settings {
		if s.Remove {
			continue
		}
		if n := out.Len(); n > 0 && out.Bytes()[n-1] != '\n' {
			out.WriteByte('\n')
		}
		out.WriteString(s.Name + " = " + QuoteConf(s.Value) + "\n")
	}
	return out.Bytes(), nil
}

// ParseConf reads the assignments of a postgresql.conf or postgresql.auto.conf
// in their order; of several with one name the last counts. Comments and include
// directives are passed over. Values come back as the server would take them:
// units and spellings of booleans are not interpreted. Errors tell the line
// and not what is in it.
func ParseConf(content []byte) ([]Setting, error) {
	var settings []Setting
	number := 0
	for line := range bytes.Lines(content) {
		number++
		s, err := parseConfLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("parse configuration: line %d: %w", number, err)
		}
		switch foldName(s.Name) {
		case "", "include", "include_if_exists", "include_dir":
		default:
			settings = append(settings, s)
		}
	}
	return settings, nil
}

// parseConfLine reads "name = value", "name value" or nothing. No assignment
// goes over more than one line: quoted strings cannot hold a line feed.
func parseConfLine(line string) (Setting, error) {
	line = strings.TrimSuffix(line, "\n")
	if isConfEnd(line) {
		return Setting{}, nil
	}
	name, rest := cutName(line)
	if !validSettingName(name) {
		return Setting{}, errors.New("no name of a setting")
	}
	rest = trimConfSpace(rest)
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = trimConfSpace(after)
	}
	value, rest, ok := cutConfValue(rest)
	if !ok {
		return Setting{}, errors.New("no value, or a quote that is not closed")
	}
	if !isConfEnd(rest) {
		return Setting{}, errors.New("more than one value")
	}
	return Setting{Name: name, Value: value}, nil
}

// isConfEnd tells whether nothing but a comment follows.
func isConfEnd(s string) bool {
	s = trimConfSpace(s)
	return s == "" || s[0] == '#'
}

func trimConfSpace(s string) string { return strings.TrimLeft(s, " \t\r") }

// cutName takes the name at the beginning of a line: an identifier, or two
// with a point between. It is empty when there is none.
func cutName(line string) (name, rest string) {
	line = trimConfSpace(line)
	end := 0
	for end < len(line) && (isConfLetter(line[end]) || end > 0 && (isDigit(line[end]) || line[end] == '.')) {
		end++
	}
	return line[:end], line[end:]
}

// cutConfValue takes a value: a quoted string, or a number or word without
// quotes (STRING, INTEGER, REAL, ID and UNQUOTED_STRING in guc-file.l).
func cutConfValue(s string) (value, rest string, ok bool) {
	if strings.HasPrefix(s, "'") {
		return cutConfString(s[1:])
	}
	end := 0
	for end < len(s) && (isConfLetter(s[end]) || isDigit(s[end]) || strings.IndexByte("+-._:/", s[end]) >= 0) {
		end++
	}
	return s[:end], s[end:], end > 0
}

// cutConfString takes a quoted string behind its opening quote.
func cutConfString(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'' && strings.HasPrefix(s[i+1:], "'"):
			b.WriteByte('\'')
			i++
		case s[i] == '\'':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i += unescapeConf(&b, s[i+1:])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// unescapeConf writes what stands behind a backslash and tells how long that
// was (DeescapeQuotedString in guc-file.l).
func unescapeConf(b *strings.Builder, s string) int {
	switch c := s[0]; c {
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n, octal := 0, byte(0)
		for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			octal = octal<<3 | s[n] - '0'
			n++
		}
		b.WriteByte(octal)
		return n
	default:
		b.WriteByte(c)
	}
	return 1
}

// isConfLetter tells what may begin a name; bytes outside ASCII may.
func isConfLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// validSettingName tells whether s is an identifier or two with a point
// between, and not so long that it must be something else.
func validSettingName(s string) bool {
	if len(s) > 1024 {
		return false
	}
	first, second, two := strings.Cut(s, ".")
	return isConfIdentifier(first) && (!two || isConfIdentifier(second))
}

func isConfIdentifier(s string) bool {
	for i := range len(s) {
		if !isConfLetter(s[i]) && (i == 0 || !isDigit(s[i])) {
			return false
		}
	}
	return s != ""
}

// foldName makes names comparable as guc_name_compare does: in ASCII only, and
// byte by byte, because a name need not be UTF-8.
func foldName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
