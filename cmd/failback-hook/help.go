package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

const helpHead = `failback-hook brings an old PostgreSQL primary back after a failover, as one command.

It reads from etcd who leads the cluster, takes a lock there, stops this node's server and
rewinds its data directory to where the histories part, fetching only what differs. Then it
makes the node a standby, starts it, waits until it streams, and says what was thrown away.
A run that is killed at any moment is continued by the same command.

USAGE
  failback-hook [OPTIONS]                      rejoin this node now
  failback-hook --dry-run [OPTIONS]            show the plan, change nothing
  failback-hook [OPTIONS] EVENT ROLE SCOPE     answer a callback of Patroni's
  failback-hook agent [OPTIONS]                watch over this node, rejoin it when needed
  failback-hook create-replica [OPTIONS]       replica method for Patroni (has its own --help)
  failback-hook lost [OPTIONS]                 what only this node has (lost --help)
  failback-hook undo [OPTIONS]                 give the directory back as it was before
  failback-hook status [OPTIONS]               the cluster, who is at work, who waits
  failback-hook history [OPTIONS]              past rejoins
  failback-hook rewind [OPTIONS OF pg_rewind]  the same engine by pg_rewind's command line
  failback-hook config show [OPTIONS]          every value and where it comes from
  failback-hook version                        print the version

EXAMPLES
  By hand, as the owner of the data directory; look first, then do it:
    sudo -u postgres failback-hook --dry-run --scope main --name n1 \
        -D /var/lib/postgresql/15/main --source-conninfo 'user=rewind dbname=postgres'
    sudo -u postgres failback-hook      (with everything in the configuration file)
  Where Patroni runs, in a pause; outside of one its server would not be stopped:
    sudo -u postgres failback-hook --pause --patroni-config /etc/patroni/config.yml

  As a callback, in patroni.yml; it returns at once and works on in the background:
    postgresql:
      callbacks:
        on_start: /usr/bin/failback-hook
        on_role_change: /usr/bin/failback-hook
`

const helpConfiguration = `
CONFIGURATION
  The first of these that gives a value counts:
    1. options
    2. environment: ` + envPrefix + ` and the key in capitals, "_" for ".";
       ` + envPrefix + `ETCD_ENDPOINTS for etcd.endpoints; empty counts as not given
    3. the YAML file of --config or ` + envPrefix + `CONFIG, else
       ` + defaultConfigFile + ` when it exists
    4. Patroni's own configuration, named by --patroni-config: its YAML, and PATRONI_*
       before that
    5. ETCDCTL_* and PGDATA; what source.conninfo does not say: PG* and ~/.pgpass
    6. defaults
  A file with what most nodes need:
    scope: main
    name: n1
    etcd: {endpoints: [10.0.0.1:2379, 10.0.0.2:2379, 10.0.0.3:2379]}
    postgresql: {data_dir: /var/lib/postgresql/15/main}
    source: {conninfo: user=rewind dbname=postgres}
    replication: {conninfo: user=replicator}
  Passwords are taken from environment and files, never from options: everybody on a host
  can read its process list.

  Lists are separated by commas; durations have a unit, as in 500ms, 30s, 5m.
  A callback's worker logs to log.file, else to a file in the first of these that can be
  used: $XDG_STATE_HOME/failback-hook, /var/log/failback-hook,
  ~/.local/state/failback-hook, $TMPDIR/failback-hook-UID.
`

// helpTemplate is the whole help text. It is text already: cli's template
// engine has nothing left to fill in.
func helpTemplate() string {
	var b strings.Builder
	b.WriteString(helpHead)
	b.WriteString("\nOPTIONS\n")
	b.WriteString(flagHelp(slices.Concat(runFlags(), outputFlags())))
	b.WriteString("\nOPTIONS THAT ARE SETTINGS\n")
	b.WriteString(settingHelp())
	b.WriteString(helpConfiguration)
	b.WriteString("\nEXIT CODES\n")
	b.WriteString(exitHelp())
	return literal(b.String())
}

// commandHelp is the help text of a command with options of its own.
func commandHelp(text string, flags ...[]cli.Flag) string {
	return literal(text + "\nOPTIONS\n" + flagHelp(slices.Concat(flags...)) + "  Settings, as in failback-hook --help: --scope, --etcd-endpoints, …\n")
}

// literal keeps cli's template engine from finding anything in a text.
func literal(text string) string { return strings.NewReplacer("{{", "{{`{{`}}").Replace(text) }

func flagHelp(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		names := f.Names()
		spelling := "    --" + names[0]
		if len(names) > 1 {
			spelling = "-" + names[1] + ", --" + names[0]
		}
		usage := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			usage = d.GetUsage()
		}
		fmt.Fprintf(&b, "  %-18s %s\n", spelling, usage)
	}
	return b.String()
}

// settingHelp lists every setting with its default.
func settingHelp() string {
	var b strings.Builder
	for _, row := range settingTable() {
		name := "--" + row.flag()
		if row.flag() == "" {
			name = row.env()
		}
		if len(row.short) > 0 {
			name = "-" + row.short[0] + ", " + name
		}
		text := row.help
		if row.def != "" && row.def != "0s" && row.def != "false" {
			text += " [" + row.def + "]"
		}
		writeHanging(&b, name, text)
	}
	return b.String()
}

// helpWidth is the widest line of the help text.
const helpWidth = 95

// writeHanging puts a name and its text in two columns, the text wrapped.
func writeHanging(b *strings.Builder, name, text string) {
	const column = 32
	lead := fmt.Sprintf("  %-*s", column-2, name)
	if len(lead) > column || strings.HasSuffix(strings.TrimRight(lead, " "), name) && len(name) > column-3 {
		b.WriteString("  " + name + "\n")
		lead = strings.Repeat(" ", column)
	}
	line := lead
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > helpWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", column)
		}
		if !strings.HasSuffix(line, " ") {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}

func exitHelp() string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range exitTable() {
		fmt.Fprintf(tw, "  %d\t%s\t%s\n", row.code, row.name, row.meaning)
	}
	tw.Flush()
	return b.String()
}

// exitMarkdown is the README's table of exit codes.
func exitMarkdown() string {
	var b strings.Builder
	b.WriteString("| code | name | meaning | what to do | tried again by a callback |\n|---:|---|---|---|---|\n")
	for _, row := range exitTable() {
		retry := ""
		if row.retry {
			retry = "yes"
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s | %s |\n", row.code, row.name, row.meaning, row.hint, retry)
	}
	return b.String()
}

// settingMarkdown is the README's table of settings.
func settingMarkdown() string {
	var b strings.Builder
	b.WriteString("| key | option | also from | default | meaning |\n|---|---|---|---|---|\n")
	for _, row := range settingTable() {
		option := "none: a secret"
		if row.flag() != "" {
			option = "`--" + row.flag() + "`"
		}
		var foreign []string
		for _, f := range row.foreign {
			foreign = append(foreign, "`"+f.name+"`")
		}
		def := ""
		if row.def != "" {
			def = "`" + row.def + "`"
		}
		if row.required {
			def = "required"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", row.key, option, strings.Join(foreign, ", "), def, row.help)
	}
	return b.String()
}
