// Package patroni tests the program in the hands of real Patronis: processes of
// Debian's packages, a real etcd server, PostgreSQL servers that Patroni makes,
// starts, promotes and demotes, and REST calls with authentication.
//
// There is nothing but tests in it. scripts/test-patroni fetches the packages and
// runs it; FAILBACK_PATRONI names directories with patroni, patronictl and etcd
// in them, separated by colons. Without it the tests are skipped, or fail where
// FAILBACK_REQUIRE_PATRONI=1.
//
// Each test makes a cluster of its own of what lies in examples/patroni: those
// files are read, and only names, ports and paths in them are changed.
package patroni
