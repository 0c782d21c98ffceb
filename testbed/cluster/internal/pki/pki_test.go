package pki

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

var node = Subject{
	Name:      "kubelet-node1",
	User:      "system:node:node1",
	Groups:    []string{"system:nodes"},
	Addresses: []netip.Addr{netip.MustParseAddr("198.18.217.11")},
	Hosts:     []string{"node1"},
}

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	authority, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func issue(t *testing.T, authority *Authority, subject Subject) *x509.Certificate {
	t.Helper()
	files, err := authority.Issue(subject)
	if err != nil {
		t.Fatal(err)
	}
	certificate, _, err := load(files)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestAnIssuedCertificateVerifiesForItsAddressAndItsName(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate := issue(t, authority, node)
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	for _, host := range []string{"198.18.217.11", "node1"} {
		_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		if err != nil {
			t.Errorf("verify for %s: %v", host, err)
		}
	}
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: "198.18.217.12"}); err == nil {
		t.Error("verified for another node's address")
	}
	if got := certificate.Subject; got.CommonName != node.User || got.Organization[0] != "system:nodes" {
		t.Errorf("subject is %s", got)
	}
}

func TestIssuingAgainKeepsTheCertificateUntilTheSubjectChanges(t *testing.T) {
	dir := t.TempDir()
	first := issue(t, open(t, dir), node)
	reopened := open(t, dir)
	if again := issue(t, reopened, node); !again.Equal(first) {
		t.Error("the same subject got another certificate")
	}
	moved := node
	moved.Addresses = []netip.Addr{netip.MustParseAddr("198.18.217.12")}
	if changed := issue(t, reopened, moved); changed.Equal(first) {
		t.Error("a subject at another address kept its certificate")
	}
}

func TestACertificateThatEndsSoonOrComesFromAnotherAuthorityDoesNotFit(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate := issue(t, authority, node)
	if !authority.stillFits(certificate, node, time.Now()) {
		t.Error("a new certificate does not fit")
	}
	if authority.stillFits(certificate, node, time.Now().Add(leafLifetime-renewBefore)) {
		t.Error("a certificate that ends within a month fits")
	}
	if open(t, t.TempDir()).stillFits(certificate, node, time.Now()) {
		t.Error("a certificate of another authority fits")
	}
}

func TestTheTokenKeyIsMadeOnceAndIsPrivate(t *testing.T) {
	authority := open(t, t.TempDir())
	files, err := authority.TokenKey()
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.TokenKey(); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(files.Key)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the key changed (%v)", err)
	}
	if info, err := os.Stat(files.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, want 0600 (%v)", info.Mode(), err)
	}
}

func TestADamagedKeyFileIsNamedInTheError(t *testing.T) {
	dir := t.TempDir()
	damaged := open(t, dir).Pair("ca").Certificate
	if err := os.WriteFile(damaged, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("got %v, want an error that names %s", err, damaged)
	}
}
