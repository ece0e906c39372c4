package hook

import (
	"context"
	"os"

	"github.com/failback-hook/failback-hook/rewind"
)

// Undo gives a data directory back as it was before a rewind; see
// rewind.Engine.Undo. It asks nobody and takes no lock in etcd: it only brings
// back what this node was, and holds the directory's own lock meanwhile.
func Undo(ctx context.Context, pgdata string) (*rewind.Undone, error) {
	if err := checkUser(os.Geteuid(), pgdata); err != nil {
		return nil, err
	}
	e := &rewind.Engine{PGData: pgdata}
	return e.Undo(ctx)
}
