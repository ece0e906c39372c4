package dcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Owner is the record in a lock key or in the queue: who holds it, or waits, for
// what, since when, and how far it is.
type Owner struct {
	Member    string    `json:"member"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Operation string    `json:"operation"`
	Leader    string    `json:"leader"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`
	// Progress is nil as long as nothing was told.
	Progress *Progress `json:"progress,omitempty"`
}

// Progress is how far the holder of a lock is.
type Progress struct {
	// Phase of the work, in a word or two.
	Phase string `json:"phase"`
	// Done and Total are the bytes of this phase; zero where there are none to count.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Still is for how many seconds neither phase nor bytes have changed, by the
	// holder's own clock: so nobody has to compare the clocks of two hosts.
	Still int64 `json:"still_seconds,omitempty"`
}

// StillTooLong is when a holder that tells of no progress is called one that hangs.
const StillTooLong = time.Minute

// Hangs tells whether nothing has moved for StillTooLong although the holder is
// alive. It keeps its lock: only its lease decides about that.
func (p *Progress) Hangs() bool {
	return p != nil && time.Duration(p.Still)*time.Second >= StillTooLong
}

// moved tells whether p is further, or elsewhere, than o.
func (p Progress) moved(o Progress) bool { return p.Phase != o.Phase || p.Done != o.Done }

// String is "copy, 1.0 GiB of 2.0 GiB (50 %)".
func (p Progress) String() string {
	s := p.Phase
	switch {
	case p.Total > 0:
		s += fmt.Sprintf(", %s of %s (%d %%)", iec(p.Done), iec(p.Total), int64(float64(min(p.Done, p.Total))/float64(p.Total)*100))
	case p.Done > 0:
		s += ", " + iec(p.Done)
	}
	if p.Hangs() {
		s += fmt.Sprintf(", no progress for %s", time.Duration(p.Still)*time.Second)
	}
	return s
}

// iec prints bytes for people.
func iec(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n)/1024, "KMGTPE"
	for f >= 1024 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", f, units[0])
}

// Bounds of what is taken from a record: anybody who may write there may have
// written it, and it is shown to people.
const (
	maxRecord = 64 << 10
	maxWord   = 256
)

// decodeOwner reads the record in a key of ours. A record that cannot be read
// still means that the lock is held: what the key's name tells is returned.
func decodeOwner(key string, value []byte) Owner {
	var o Owner
	if len(value) > maxRecord || json.Unmarshal(value, &o) != nil {
		o = Owner{Operation: "an unreadable record"}
	}
	for _, s := range []*string{&o.Member, &o.Host, &o.Operation, &o.Leader, &o.Version} {
		*s = plain(*s, maxWord)
	}
	if o.PID < 0 {
		o.PID = 0
	}
	if p := o.Progress; p != nil {
		p.Phase = plain(p.Phase, maxWord)
		p.Done, p.Total, p.Still = max(p.Done, 0), max(p.Total, 0), min(max(p.Still, 0), int64(1<<31))
	}
	if o.Member == "" && (strings.Contains(key, "/"+nodesDir) || strings.Contains(key, "/"+queueDir)) {
		o.Member = plain(lastName(key), maxWord)
	}
	return o
}

// lastName is the last part of a key, without its escapes.
func lastName(key string) string {
	last := key[strings.LastIndexByte(key, '/')+1:]
	if name, err := url.PathUnescape(last); err == nil {
		return name
	}
	return last
}

// plain makes a text of somebody else's fit for a line that people read: no
// control characters, which could move their cursor or begin a line that looks
// like ours, and not longer than most bytes. What it has made it leaves as it is.
func plain(s string, most int) string {
	const more = "…"
	if len(s) > 4*most { // no character has more than four bytes
		s = s[:4*most]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= most {
		return s
	}
	end := most - len(more)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

// LockedError says who holds the lock that was asked for, or who waits for it
// before us.
type LockedError struct {
	Key   string
	Owner Owner
	// Waits: the owner does not hold the lock but waits in the queue for it.
	Waits bool
}

// Error names the holder, since when it is at work, and how far.
func (e *LockedError) Error() string {
	format := "lock %s is held by member %q (host %s, pid %d) since %s for %s"
	if e.Waits {
		format = "place %s is that of member %q (host %s, pid %d), which waits in the queue since %s for %s"
	}
	s := fmt.Sprintf(format, e.Key, e.Owner.Member, e.Owner.Host, e.Owner.PID, e.Owner.Since.Format(time.RFC3339), e.Owner.Operation)
	if p := e.Owner.Progress; p != nil {
		s += ": " + p.String()
	}
	return s
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }

// Holder returns who holds the lock of a member's node; false when nobody
// does.
func (c *Client) Holder(ctx context.Context, member string) (Owner, bool, error) {
	if member == "" {
		return Owner{}, false, errors.New("read lock: no member is named")
	}
	key := c.lockKeys(member, "").node
	resp, err := retry(ctx, c, "read lock", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, key)
	})
	if err != nil || len(resp.Kvs) == 0 {
		return Owner{}, false, err
	}
	return decodeOwner(key, resp.Kvs[0].Value), true, nil
}

// Locks returns the holders of all node locks of the cluster, in the order of
// the members' names.
func (c *Client) Locks(ctx context.Context) ([]Owner, error) {
	prefix := c.lockKeys("", "").nodes
	resp, err := retry(ctx, c, "list locks", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, prefix, clientv3.WithPrefix())
	})
	if err != nil {
		return nil, err
	}
	owners := make([]Owner, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		owners[i] = decodeOwner(string(kv.Key), kv.Value)
	}
	return owners, nil
}
