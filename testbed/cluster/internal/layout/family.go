package layout

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family says of which families the addresses of nodes, pods and services are. The zero value is IPv4.
type Family int

// The families go by the names that kind's configuration gives to them.
const (
	IPv4 Family = iota
	IPv6
	// Dual has both, with IPv4 as the primary one.
	Dual
)

var familyNames = [...]string{IPv4: "ipv4", IPv6: "ipv6", Dual: "dual"}

func (f Family) String() string { return familyNames[f] }

// ParseFamily reads the name of a family.
func ParseFamily(name string) (Family, error) {
	for family, known := range familyNames {
		if name == known {
			return Family(family), nil
		}
	}
	return 0, fmt.Errorf("there is no IP family %q: choose from %s", name, strings.Join(familyNames[:], ", "))
}

// HasIPv6 says whether anything has an address of IPv6.
func (f Family) HasIPv6() bool { return f != IPv4 }

// Network is what the testbed has of one family.
type Network struct {
	// Nodes is the network that joins the nodes and the host.
	Nodes netip.Prefix
	// Host is the host's address on it.
	Host netip.Addr
	// Pods and Services are where their addresses come from.
	Pods, Services netip.Prefix
	// Loopback is where the control plane's own parts speak to each other.
	Loopback netip.Addr
	// podBits is the length of each node's range of pods.
	podBits int
}

// The addresses of nodes come from the benchmarking range of RFC 2544, which no network routes, and from a prefix of
// RFC 4193 whose 40 bits were drawn at random. Those of pods and services exist only inside the testbed's namespaces.
var (
	network4 = Network{
		Nodes:    netip.MustParsePrefix("198.18.217.0/24"),
		Host:     netip.MustParseAddr("198.18.217.1"),
		Pods:     netip.MustParsePrefix("10.244.0.0/16"),
		Services: netip.MustParsePrefix("10.96.0.0/16"),
		Loopback: netip.MustParseAddr("127.0.0.1"),
		podBits:  24,
	}
	network6 = Network{
		Nodes: netip.MustParsePrefix("fd14:d7f:174e:1::/64"),
		Host:  netip.MustParseAddr("fd14:d7f:174e:1::1"),
		Pods:  netip.MustParsePrefix("fd14:d7f:174e:100::/56"),
		// As many as Kubernetes keeps account of in one piece.
		Services: netip.MustParsePrefix("fd14:d7f:174e:2::/112"),
		Loopback: netip.IPv6Loopback(),
		podBits:  64,
	}
)

func (f Family) networks() []Network {
	switch f {
	case IPv6:
		return []Network{network6}
	case Dual:
		return []Network{network4, network6}
	default:
		return []Network{network4}
	}
}

// APIService is the ClusterIP of the service "kubernetes": the first address of services.
func (n Network) APIService() netip.Addr { return n.Services.Addr().Next() }

// IsIPv6 says of which family it is.
func (n Network) IsIPv6() bool { return n.Nodes.Addr().Is6() }

// OnNodes is an address with the length of the nodes' network, as `ip addr` takes it.
func (n Network) OnNodes(address netip.Addr) string {
	return netip.PrefixFrom(address, n.Nodes.Bits()).String()
}

// share is that of the node with this number: its address ends with 11 and up, written in the digits of its family, and
// the number is the last digit of its range's prefix.
func (n Network) share(number int) Share {
	address, pods := n.Nodes.Addr().AsSlice(), n.Pods.Addr().AsSlice()
	if n.IsIPv6() {
		address[15] = byte(0x10 + number)
	} else {
		address[3] = byte(10 + number)
	}
	pods[n.podBits/8-1] = byte(number)
	return Share{Network: n, Address: fromSlice(address), Range: netip.PrefixFrom(fromSlice(pods), n.podBits)}
}

func fromSlice(bytes []byte) netip.Addr {
	address, _ := netip.AddrFromSlice(bytes)
	return address
}
