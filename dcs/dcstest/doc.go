// Package dcstest runs a real etcd inside the process, for tests and for the
// examples; nothing that is shipped may import it (it brings the whole server,
// some 20 MB).
//
// A Server is reached through a proxy of its own. So an outage can be made
// without losing the port: Stop ends etcd and refuses connections, Restart
// brings it back with its data, Stall lets connections hang as a network does
// that drops packets, Resume ends that.
//
// CA makes certificates for servers and clients, with crypto/x509 and only for
// the time of a test. Cluster writes keys as Patroni does.
package dcstest
