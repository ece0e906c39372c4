package rewindtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below Linux' ephemeral range (32768 and up): a port from
// there could become some client's local port while its server is stopped.
const (
	firstPort = 20000
	lastPort  = 31999
)

// port is a TCP port on 127.0.0.1 that is ours until release, whether or not a
// server listens on it. An abstract socket named after it tells every other test
// process of the machine, of any user, and vanishes with ours.
type port struct {
	number int
	claim  net.Listener
}

func reservePort() (port, error) {
	const span = lastPort - firstPort + 1
	start := rand.IntN(span)
	for i := range span {
		n := firstPort + (start+i)%span
		claim, err := net.Listen("unix", "@failback-hook-rewindtest-"+strconv.Itoa(n))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n)))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			claim.Close()
			continue
		}
		return port{n, claim}, nil
	}
	return port{}, fmt.Errorf("reserve a port: none free between %d and %d", firstPort, lastPort)
}

func (p port) release() error {
	if p.claim == nil {
		return nil
	}
	if err := p.claim.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
