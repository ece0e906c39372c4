package dcs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// DefaultPastKept is how many records of past rejoins a cluster keeps.
const DefaultPastKept = 100

// pastVersion is the layout of PastRejoin's JSON.
const pastVersion = 1

// maxMessage bounds the error in a record.
const maxMessage = 2000

// pastDir lies below the root of a cluster's own keys.
const pastDir = "history/"

// PastRejoin is the record of a rejoin that is over. It holds no secrets, and
// nothing that grows with the database.
type PastRejoin struct {
	Version  int       `json:"version"`
	Scope    string    `json:"scope"`
	Member   string    `json:"member"`
	Host     string    `json:"host"`
	Leader   string    `json:"leader"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Outcome is that of the run's report, or "failed".
	Outcome string `json:"outcome"`
	// Error is why a failed one failed.
	Error string `json:"error,omitempty"`
	// Reason is why the node had to be rejoined, Strategy how that was done.
	Reason   string `json:"reason,omitempty"`
	Strategy string `json:"strategy,omitempty"`
	// Fork is where the histories parted, as timeline and position.
	Fork         string `json:"fork,omitempty"`
	FetchedBytes int64  `json:"fetched_bytes"`
	// What only this node had: WAL, and transactions that were committed in it.
	LostBytes   int64 `json:"lost_bytes"`
	LostCommits int64 `json:"lost_commits"`
	// Salvaged is the directory that this WAL went to, on the node.
	Salvaged string `json:"salvaged,omitempty"`
	// Program is the version of this program.
	Program string `json:"program"`
}

// ID names a record, in etcd and as a file: by its time first, so that names sort
// by age. No two runs of one node begin in the same moment.
func (r PastRejoin) ID() string {
	return r.Started.UTC().Format("20060102T150405.000000Z") + "-" + url.PathEscape(r.Member)
}

// Encode is the record as it is kept.
func (r PastRejoin) Encode() ([]byte, error) {
	r.Version = pastVersion
	r.clean()
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write record of a rejoin: %w", err)
	}
	return b, nil
}

// DecodePastRejoin reads a record, which anybody may have written who may write
// there.
func DecodePastRejoin(b []byte) (PastRejoin, error) {
	var r PastRejoin
	switch {
	case len(b) > maxRecord:
		return PastRejoin{}, fmt.Errorf("read record of a rejoin: %w: %d bytes", ErrMalformed, len(b))
	case json.Unmarshal(b, &r) != nil:
		return PastRejoin{}, fmt.Errorf("read record of a rejoin: %w: it is not this program's JSON", ErrMalformed)
	case r.Version != pastVersion:
		return PastRejoin{}, fmt.Errorf("read record of a rejoin: %w: version %d", ErrMalformed, r.Version)
	case r.Started.IsZero() || r.Member == "":
		return PastRejoin{}, fmt.Errorf("read record of a rejoin: %w: whose and when is missing", ErrMalformed)
	}
	r.clean()
	return r, nil
}

// clean makes every text fit to be shown in a line.
func (r *PastRejoin) clean() {
	for _, s := range []*string{&r.Scope, &r.Member, &r.Host, &r.Leader, &r.Outcome, &r.Strategy, &r.Fork, &r.Program} {
		*s = plain(*s, maxWord)
	}
	for _, s := range []*string{&r.Reason, &r.Error, &r.Salvaged} {
		*s = plain(strings.ReplaceAll(*s, "\n", "; "), maxMessage)
	}
	for _, n := range []*int64{&r.FetchedBytes, &r.LostBytes, &r.LostCommits} {
		*n = max(*n, 0)
	}
}

// Remember adds a record to those in etcd, and removes the oldest beyond keep;
// zero means DefaultPastKept.
func (c *Client) Remember(ctx context.Context, r PastRejoin, keep int) error {
	value, err := r.Encode()
	if err != nil {
		return err
	}
	prefix := c.cfg.lockRoot() + pastDir
	_, err = retry(ctx, c, "write record of a rejoin", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.PutResponse, error) {
		return c.etcd.Put(ctx, prefix+r.ID(), string(value))
	})
	if err != nil {
		return err
	}
	const op = "remove old records of rejoins"
	keys, err := retry(ctx, c, op, c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	})
	if err != nil {
		return err
	}
	over := len(keys.Kvs) - cmp.Or(keep, DefaultPastKept)
	if over <= 0 {
		return nil
	}
	end := string(keys.Kvs[over].Key)
	_, err = retry(ctx, c, op, c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.DeleteResponse, error) {
		return c.etcd.Delete(ctx, prefix, clientv3.WithRange(end))
	})
	return err
}

// Past returns the newest records, the newest first, at most limit (zero: all).
// Next to those that can be read there may be an error that names one that cannot.
func (c *Client) Past(ctx context.Context, limit int) ([]PastRejoin, error) {
	prefix := c.cfg.lockRoot() + pastDir
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}
	if limit > 0 {
		opts = append(opts, clientv3.WithLimit(int64(limit)))
	}
	resp, err := retry(ctx, c, "read records of rejoins", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, prefix, opts...)
	})
	if err != nil {
		return nil, err
	}
	var list []PastRejoin
	var errs []error
	for _, kv := range resp.Kvs {
		r, err := DecodePastRejoin(kv.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %s: %w", plain(string(kv.Key), maxWord), err))
			continue
		}
		list = append(list, r)
	}
	return list, errors.Join(errs...)
}
