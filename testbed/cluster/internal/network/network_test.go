package network

import (
	"slices"
	"strings"
	"testing"

	"cocoon.farm/testbed/cluster/internal/layout"
)

func TestRulesHideANodesOwnPodsAndOnlyFromOutsideTheCluster(t *testing.T) {
	testbed := layout.Testbed{Dir: "/state", Family: layout.Dual}
	for _, node := range testbed.Nodes(layout.MaxNodes) {
		for i, family := range []string{"ip", "ip6"} {
			share := node.Shares[i]
			want := family + " saddr " + share.Range.String() + " " + family + " daddr != " + share.Pods.String() + " masquerade"
			if got := rules(node); !strings.Contains(got, want) {
				t.Errorf("rules of %s lack %q:\n%s", node.Name, want, got)
			}
		}
	}
}

func TestAddressesCarryTheLengthOfTheNodeNetwork(t *testing.T) {
	node := layout.Testbed{Family: layout.Dual}.Node(1)
	want := [][]string{
		{"addr", "add", "198.18.217.11/24", "dev", "nodes"},
		{"addr", "add", "fd14:d7f:174e:1::11/64", "dev", "nodes", "nodad"},
	}
	if got := addresses(node, "nodes"); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q", got)
	}
}

func TestARouteIsOfTheFamilyOfItsNextHop(t *testing.T) {
	want := [][]string{
		{"route", "replace", "default", "via", "198.18.217.1"},
		{"-6", "route", "replace", "default", "via", "fd14:d7f:174e:1::1"},
	}
	if got := defaultRoutes(layout.Testbed{Family: layout.Dual}.Node(2)); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q", got)
	}
}
