package rewind

import (
	"errors"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

const (
	autoConf       = "postgresql.auto.conf"
	standbySignal  = "standby.signal"
	recoverySignal = "recovery.signal"
	// maxAutoConf bounds what is read as postgresql.auto.conf.
	maxAutoConf = 16 << 20
)

// writeStandby makes the directory a standby's. The node's own
// postgresql.auto.conf stays but for the settings that a standby follows its
// primary by. The signal file comes last: a standby without settings would
// wait for ever, and settings without the signal change nothing.
//
// They go into postgresql.auto.conf because it is the one file that every
// server reads from PGDATA and that outranks postgresql.conf, wherever that is.
// Patroni, which keeps the same settings in postgresql.conf, strips them from
// there whenever it writes its own.
func (a *applier) writeStandby() error {
	s := a.engine.Options.Standby
	if s == nil {
		return nil
	}
	if !s.SignalOnly {
		if err := a.writeStandbySettings(s); err != nil {
			return err
		}
	}
	if err := a.w.publish(standbySignal, nil); err != nil {
		return err
	}
	// With recovery.signal beside it the server would stop at a recovery target.
	return errors.Join(a.w.remove(recoverySignal), a.w.syncDir("."))
}

func (a *applier) writeStandbySettings(s *Standby) error {
	old, err := a.w.readFile(autoConf, maxAutoConf)
	if err != nil && !isMissing(err) {
		return a.w.fail("read file", autoConf, err)
	}
	settings := []pg.Setting{
		pg.Set("primary_conninfo", s.Conninfo),
		pg.Set("recovery_target_timeline", "latest"),
		pg.Unset("primary_slot_name"),
	}
	if s.ConninfoOnly {
		settings = settings[:1]
	} else if s.Slot != "" {
		settings[2] = pg.Set("primary_slot_name", s.Slot)
	}
	content, err := pg.SetConf(old, settings)
	if err != nil {
		return &Error{Op: "edit file", Path: autoConf, Err: err}
	}
	return a.w.publish(autoConf, content)
}
