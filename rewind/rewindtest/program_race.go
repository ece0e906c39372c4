//go:build race

package rewindtest

// buildFlags: under the race detector the program is watched, too.
func buildFlags() []string { return []string{"-race"} }
