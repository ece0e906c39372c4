package source

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
)

// useRevocationLists heeds sslcrl and sslcrldir, which pgconn does not know:
// dropping them would accept a server whose certificate was withdrawn. As in
// libpq, they only count when the server's certificate is verified at all.
func useRevocationLists(c *pgconn.Config, file, dir string) error {
	paths := []string{}
	if file != "" {
		paths = append(paths, file)
	}
	if dir != "" {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return &rewind.Error{Op: "list certificate revocation lists", Path: dir, Err: err}
		}
		paths = append(paths, found...)
	}
	var lists []*x509.RevocationList
	for _, path := range paths {
		found, err := readRevocationLists(path)
		if err != nil {
			return &rewind.Error{Op: "read certificate revocation list", Path: path, Err: err}
		}
		lists = append(lists, found...)
	}
	for _, t := range tlsConfigs(c) {
		if t.InsecureSkipVerify && t.VerifyPeerCertificate == nil {
			continue
		}
		t.VerifyConnection = func(state tls.ConnectionState) error { return checkRevoked(state.PeerCertificates, lists) }
	}
	return nil
}

func readRevocationLists(path string) ([]*x509.RevocationList, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lists []*x509.RevocationList
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, errors.New("no list in PEM form found")
	}
	return lists, nil
}

// checkRevoked looks for the certificates in the lists of their issuers. The
// signature of a list is not checked: it is a local file that the user named.
func checkRevoked(chain []*x509.Certificate, lists []*x509.RevocationList) error {
	for _, cert := range chain {
		for _, list := range lists {
			if string(list.RawIssuer) != string(cert.RawIssuer) {
				continue
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return &tls.CertificateVerificationError{
						UnverifiedCertificates: chain,
						Err:                    fmt.Errorf("certificate %q has been revoked", cert.Subject.CommonName),
					}
				}
			}
		}
	}
	return nil
}
