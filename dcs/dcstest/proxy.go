package dcstest

import (
	"net"
	"sync"
)

// proxy passes TCP connections on. Its listener lives as long as it does, so
// nobody else can get the port while etcd is stopped.
type proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	target  string // empty: refuse
	stalled chan struct{}
	conns   map[net.Conn]struct{}
}

// newProxy listens and refuses every connection until forward.
func newProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, conns: map[net.Conn]struct{}{}}
	p.done.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// forward passes new connections on to target.
func (p *proxy) forward(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// cut resets all connections and refuses new ones until forward.
func (p *proxy) cut() {
	p.resume()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = ""
	for c := range p.conns {
		reset(c)
	}
}

// stall holds all bytes back, in both directions.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// resume ends stall.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// close ends everything and waits for it.
func (p *proxy) close() error {
	err := p.listener.Close()
	p.cut()
	p.done.Wait()
	return err
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		if target == "" {
			reset(client)
			continue
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			reset(client)
			continue
		}
		p.join(client, server, target)
	}
}

// join passes bytes both ways, unless the target went away meanwhile.
func (p *proxy) join(client, server net.Conn, target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target != target {
		reset(client)
		reset(server)
		return
	}
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		p.conns[from] = struct{}{}
		p.done.Go(func() { p.pass(from, to) })
	}
}

// pass copies until one side ends, then ends the other.
func (p *proxy) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, from)
	p.mu.Unlock()
	_ = from.Close()
	_ = to.Close()
}

// reset closes without the polite end, as a host does that has gone.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
