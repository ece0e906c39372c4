package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// runFlags are the options that say how to run, not how things are; they have
// no place in the configuration file.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show the plan, change nothing"},
		&cli.BoolFlag{Name: "pause", Usage: "pause the cluster for the time of the work, and resume it"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		&cli.BoolFlag{Name: "foreground", Usage: "callback: do the work here instead of in a detached worker"},
		&cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version"},
	}
}

// outputFlags are understood by every command.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration file"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: outputText, Usage: "text or json"},
	}
}

// settingFlags makes an option of every row of the table that may have one.
// All but the switches are text to package cli: the table reads it, so that a
// value is understood alike wherever it comes from.
func settingFlags() []cli.Flag {
	var flags []cli.Flag
	for _, row := range settingTable() {
		if row.flag() == "" {
			continue
		}
		if _, ok := row.field(new(settings)).(*bool); ok {
			flags = append(flags, &cli.BoolFlag{Name: row.flag(), Aliases: row.short, Usage: row.help})
			continue
		}
		flags = append(flags, &cli.StringFlag{Name: row.flag(), Aliases: row.short, Usage: row.help})
	}
	return flags
}

// flagValue is the value of an option, given before or after the command's
// name; the innermost wins.
func flagValue(c *cli.Context, name string) string {
	if at := setAt(c, name); at != nil {
		return at.String(name)
	}
	return c.String(name)
}

// setAt is the innermost level of the command line at which an option was
// given; nil if nowhere. cli's own IsSet stops at the innermost level that
// knows the option.
func setAt(c *cli.Context, name string) *cli.Context {
	for _, at := range c.Lineage() {
		if at.Command != nil && slices.Contains(at.LocalFlagNames(), name) {
			return at
		}
	}
	return nil
}

// givenFlags are the settings that were given as options.
func givenFlags(c *cli.Context) map[string]string {
	given := make(map[string]string)
	for _, row := range settingTable() {
		name := row.flag()
		if name == "" {
			continue
		}
		at := setAt(c, name)
		if at == nil {
			continue
		}
		if _, ok := row.field(new(settings)).(*bool); ok {
			given[name] = "false"
			if at.Bool(name) {
				given[name] = "true"
			}
			continue
		}
		given[name] = at.String(name)
	}
	return given
}
