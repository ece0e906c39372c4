//go:build !race

package rewindtest

func buildFlags() []string { return nil }
