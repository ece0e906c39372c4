package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// assign reads text into the setting's field.
func (s setting) assign(to *settings, text string) error {
	switch p := s.field(to).(type) {
	case *string:
		if len(s.oneOf) > 0 && !slices.Contains(s.oneOf, text) {
			return fmt.Errorf("%q is not one of %s", text, strings.Join(s.oneOf, ", "))
		}
		*p = text
	case *[]string:
		*p = splitList(text)
	case *bool:
		return parseBool(text, p)
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a whole number of at least 1", text)
		}
		*p = n
	case *time.Duration:
		return parseDuration(text, s.zero != "", p)
	}
	return nil
}

// assignList takes a list as YAML has it, in which commas mean nothing.
func (s setting) assignList(to *settings, items []string) error {
	p, ok := s.field(to).(*[]string)
	if !ok {
		return errors.New("takes one value, not a list")
	}
	*p = slices.Clone(items)
	return nil
}

func splitList(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// parseBool takes the words that YAML, etcdctl and PostgreSQL use.
func parseBool(text string, to *bool) error {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		*to = true
	case "false", "no", "off", "0":
		*to = false
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

// parseDuration insists on a unit: a bare 30 is seconds to some and
// milliseconds to others.
func parseDuration(text string, zeroAllowed bool, to *time.Duration) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: give a number and a unit, as in 500ms, 30s, 5m or 1h30m", text)
	}
	if d < 0 || d == 0 && !zeroAllowed {
		return fmt.Errorf("%q is too short", text)
	}
	*to = d
	return nil
}

// shown is the value for people and for JSON, secrets masked: a string, bool,
// int or []string.
func (s setting) shown(from *settings) any {
	switch p := s.field(from).(type) {
	case *string:
		switch {
		case *p == "":
			return ""
		case s.secret:
			return mask
		case s.conninfo:
			return maskConninfo(*p)
		}
		return *p
	case *[]string:
		if *p == nil {
			return []string{}
		}
		return *p
	case *time.Duration:
		return shortDuration(*p)
	case *bool:
		return *p
	case *int:
		return *p
	}
	return nil
}

// empty tells whether the value is as good as not given.
func (s setting) empty(from *settings) bool {
	switch p := s.field(from).(type) {
	case *string:
		return *p == ""
	case *[]string:
		return len(*p) == 0
	}
	return false
}

// mask stands for a secret. It does not tell the secret's length.
const mask = "********"

// maskConninfo shows a connection string without its passwords. One that
// cannot be read is not shown at all: the password might be anywhere in it.
func maskConninfo(s string) string {
	c, err := pg.ParseConninfo(s)
	if err != nil {
		return mask + " (not a valid connection string)"
	}
	return c.Redacted()
}

// conninfoPassword tells whether a connection string carries a password.
func conninfoPassword(s string) bool {
	c, err := pg.ParseConninfo(s)
	if err != nil {
		return false
	}
	for _, key := range []string{"password", "sslpassword"} {
		if v, ok := c.Get(key); ok && v != "" {
			return true
		}
	}
	return false
}

// shortDuration prints a duration without the zeros at its end: 1m, not 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
