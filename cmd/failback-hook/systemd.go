package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// service is what systemd, or whoever understands its protocol (sd_notify(3)), is
// told of a daemon: that it is ready, what it does, that it is alive, and that its
// end takes longer. Without such a manager everything here does nothing.
type service struct {
	notify func(state string)
	// watchdog is how often the manager wants to hear; zero for never.
	watchdog time.Duration
	// alive is how long may pass between two looks of an agent that is well.
	alive time.Duration

	mu   sync.Mutex
	said string
}

// extension is for how long a stop is extended at a time.
const extension = 30 * time.Second

func newService(interval time.Duration) *service {
	every, _ := daemon.SdWatchdogEnabled(false)
	return &service{
		notify:   func(state string) { _, _ = daemon.SdNotify(false, state) }, // to tell is all that can be done
		watchdog: every / 3,
		alive:    3*interval + time.Minute, // a look that meets a silent etcd or leader takes its timeouts
	}
}

func (s *service) close() { s.notify(daemon.SdNotifyStopping) }

// ready says that the service is up, or up again after a reload.
func (s *service) ready(line string) {
	s.notify(daemon.SdNotifyReady)
	s.status(line)
}

// status is the line in systemctl status.
func (s *service) status(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.said {
		return
	}
	s.said = line
	s.notify("STATUS=" + strings.ReplaceAll(line, "\n", " "))
}

func (s *service) reloading() {
	state := daemon.SdNotifyReloading
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		state += fmt.Sprintf("\nMONOTONIC_USEC=%d", now.Nano()/1000)
	}
	s.notify(state)
}

// watch tells that the agent is alive for as long as it is, until ctx ends. When told
// has ended and work is still being brought to its end, it asks for time: giving a
// directory back may take as long as the work had taken.
func (s *service) watch(ctx, told context.Context, a interface{ Alive(time.Duration) bool }) {
	every := s.watchdog
	if every <= 0 {
		every = extension / 3
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	stopping := told.Done()
	for {
		select {
		case <-ticker.C:
		case <-stopping:
			stopping = nil
		case <-ctx.Done():
			return
		}
		if told.Err() != nil {
			s.notify(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, extension.Microseconds()))
		}
		if s.watchdog > 0 && a.Alive(s.alive) {
			s.notify(daemon.SdNotifyWatchdog)
		}
	}
}
