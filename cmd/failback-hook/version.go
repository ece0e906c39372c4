package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// versionInfo says which build this is.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// linkedVersion is set by the linker in a release: -X main.linkedVersion=v1.2.3.
var linkedVersion string

// buildVersion reads what the go command has noted in the binary.
func buildVersion() versionInfo {
	v := versionInfo{Version: linkedVersion, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		v.Version = cmp.Or(v.Version, "unknown")
		return v
	}
	v.Version = cmp.Or(v.Version, info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		}
	}
	return v
}

func (p *program) version(c *cli.Context) error {
	v := buildVersion()
	if flagValue(c, "output") == outputJSON {
		printJSON(p.stdout, v)
		return nil
	}
	fmt.Fprintf(p.stdout, "failback-hook %s", v.Version)
	if v.Commit != "" {
		fmt.Fprintf(p.stdout, " (%.12s, %s)", v.Commit, v.Date)
	}
	fmt.Fprintf(p.stdout, " %s %s/%s\n", v.Go, v.OS, v.Arch)
	return nil
}
