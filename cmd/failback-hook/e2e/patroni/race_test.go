//go:build race

package patroni

// buildFlags: under the race detector the program is watched, too.
func buildFlags() []string { return []string{"-race"} }
