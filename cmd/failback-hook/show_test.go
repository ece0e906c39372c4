package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestConfigShow(t *testing.T) {
	file := writeConfig(t, strings.Join([]string{
		"scope: main", "etcd:", "  password: topsecret", "source:", "  conninfo: user=rewind password=topsecret sslmode=require",
		"preserve: [certs, 'odd, name']", "postgresql:", "  stop_command: systemctl stop \"pg\""}, "\n"))
	env := map[string]string{"FAILBACK_HOOK_REPLICATION_CONNINFO": "postgresql://r:topsecret@/db", "FAILBACK_HOOK_ETCD_ENDPOINT": "x"}
	// Options may stand before and after the command's name.
	got := run(t, nil, env, "--config", file, "--timeout", "1h", "config", "show", "--name", "n1")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	golden(t, "config-show.yml", strings.ReplaceAll(got.stdout, file, "FILE"))
	if !strings.Contains(got.stderr, "FAILBACK_HOOK_ETCD_ENDPOINT means nothing; did you mean FAILBACK_HOOK_ETCD_ENDPOINTS?") {
		t.Errorf("no warning of the unknown variable: %s", got.stderr)
	}
	// What is shown can be read back: it is a configuration file.
	if _, err := load(sources{file: writeConfig(t, got.stdout)}); err != nil {
		t.Errorf("what is shown is no configuration file: %v", err)
	}
	asJSON := run(t, nil, env, "config", "show", "-c", file, "-o", "json")
	var shown struct {
		File     string
		Settings []shownSetting
	}
	if err := json.Unmarshal([]byte(asJSON.stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Settings) != len(settingTable()) || shown.File != file {
		t.Errorf("%d settings of %s", len(shown.Settings), shown.File)
	}
	if all := got.stdout + got.stderr + asJSON.stdout + asJSON.stderr; strings.Contains(all, "topsecret") {
		t.Errorf("a secret is shown:\n%s", all)
	}
}
