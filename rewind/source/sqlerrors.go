package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
)

// ErrPooler says that the connection string leads to a connection pooler, behind which
// two statements may reach two servers.
var ErrPooler = errors.New("a connection pooler stands before the source")

// errClosed: the source was used after Close, or closed while in use.
var errClosed = errors.New("the source is closed")

// kindError gives an error one of rewind's kinds without changing its text,
// which comes from the server or the driver and says more than the kind does.
type kindError struct{ kind, cause error }

func (e *kindError) Error() string   { return e.cause.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.cause} }

// callbackError carries an error of the caller's own through the retry loop.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }
func (e *callbackError) Unwrap() error { return e.err }

// describe turns an error of the driver into one of rewind's kinds, with
// advice. Errors of contexts and of callbacks, and those already described,
// pass unchanged.
func describe(op, path string, err error) error {
	if _, ok := errors.AsType[*rewind.Error](err); ok || err == nil ||
		errors.Is(err, context.Canceled) || errors.Is(err, errClosed) {
		return err
	}
	if _, ok := errors.AsType[*callbackError](err); ok {
		return err
	}
	advice, kind := kindOf(err)
	if c, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = theOneThatCounts(c.Unwrap()) // without the "failed to connect to `user=…`" in front
	}
	if kind != nil {
		err = &kindError{kind: kind, cause: err}
	}
	return &rewind.Error{Op: op, Path: path, Advice: advice, Err: err}
}

// refusedTLS ends the driver's error for a server that has TLS switched off.
const refusedTLS = "server refused TLS connection"

// theOneThatCounts takes the refusals of TLS out of the errors of several
// attempts: with sslmode=prefer, which is the default, such a refusal is the
// usual beginning, and what came of the attempt without TLS is the error.
func theOneThatCounts(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		if !strings.HasSuffix(e.Error(), refusedTLS) {
			rest = append(rest, e)
		}
	}
	switch len(rest) {
	case 0:
		return err
	case 1:
		return rest[0]
	}
	return errors.Join(rest...)
}

// kindOf finds the kind of an error of the driver; nil where rewind has none.
func kindOf(err error) (advice string, kind error) {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return serverKind(e)
	}
	if strings.HasSuffix(err.Error(), refusedTLS) {
		return "the server does not offer TLS: switch ssl on there, or ask for less with sslmode", rewind.ErrSourceAuth
	}
	if isTLS(err) {
		return "check sslmode, sslrootcert, sslcert and sslkey against the certificates of the source", rewind.ErrSourceAuth
	}
	if isNetwork(err) {
		return "", rewind.ErrSourceUnavailable
	}
	return "", nil
}

// serverKind sorts the SQLSTATEs (src/backend/utils/errcodes.txt, 13 to 18).
func serverKind(e *pgconn.PgError) (advice string, kind error) {
	switch e.Code {
	case "28P01", "28000":
		return "check user, password (or password file) and pg_hba.conf of the source", rewind.ErrSourceAuth
	case "3D000":
		return "name an existing database with dbname=…, for example dbname=postgres", rewind.ErrSourceAuth
	case "42501":
		return privilegeAdvice(e), rewind.ErrSourcePrivilege
	case "57P03":
		return "the server is starting up or shutting down; wait until it accepts connections", rewind.ErrSourceNotReady
	case "57P01", "57P02", "57P05", "57014", "40001", "40P01", "25P03", "25P04":
		return "", rewind.ErrSourceUnavailable // shut down, crashed, timed out, cancelled by recovery
	case "58P01":
		return "", fs.ErrNotExist
	case "XX001", "XX002":
		return "", rewind.ErrDamaged
	}
	if class := e.Code[:min(2, len(e.Code))]; class == "08" || class == "53" {
		return "", rewind.ErrSourceUnavailable // connection exception, insufficient resources
	}
	return "", nil
}

// privilegeAdvice tells a missing grant from a file that the server itself
// may not read. The message may be in any language; the routine is not.
func privilegeAdvice(e *pgconn.PgError) string {
	if e.Routine != "aclcheck_error" {
		return "the server process may not read this file: let its owner be the server's user, or remove it"
	}
	return grantAdvice(grants())
}

// grantAdvice gives the statements that let a role do what this package does.
func grantAdvice(functions []string) string {
	statements := make([]string, len(functions))
	for i, f := range functions {
		statements[i] = "GRANT EXECUTE ON FUNCTION " + f + " TO <role>;"
	}
	return "as a superuser in the database that the connection uses: " + strings.Join(statements, " ")
}

// grants lists the functions that are not open to everybody.
func grants() []string {
	return []string{
		"pg_catalog.pg_ls_dir(text, boolean, boolean)",
		"pg_catalog.pg_stat_file(text, boolean)",
		"pg_catalog.pg_read_binary_file(text)",
		"pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
	}
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		alert        tls.AlertError
		record       tls.RecordHeaderError
		authority    x509.UnknownAuthorityError
		invalid      x509.CertificateInvalidError
		hostname     x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &alert) || errors.As(err, &record) ||
		errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &hostname)
}

func isNetwork(err error) bool {
	var (
		network net.Error
		errno   syscall.Errno
	)
	return errors.Is(err, errSilent) || errors.As(err, &network) || errors.As(err, &errno) || pgconn.Timeout(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, pgconn.ErrStandbyConnection) || errors.Is(err, pgconn.ErrPrimaryConnection) ||
		errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, pgconn.ErrReadWriteConnection)
}
