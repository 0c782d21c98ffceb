// Package network joins the nodes to each other and to the host:
//
//	host [cocoon-testbed] --veth-- [uplink > nodes < node2] node1 --veth-- [eth0] node2
//
// The host gets one interface with one address and nothing else: no forwarding, no bridge, no firewall rule. Pods reach
// nodes and the host, and nothing beyond.
package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/node"
)

// memberLink is the interface by which every node but the first reaches the bridge.
const memberLink = "eth0"

// RemoveHostLink removes the host's interface.
func RemoveHostLink() error {
	if !hostLinkExists() {
		return nil
	}
	// The kernel may be removing it at this very moment, when the network at its other end has just ended.
	if err := ip("link", "del", layout.HostLink); err != nil && hostLinkExists() {
		return err
	}
	return nil
}

// Owner is the state folder of the testbed that is up on this machine, or nothing.
func Owner() (string, error) {
	alias, err := os.ReadFile(filepath.Join("/sys/class/net", layout.HostLink, "ifalias"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read alias of %s: %w", layout.HostLink, err)
	}
	return strings.TrimSpace(string(alias)), nil
}

func hostLinkExists() bool {
	_, err := net.InterfaceByName(layout.HostLink)
	return err == nil
}

// Connect makes what is missing of links, addresses, routes and rules. members are all running nodes, the first first;
// owner is the testbed's state folder.
func Connect(owner string, members []Member) error {
	first := members[0]
	links, err := interfaces(first)
	if err != nil {
		return err
	}
	if !slices.Contains(links, layout.NodeBridge) {
		if err := makeBridge(first); err != nil {
			return err
		}
	}
	if !slices.Contains(links, layout.Uplink) {
		if err := makeHostLink(owner, first); err != nil {
			return err
		}
	}
	for _, member := range members[1:] {
		if slices.Contains(links, member.Name) {
			continue
		}
		if err := join(first, member); err != nil {
			return err
		}
	}
	for _, member := range members {
		if err := route(member, members); err != nil {
			return err
		}
		if err := loadRules(member); err != nil {
			return err
		}
	}
	return nil
}

func makeBridge(first Member) error {
	return inNode(first, slices.Concat(
		[][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", layout.NodeBridge, "type", "bridge"},
		},
		addresses(first.Node, layout.NodeBridge),
		[][]string{{"link", "set", layout.NodeBridge, "up"}},
	)...)
}

func makeHostLink(owner string, first Member) error {
	if err := RemoveHostLink(); err != nil {
		return err
	}
	networks := networksOf(first)
	if err := checkRange(networks); err != nil {
		return err
	}
	if err := ip("link", "add", layout.HostLink, "type", "veth", "peer", "name", layout.Uplink, "netns", first.Netns); err != nil {
		return err
	}
	if err := ip("link", "set", layout.HostLink, "alias", owner); err != nil {
		return err
	}
	uplink := [][]string{{"link", "set", layout.Uplink, "master", layout.NodeBridge, "up"}}
	if err := inNode(first, append(uplink, defaultRoutes(first.Node)...)...); err != nil {
		return err
	}
	for _, network := range networks {
		if network.IsIPv6() {
			if err := allowIPv6(); err != nil {
				return err
			}
		}
		if err := ip(addAddress(network, network.Host, layout.HostLink)...); err != nil {
			return err
		}
	}
	return ip("link", "set", layout.HostLink, "up")
}

// allowIPv6 lets the host's end of the link have addresses of IPv6 where the machine's other interfaces have none.
func allowIPv6() error {
	path := filepath.Join("/proc/sys/net/ipv6/conf", layout.HostLink, "disable_ipv6")
	if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
		return fmt.Errorf("allow IPv6 on %s: %w", layout.HostLink, err)
	}
	return nil
}

// CheckIPv6 refuses a machine whose kernel cannot have a cluster with IPv6.
func CheckIPv6() error {
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return errors.New("this machine's kernel has no IPv6, as /proc/net/if_inet6 is missing: " +
			"start it without ipv6.disable=1 or load the module ipv6, or take --ip-family ipv4")
	}
	return nil
}

func networksOf(member Member) []layout.Network {
	var networks []layout.Network
	for _, share := range member.Shares {
		networks = append(networks, share.Network)
	}
	return networks
}

// addAddress is the command that gives a link its address. Nobody else has those of IPv6, so nothing waits for the
// detection of duplicates: an address is used at once.
func addAddress(network layout.Network, address netip.Addr, link string) []string {
	command := []string{"addr", "add", network.OnNodes(address), "dev", link}
	if network.IsIPv6() {
		command = append(command, "nodad")
	}
	return command
}

// addresses are the commands that give a node's link its addresses.
func addresses(of layout.Node, link string) [][]string {
	var commands [][]string
	for _, share := range of.Shares {
		commands = append(commands, addAddress(share.Network, share.Address, link))
	}
	return commands
}

// defaultRoutes are the commands that lead a node's traffic to the host.
func defaultRoutes(of layout.Node) [][]string {
	var commands [][]string
	for _, share := range of.Shares {
		commands = append(commands, routeCommand("default", share.Host))
	}
	return commands
}

// routeCommand needs no family of its own: `ip` takes it from the next hop.
func routeCommand(to string, via netip.Addr) []string {
	command := []string{"route", "replace", to, "via", via.String()}
	if via.Is6() {
		// `default` alone would be that of IPv4.
		return append([]string{"-6"}, command...)
	}
	return command
}

// checkRange refuses a machine that has the testbed's addresses in use.
func checkRange(networks []layout.Network) error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil {
			continue
		}
		for _, network := range networks {
			if prefix.Overlaps(network.Nodes) {
				return fmt.Errorf("the host has %s, which overlaps the testbed's %s: remove that address while the testbed is up", prefix, network.Nodes)
			}
		}
	}
	return nil
}

func join(first, member Member) error {
	links, err := interfaces(member)
	if err != nil {
		return err
	}
	// The end of a link to a first node that is no more, which the kernel has yet to remove.
	if slices.Contains(links, memberLink) {
		if err := inNode(member, []string{"link", "del", memberLink}); err != nil {
			return err
		}
	}
	if err := inNode(first,
		[]string{"link", "add", member.Name, "type", "veth", "peer", "name", memberLink, "netns", member.Netns},
		[]string{"link", "set", member.Name, "master", layout.NodeBridge, "up"},
	); err != nil {
		return err
	}
	return inNode(member, slices.Concat(
		[][]string{{"link", "set", "lo", "up"}},
		addresses(member.Node, memberLink),
		[][]string{{"link", "set", memberLink, "up"}},
		defaultRoutes(member.Node),
	)...)
}

// route tells a node on which other node each pod is.
func route(member Member, members []Member) error {
	for _, other := range members {
		if other.Number == member.Number {
			continue
		}
		for _, share := range other.Shares {
			if err := inNode(member, routeCommand(share.Range.String(), share.Address)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rules gives pods the node's address when they leave the cluster's own networks, since the host has no route back to
// them.
func rules(of layout.Node) string {
	var rules strings.Builder
	for _, share := range of.Shares {
		family := "ip"
		if share.IsIPv6() {
			family = "ip6"
		}
		fmt.Fprintf(&rules, `table %[1]s %[2]s
delete table %[1]s %[2]s
table %[1]s %[2]s {
	chain postrouting {
		type nat hook postrouting priority srcnat
		%[1]s saddr %[3]s %[1]s daddr != %[4]s masquerade
	}
}
`, family, layout.FirewallTable, share.Range, share.Pods)
	}
	return rules.String()
}

func loadRules(member Member) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(rules(member.Node))
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := node.Enter(member.Keeper, command.Start); err != nil {
		return fmt.Errorf("run nft: %w", err)
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("load rules of %s: %w: %s", member.Name, err, strings.TrimSpace(output.String()))
	}
	return nil
}

func interfaces(member Member) ([]string, error) {
	var names []string
	err := node.Enter(member.Keeper, func() error {
		links, err := net.Interfaces()
		for _, link := range links {
			names = append(names, link.Name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", member.Name, err)
	}
	return names, nil
}

func inNode(member Member, commands ...[]string) error {
	for _, command := range commands {
		if err := ip(append([]string{"-n", member.Netns}, command...)...); err != nil {
			return err
		}
	}
	return nil
}

func ip(arguments ...string) error {
	output, err := exec.Command("ip", arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
