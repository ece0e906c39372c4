//go:build !race

package patroni

func buildFlags() []string { return nil }
