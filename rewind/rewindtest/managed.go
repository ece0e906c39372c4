package rewindtest

// NewManaged makes a node whose data directory is made, and whose server is run,
// by somebody else: a cluster manager. Its port is reserved and its directories
// are there, PGDATA is not. Close it when the manager is gone.
//
// Methods that ask the server or end it work as with every node; those that
// start or configure it would interfere with the manager.
func NewManaged(root, name string, pg Install, opts Options) (*Node, error) {
	return newNode(root, name, pg, opts)
}
