package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/hook/patroniconf"
)

// patroniEnvironment, in the place of a file's name, is for a Patroni that has
// none.
const patroniEnvironment = "env"

// srvWithin bounds the search for etcd in DNS.
const srvWithin = 3 * time.Second

// lookupSRV is net.Resolver.LookupSRV.
type lookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)

// readPatroni reads Patroni's configuration: a file, a directory of files, or
// its environment.
func readPatroni(name string, env map[string]string) (*patroniconf.Config, error) {
	var files []patroniconf.File
	if name != patroniEnvironment {
		names, err := patroniFiles(name)
		if err != nil {
			return nil, fmt.Errorf("read Patroni's configuration: %w", err)
		}
		for _, name := range names {
			content, err := readBounded(name)
			if err != nil {
				return nil, fmt.Errorf("read Patroni's configuration: %w", err)
			}
			files = append(files, patroniconf.File{Name: name, Content: content})
		}
	}
	return patroniconf.Read(files, env)
}

// patroniFiles are the files that Patroni reads when it is given this name.
func patroniFiles(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".yml" && ext != ".yaml" {
			continue
		}
		path := filepath.Join(name, e.Name())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			names = append(names, path)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no *.yml and no *.yaml files", name)
	}
	return names, nil
}

// settingGroups are settings that mean something only together: where one of
// them is given in this program's own configuration, Patroni's values of the
// others are not mixed in.
func settingGroups() [][]string {
	return [][]string{
		{"etcd.username", "etcd.password", "etcd.password_file"},
		{"etcd.cert", "etcd.key"},
		{"source.conninfo", "source.privileged_conninfo"},
		{"patroni.username", "patroni.password"},
		{"patroni.cert", "patroni.key"},
	}
}

// patroniLayer is what Patroni's configuration adds below this program's own.
type patroniLayer struct {
	settings []patroniconf.Setting
	// endpoints: it says how etcd is reached, so that ETCDCTL_* variables, which
	// may be meant for another etcd, do not count.
	endpoints bool
	// refused says why etcd cannot be asked.
	refused  error
	warnings []string
	// methods are how Patroni makes a replica.
	methods hook.ReplicaMethods
}

// patroniBelow makes the layer for a configuration that has been read without it.
func patroniBelow(own *configuration, src sources) (*patroniLayer, error) {
	read, err := readPatroni(own.settings.PatroniConfig, src.env)
	if err != nil {
		return nil, err
	}
	layer := &patroniLayer{settings: read.Settings, refused: read.Refused, warnings: read.Warnings}
	methods := read.ReplicaMethods()
	layer.methods = hook.ReplicaMethods{Order: methods.Order, Described: make(map[string]hook.ReplicaMethod, len(methods.Described))}
	for name, m := range methods.Described {
		layer.methods.Described[name] = hook.ReplicaMethod(m)
	}
	if own.given("etcd.endpoints") {
		layer.refused = nil // the keys are where this program's own configuration says
	} else {
		lookup := src.lookup
		if lookup == nil {
			lookup = net.DefaultResolver.LookupSRV
		}
		layer.findBySRV(read.SRV, lookup)
	}
	layer.addREST(read, own.settings.PatroniConfig)
	layer.settings = slices.DeleteFunc(layer.settings, func(s patroniconf.Setting) bool { return own.decides(s.Key) })
	layer.endpoints = slices.ContainsFunc(layer.settings, func(s patroniconf.Setting) bool { return s.Key == "etcd.endpoints" })
	return layer, nil
}

// addREST takes how Patroni itself is called. What is wrong there is told and no more:
// only a rejoin through Patroni needs it.
func (l *patroniLayer) addREST(read *patroniconf.Config, from string) {
	rest, err := read.REST()
	if err != nil {
		l.warnings = append(l.warnings, fmt.Sprintf("how to call Patroni's REST interface is not known: %v", err))
		return
	}
	if rest.KeyPassword != "" {
		l.warnings = append(l.warnings, "a key with a password cannot be used to call Patroni's REST interface")
		rest.Cert, rest.Key = "", ""
	}
	insecure := ""
	if rest.Insecure {
		insecure = "true"
	}
	for _, s := range []patroniconf.Setting{
		{Key: "patroni.rest_url", Text: rest.URL},
		{Key: "patroni.username", Text: rest.Username},
		{Key: "patroni.password", Text: rest.Password},
		{Key: "patroni.cacert", Text: rest.CACert},
		{Key: "patroni.cert", Text: rest.Cert},
		{Key: "patroni.key", Text: rest.Key},
		{Key: "patroni.insecure_skip_verify", Text: insecure},
	} {
		if s.Text != "" {
			s.From = from
			l.settings = append(l.settings, s)
		}
	}
}

// given tells whether a setting is in this program's own configuration.
func (c *configuration) given(key string) bool { return c.own[key] }

// decides tells whether this program's own configuration goes before Patroni's
// value of a setting.
func (c *configuration) decides(key string) bool {
	if c.given(key) {
		return true
	}
	for _, group := range settingGroups() {
		if slices.Contains(group, key) && slices.ContainsFunc(group, c.given) {
			return true
		}
	}
	return false
}

// findBySRV asks DNS for etcd's addresses, as Patroni does: the first kind of
// record that there is, and where there is none the hosts.
func (l *patroniLayer) findBySRV(srv *patroniconf.SRV, lookup lookupSRV) {
	if srv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), srvWithin)
	defer cancel()
	var errs []error
	for _, service := range srv.Services() {
		_, records, err := lookup(ctx, service.Name, "tcp", srv.Domain)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found := patroniconf.Setting{Key: "etcd.endpoints", From: srv.From}
		scheme := "http://"
		if service.Secure {
			scheme = "https://"
		}
		for _, r := range records {
			found.List = append(found.List, scheme+net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
		}
		if len(found.List) > 0 {
			l.settings = slices.DeleteFunc(l.settings, func(s patroniconf.Setting) bool { return s.Key == found.Key })
			l.settings = append(l.settings, found)
			return
		}
	}
	if !slices.ContainsFunc(l.settings, func(s patroniconf.Setting) bool { return s.Key == "etcd.endpoints" }) {
		l.refused = fmt.Errorf("%s: find etcd by the SRV records of %s: %w: %w", srv.From, srv.Domain, dcs.ErrUnavailable, errors.Join(errs...))
	}
}

// apply sets the values.
func (l *patroniLayer) apply(to *configuration) error {
	to.refused, to.settings.replicaMethods = l.refused, &l.methods
	to.warnings = append(to.warnings, l.warnings...)
	rows := settingsByKey()
	var errs []error
	for _, s := range l.settings {
		row, ok := rows[s.Key]
		assign := func() error { return row.assign(&to.settings, s.Text) }
		if s.List != nil {
			assign = func() error { return row.assignList(&to.settings, s.List) }
		}
		if !ok { // a key of package patroniconf's that the table has lost
			errs = append(errs, fmt.Errorf("%s: %s: unknown key", s.From, s.Key))
			continue
		}
		if err := assign(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", s.From, s.Key, err))
			continue
		}
		to.origin[s.Key] = s.From
	}
	return errors.Join(errs...)
}
