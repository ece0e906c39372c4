package dcstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA signs certificates for tests.
type CA struct {
	// File is the CA's certificate, PEM its content.
	File string
	PEM  []byte

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// KeyPair is a certificate with its key, as files and as their content. The key
// file has mode 0600.
type KeyPair struct {
	CertFile, KeyFile string
	CertPEM, KeyPEM   []byte
}

// CertOption changes a certificate before it is signed.
type CertOption func(*x509.Certificate)

// Expired makes a certificate whose time is over.
func Expired() CertOption {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
}

// NewCA makes a CA whose files live as long as the test.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca, err := MakeCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// MakeCA makes a CA with its files in dir, for use outside of tests.
func MakeCA(dir string) (*CA, error) {
	ca := &CA{dir: dir, File: filepath.Join(dir, "ca.crt")}
	template := certificate("dcstest CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	ca.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(ca.File, ca.PEM, 0o644); err != nil {
		return nil, err
	}
	return ca, nil
}

// Server makes a certificate for a server that is reached by these names or
// addresses; 127.0.0.1, ::1 and localhost when none is given.
func (ca *CA) Server(t testing.TB, hosts []string, opts ...CertOption) KeyPair {
	t.Helper()
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1", "::1", "localhost"}
	}
	c := certificate(hosts[0])
	// etcd uses its server certificate as a client of its own gateway, too.
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	return ca.mustSign(t, "server", c, opts)
}

// Client makes a certificate for a client; the common name is the user for
// servers that take users from certificates.
func (ca *CA) Client(t testing.TB, commonName string, opts ...CertOption) KeyPair {
	t.Helper()
	c := certificate(commonName)
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.mustSign(t, "client", c, opts)
}

// certificate is what all certificates share.
func certificate(commonName string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetInt64(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (ca *CA) mustSign(t testing.TB, kind string, c *x509.Certificate, opts []CertOption) KeyPair {
	t.Helper()
	for _, o := range opts {
		o(c)
	}
	pair, err := ca.sign(kind, c)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// sign makes a key, signs, and writes both files.
func (ca *CA) sign(kind string, c *x509.Certificate) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, key.Public(), ca.key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("sign certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("write key: %w", err)
	}
	base := filepath.Join(ca.dir, fmt.Sprintf("%s-%d", kind, c.SerialNumber))
	pair := KeyPair{
		CertFile: base + ".crt", KeyFile: base + ".key",
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
	if err := os.WriteFile(pair.CertFile, pair.CertPEM, 0o644); err != nil {
		return KeyPair{}, err
	}
	return pair, os.WriteFile(pair.KeyFile, pair.KeyPEM, 0o600)
}

// adminTLS is how the server's own client connects: it trusts exactly this
// certificate, whoever signed it and whenever it expires.
func (p KeyPair) adminTLS(client *KeyPair) (*tls.Config, error) {
	block, _ := pem.Decode(p.CertPEM)
	if block == nil {
		return nil, fmt.Errorf("read certificate %s: no PEM block", p.CertFile)
	}
	want := string(block.Bytes)
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the certificate itself
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || string(s.PeerCertificates[0].Raw) != want {
				return fmt.Errorf("not the certificate of this server")
			}
			return nil
		},
	}
	if client != nil {
		pair, err := tls.X509KeyPair(client.CertPEM, client.KeyPEM)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
