package rewind

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestTwoPhaseXID(t *testing.T) {
	for p, want := range map[string]pg.XID{
		"pg_twophase/0000030F": 783, "pg_twophase/000000050000030F": 783, "pg_twophase/FFFFFFFF": 1<<32 - 1,
		"pg_twophase/30F": 0, "pg_twophase/0000030G": 0, "pg_twophase": 0, "base/5/0000030F": 0, "pg_twophase/x/0000030F": 0,
	} {
		if got, ok := twoPhaseXID(p); got != want || ok != (want != 0) {
			t.Errorf("%s: got %d, %t; want %d", p, got, ok, want)
		}
	}
}
