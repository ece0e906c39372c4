//go:build race

package e2e

// buildFlags: under the race detector the program is watched, too.
func buildFlags() []string { return []string{"-race"} }
