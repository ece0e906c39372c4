package main

import (
	"fmt"
	"slices"
	"strings"
)

// getopt reads a command line as getopt_long of the GNU C library does, which
// is what callers of pg_rewind rely on without knowing: options and arguments
// in any order up to "--", "-nP" for "-n -P", "-DDIR" and "-D DIR",
// "--name=value" and "--name value", and long names cut short as far as they
// stay unique. The options of package cli know none of the last three.
type getopt struct {
	options []longOption
	// rest are the arguments that are no options.
	rest []string
}

// longOption is one row of the table.
type longOption struct {
	name string
	// short is its letter; zero for none.
	short byte
	// At most one of the two is set: on for a switch, value for an option with one.
	on    *bool
	value *string
	// check looks at the value before it is set, and before any further argument
	// is read; nil for an option that takes every one.
	check func(value string) error
	// whole: it does not answer to the beginning of its name, so that it makes none
	// of pg_rewind's ambiguous.
	whole bool
}

func (o longOption) set(value string) error {
	if o.check != nil {
		if err := o.check(value); err != nil {
			return err
		}
	}
	if o.value != nil {
		*o.value = value
	}
	if o.on != nil {
		*o.on = true
	}
	return nil
}

// parse sets what args say. The error has the C library's words, or is a check's.
func (g *getopt) parse(args []string) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			g.rest = append(g.rest, args...)
			return nil
		case strings.HasPrefix(arg, "--"):
			args, err = g.long(arg[2:], args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = g.cluster(arg[1:], args)
		default:
			g.rest = append(g.rest, arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// long handles "name" or "name=value", and gives what remains of args.
func (g *getopt) long(arg string, args []string) ([]string, error) {
	name, value, assigned := strings.Cut(arg, "=")
	o, err := g.find(name, arg)
	switch {
	case err != nil:
		return nil, err
	case o.value == nil && assigned:
		return nil, fmt.Errorf("option '--%s' doesn't allow an argument", o.name)
	case o.value != nil && !assigned && len(args) == 0:
		return nil, fmt.Errorf("option '--%s' requires an argument", o.name)
	case o.value != nil && !assigned:
		value, args = args[0], args[1:]
	}
	return args, o.set(value)
}

// find gives the option of that name, or the only one that begins so; arg is
// the whole argument.
func (g *getopt) find(name, arg string) (longOption, error) {
	var found []longOption
	for _, o := range g.options {
		if o.name == name {
			return o, nil
		}
		if strings.HasPrefix(o.name, name) && !o.whole {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return longOption{}, fmt.Errorf("unrecognized option '--%s'", arg)
	case 1:
		return found[0], nil
	}
	var names strings.Builder
	for _, o := range found {
		fmt.Fprintf(&names, " '--%s'", o.name)
	}
	return longOption{}, fmt.Errorf("option '--%s' is ambiguous; possibilities:%s", arg, names.String())
}

// cluster handles the letters behind one "-".
func (g *getopt) cluster(letters string, args []string) ([]string, error) {
	for i := range len(letters) {
		at := slices.IndexFunc(g.options, func(o longOption) bool { return o.short == letters[i] })
		if at < 0 {
			return nil, fmt.Errorf("invalid option -- '%c'", letters[i])
		}
		o := g.options[at]
		if o.value == nil {
			if err := o.set(""); err != nil {
				return nil, err
			}
			continue
		}
		switch {
		case i+1 < len(letters):
			return args, o.set(letters[i+1:])
		case len(args) > 0:
			return args[1:], o.set(args[0])
		}
		return nil, fmt.Errorf("option requires an argument -- '%c'", letters[i])
	}
	return args, nil
}
