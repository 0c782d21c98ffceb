package layout

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryNodeHasItsOwnAddressesInsideTheTestbedsNetworks(t *testing.T) {
	testbed := Testbed{Dir: "/state"}
	seen := map[string]string{}
	for _, node := range testbed.Nodes(MaxNodes) {
		if !NodeNetwork.Contains(node.Address) || node.Address == HostAddress {
			t.Errorf("%s has address %s, want one of %s other than the host's", node.Name, node.Address, NodeNetwork)
		}
		if !PodNetwork.Overlaps(node.Pods) {
			t.Errorf("%s has pods in %s, want a part of %s", node.Name, node.Pods, PodNetwork)
		}
		for _, value := range []string{node.Address.String(), node.Pods.String(), node.Netns, node.Dir, node.Cgroup()} {
			if owner, taken := seen[value]; taken {
				t.Errorf("%s of %s is also that of %s", value, node.Name, owner)
			}
			seen[value] = node.Name
		}
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
