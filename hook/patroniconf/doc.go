// Package patroniconf reads Patroni's own configuration and says in the words
// of this program's settings what it means: who uses Patroni configures nothing
// twice.
//
// It does what Patroni 3.0 to 4.0 do, as far as it matters here:
//
//   - One YAML file, or all *.yml and *.yaml files of a directory in the order of
//     their names. A later file is patched over the earlier ones: mappings are
//     merged, everything else is replaced, and null takes a key out.
//   - PATRONI_* variables are patched over that. Without any file the variable
//     PATRONI_CONFIGURATION holds all of it, and no other one counts; without
//     that the variables alone do.
//   - YAML is that of PyYAML, version 1.1: on, off, yes and no are booleans, 012
//     is ten and 1:30 is ninety. Anchors and merge keys work.
//   - Of several stores Patroni takes the first by name, so "etcd:" (the v2 API)
//     goes before "etcd3:".
//
// What Patroni keeps for all nodes in etcd is not read here: package dcs does,
// where it reads the topology. Of that, postgresql.use_slots is heeded there
// alone, because Patroni does not heed the file's.
//
// Read gives Settings (key, value, and the line or variable it came from), and a
// reason when this program cannot read the store that Patroni uses. Keys that
// mean nothing here are passed over, as Patroni has many. A value of the wrong
// kind is an error that names its file, line, key and kind, and never the value:
// it could be a password.
//
// The package reads no file and asks nobody: files and environment are handed
// to it. It may be given anything: the input is bounded in size, in depth and in
// what its aliases unfold to.
package patroniconf
