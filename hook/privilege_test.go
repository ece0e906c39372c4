package hook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
)

// asTwoUsers makes the stage's leader one where only user boss may do it, and
// notes who connected to ask.
func (s *stage) asTwoUsers(what string) (asked *[]string) {
	s.hook.Config.PrivilegedConninfo = "user=boss password=hunter2"
	asked = new([]string)
	s.on["connect"] = func() {
		s.set(func() {
			user, _, _ := strings.Cut(strings.TrimPrefix(s.conninfo, "user="), " ")
			*asked = append(*asked, user)
			delete(s.fail, what)
			if user != "boss" {
				s.fail[what] = rewind.ErrSourcePrivilege
			}
		})
	}
	return asked
}

// TestPrivilegedLogin: what the user of source.conninfo may not is done by the
// other login, which is used for nothing before that and for nothing else.
func TestPrivilegedLogin(t *testing.T) {
	s := newStage(t)
	asked := s.asTwoUsers("slot n1")
	s.on["release"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Standby.PrimarySlotName != "n1" || len(report.Warnings) > 0 {
		t.Errorf("slot %q, warnings %q", report.Standby.PrimarySlotName, report.Warnings)
	}
	first := slices.Index(*asked, "boss")
	if first < 1 || slices.Contains((*asked)[:first], "boss") || slices.Contains((*asked)[first:], "rewinder") {
		t.Errorf("asked as %v, want as rewinder until that user may not, then as boss", *asked)
	}
	if standby := s.options.Standby.Conninfo; strings.Contains(standby, "boss") {
		t.Error("the standby logs in as boss")
	}
	for _, want := range []string{"host=10.0.0.2", "user=boss", "dbname=" + DefaultDatabase} {
		if !strings.Contains(s.conninfo, want) {
			t.Errorf("boss connects by %q, want %s", strings.ReplaceAll(s.conninfo, "hunter2", "***"), want)
		}
	}
}

// TestPrivilegedLoginRefused: a second login that is refused is said beside the
// privilege that is missing, and does not hide it.
func TestPrivilegedLoginRefused(t *testing.T) {
	s := newStage(t)
	s.hook.Config.Slots = SlotsOn
	s.asTwoUsers("slot n1")
	ask := s.hook.OpenServer
	s.hook.OpenServer = func(ctx context.Context, conninfo string) (Server, error) {
		server, err := ask(ctx, conninfo)
		if strings.Contains(conninfo, "user=boss") {
			return nil, rewind.ErrSourceAuth
		}
		return server, err
	}
	_, err := s.hook.Rejoin(t.Context())
	if !errors.Is(err, rewind.ErrSourcePrivilege) || errors.Is(err, rewind.ErrSourceAuth) || !strings.Contains(err.Error(), "source.privileged_conninfo: ") {
		t.Errorf("got %v", err)
	}
}
