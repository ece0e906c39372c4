package source_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// authority is a certificate authority whose files lie in a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert, a.key = a.sign(t, "ca", template)
	return a
}

// sign makes name.crt and name.key and returns what is in them.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a.last++
	template.SerialNumber = big.NewInt(a.last)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	a.write(t, name+".crt", "CERTIFICATE", der)
	a.write(t, name+".key", "PRIVATE KEY", keyDER)
	return cert, key
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// revoke writes name.crl, in which the certificates are withdrawn.
func (a *authority) revoke(t *testing.T, name string, certs ...*x509.Certificate) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	must(t, err)
	a.write(t, name, "X509 CRL", der)
}

func TestTLS(t *testing.T) {
	pg := rewindtest.Newest(t)
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	server, _ := ours.sign(t, "server", &x509.Certificate{
		Subject: pkix.Name{CommonName: "leader.example"}, DNSNames: []string{"leader.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	for _, a := range []*authority{ours, others} {
		a.sign(t, "client", &x509.Certificate{Subject: pkix.Name{CommonName: "certuser"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	ours.revoke(t, "empty.crl")
	ours.revoke(t, "revoked.crl", server)

	n := rewindtest.NewPrimary(t, pg, rewindtest.Options{Conf: map[string]string{
		"ssl": "on", "ssl_cert_file": ours.file("server.crt"), "ssl_key_file": ours.file("server.key"), "ssl_ca_file": ours.file("ca.crt"),
	}})
	n.Must(t).Exec("CREATE ROLE certuser LOGIN SUPERUSER")
	hba := "hostssl all certuser 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 trust\nlocal all all trust\n"
	must(t, os.WriteFile(filepath.Join(n.Dir, "pg_hba.conf"), []byte(hba), 0o600))
	n.Must(t).Restart()

	host := "host=leader.example hostaddr=127.0.0.1 port=" + strconv.Itoa(n.Port) + " dbname=postgres user=postgres"
	root, wrong := " sslrootcert="+ours.file("ca.crt"), " sslrootcert="+others.file("ca.crt")
	client := func(a *authority) string {
		return " user=certuser sslcert=" + a.file("client.crt") + " sslkey=" + a.file("client.key")
	}
	for _, test := range []struct {
		name, conninfo string
		want           error // nil: it opens
	}{
		{"verify-full", host + root + " sslmode=verify-full", nil},
		{"verify-full, other name", strings.Replace(host, "leader.example", "127.0.0.1", 1) + root + " sslmode=verify-full", rewind.ErrSourceAuth},
		{"verify-full, wrong CA", host + wrong + " sslmode=verify-full", rewind.ErrSourceAuth},
		{"verify-ca, other name", strings.Replace(host, "leader.example", "127.0.0.1", 1) + root + " sslmode=verify-ca", nil},
		{"verify-ca, wrong CA", host + wrong + " sslmode=verify-ca", rewind.ErrSourceAuth},
		{"require", host + " sslmode=require", nil},
		{"require, wrong CA", host + wrong + " sslmode=require", rewind.ErrSourceAuth},
		{"prefer", host, nil},
		{"allow", host + " sslmode=allow", nil},
		{"disable", host + " sslmode=disable", rewind.ErrSourceAuth},
		{"client certificate", host + root + " sslmode=verify-full" + client(ours), nil},
		{"client certificate missing", host + root + " sslmode=verify-full user=certuser", rewind.ErrSourceAuth},
		{"client certificate of another CA", host + root + " sslmode=verify-full" + client(others), rewind.ErrSourceAuth},
		{"revocation list", host + root + " sslmode=verify-full sslcrl=" + ours.file("empty.crl"), nil},
		{"revoked", host + root + " sslmode=verify-full sslcrl=" + ours.file("revoked.crl"), rewind.ErrSourceAuth},
		{"revoked, verify-ca", host + root + " sslmode=verify-ca sslcrl=" + ours.file("revoked.crl"), rewind.ErrSourceAuth},
		{"TLS 1.3 only", host + root + " sslmode=verify-full ssl_min_protocol_version=TLSv1.3", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: test.conninfo})
			if err == nil {
				defer func() { must(t, s.Close()) }()
			}
			if test.want == nil && err != nil || !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want != nil && hint(err) == "" {
				t.Errorf("%v comes without advice", err)
			}
			if err == nil {
				if _, err := s.ReadFile(t.Context(), "global/pg_control"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		_, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: host + " sslmode=verify-full sslrootcert=/none.crt"})
		if err == nil || !strings.Contains(err.Error(), "/none.crt") {
			t.Errorf("got %v, want an error that names the file", err)
		}
	})
	t.Run("server without TLS", func(t *testing.T) {
		plain := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
		_, err := source.OpenSQL(t.Context(), source.SQLConfig{Conninfo: plain.Conninfo("sslmode=require")})
		if err == nil || rewind.Retryable(err) {
			t.Errorf("got %v, want an error that is not worth a second attempt", err)
		}
	})
}
