package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// defaultConfigFile is read when it exists and no other is named.
const defaultConfigFile = "/etc/failback-hook/failback-hook.yml"

// sources are where values come from, strongest first: flags, this program's
// environment variables, the YAML file, Patroni's configuration where one of
// these names it, other programs' environment variables, the defaults of the
// table.
type sources struct {
	// flags by name, as far as given.
	flags map[string]string
	env   map[string]string
	// file named by --config or FAILBACK_HOOK_CONFIG; empty for defaultFile.
	file        string
	defaultFile string
	// lookup asks DNS; nil for the system's resolver.
	lookup lookupSRV
}

// configuration is the outcome: values, and where each came from.
type configuration struct {
	settings settings
	// origin by key: "--scope", "env FAILBACK_HOOK_SCOPE", "/etc/x.yml:3", "default".
	origin map[string]string
	// own are the keys that this program's own configuration gives.
	own map[string]bool
	// file that was read; empty for none.
	file     string
	warnings []string
	// refused says why the etcd of Patroni's configuration cannot be asked.
	refused error
}

// load reads all sources. Every error is an *inputError; all of them are
// reported together. Whether what is required is there is for check to say:
// a callback may bring the scope.
//
// Where Patroni's configuration is to be read is known only when everything
// stronger has been: so all is read once more with it below.
func load(src sources) (*configuration, error) {
	c, err := loadOver(src, nil)
	if err != nil || c.settings.PatroniConfig == "" {
		return c, err
	}
	layer, err := patroniBelow(c, src)
	if err != nil {
		return nil, &inputError{err: err}
	}
	return loadOver(src, layer)
}

// loadOver reads all sources but Patroni's configuration, which comes as a layer.
func loadOver(src sources, patroni *patroniLayer) (*configuration, error) {
	c := &configuration{origin: make(map[string]string), own: make(map[string]bool)}
	var errs []error
	note := func(row setting, text, origin string) {
		if err := row.assign(&c.settings, text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", origin, err))
			return
		}
		c.origin[row.key] = origin
	}
	table := settingTable()
	for _, row := range table {
		if row.def != "" {
			note(row, row.def, "default")
		}
		c.origin[row.key] = "default"
	}
	for _, row := range table {
		if patroni != nil && patroni.endpoints && strings.HasPrefix(row.key, "etcd.") {
			continue
		}
		if name, text := row.foreignValue(src.env); text != "" {
			note(row, text, "env "+name)
		}
	}
	if patroni != nil {
		errs = append(errs, patroni.apply(c))
	}
	below := maps.Clone(c.origin)
	if err := c.readFile(src); err != nil {
		errs = append(errs, err)
	}
	for _, row := range table {
		// An empty variable counts as absent: environment files are full of them.
		if text := src.env[row.env()]; text != "" {
			note(row, text, "env "+row.env())
		}
	}
	for _, row := range table {
		text, ok := src.flags[row.flag()]
		switch {
		case !ok || row.flag() == "":
		case row.conninfo && conninfoPassword(text):
			errs = append(errs, passwordOnCommandLine(row))
		default:
			note(row, text, "--"+row.flag())
		}
	}
	for key, origin := range c.origin {
		c.own[key] = origin != below[key]
	}
	c.warnUnknownEnv(src.env)
	if err := errors.Join(errs...); err != nil {
		return nil, &inputError{err: err}
	}
	return c, nil
}

// foreignValue is the first non-empty value of another program's variable.
func (s setting) foreignValue(env map[string]string) (name, text string) {
	for _, f := range s.foreign {
		text := env[f.name]
		if f.part != nil {
			text = f.part(text)
		}
		if text != "" {
			return f.name, text
		}
	}
	return "", ""
}

func (c *configuration) readFile(src sources) error {
	name := src.file
	if name == "" {
		name = src.defaultFile
	}
	content, err := readBounded(name)
	if src.file == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	c.file = name
	if err := readYAML(name, content, &c.settings, c.origin); err != nil {
		return err
	}
	c.warnReadable(name)
	return nil
}

// readBounded reads a file that ought to be small.
func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	if info.Size() > maxConfigFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxConfigFile)
	}
	return os.ReadFile(name)
}

// warnReadable tells of a file with a password that everybody may read. It is
// not an error: a mounted Kubernetes secret looks like that.
func (c *configuration) warnReadable(name string) {
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return
	}
	for _, row := range settingTable() {
		text, _ := row.field(&c.settings).(*string)
		fromFile := strings.HasPrefix(c.origin[row.key], name+":")
		if fromFile && (row.secret || row.conninfo && conninfoPassword(*text)) {
			c.warnings = append(c.warnings, fmt.Sprintf("%s holds a password (%s) and can be read by everybody", name, row.key))
			return
		}
	}
}

// warnUnknownEnv tells of variables with our prefix that mean nothing. They
// are not errors: Kubernetes makes FAILBACK_HOOK_SERVICE_HOST for a service of
// that name.
func (c *configuration) warnUnknownEnv(env map[string]string) {
	known := []string{envPrefix + "CONFIG"}
	for _, row := range settingTable() {
		known = append(known, row.env())
	}
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) {
			c.warnings = append(c.warnings, fmt.Sprintf("environment variable %s means nothing%s", name, didYouMean(name, known)))
		}
	}
	slices.Sort(c.warnings)
}

func passwordOnCommandLine(row setting) error {
	return &hinted{
		err: fmt.Errorf("--%s: a password may not be given on the command line", row.flag()),
		hint: fmt.Sprintf("everybody on this host can read it in the process list; put it into the configuration file (%s), "+
			"into %s, or into ~/.pgpass", row.key, row.env()),
	}
}
