package patroni

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// What can be wrong with a request, for errors.Is.
var (
	// ErrUnavailable: nobody answers at the address.
	ErrUnavailable = errors.New("the REST interface of Patroni cannot be reached")
	// ErrAccess: it wants another user, password or certificate.
	ErrAccess = errors.New("the REST interface of Patroni refuses access")
	// ErrRefused: it understood, and will not.
	ErrRefused = errors.New("refused by Patroni")
	// ErrInProgress: it is at it already.
	ErrInProgress = errors.New("already in progress in Patroni")
)

// Bounds of a request: Patroni answers before it begins.
const (
	answerWithin = 10 * time.Second
	mostAnswer   = 4 << 10
)

// Client is how Patroni's REST interface is reached.
type Client struct {
	// URL of this node's interface; empty for that of its member key.
	URL string
	// Username and Password of restapi.authentication.
	Username, Password string
	// CAFile holds the certificates that may have signed Patroni's; empty means
	// the system's. CertFile and KeyFile are what is shown to it.
	CAFile, CertFile, KeyFile string
	// InsecureSkipVerify takes any certificate of Patroni's.
	InsecureSkipVerify bool
}

// Reinitialize asks for the node to be made anew by its replica methods. Patroni
// answers at once and begins then: it stops the server and calls the methods.
// apiURL is the address that the node's member key names.
func (c Client) Reinitialize(ctx context.Context, apiURL string) error {
	base, err := baseURL(c.URL, apiURL)
	if err != nil {
		return err
	}
	client, err := c.http()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	op := "POST " + base + "/reinitialize"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/reinitialize", bytes.NewBufferString("{}"))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Username != "" {
		req.SetBasicAuth(c.Username, c.Password)
	}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error // it repeats method and address
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer)) // the status says enough
	if err := verdict(resp.StatusCode, strings.TrimSpace(string(text))); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// verdict reads an answer of Patroni's (api.py).
func verdict(status int, text string) error {
	said := fmt.Errorf("status %d: %q", status, text)
	switch {
	case status == http.StatusOK || status == http.StatusAccepted:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrAccess, said)
	case status == http.StatusServiceUnavailable && strings.Contains(text, "already in progress"):
		return fmt.Errorf("%w: %w", ErrInProgress, said)
	}
	return fmt.Errorf("%w: %w", ErrRefused, said)
}

// baseURL is scheme and host of the first address that is given: member keys
// name a page below it.
func baseURL(addresses ...string) (string, error) {
	for _, address := range addresses {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return "", fmt.Errorf("%w: %q is no address of a REST interface", ErrUnavailable, address)
		}
		return u.Scheme + "://" + u.Host, nil
	}
	return "", fmt.Errorf("%w: its address is not known", ErrUnavailable)
}

// http makes the client. A proxy of the environment's is not meant for this.
func (c Client) http() (*http.Client, error) {
	config := &tls.Config{InsecureSkipVerify: c.InsecureSkipVerify}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read patroni.cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read patroni.cacert: %s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read patroni.cert and patroni.key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       answerWithin,
	}, nil
}
