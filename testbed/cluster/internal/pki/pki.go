// Package pki owns the testbed's certificate authority, the certificates of its components and the key that signs
// service-account tokens.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour
	// renewBefore leaves a cluster that is started today a month of use.
	renewBefore = 30 * 24 * time.Hour
	// clockSkew lets a certificate be used by a process whose clock lags a little behind.
	clockSkew = 5 * time.Minute

	certificateBlock = "CERTIFICATE"
	privateKeyBlock  = "PRIVATE KEY"
	publicKeyBlock   = "PUBLIC KEY"
)

// AuthorityName is the base name of the authority's own files.
const AuthorityName = "ca"

// Pair is where a certificate and its private key lie.
type Pair struct{ Certificate, Key string }

// PairIn is where the files of that base name lie in a folder of keys.
func PairIn(dir, name string) Pair {
	return Pair{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

// Authority signs the certificates of one cluster.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Subject says whom a certificate names. Every one serves clients and servers alike, since components are both.
type Subject struct {
	// Name is the base name of the files.
	Name string
	// User and Groups are what the API server authenticates.
	User   string
	Groups []string
	// Addresses and Hosts are what the holder answers on.
	Addresses []netip.Addr
	Hosts     []string
}

// Open loads the authority kept in dir, or makes one.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key folder: %w", err)
	}
	authority := &Authority{dir: dir}
	files := authority.Pair(AuthorityName)
	certificate, key, err := load(files)
	if errors.Is(err, fs.ErrNotExist) {
		certificate, key, err = createAuthority(files)
	}
	if err != nil {
		return nil, err
	}
	authority.certificate, authority.key = certificate, key
	return authority, nil
}

// Pair is where the files of that base name lie.
func (a *Authority) Pair(name string) Pair { return PairIn(a.dir, name) }

// Issue returns the subject's certificate: the one there is, or a new one where that does not fit or ends soon.
func (a *Authority) Issue(subject Subject) (Pair, error) {
	files := a.Pair(subject.Name)
	current, _, err := load(files)
	switch {
	case err == nil && a.stillFits(current, subject, time.Now()):
		return files, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Pair{}, err
	}
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template, err := leafTemplate(subject)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate %s: %w", subject.Name, err)
	}
	return files, store(files, der, key)
}

// TokenKey returns the key pair that signs service-account tokens: Certificate holds the public key.
func (a *Authority) TokenKey() (Pair, error) {
	files := Pair{Certificate: filepath.Join(a.dir, "service-account.pub"), Key: filepath.Join(a.dir, "service-account.key")}
	if _, err := os.Stat(files.Certificate); err == nil {
		return files, nil
	}
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, fmt.Errorf("encode service-account key: %w", err)
	}
	if err := writeKey(files.Key, key); err != nil {
		return Pair{}, err
	}
	// The public half comes last: it marks the pair as complete.
	return files, writePEM(files.Certificate, publicKeyBlock, public, 0o644)
}

// stillFits reports whether a certificate says what the subject says, is ours, and lasts.
func (a *Authority) stillFits(certificate *x509.Certificate, subject Subject, now time.Time) bool {
	want := addresses(subject)
	return certificate.CheckSignatureFrom(a.certificate) == nil &&
		now.Add(renewBefore).Before(certificate.NotAfter) &&
		certificate.Subject.CommonName == subject.User &&
		slices.Equal(certificate.Subject.Organization, subject.Groups) &&
		slices.Equal(certificate.DNSNames, subject.Hosts) &&
		slices.EqualFunc(certificate.IPAddresses, want, net.IP.Equal)
}

func addresses(subject Subject) []net.IP {
	ips := make([]net.IP, 0, len(subject.Addresses))
	for _, address := range subject.Addresses {
		ips = append(ips, address.AsSlice())
	}
	return ips
}

func leafTemplate(subject Subject) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: subject.User, Organization: subject.Groups},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(leafLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:     subject.Hosts,
		IPAddresses:  addresses(subject),
	}, nil
}

func createAuthority(files Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "cocoon-testbed"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate authority: %w", err)
	}
	if err := store(files, der, key); err != nil {
		return nil, nil, err
	}
	return load(files)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make private key: %w", err)
	}
	return key, nil
}

// newSerial returns 128 random bits, which RFC 5280 allows and which never repeat.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial, nil
}

func load(files Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	der, err := readPEM(files.Certificate, certificateBlock)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", files.Certificate, err)
	}
	der, err = readPEM(files.Key, privateKeyBlock)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", files.Key, err)
	}
	private, isECDSA := key.(*ecdsa.PrivateKey)
	if !isECDSA {
		return nil, nil, fmt.Errorf("parse %s: want an ECDSA key, got %T", files.Key, key)
	}
	return certificate, private, nil
}

// store writes the key first, so a certificate on disk always has one.
func store(files Pair, der []byte, key *ecdsa.PrivateKey) error {
	if err := writeKey(files.Key, key); err != nil {
		return err
	}
	return writePEM(files.Certificate, certificateBlock, der, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key for %s: %w", path, err)
	}
	return writePEM(path, privateKeyBlock, der, 0o600)
}

func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, mode); err != nil {
		return fmt.Errorf("write key material: %w", err)
	}
	return nil
}

func readPEM(path, kind string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key material: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read %s: no PEM block of type %q: remove the file to have it made again", path, kind)
	}
	return block.Bytes, nil
}
