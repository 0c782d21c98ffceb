package network

import (
	"strings"
	"testing"

	"cocoon.farm/testbed/cluster/internal/layout"
)

func TestRulesHideANodesOwnPodsAndOnlyFromOutsideTheCluster(t *testing.T) {
	testbed := layout.Testbed{Dir: "/state"}
	for _, node := range testbed.Nodes(layout.MaxNodes) {
		want := "ip saddr " + node.Pods.String() + " ip daddr != " + layout.PodNetwork.String() + " masquerade"
		if got := rules(node); !strings.Contains(got, want) {
			t.Errorf("rules of %s lack %q:\n%s", node.Name, want, got)
		}
	}
}

func TestAddressesCarryTheLengthOfTheNodeNetwork(t *testing.T) {
	if got := onNodeNetwork(layout.HostAddress); got != "198.18.217.1/24" {
		t.Errorf("got %s", got)
	}
}
