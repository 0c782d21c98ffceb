package layout

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryNodeHasItsOwnAddressesInsideTheTestbedsNetworks(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6, Dual} {
		testbed := Testbed{Dir: "/state", Family: family}
		seen := map[string]string{}
		for _, node := range testbed.Nodes(MaxNodes) {
			values := []string{node.Netns, node.Dir, node.Cgroup()}
			for i, network := range testbed.Networks() {
				share := node.Shares[i]
				if !network.Nodes.Contains(share.Address) || share.Address == network.Host {
					t.Errorf("%s has address %s, want one of %s other than the host's", node.Name, share.Address, network.Nodes)
				}
				if !network.Pods.Contains(share.Range.Addr()) || share.Range.Bits() <= network.Pods.Bits() {
					t.Errorf("%s has pods in %s, want a part of %s", node.Name, share.Range, network.Pods)
				}
				values = append(values, share.Address.String(), share.Range.String())
			}
			for _, value := range values {
				if owner, taken := seen[value]; taken {
					t.Errorf("%s of %s is also that of %s", value, node.Name, owner)
				}
				seen[value] = node.Name
			}
		}
	}
}

func TestNetworksOfATestbedDoNotOverlap(t *testing.T) {
	for _, network := range (Testbed{Family: Dual}).Networks() {
		prefixes := []netip.Prefix{network.Nodes, network.Pods, network.Services}
		for i, one := range prefixes {
			if one != one.Masked() {
				t.Errorf("%s has bits beyond its length", one)
			}
			for _, other := range prefixes[i+1:] {
				if one.Overlaps(other) {
					t.Errorf("%s overlaps %s", one, other)
				}
			}
		}
		if !network.Services.Contains(network.APIService()) {
			t.Errorf("%s is no address of %s", network.APIService(), network.Services)
		}
	}
}

func TestAFamilyIsReadByItsNameAndAnotherIsRefusedWithThem(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6, Dual} {
		if got, err := ParseFamily(family.String()); err != nil || got != family {
			t.Errorf("%s gave %v, %v", family, got, err)
		}
	}
	if _, err := ParseFamily("IPv6"); err == nil || !strings.Contains(err.Error(), "ipv4, ipv6, dual") {
		t.Errorf("got %v, want an error with the names", err)
	}
}

func TestEverythingOwnedLiesInTheStateFolder(t *testing.T) {
	testbed := Testbed{Dir: "/state"}
	for _, path := range testbed.Owned() {
		if filepath.Dir(path) != "/state" {
			t.Errorf("%s is no entry of the state folder", path)
		}
	}
}

func TestAStateFolderTooLongForSocketsIsRefusedByName(t *testing.T) {
	long := "/" + strings.Repeat("x", maxStateLength)
	_, err := New(long)
	if err == nil || !strings.Contains(err.Error(), long) {
		t.Errorf("got %v, want an error that names %s", err, long)
	}
}

func TestTheEnvironmentMovesTheStateFolder(t *testing.T) {
	t.Setenv(StateVariable, "/elsewhere/")
	testbed, err := New("")
	if err != nil || testbed.Dir != "/elsewhere" {
		t.Errorf("got %q, %v, want /elsewhere", testbed.Dir, err)
	}
}

func TestAStateFolderThatNodesCannotSeeIsRefused(t *testing.T) {
	for _, dir := range []string{"/run/testbed", "/var/log", "/var/lib/kubelet/testbed"} {
		if _, err := New(dir); err == nil {
			t.Errorf("%s was accepted", dir)
		}
	}
	if _, err := New("/runner/testbed"); err != nil {
		t.Error(err)
	}
}
