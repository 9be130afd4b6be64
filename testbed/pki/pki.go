// Package pki makes the keys and certificates of a cluster and keeps those that still fit.
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
	// renewal is the time before its end at which a certificate no longer counts as fitting.
	renewal = 30 * 24 * time.Hour
)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	folder      string
}

// Subject describes a certificate to have.
type Subject struct {
	// Name is the base name of the certificate's and the key's file.
	Name         string
	CommonName   string
	Organization []string
	DNSNames     []string
	IPs          []net.IP
	Usages       []x509.ExtKeyUsage
}

// CertFile is the path of the certificate called name in folder.
func CertFile(folder, name string) string { return filepath.Join(folder, name+".crt") }

// KeyFile is the path of the private key called name in folder.
func KeyFile(folder, name string) string { return filepath.Join(folder, name+".key") }

// EnsureAuthority reads the authority called name from folder, or makes it there.
func EnsureAuthority(folder, name string) (*Authority, error) {
	if cert, key, err := read(folder, name); err == nil && cert.IsCA && lasts(cert) {
		return &Authority{Certificate: cert, key: key, folder: folder}, nil
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
	cert, err := write(folder, name, template, template, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: cert, key: key, folder: folder}, nil
}

// Ensure keeps the certificate that the subject has, if it fits, or issues one.
func (a *Authority) Ensure(s Subject) error {
	if cert, _, err := read(a.folder, s.Name); err == nil && a.fits(cert, s) {
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
	_, err = write(a.folder, s.Name, template, a.Certificate, key, a.key)
	return err
}

func (a *Authority) fits(cert *x509.Certificate, s Subject) bool {
	return lasts(cert) && cert.CheckSignatureFrom(a.Certificate) == nil &&
		cert.Subject.CommonName == s.CommonName &&
		slices.Equal(cert.Subject.Organization, s.Organization) &&
		slices.Equal(cert.DNSNames, s.DNSNames) &&
		slices.EqualFunc(cert.IPAddresses, s.IPs, net.IP.Equal) &&
		slices.Equal(cert.ExtKeyUsage, s.Usages)
}

// EnsureKeyPair makes folder hold a private key and its public key, NAME.key and NAME.pub.
func EnsureKeyPair(folder, name string) error {
	key, err := readKey(KeyFile(folder, name))
	if err != nil {
		if key, err = newKey(); err != nil {
			return err
		}
		if err := writeKey(KeyFile(folder, name), key); err != nil {
			return err
		}
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return atomicfile.Write(PublicKeyFile(folder, name), block, 0o644)
}

// PublicKeyFile is the path of the public key called name in folder.
func PublicKeyFile(folder, name string) string { return filepath.Join(folder, name+".pub") }

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, BasicConstraintsValid: true,
		// A little in the past, for clocks that were set back.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
	}, nil
}

func lasts(cert *x509.Certificate) bool {
	now := time.Now()
	return now.After(cert.NotBefore) && now.Add(renewal).Before(cert.NotAfter)
}

// write stores the key before the certificate: a pair that a crash tore apart does not match and is
// made again.
func write(folder, name string, template, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate %s: %w", name, err)
	}
	if err := writeKey(KeyFile(folder, name), key); err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := atomicfile.Write(CertFile(folder, name), block, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign", path)
	}
	return signer, nil
}

// read fails unless certificate and key belong together.
func read(folder, name string) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(CertFile(folder, name), KeyFile(folder, name))
	if err != nil {
		return nil, nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("the key %s cannot sign", name)
	}
	return pair.Leaf, signer, nil
}
