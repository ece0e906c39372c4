// Package patroni asks Patroni's REST interface for what only Patroni can do to
// a node that it manages: make it anew by its replica methods. It knows HTTP and
// Patroni's answers, and decides nothing.
//
// Credentials go to the configured address, or to that which the node's own
// member key names, and nowhere else: redirects are not followed.
package patroni
