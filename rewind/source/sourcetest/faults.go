package sourcetest

import (
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and a server and disturbs their connections.
// All methods may be called at any time.
type Proxy struct {
	listener        net.Listener
	network, target string
	running         sync.WaitGroup

	mu       sync.Mutex
	pairs    map[*pair]bool
	accepted int
	refusing bool
	closed   bool
	// limit is how many more bytes of the server get through before all
	// connections are reset; negative for no limit.
	limit   int64
	stalled chan struct{} // closed when data may flow; nil when it may
}

// pair is one connection on either side.
type pair struct {
	client, server net.Conn
	ended          chan struct{}
	once           sync.Once
}

// NewProxy listens on a port of 127.0.0.1 and passes everything on to the
// server; both end with the test. network and target are as for net.Dial.
func NewProxy(t testing.TB, network, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, network: network, target: target, pairs: make(map[*pair]bool), limit: -1}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Port is where the proxy listens on 127.0.0.1.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Accepted is how many connections there have been, those refused not counted.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// CutAfter lets so many more bytes of the server through, over all connections
// together, then resets them all, once. New connections are not limited.
func (p *Proxy) CutAfter(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = bytes
}

// Reset breaks all connections with a TCP reset.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.reset()
	}
}

// Refuse makes new connections end at once, or not any more.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refuse
}

// Stall keeps all connections open and passes nothing on until Resume.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume ends a Stall; what had to wait is passed on.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Resume()
	p.Reset()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	pr := &pair{client: client, ended: make(chan struct{})}
	server, err := net.Dial(p.network, p.target)
	if err != nil {
		pr.reset()
		return
	}
	pr.server = server
	if !p.admit(pr) {
		pr.reset()
		return
	}
	p.running.Go(func() { p.pump(pr, server, client, false) })
	p.pump(pr, client, server, true)
	p.mu.Lock()
	delete(p.pairs, pr)
	p.mu.Unlock()
}

func (p *Proxy) admit(pr *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing || p.closed {
		return false
	}
	p.accepted++
	p.pairs[pr] = true
	return true
}

// pump passes bytes on in one direction until either side ends.
func (p *Proxy) pump(pr *pair, to, from net.Conn, limited bool) {
	defer pr.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.pass(pr) {
			return
		}
		allowed, cut := n, false
		if limited {
			allowed, cut = p.take(n)
		}
		if _, err := to.Write(buf[:allowed]); err != nil {
			return
		}
		if cut {
			p.Reset()
			return
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the proxy is stalled; false when the pair has ended.
func (p *Proxy) pass(pr *pair) bool {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled == nil {
		return true
	}
	select {
	case <-stalled:
		return true
	case <-pr.ended:
		return false
	}
}

// take tells how many of n bytes still get through, and whether that was all.
func (p *Proxy) take(n int) (allowed int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit < 0 {
		return n, false
	}
	if int64(n) < p.limit {
		p.limit -= int64(n)
		return n, false
	}
	allowed, p.limit = int(p.limit), -1
	return allowed, true
}

// end closes both sides in order.
func (pr *pair) end() {
	pr.once.Do(func() {
		close(pr.ended)
		_ = pr.client.Close()
		if pr.server != nil {
			_ = pr.server.Close()
		}
	})
}

// reset makes both sides see "connection reset by peer".
func (pr *pair) reset() {
	for _, c := range []net.Conn{pr.client, pr.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	pr.end()
}
