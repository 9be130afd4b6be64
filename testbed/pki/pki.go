// Package pki creates the keys and certificates of a cluster, and keeps those that are still valid.
package pki

import (
	"crypto"
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
	"slices"
	"time"

	"dask-operator/testbed/atomicfile"
)

const (
	validity = 10 * 365 * 24 * time.Hour
	// renewal is how long before its expiry a certificate is replaced.
	renewal = 30 * 24 * time.Hour
)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	directory   string
}

// Subject describes a certificate.
type Subject struct {
	// Name is the base name of the files of certificate and key.
	Name         string
	CommonName   string
	Organization []string
	DNSNames     []string
	IPs          []net.IP
	Usages       []x509.ExtKeyUsage
}

// CertFile returns the path of the certificate called name in directory.
func CertFile(directory, name string) string { return filepath.Join(directory, name+".crt") }

// KeyFile returns the path of the private key called name in directory.
func KeyFile(directory, name string) string { return filepath.Join(directory, name+".key") }

// EnsureAuthority reads the authority called name from directory, or creates it there.
func EnsureAuthority(directory, name string) (*Authority, error) {
	if cert, key, err := read(directory, name); err == nil && cert.IsCA && lasts(cert) {
		return &Authority{Certificate: cert, key: key, directory: directory}, nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: "testbed-" + name})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	cert, err := write(directory, name, template, template, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: cert, key: key, directory: directory}, nil
}

// Ensure issues a certificate for the subject, unless it has a valid one that matches.
func (a *Authority) Ensure(s Subject) error {
	if cert, _, err := read(a.directory, s.Name); err == nil && a.fits(cert, s) {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	template, err := newTemplate(pkix.Name{CommonName: s.CommonName, Organization: s.Organization})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = s.Usages
	template.DNSNames = s.DNSNames
	template.IPAddresses = s.IPs
	_, err = write(a.directory, s.Name, template, a.Certificate, key, a.key)
	return err
}

// fits reports whether a certificate is valid, signed by this authority, and that of the subject.
func (a *Authority) fits(cert *x509.Certificate, s Subject) bool {
	return lasts(cert) && cert.CheckSignatureFrom(a.Certificate) == nil &&
		cert.Subject.CommonName == s.CommonName &&
		slices.Equal(cert.Subject.Organization, s.Organization) &&
		slices.Equal(cert.DNSNames, s.DNSNames) &&
		slices.EqualFunc(cert.IPAddresses, s.IPs, net.IP.Equal) &&
		slices.Equal(cert.ExtKeyUsage, s.Usages)
}

// EnsureKeyPair creates a private key and its public key, NAME.key and NAME.pub, in directory unless they exist.
func EnsureKeyPair(directory, name string) error {
	key, err := readKey(KeyFile(directory, name))
	if err != nil {
		if key, err = newKey(); err != nil {
			return err
		}
		if err := writeKey(KeyFile(directory, name), key); err != nil {
			return err
		}
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return atomicfile.Write(PublicKeyFile(directory, name), block, 0o644)
}

// PublicKeyFile returns the path of the public key called name in directory.
func PublicKeyFile(directory, name string) string { return filepath.Join(directory, name+".pub") }

// newKey generates a key.
func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return key, nil
}

// newTemplate returns a certificate that is valid from now on.
func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, BasicConstraintsValid: true,
		// In the past, in case the clock is set back.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
	}, nil
}

// lasts reports whether a certificate is valid and need not be renewed yet.
func lasts(cert *x509.Certificate) bool {
	now := time.Now()
	return now.After(cert.NotBefore) && now.Add(renewal).Before(cert.NotAfter)
}

// write signs a certificate and stores it with its key. The key is written first. If a crash prevents the second write, the
// pair does not match and is created again.
func write(directory, name string, template, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate %s: %w", name, err)
	}
	if err := writeKey(KeyFile(directory, name), key); err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := atomicfile.Write(CertFile(directory, name), block, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// writeKey writes a private key.
func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// readKey reads a private key.
func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s contains no key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s contains a key that cannot sign", path)
	}
	return signer, nil
}

// read reads a certificate and its key. It fails if they do not match.
func read(directory, name string) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(CertFile(directory, name), KeyFile(directory, name))
	if err != nil {
		return nil, nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("the key %s cannot sign", name)
	}
	return pair.Leaf, signer, nil
}
