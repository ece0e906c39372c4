package dcstest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

func get(t *testing.T, c *clientv3.Client, within time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	resp, err := c.Get(ctx, "k")
	if err != nil || len(resp.Kvs) == 0 {
		return "", err
	}
	return string(resp.Kvs[0].Value), nil
}

func TestOutagesKeepDataAndAddress(t *testing.T) {
	s := dcstest.Start(t)
	c := s.AdminClient(t)
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	before := s.Endpoint()
	for name, outage := range map[string][2]func(){
		"stop":  {s.Stop, func() { restart(t, s) }},
		"stall": {s.Stall, s.Resume},
		"cut":   {s.Cut, s.Reconnect},
	} {
		outage[0]()
		if v, err := get(t, c, 200*time.Millisecond); err == nil {
			t.Errorf("%s: etcd answers %q", name, v)
		}
		outage[1]()
		if v, err := get(t, c, 10*time.Second); v != "v" || err != nil {
			t.Errorf("after %s: %q, %v", name, v, err)
		}
	}
	if got := s.Endpoint(); got != before {
		t.Errorf("endpoint %s, before it was %s", got, before)
	}
}

func restart(t *testing.T, s *dcstest.Server) {
	t.Helper()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

func TestServerOutsideOfTests(t *testing.T) {
	s, err := dcstest.NewServer(t.TempDir(), dcstest.WithGateway())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dcstest.PutCluster(t.Context(), c, dcstest.Spec{Scope: "lab", SystemID: 5, Leader: "n1"}); err != nil {
		t.Error(err)
	}
	_ = c.Close() // it reports its own cancelled context
	// "L3NlcnZpY2UvbGFiL2xlYWRlcg==" is /service/lab/leader, as Patroni asks.
	resp, err := http.Post(s.Endpoint()+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"L3NlcnZpY2UvbGFiL2xlYWRlcg=="}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body strings.Builder
	if err := resp.Write(&body); err != nil || !strings.Contains(body.String(), `"value":"bjE="`) {
		t.Errorf("gateway answers %s, error %v", body.String(), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
