// Package sourcetest checks implementations of rewind.Source. Run is the
// conformance suite; Mem is an implementation in memory, with faults on demand,
// for tests of what uses a source; Proxy breaks network connections on demand.
// It is imported by tests only.
package sourcetest
