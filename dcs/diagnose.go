package dcs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// http2Preface is what an HTTP/2 client sends first: the magic and an empty
// SETTINGS frame (RFC 9113, section 3.4). etcd answers it with its own
// SETTINGS, or with the TLS alert about our certificate that TLS 1.3 delivers
// only after the handshake.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// prober finds out by a connection of its own why an endpoint does not work.
// Reading gRPC's message texts was the alternative; they change, while the
// errors of net and crypto/tls are types.
type prober struct {
	endpoints []endpoint
	tls       *tls.Config // nil for plain text
}

// finding is what one endpoint showed; err is nil when it answers.
type finding struct {
	kind error
	err  error
	hint string
}

// diagnose asks all endpoints at once. Trouble with certificates is reported
// only when no endpoint answers: one good endpoint is enough for etcd.
func (p prober) diagnose(ctx context.Context, cause error) *Error {
	findings := make([]finding, len(p.endpoints))
	var g errgroup.Group
	for i, e := range p.endpoints {
		g.Go(func() error {
			findings[i] = p.probe(ctx, e)
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	out := &Error{Kind: ErrUnavailable}
	var texts []string
	var errs []error
	alive := false
	for i, f := range findings {
		if f.err == nil {
			alive = true
			texts = append(texts, fmt.Sprintf("%s is there, but: %v", p.endpoints[i], cause))
			continue
		}
		if f.kind != ErrUnavailable && out.Kind == ErrUnavailable { //nolint:errorlint // a kind is a sentinel itself, never wrapped
			out.Kind, out.hint = f.kind, f.hint
		}
		texts = append(texts, fmt.Sprintf("%s: %v", p.endpoints[i], f.err))
		errs = append(errs, f.err)
	}
	if alive {
		out.Kind, out.hint = ErrUnavailable, "etcd may be without a leader or a quorum"
	}
	out.Err = &described{text: strings.Join(texts, "; "), errs: append(errs, cause)}
	return out
}

// described is several errors under one text.
type described struct {
	text string
	errs []error
}

func (d *described) Error() string   { return d.text }
func (d *described) Unwrap() []error { return d.errs }

// probe connects as the etcd client does and waits for the first byte.
func (p prober) probe(ctx context.Context, e endpoint) finding {
	raw, err := dial(ctx, e.address)
	if err != nil {
		return finding{kind: ErrUnavailable, err: err}
	}
	defer raw.Close()
	if p.tls == nil {
		err := firstByte(raw)
		if hungUp(err) && speaksTLS(ctx, e) {
			return finding{kind: ErrTLS, err: errors.New("it expects TLS and was spoken to without"), hint: "write the endpoint with https:// or give a CA file"}
		}
		if err != nil {
			return finding{kind: ErrUnavailable, err: err}
		}
		return finding{}
	}
	err = p.shake(ctx, raw, e)
	if hungUp(err) && !isAlert(err) && isNetwork(err) && speaksPlain(ctx, e) {
		return finding{kind: ErrTLS, err: errors.New("it does not speak TLS"), hint: "write the endpoint with http://, without TLS settings"}
	}
	return tlsFinding(err)
}

// shake makes a TLS connection and waits for the first byte on it.
func (p prober) shake(ctx context.Context, raw net.Conn, e endpoint) error {
	cfg := p.tls.Clone()
	cfg.NextProtos = []string{"h2"}
	if cfg.ServerName == "" {
		cfg.ServerName = e.host
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	return firstByte(conn)
}

// dial connects; the connection is of no use any more when ctx ends.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, nil
}

// firstByte greets and waits for an answer.
func firstByte(conn net.Conn) error {
	if _, err := io.WriteString(conn, http2Preface); err != nil {
		return err
	}
	var b [1]byte
	_, err := io.ReadFull(conn, b[:])
	return err
}

// hungUp tells whether the other side closed the connection, as opposed to
// being silent.
func hungUp(err error) bool {
	var timeout interface{ Timeout() bool }
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// speaksTLS tells whether a handshake gets somewhere. Nothing is sent and
// nothing believed over it, so the certificate does not matter.
func speaksTLS(ctx context.Context, e endpoint) bool {
	raw, err := dial(ctx, e.address)
	if err != nil {
		return false
	}
	defer raw.Close()
	err = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: e.host}).HandshakeContext(ctx) //nolint:gosec // see above
	return err == nil || isAlert(err)
}

// speaksPlain tells whether the endpoint answers without TLS.
func speaksPlain(ctx context.Context, e endpoint) bool {
	raw, err := dial(ctx, e.address)
	if err != nil {
		return false
	}
	defer raw.Close()
	return firstByte(raw) == nil
}

// isAlert tells whether the other side sent a TLS alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// tlsFinding tells whose certificate was refused: etcd's by us (ErrTLS), or
// ours by etcd (ErrAuth).
func tlsFinding(err error) finding {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case err == nil:
		return finding{}
	case errors.As(err, &verify):
		return finding{kind: ErrTLS, err: err, hint: "check the CA file, the name in etcd's certificate (server name) and its validity"}
	case errors.As(err, &record):
		return finding{kind: ErrTLS, err: fmt.Errorf("it does not speak TLS: %w", err), hint: "write the endpoint with http://, without TLS settings"}
	case isAlert(err) && aboutOurCertificate(err):
		return finding{kind: ErrAuth, err: err, hint: "etcd wants a client certificate that its trusted CA has signed and that is valid now: check cert and key file"}
	case isAlert(err):
		return finding{kind: ErrTLS, err: err}
	case isNetwork(err):
		return finding{kind: ErrUnavailable, err: err}
	default: // what crypto/tls itself refuses: versions, malformed messages, an unreadable key file
		return finding{kind: ErrTLS, err: err}
	}
}

// aboutOurCertificate picks the alerts of RFC 8446, section 6.2, by which a
// server refuses a client's certificate. crypto/tls hides the number but for
// its text, which tls.AlertError shares.
func aboutOurCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) {
		return false
	}
	// bad_certificate 42 … unknown_ca 48, access_denied 49, certificate_required 116
	for _, number := range []tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116} {
		if op.Err.Error() == number.Error() {
			return true
		}
	}
	return false
}

// isNetwork tells a broken or silent connection from a refused handshake.
func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
