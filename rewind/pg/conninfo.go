package pg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Param is one keyword of a connection string with its value.
type Param struct{ Key, Value string }

// Conninfo is a connection string of libpq: keywords and their values, each
// keyword once, in the order in which they were first given. Values are plain:
// quoting belongs to String and ParseConninfo.
//
// It may hold passwords. Show it with Redacted.
type Conninfo []Param

// ParseConninfo reads a connection string as libpq 13 to 18 does, in both of
// its forms: "host=a port=5432", with single quotes and backslashes, and
// "postgresql://user:password@a:5432,b:5433/db?sslmode=require". Of a keyword
// that occurs twice the last value counts. The keywords themselves are not
// checked; environment, password file and service file are not looked at.
//
// Errors tell the place and quote nothing: a misplaced quote or space can make
// any part of the string a part of the password.
func ParseConninfo(s string) (Conninfo, error) {
	if at := strings.IndexByte(s, 0); at >= 0 {
		return nil, conninfoError(at, "zero byte")
	}
	for _, scheme := range []string{"postgresql://", "postgres://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			u := uriParser{rest: rest, at: len(scheme)}
			return u.parse()
		}
	}
	return parseKeywords(s)
}

func conninfoError(at int, what string) error {
	return fmt.Errorf("parse connection string: %s at byte %d", what, at+1)
}

// parseKeywords follows conninfo_parse in interfaces/libpq/fe-connect.c, which
// also takes "a='1'b='2'" and "a = 1".
func parseKeywords(s string) (Conninfo, error) {
	var c Conninfo
	for i := skipSpace(s, 0); i < len(s); i = skipSpace(s, i) {
		start := i
		for i < len(s) && s[i] != '=' && !isSpace(s[i]) {
			i++
		}
		key := s[start:i]
		i = skipSpace(s, i)
		if i == len(s) || s[i] != '=' {
			return nil, conninfoError(i, `missing "="`)
		}
		if !validKeyword(key) {
			return nil, conninfoError(start, "no keyword")
		}
		value, next, ok := parseValue(s, skipSpace(s, i+1))
		if !ok {
			return nil, conninfoError(next, "missing closing quote")
		}
		c.Set(key, value)
		i = next
	}
	return c, nil
}

// parseValue reads one value from s[i:] and tells where it ends. A backslash
// takes the next character as it is, inside and outside of quotes.
func parseValue(s string, i int) (value string, next int, ok bool) {
	quoted := i < len(s) && s[i] == '\''
	if quoted {
		i++
	}
	var b strings.Builder
	for ; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\'':
			return b.String(), i + 1, true
		case !quoted && isSpace(s[i]):
			return b.String(), i, true
		case s[i] == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), min(i, len(s)), !quoted
}

func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

// isSpace is C's isspace in the C locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// validKeyword tells whether s can be one of libpq's keywords: all of them are
// letters, digits and underscores.
func validKeyword(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// String prints the keyword form, quoted where needed. It shows passwords.
func (c Conninfo) String() string {
	parts := make([]string, len(c))
	for i, p := range c {
		parts[i] = p.Key + "=" + quoteConninfo(p.Value)
	}
	return strings.Join(parts, " ")
}

// Redacted prints the keyword form with "***" for every secret.
func (c Conninfo) Redacted() string {
	shown := slices.Clone(c)
	for i, p := range shown {
		if secretKeyword(p.Key) {
			shown[i].Value = "***"
		}
	}
	return shown.String()
}

// secretKeyword tells whether a keyword's value gives access to something:
// libpq marks these with "*" or hides them from messages (18 added the last three).
func secretKeyword(key string) bool {
	switch strings.ToLower(key) {
	case "password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key":
		return true
	}
	return false
}

// quoteConninfo writes a value so that libpq reads it back unchanged. Bytes
// outside ASCII are quoted: some isspace takes them for spaces.
func quoteConninfo(value string) string {
	plain := value != ""
	for i := range len(value) {
		plain = plain && (isAlnum(value[i]) || strings.IndexByte("_.-+/:,@*%~", value[i]) >= 0)
	}
	if plain {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Get gives the value of a keyword.
func (c Conninfo) Get(key string) (value string, ok bool) {
	if i := c.index(key); i >= 0 {
		return c[i].Value, true
	}
	return "", false
}

// Set gives a keyword a value, in its place if it is there and at the end
// otherwise. libpq takes an empty value for one that is not given. Copies that
// were made of *c before keep what they have, as with Delete.
func (c *Conninfo) Set(key, value string) {
	params := slices.Clone(*c)
	if i := c.index(key); i >= 0 {
		params[i].Value = value
	} else {
		params = append(params, Param{key, value})
	}
	*c = params
}

// Delete removes a keyword; one that is not there is no error.
func (c *Conninfo) Delete(key string) { *c = c.Without(key) }

// Without gives a copy that lacks some keywords.
func (c Conninfo) Without(keys ...string) Conninfo {
	return slices.DeleteFunc(slices.Clone(c), func(p Param) bool { return slices.Contains(keys, p.Key) })
}

func (c Conninfo) index(key string) int {
	return slices.IndexFunc(c, func(p Param) bool { return p.Key == key })
}

// Validate tells whether String gives something that libpq can read: every key
// is a keyword and no value holds a zero byte. What ParseConninfo gave is valid.
func (c Conninfo) Validate() error {
	for i, p := range c {
		switch {
		case !validKeyword(p.Key):
			return errors.New("check connection settings: a keyword may hold only letters, digits and underscores")
		case strings.IndexByte(p.Value, 0) >= 0:
			return fmt.Errorf("check connection settings: the value of %s holds a zero byte", p.Key)
		case c.index(p.Key) != i:
			return fmt.Errorf("check connection settings: %s is there twice", p.Key)
		}
	}
	return nil
}
