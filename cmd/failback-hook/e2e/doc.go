// Package e2e tests the program as its users meet it: a process of the built
// binary, with a configuration file, against PostgreSQL servers that have really
// diverged and an etcd that really runs. Nothing is taken from inside the
// program but names of files.
//
// There is nothing but tests in it. TestMain builds the program once; when root,
// it does so before the tests are run again as an unprivileged user, who has
// neither a Go build cache nor, perhaps, a look at the checkout. With REWINDTEST_PROGRAM
// set to the path of a program, that one is tested instead.
//
// Each scene is a pair of servers after a failover: node1, which was the primary
// and has written on, and node2, which was promoted. Refusals and dry runs share
// one scene, because they must not change it.
package e2e
