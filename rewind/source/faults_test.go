package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
	"github.com/failback-hook/failback-hook/rewind/source/sourcetest"
)

// behindProxy is a server that is reached through a proxy, with a file of 64
// ranges of random bytes in base/sourcetest.
type behindProxy struct {
	node   *rewindtest.Node
	proxy  *sourcetest.Proxy
	data   []byte
	ranges []rewind.Range
}

func (b behindProxy) conninfo() string {
	return b.node.Conninfo("port=" + strconv.Itoa(b.proxy.Port()))
}

func setUpProxy(t testing.TB) behindProxy {
	t.Helper()
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(n.Port))
	b := behindProxy{node: n, proxy: sourcetest.NewProxy(t, "tcp", address), data: make([]byte, 64<<18)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(b.data) // never fails
	must(t, os.Mkdir(filepath.Join(n.Dir, "base/sourcetest"), 0o700))
	must(t, os.WriteFile(filepath.Join(n.Dir, "base/sourcetest/1"), b.data, 0o600))
	for i := range int64(64) {
		b.ranges = append(b.ranges, rewind.Range{Path: "base/sourcetest/1", Offset: i << 18, Length: 1 << 18})
	}
	return b
}

// fetch reads all ranges, and checks that each came once, in order and whole.
func (b behindProxy) fetch(t testing.TB, s rewind.Source, during func(n int)) error {
	t.Helper()
	n := 0
	err := s.ReadRanges(t.Context(), b.ranges, func(c rewind.Chunk) error {
		if n >= len(b.ranges) || c.Range != b.ranges[n] {
			return fmt.Errorf("chunk %d is %+v", n, c.Range)
		}
		if !bytes.Equal(c.Data, b.data[c.Offset:c.Offset+c.Length]) {
			return fmt.Errorf("chunk %d holds other bytes than the file", n)
		}
		n++
		during(n)
		return nil
	})
	if err == nil && n != len(b.ranges) {
		t.Errorf("%d chunks for %d ranges", n, len(b.ranges))
	}
	return err
}

func nothing(int) {}

func TestReconnect(t *testing.T) {
	b := setUpProxy(t)
	s := open(t, source.SQLConfig{Conninfo: b.conninfo(), Connections: 1})
	t.Run("cut in a chunk", func(t *testing.T) {
		for _, bytes := range []int64{0, 1, 100, 1 << 18, 5 << 20, 64<<18 - 1} {
			before := b.proxy.Accepted()
			b.proxy.CutAfter(bytes)
			if err := b.fetch(t, s, nothing); err != nil {
				t.Errorf("cut after %d bytes: %v", bytes, err)
			}
			if b.proxy.Accepted() == before {
				t.Errorf("cut after %d bytes: the connection was never made anew", bytes)
			}
		}
	})
	t.Run("many cuts in one call", func(t *testing.T) {
		must(t, b.fetch(t, s, func(n int) {
			if n%10 == 0 {
				b.proxy.CutAfter(3 << 18)
			}
		}))
	})
	t.Run("cut in a listing", func(t *testing.T) {
		want := listing(t, s)
		for _, bytes := range []int64{10, 1000, 20000, 40000} {
			b.proxy.CutAfter(bytes)
			got := map[string]bool{}
			must(t, s.List(t.Context(), func(f rewind.File) error {
				if got[f.Path] {
					t.Errorf("%s came twice", f.Path)
				}
				got[f.Path] = true
				return nil
			}))
			if len(got) != len(want) {
				t.Errorf("cut after %d bytes: %d files, want %d", bytes, len(got), len(want))
			}
		}
	})
	t.Run("server restart", func(t *testing.T) {
		must(t, b.fetch(t, s, func(n int) {
			if n == 20 {
				b.node.Must(t).Restart()
			}
		}))
	})
	t.Run("crash of a backend", func(t *testing.T) {
		must(t, b.fetch(t, s, func(n int) {
			if n == 20 {
				b.node.Must(t).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'failback-hook'")
			}
		}))
	})
}

func TestGivesUp(t *testing.T) {
	b := setUpProxy(t)
	s := open(t, source.SQLConfig{Conninfo: b.conninfo(), RetryFor: 500 * time.Millisecond})
	b.proxy.Refuse(true)
	start := time.Now()
	err := b.fetch(t, s, func(n int) {
		if n == 3 {
			b.proxy.Reset()
		}
	})
	if !errors.Is(err, rewind.ErrSourceUnavailable) || !rewind.Retryable(err) {
		t.Errorf("got %v, want ErrSourceUnavailable", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to give up", took)
	}
	b.proxy.Refuse(false)
	must(t, b.fetch(t, s, nothing))
}

func TestStall(t *testing.T) {
	b := setUpProxy(t)
	s := open(t, source.SQLConfig{Conninfo: b.conninfo(), Connections: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.proxy.Stall()
	defer b.proxy.Resume()
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	if _, err := s.HashRanges(ctx, b.ranges); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to notice", took)
	}
	// Connecting to a server that does not answer ends as well.
	start = time.Now()
	_, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: b.conninfo(), ConnectTimeout: 200 * time.Millisecond})
	if !errors.Is(err, rewind.ErrSourceUnavailable) || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %v, want ErrSourceUnavailable", err, time.Since(start))
	}
}

// TestSilence: the network is there and nothing comes over it. The connection
// counts as broken then, and the call goes on when the server is back, on
// another one; a caller that takes its time is no silence.
func TestSilence(t *testing.T) {
	b := setUpProxy(t)
	var retries atomic.Int64
	s := open(t, source.SQLConfig{
		Conninfo: b.conninfo(), Connections: 1, Silence: 300 * time.Millisecond, ConnectTimeout: 300 * time.Millisecond,
		OnRetry: func(err error, waited time.Duration) {
			retries.Add(1)
			if !rewind.Retryable(err) || waited <= 0 {
				t.Errorf("told of a retry after %v, waited %s", err, waited)
			}
		},
	})
	before := b.proxy.Accepted()
	must(t, b.fetch(t, s, func(n int) {
		if n == 20 {
			time.Sleep(time.Second) // the caller's own time
		}
	}))
	if got := b.proxy.Accepted(); got != before || retries.Load() > 0 {
		t.Errorf("a slow caller lost its connection: %d, were %d", got, before)
	}
	must(t, b.fetch(t, s, func(n int) {
		if n == 20 {
			b.proxy.Stall()
			time.AfterFunc(time.Second, b.proxy.Resume)
		}
	}))
	if b.proxy.Accepted() == before || retries.Load() == 0 {
		t.Error("the silent connection was kept")
	}

	// A server that stays silent is one that cannot be reached.
	short := open(t, source.SQLConfig{
		Conninfo: b.conninfo(), Connections: 1, Silence: 200 * time.Millisecond, ConnectTimeout: 200 * time.Millisecond, RetryFor: -1,
	})
	b.proxy.Stall()
	_, err := short.State(t.Context())
	b.proxy.Resume()
	if !errors.Is(err, rewind.ErrSourceUnavailable) || !strings.Contains(err.Error(), "has sent nothing for 200ms") {
		t.Errorf("got %v, want ErrSourceUnavailable for silence", err)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	b := setUpProxy(t)
	s := open(t, source.SQLConfig{Conninfo: b.conninfo()})
	b.proxy.Stall()
	defer b.proxy.Resume()
	ended := make(chan error, 1)
	go func() { _, err := s.HashRanges(t.Context(), b.ranges); ended <- err }()
	go func() { time.Sleep(50 * time.Millisecond); _ = s.Close() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the call succeeded")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the call went on")
	}
	if _, err := s.State(t.Context()); err == nil {
		t.Error("a closed source answered")
	}
}

// TestSourceChanged: the address leads to another server after a reconnect.
func TestSourceChanged(t *testing.T) {
	pg := rewindtest.Newest(t)
	first := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
	standby := first.Standby(t, "standby")
	other := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
	for name, later := range map[string]*rewindtest.Node{"another cluster": other, "a standby of the same": standby} {
		t.Run(name, func(t *testing.T) {
			target := first
			dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(target.Port)))
			}
			s := open(t, source.SQLConfig{Conninfo: first.Conninfo(), DialFunc: dial, Connections: 1})
			target = later
			first.Must(t).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'failback-hook'")
			if _, err := s.State(t.Context()); !errors.Is(err, rewind.ErrSourceChanged) {
				t.Errorf("got %v, want ErrSourceChanged", err)
			}
		})
	}
}

// TestPooler: a proxy that changes the process number looks like PgBouncer.
func TestPooler(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &otherPID{Conn: c}, err
	}
	_, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: n.Conninfo("sslmode=disable"), DialFunc: dial})
	if !errors.Is(err, source.ErrPooler) {
		t.Errorf("got %v, want ErrPooler", err)
	}
}

// otherPID changes the BackendKeyData message ('K', length 12, process, key).
type otherPID struct {
	net.Conn
	done bool
}

func (c *otherPID) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if at := bytes.Index(b[:n], []byte{'K', 0, 0, 0, 12}); at >= 0 && at+9 <= n && !c.done {
		b[at+8] ^= 1
		c.done = true
	}
	return n, err
}
