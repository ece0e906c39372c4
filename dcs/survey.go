package dcs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Survey is what etcd says about a cluster and about the work on it, at one revision.
type Survey struct {
	Topology
	// Stands are how the members stand to the leader, in the order of Members.
	Stands []Stand `json:"stands"`
	// History are the timelines that the leader's has come from, oldest first;
	// HistoryProblem why they could not be read.
	History        []Switch `json:"history,omitempty"`
	HistoryProblem string   `json:"history_problem,omitempty"`
	// AtWork are the nodes that are being rejoined, Queue those that wait for
	// that, first come first.
	AtWork []Holder `json:"at_work"`
	Queue  []Holder `json:"queue"`
	// OursProblem is why our own keys could not be read; then AtWork and Queue are
	// empty, which means nothing.
	OursProblem string `json:"ours_problem,omitempty"`
}

// Holder is one who has a lock or a place in the queue.
type Holder struct {
	Owner
	// Key in etcd. Forgotten: it hangs on no lease, so that nothing will ever
	// remove it but somebody's hand.
	Key       string `json:"key"`
	Forgotten bool   `json:"forgotten,omitempty"`
	Hangs     bool   `json:"hangs,omitempty"`
}

// surveyPause is the least time between two readings of one who watches.
const surveyPause = 500 * time.Millisecond

// Survey reads all of it in one request. A user who may read the manager's keys
// and not ours is told what the former say.
func (c *Client) Survey(ctx context.Context) (Survey, error) {
	k := c.lockKeys("", "")
	ours := []keyRange{under(k.nodes), under(c.cfg.lockRoot() + queueDir)}
	a, err := c.read(ctx, "read cluster", txn{reads: append([]keyRange{under(c.prefix)}, ours...)})
	problem := ""
	if errors.Is(err, ErrAuth) {
		problem = "no permission to read " + c.cfg.lockRoot()
		a, err = c.read(ctx, "read cluster", txn{reads: []keyRange{under(c.prefix)}})
	}
	if err != nil {
		return Survey{}, err
	}
	s, err := c.survey(ctx, a)
	s.OursProblem = problem
	return s, err
}

// survey makes the answers one.
func (c *Client) survey(ctx context.Context, a answer) (Survey, error) {
	t, err := c.topology(ctx, a.found[0], a.revision)
	if err != nil {
		return Survey{}, err
	}
	s := Survey{Topology: t, AtWork: []Holder{}, Queue: []Holder{}}
	for _, kv := range a.found[0] {
		if kv.Key == c.prefix+"history" {
			if s.History, err = parseHistory(kv.Value); err != nil {
				s.HistoryProblem = malformed(kv.Key, err).Error()
			}
		}
	}
	var leader *Member
	if t.Leader != nil {
		if m, ok := t.Member(t.Leader.Name); ok {
			leader = &m
		} else {
			leader = &Member{Name: t.Leader.Name}
		}
	}
	for _, m := range t.Members {
		s.Stands = append(s.Stands, stand(m, leader, s.History))
	}
	if len(a.found) == 3 {
		s.AtWork, s.Queue = holders(a.found[1]), holders(a.found[2])
	}
	return s, nil
}

// maxHolders bounds what is shown of our keys: more of them than nodes are
// somebody's mistake.
const maxHolders = 1000

// holders are the owners of keys, the oldest first.
func holders(kvs []KeyValue) []Holder {
	slices.SortFunc(kvs, func(a, b KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	list := []Holder{}
	for _, kv := range kvs[:min(len(kvs), maxHolders)] {
		o := decodeOwner(kv.Key, kv.Value)
		if o.Leader == "" && strings.Contains(kv.Key, "/"+queueDir) {
			o.Leader = plain(lastName(kv.Key[:strings.LastIndexByte(kv.Key, '/')]), maxWord)
		}
		list = append(list, Holder{Owner: o, Key: plain(kv.Key, maxWord), Forgotten: kv.Lease == 0, Hangs: o.Progress.Hangs()})
	}
	return list
}

// WatchSurvey calls on with the present state and again whenever it changes, not
// more often than twice a second. While etcd cannot be reached on is told so, once,
// next to the state that was seen last. It ends with an error of on's, with the
// cause of ctx, or with an error that does not pass.
func (c *Client) WatchSurvey(ctx context.Context, on func(Survey, error) error) error {
	s, err := c.Survey(ctx)
	if err != nil {
		return err
	}
	ranges := []keyRange{under(c.prefix), under(c.cfg.lockRoot())}
	if s.OursProblem != "" {
		ranges = ranges[:1]
	}
	w := c.watchChanges(ctx, s.Revision, ranges...)
	defer w.end()
	for {
		if err := on(s, nil); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.changed:
		}
		told := false
		for again := true; again; {
			if !sleepUntil(ctx, time.Now().Add(surveyPause)) {
				return context.Cause(ctx)
			}
			next, err := c.Survey(ctx)
			switch {
			case err == nil:
				s, again = next, false
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case !errors.Is(err, ErrUnavailable):
				return err
			case !told:
				told = true
				if err := on(s, err); err != nil {
					return err
				}
			}
		}
	}
}
