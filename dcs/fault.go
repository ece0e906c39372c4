package dcs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a request that etcd did not fulfil. Its chain holds one of
// ErrUnavailable, ErrAuth and ErrTLS where the cause is one of these.
type Error struct {
	// Op is what was to be done, "verb object".
	Op string
	// Endpoints are the addresses that were tried.
	Endpoints []string
	// Kind is the sentinel, nil for anything else.
	Kind error
	// Err is what etcd, gRPC or the network said.
	Err  error
	hint string
}

// Error reads "op: kind: endpoints: cause".
func (e *Error) Error() string {
	parts := []string{e.Op}
	if e.Kind != nil {
		parts = append(parts, e.Kind.Error())
	}
	cause := e.Err.Error()
	// A diagnosis of the endpoints one by one names them already.
	if at := strings.Join(e.Endpoints, ", "); at != "" && !strings.Contains(cause, e.Endpoints[0]) {
		parts = append(parts, at)
	}
	return strings.Join(append(parts, cause), ": ")
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// Hint says what an operator can do; may be empty.
func (e *Error) Hint() string { return e.hint }

// classify finds the sentinel for an error of the etcd client, with a hint.
func classify(err error) (hint string, kind error) {
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return "etcd has authentication switched on: give a user and a password", ErrAuth
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return "check the user name and the password", ErrAuth
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return "the user's role needs read on the cluster's prefix and readwrite on the lock prefix", ErrAuth
	case errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrUserNotFound):
		return "", ErrAuth
	case errors.Is(err, rpctypes.ErrNoSpace):
		return "etcd's space quota is used up: compact and defragment it, then disarm the alarm", nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", ErrUnavailable
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return "", ErrUnavailable
	case codes.PermissionDenied, codes.Unauthenticated:
		return "", ErrAuth
	case codes.Unimplemented:
		return "the endpoint answers, but not as etcd 3 does", nil
	}
	if errors.Is(err, rpctypes.ErrTooManyRequests) {
		return "", ErrUnavailable
	}
	return "", nil
}

// codeOf finds the gRPC code in the two dresses in which the client shows it.
func codeOf(err error) codes.Code {
	var served rpctypes.EtcdError
	if errors.As(err, &served) {
		return served.Code()
	}
	return status.Code(err)
}

// wrap makes an Error of what a request returned. A caller that gave up is
// told its own reason.
func (c *Client) wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	e := &Error{Op: op, Endpoints: c.shown, Err: err}
	e.hint, e.Kind = classify(err)
	return e
}

// NoClusterError says that no keys of a cluster lie under a prefix, and what
// lies near it. errors.Is(err, ErrNoCluster) holds.
type NoClusterError struct {
	// Prefix that was read.
	Prefix string
	// Groups are children that are numbers: a Citus cluster has one cluster
	// of keys in each.
	Groups []string
	// Others are scopes found in the same namespace, at most maxScopes.
	Others []string
}

// Error names the prefix.
func (e *NoClusterError) Error() string {
	if len(e.Groups) > 0 {
		return fmt.Sprintf("%s %s: it looks like a Citus cluster with the groups %s", ErrNoCluster, e.Prefix, strings.Join(e.Groups, ", "))
	}
	return fmt.Sprintf("%s %s", ErrNoCluster, e.Prefix)
}

// Unwrap makes errors.Is(err, ErrNoCluster) true.
func (e *NoClusterError) Unwrap() error { return ErrNoCluster }

// Hint tells what the name may have to be.
func (e *NoClusterError) Hint() string {
	switch {
	case len(e.Groups) > 0:
		return fmt.Sprintf("the group must be part of the scope, as in %q", strings.TrimSuffix(e.lastPart(), "/")+"/"+e.Groups[0])
	case len(e.Others) > 0:
		return "check the scope and the namespace; scopes there are: " + strings.Join(e.Others, ", ")
	default:
		return "check the scope and the namespace; a Patroni configured with etcd: and not etcd3: uses etcd's v2 API, whose keys cannot be seen here"
	}
}

// lastPart is the last name in the prefix.
func (e *NoClusterError) lastPart() string {
	p := strings.TrimSuffix(e.Prefix, "/")
	return p[strings.LastIndexByte(p, '/')+1:]
}

// malformed is the error for a key whose value cannot be understood. The value
// itself is not repeated: what was meant for another key may be a secret.
func malformed(key string, err error) error {
	return fmt.Errorf("%w: key %s: %w", ErrMalformed, key, err)
}
