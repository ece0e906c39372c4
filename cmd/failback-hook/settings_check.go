package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/hook/patroni"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// check says what is missing or contradicts itself, naming keys and options.
func (c *configuration) check() error {
	if err := c.checkStore(); err != nil {
		return err
	}
	var errs []error
	for _, row := range settingTable() {
		if row.required && row.empty(&c.settings) {
			errs = append(errs, fmt.Errorf("%s is not set: use --%s, %s or the configuration file", row.key, row.flag(), row.env()))
		}
	}
	if len(errs) > 0 && c.file == "" && c.settings.PatroniConfig == "" {
		return &hinted{err: &inputError{err: errors.Join(errs...)},
			hint: "no configuration file was read: name one with --config, or write " + defaultConfigFile + "; failback-hook --help has an example"}
	}
	s := &c.settings
	errs = append(errs, s.checkPatroni()...)
	if s.Etcd.Password != "" && s.Etcd.PasswordFile != "" {
		errs = append(errs, fmt.Errorf("etcd.password (%s) and etcd.password_file (%s) are both set",
			c.origin["etcd.password"], c.origin["etcd.password_file"]))
	}
	if len(errs) == 0 {
		errs = append(errs, c.checkParts())
	}
	if err := errors.Join(errs...); err != nil {
		return &inputError{err: err}
	}
	return nil
}

// checkStore says why the etcd of Patroni's configuration cannot be asked, where no
// other one is named.
func (c *configuration) checkStore() error {
	if c.refused == nil {
		return nil
	}
	if _, known := matchRow(exitTable(), c.refused); known {
		return c.refused
	}
	return &hinted{err: &inputError{err: c.refused}, hint: "set etcd.endpoints, --etcd-endpoints or " + envPrefix + "ETCD_ENDPOINTS"}
}

// checkPatroni says what is wrong with the settings for Patroni.
func (s *settings) checkPatroni() (errs []error) {
	if (s.Patroni.Username == "") != (s.Patroni.Password == "") {
		errs = append(errs, errors.New("patroni.username and patroni.password are needed together"))
	}
	if (s.Patroni.Cert == "") != (s.Patroni.Key == "") {
		errs = append(errs, errors.New("patroni.cert and patroni.key are needed together"))
	}
	if s.Patroni.KeepFailed != "" && !filepath.IsAbs(s.Patroni.KeepFailed) {
		errs = append(errs, fmt.Errorf("patroni.keep_failed: %q is not an absolute path", s.Patroni.KeepFailed))
	}
	return errs
}

// manager is how Patroni on this node is asked.
func (s *settings) manager() patroni.Client {
	return patroni.Client{
		URL: s.Patroni.RESTURL, Username: s.Patroni.Username, Password: s.Patroni.Password,
		CAFile: s.Patroni.CACert, CertFile: s.Patroni.Cert, KeyFile: s.Patroni.Key, InsecureSkipVerify: s.Patroni.InsecureSkipVerify,
	}
}

// checkParts lets the packages that use the values look at them, and says of
// each complaint where the value came from.
func (c *configuration) checkParts() error {
	cfg, err := c.settings.dcsConfig()
	if err != nil {
		return err
	}
	var errs []error
	if err := cfg.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("etcd: %w", err))
	}
	for _, field := range fieldErrors(c.settings.hookConfig("").Validate()) {
		from := c.origin[field.Key]
		if row, ok := settingsByKey()[field.Key]; ok && row.empty(&c.settings) {
			from = "not set"
		}
		errs = append(errs, fmt.Errorf("%s (%s): %s", field.Key, from, field.Problem))
	}
	for _, key := range []string{"source.conninfo", "source.privileged_conninfo"} {
		login, _ := settingsByKey()[key].field(&c.settings).(*string)
		if err := source.CheckConninfo(*login); err != nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("%s (%s): %w", key, c.origin[key], err))
		}
	}
	return errors.Join(errs...)
}

// fieldErrors finds the complaints in a tree of joined errors.
func fieldErrors(err error) []*hook.FieldError {
	switch e := err.(type) { //nolint:errorlint // this walks the tree itself
	case *hook.FieldError:
		return []*hook.FieldError{e}
	case interface{ Unwrap() []error }:
		var found []*hook.FieldError
		for _, inner := range e.Unwrap() {
			found = append(found, fieldErrors(inner)...)
		}
		return found
	case interface{ Unwrap() error }:
		return fieldErrors(e.Unwrap())
	}
	return nil
}

// dcsConfig is what package dcs needs.
func (s *settings) dcsConfig() (dcs.ClientConfig, error) {
	password := s.Etcd.Password
	if s.Etcd.PasswordFile != "" {
		b, err := readBounded(s.Etcd.PasswordFile)
		if err != nil {
			return dcs.ClientConfig{}, &inputError{err: fmt.Errorf("etcd.password_file: %w", err)}
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	return dcs.ClientConfig{
		Endpoints:          s.Etcd.Endpoints,
		CAFile:             s.Etcd.CACert,
		CertFile:           s.Etcd.Cert,
		KeyFile:            s.Etcd.Key,
		InsecureSkipVerify: s.Etcd.InsecureSkipVerify,
		Username:           s.Etcd.Username,
		Password:           password,
		DialTimeout:        s.Etcd.DialTimeout,
		RequestTimeout:     s.Etcd.RequestTimeout,
		Layout:             dcs.Layout(s.Layout),
		Namespace:          s.Namespace,
		Scope:              s.Scope,
		LockPrefix:         s.Etcd.LockPrefix,
		Member:             s.Name,
	}, nil
}

// salvage is what the settings say of it; its directory is only there where
// one is named.
func (s *settings) salvage() rewind.Salvage {
	out := rewind.Salvage{Dir: s.Salvage.Dir, Keep: s.Salvage.Keep, MaxAge: s.Salvage.MaxAge}
	if out.Dir == salvageAuto || out.Dir == salvageOff {
		out.Dir = ""
	}
	return out
}

// hookConfig is what package hook needs.
func (s *settings) hookConfig(version string) hook.Config {
	return hook.Config{
		Name:                s.Name,
		PGData:              s.PostgreSQL.DataDir,
		BinDir:              s.PostgreSQL.BinDir,
		ConfigFile:          s.PostgreSQL.ConfigFile,
		RestoreCommand:      s.PostgreSQL.RestoreCommand,
		SourceConninfo:      s.Source.Conninfo,
		PrivilegedConninfo:  s.Source.PrivilegedConninfo,
		ReplicationConninfo: s.Replication.Conninfo,
		Slots:               s.Replication.Slots,
		Control:             s.PostgreSQL.Control,
		StopCommand:         s.PostgreSQL.StopCommand,
		StartCommand:        s.PostgreSQL.StartCommand,
		StopTimeout:         s.PostgreSQL.StopTimeout,
		StartLog:            s.PostgreSQL.StartLog,
		StartTimeout:        s.PostgreSQL.StartTimeout,
		StreamTimeout:       s.PostgreSQL.StreamTimeout,
		SettleTimeout:       zeroIsNone(s.PostgreSQL.SettleTimeout),
		Wait:                zeroIsNone(s.Wait),
		Connections:         s.Source.Connections,
		Preserve:            s.Preserve,
		OnFailure:           s.OnFailure,
		NoUndo:              s.NoUndo,
		Salvage:             s.salvage(),
		LockLimit:           s.Lock.Limit,
		LockTTL:             s.Lock.TTL,
		StateDir:            s.recordsDir(),
		Version:             version,
		ReplicaMethods:      s.replicaMethods,
	}
}

// agentConfig is what the agent needs.
func (s *settings) agentConfig() hook.AgentConfig {
	a := s.Agent
	return hook.AgentConfig{Interval: a.Interval, DownAfter: a.DownAfter, StuckAfter: a.StuckAfter, FenceAfter: a.FenceAfter}
}

// zeroIsNone says "none" in the words of the packages below, to which zero is
// their default.
func zeroIsNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
