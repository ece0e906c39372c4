package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// shownSetting is one line of `config show`.
type shownSetting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// configShow prints every effective value with its origin. What is missing is
// not an error here: it is what one looks for.
func (p *program) configShow(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("config show: unexpected argument %q", c.Args().First())
	}
	conf, err := p.configuration(c)
	if err != nil {
		return err
	}
	if conf.refused != nil {
		conf.warnings = append(conf.warnings, conf.refused.Error())
	}
	var shown []shownSetting
	for _, row := range settingTable() {
		origin := conf.origin[row.key]
		if row.required && row.empty(&conf.settings) {
			origin = "not set"
		}
		shown = append(shown, shownSetting{row.key, row.shown(&conf.settings), origin})
	}
	if flagValue(c, "output") == outputJSON {
		printJSON(p.stdout, struct {
			File     string         `json:"file,omitempty"`
			Settings []shownSetting `json:"settings"`
			Warnings []string       `json:"warnings,omitempty"`
		}{conf.file, shown, conf.warnings})
		return nil
	}
	for _, w := range conf.warnings {
		fmt.Fprintf(p.stderr, "failback-hook: warning: %s\n", w)
	}
	showYAML(p.stdout, cmp.Or(conf.file, "none"), shown)
	return nil
}

// showYAML prints valid YAML with the origins as comments.
func showYAML(w io.Writer, file string, shown []shownSetting) {
	var lines []string
	widest := 0
	for _, s := range shown {
		_, name, inSection := strings.Cut(s.Key, ".")
		line := s.Key
		if inSection {
			line = "  " + name
		}
		line += ": " + yamlValue(s.Value)
		lines = append(lines, line)
		if len(line) <= widestLine {
			widest = max(widest, len(line))
		}
	}
	fmt.Fprintf(w, "# configuration file: %s\n", file)
	section := ""
	for i, s := range shown {
		if before, _, ok := strings.Cut(s.Key, "."); ok && before != section {
			fmt.Fprintf(w, "%s:\n", before)
			section = before
		}
		fmt.Fprintf(w, "%-*s  # %s\n", widest, lines[i], s.Origin)
	}
}

// widestLine is the longest line that the comments are aligned for.
const widestLine = 60

// yamlValue prints a value as YAML on one line: JSON is YAML, and plain words
// go without quotes.
func yamlValue(v any) string {
	if s, ok := v.(string); ok && plainYAML(s) {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return `""`
	}
	return string(b)
}

func plainYAML(s string) bool {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "on", "off", "yes", "no":
		return false
	}
	return strings.Trim(s, safe) == "" && !strings.HasPrefix(s, "-") && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
}
