package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/dcs"
)

// findPrimary asks the servers outside of a standby cluster which of them is the
// primary. One after the other and not by target_session_attrs: who answers and is
// none has to be told. Where none is a primary the last that answered is returned;
// where none answers, why.
func (r *run) findPrimary(ctx context.Context, at []dcs.Address) (*Origin, error) {
	var standby *Origin
	var errs []error
	for _, a := range at {
		o := &Origin{Member: dcs.Member{Name: "primary at " + a.String(), Role: dcs.RolePrimary, Host: a.Host, Port: a.Port}}
		err := r.withServer(ctx, o.Member, func(s Server) (err error) {
			o.Upstream, err = s.Upstream(ctx, r.cfg.Name)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			errs = append(errs, fmt.Errorf("ask the %s: %w", o.Member.Name, err))
		case !o.InRecovery:
			return o, nil
		default:
			standby = o
		}
	}
	if standby != nil {
		return standby, nil
	}
	return nil, errors.Join(errs...)
}
