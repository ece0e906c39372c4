package dcs_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

const plainConfig = `{"ttl": 20, "zß":[1, 2],"postgresql":{"use_slots":true,"a":"<b>"}}`

// TestPause goes through the life of a pause: who made it, who ends it.
func TestPause(t *testing.T) {
	t.Parallel()
	type step struct {
		do string
		// config is what the key holds afterwards; says the answer of a resume.
		config string
		says   dcs.Resumed
	}
	paused := `{"ttl":20,"zß":[1, 2],"postgresql":{"use_slots":true,"a":"<b>"},"pause":true}`
	resumed := `{"ttl":20,"zß":[1, 2],"postgresql":{"use_slots":true,"a":"<b>"}}`
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"ours", []step{{"pause a", paused, ""}, {"resume a", resumed, dcs.ResumedNow}}},
		{"twice", []step{{"pause a", paused, ""}, {"resume a", resumed, dcs.ResumedNow}, {"pause a", paused, ""}, {"resume a", resumed, dcs.ResumedNow}}},
		{"two at work", []step{{"pause a", paused, ""}, {"pause b", paused, ""}, {"resume a", paused, dcs.ResumedHeld}, {"resume b", resumed, dcs.ResumedNow}}},
		{"somebody else's", []step{{`put {"pause":true,"ttl":20}`, `{"pause":true,"ttl":20}`, ""}, {"pause a", `{"pause":true,"ttl":20}`, ""},
			{"resume a", `{"pause":true,"ttl":20}`, dcs.ResumedForeign}, {"end", `{"pause":true,"ttl":20}`, dcs.ResumedForeign}}},
		{"paused again by somebody else meanwhile", []step{{"pause a", paused, ""}, {"put " + resumed, resumed, ""}, {"put " + paused, paused, ""},
			{"resume a", paused, dcs.ResumedForeign}, {"end", paused, dcs.ResumedForeign}}},
		{"resumed by somebody else meanwhile", []step{{"pause a", paused, ""}, {"put " + resumed, resumed, ""}, {"resume a", resumed, dcs.ResumedNot}}},
		{"killed", []step{{"pause a", paused, ""}, {"kill a", paused, ""}, {"end", resumed, dcs.ResumedNow}}},
		{"killed, its lease still there", []step{{"pause a", paused, ""}, {"end", paused, dcs.ResumedHeld}, {"end of the dead", resumed, dcs.ResumedNow}}},
		{"killed, then another one", []step{{"pause a", paused, ""}, {"kill a", paused, ""}, {"pause b", paused, ""}, {"resume b", resumed, dcs.ResumedNow}}},
		{"not paused", []step{{"end", plainConfig, dcs.ResumedNot}}},
		{"false is not paused", []step{{`put {"pause":false}`, `{"pause":false}`, ""}, {"pause a", `{"pause":true}`, ""}, {"resume a", `{}`, dcs.ResumedNow}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			put := func(value string) {
				t.Helper()
				if err := l.cluster.Put(t.Context(), "config", value); err != nil {
					t.Fatal(err)
				}
			}
			put(plainConfig)
			holds := map[string]*dcs.Pause{}
			for _, s := range test.steps {
				verb, who := s.do[:3], s.do[len(s.do)-1:]
				var says dcs.Resumed
				var err error
				switch verb {
				case "pau":
					holds[who], err = l.client.Pause(t.Context(), dcs.PauseRequest{Member: who, TTL: 30 * time.Second})
				case "res":
					says, err = holds[who].Resume(t.Context(), nil)
				case "put":
					put(s.do[len("put "):])
				case "kil":
					revokeHolder(t, l.admin, who)
				case "end":
					var dead func(dcs.Owner) bool
					if s.do != "end" {
						dead = func(o dcs.Owner) bool { return o.Member == "a" && o.PID > 0 && o.Host != "" }
					}
					says, err = l.client.EndPause(t.Context(), dead)
				}
				if err != nil || says != s.says {
					t.Fatalf("%s: %q, %v, want %q", s.do, says, err, s.says)
				}
				if got := value(t, l.admin, "/service/lab/config"); got != s.config {
					t.Fatalf("after %s the configuration is\n%s\nwant\n%s", s.do, got, s.config)
				}
			}
			for _, p := range holds {
				if _, err := p.Resume(context.Background(), nil); err != nil {
					t.Error(err)
				}
			}
			l.wantNothingLeft(t)
		})
	}
}

func value(t *testing.T, admin *clientv3.Client, key string) string {
	t.Helper()
	resp, err := admin.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatal(err, resp)
	}
	return string(resp.Kvs[0].Value)
}

// revokeHolder ends the lease of a process that was killed.
func revokeHolder(t *testing.T, admin *clientv3.Client, member string) {
	t.Helper()
	resp, err := admin.Get(t.Context(), "/failback/lab/pause/holders/"+member+"/", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatal(err, resp)
	}
	if _, err := admin.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
}

// TestPauseRefused: a user who may not write the configuration is told what to do.
func TestPauseRefused(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	dcstest.MustPutCluster(t, s.AdminClient(t), dcstest.Spec{Scope: "lab", SystemID: systemID, Leader: "n2", Members: twoNodes().Members})
	c := open(t, configFor(s))
	admin := s.AdminClient(t)
	if _, err := admin.Delete(t.Context(), "/service/lab/config"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Pause(t.Context(), dcs.PauseRequest{Member: "n1"})
	wantIs(t, err, dcs.ErrNoCluster)
	if _, err := admin.Put(t.Context(), "/service/lab/config", `[1]`); err != nil {
		t.Fatal(err)
	}
	_, err = c.Pause(t.Context(), dcs.PauseRequest{Member: "n1"})
	wantIs(t, err, dcs.ErrMalformed)
}
