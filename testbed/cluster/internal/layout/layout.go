// Package layout names every path, address and kernel object that the testbed owns. What is not named here is never
// created and never removed.
package layout

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	// StateVariable is the environment variable that moves the state folder.
	StateVariable = "COCOON_TESTBED_DIR"
	defaultState  = "/var/lib/cocoon-testbed"

	// MaxNodes is what one machine is asked to bear: the second node exists to prove spreading, node loss and
	// traffic between nodes, and a third proves nothing more.
	MaxNodes = 2

	// maxStateLength keeps the longest socket path below a state folder within the 107 bytes of a Unix address:
	// 107 less "/node2/kubelet/device-plugins/" and 40 bytes for a plugin's socket name.
	maxStateLength = 107 - 30 - 40

	// HostLink is the host's end of the one link that joins the testbed to the machine. Its alias is the state folder.
	HostLink = "cocoon-testbed"
	// Uplink is the testbed's end of that link, a port of NodeBridge.
	Uplink = "uplink"
	// NodeBridge joins the host and the nodes. It lives in the first node's network namespace, so the host's own
	// firewall never sees traffic between nodes.
	NodeBridge = "nodes"
	// FirewallTable is the nftables table with the testbed's own rules, one in each node.
	FirewallTable = "cocoon-testbed"

	// CgroupRoot is the parent of all pods' cgroups, in every controller's hierarchy.
	CgroupRoot = "/cocoon-testbed"

	// APIServerPort, and the ports below, are open on the nodes' addresses alone.
	APIServerPort         = 6443
	EtcdHealthPort        = 2381
	ControllerManagerPort = 10257
	SchedulerPort         = 10259
	KubeletHealthPort     = 10248
	KubeProxyHealthPort   = 10256
)

// Testbed is one cluster on this machine, rooted at its state folder.
type Testbed struct {
	Dir string
	// Family is that of its addresses.
	Family Family
}

// New checks and cleans the state folder's path; an empty path means the environment's, or else the default one.
func New(dir string) (Testbed, error) {
	if dir == "" {
		dir = os.Getenv(StateVariable)
	}
	if dir == "" {
		dir = defaultState
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Testbed{}, fmt.Errorf("resolve state folder: %w", err)
	}
	if len(dir) > maxStateLength {
		return Testbed{}, fmt.Errorf("state folder %s is %d bytes long: choose one of at most %d, since socket paths below it are limited",
			dir, len(dir), maxStateLength)
	}
	if err := CheckVisible(dir); err != nil {
		return Testbed{}, err
	}
	return Testbed{Dir: dir}, nil
}

// CheckVisible refuses a path that nodes cannot see, since they have a folder of their own in its place.
func CheckVisible(path string) error {
	for _, mount := range (Node{}).Mounts() {
		if path == mount.Target || strings.HasPrefix(path, mount.Target+"/") {
			return fmt.Errorf("%s lies in %s, of which each node has its own: choose a path elsewhere", path, mount.Target)
		}
	}
	return nil
}

func (t Testbed) in(elements ...string) string {
	return filepath.Join(append([]string{t.Dir}, elements...)...)
}

// Owned lists the entries of the state folder that belong to the cluster. Other parts of the testbed keep theirs beside
// them.
func (t Testbed) Owned() []string {
	owned := []string{t.Bin(), t.PKI(), t.Kubeconfigs(), t.Etcd(), t.Logs(), t.Processes(), t.Config(), t.AdminKubeconfig(), t.PauseImage(), t.Mountpoints(), t.FamilyRecord()}
	for number := 1; number <= MaxNodes; number++ {
		owned = append(owned, t.Node(number).Dir)
	}
	return owned
}

// Lock is the file that serialises changes to the cluster.
func (t Testbed) Lock() string { return t.in("lock") }

// Bin holds the names under which the one binary becomes each component.
func (t Testbed) Bin() string { return t.in("bin") }

// PKI holds keys and certificates.
func (t Testbed) PKI() string { return t.in("pki") }

// Kubeconfigs holds the components' own; see AdminKubeconfig.
func (t Testbed) Kubeconfigs() string { return t.in("kubeconfig") }

// AdminKubeconfig works from the host, as cluster-admin.
func (t Testbed) AdminKubeconfig() string { return t.in("admin.kubeconfig") }

// Etcd is the database.
func (t Testbed) Etcd() string { return t.in("etcd") }

// Logs holds one file per process.
func (t Testbed) Logs() string { return t.in("log") }

// Processes holds one record per process.
func (t Testbed) Processes() string { return t.in("process") }

// Config holds the files that components are started with.
func (t Testbed) Config() string { return t.in("config") }

// PauseImage is the image of pod sandboxes, as a tarball.
func (t Testbed) PauseImage() string { return t.in("pause.tar") }

// Mountpoints records which of the nodes' mount points were created on the host.
func (t Testbed) Mountpoints() string { return t.in("mountpoints") }

// FamilyRecord holds the name of the running cluster's family.
func (t Testbed) FamilyRecord() string { return t.in("ip-family") }

// Networks are those that the cluster has: one of each family, the primary one first.
func (t Testbed) Networks() []Network { return t.Family.networks() }

// Primary is the network whose addresses programs are given that take one.
func (t Testbed) Primary() Network { return t.Networks()[0] }

// Node is one Kubernetes node: a process, network, mount and host-name namespace with a containerd and a kubelet in it.
type Node struct {
	Number int
	Name   string
	// Dir holds everything of the node.
	Dir string
	// Netns is the name of the network namespace, as `ip netns` lists it.
	Netns string
	// Shares are what the node has of each of the testbed's networks, the primary one first.
	Shares []Share
}

// Share is what a node has of one network.
type Share struct {
	Network
	// Address is an InternalIP of the node.
	Address netip.Addr
	// Range is the node's part of the addresses of pods.
	Range netip.Prefix
}

// Address is the node's primary InternalIP.
func (n Node) Address() netip.Addr { return n.Shares[0].Address }

// Addresses are the node's InternalIPs, the primary one first.
func (n Node) Addresses() []netip.Addr {
	var addresses []netip.Addr
	for _, share := range n.Shares {
		addresses = append(addresses, share.Address)
	}
	return addresses
}

// Node returns the node of that number, counted from 1. The first one also runs the control plane.
func (t Testbed) Node(number int) Node {
	name := fmt.Sprintf("node%d", number)
	netns := "cocoon-testbed"
	if number > 1 {
		netns += "-" + name
	}
	node := Node{Number: number, Name: name, Dir: t.in(name), Netns: netns}
	for _, network := range t.Networks() {
		node.Shares = append(node.Shares, network.share(number))
	}
	return node
}

// Nodes returns the first count nodes.
func (t Testbed) Nodes(count int) []Node {
	nodes := make([]Node, 0, count)
	for number := 1; number <= count; number++ {
		nodes = append(nodes, t.Node(number))
	}
	return nodes
}

// ControlPlane is the node that runs etcd, the API server and the controllers.
func (t Testbed) ControlPlane() Node { return t.Node(1) }

// NetnsPath is the file that other processes enter the node's network by.
func (n Node) NetnsPath() string { return filepath.Join("/run/netns", n.Netns) }

// Containerd holds images, snapshots and container metadata.
func (n Node) Containerd() string { return filepath.Join(n.Dir, "containerd") }

// KubeletRoot is the host's view of the node's /var/lib/kubelet, so device plugins on the host find it too.
func (n Node) KubeletRoot() string { return filepath.Join(n.Dir, "kubelet") }

// Run is the host's view of the node's /run.
func (n Node) Run() string { return filepath.Join(n.Dir, "run") }

// Socket is containerd's, as the host and the node both see it.
func (n Node) Socket() string { return filepath.Join(n.Dir, "containerd.sock") }

// Sysctl holds the stand-ins for kernel settings that the kubelet would otherwise change on the whole machine.
func (n Node) Sysctl() string { return filepath.Join(n.Dir, "sysctl") }

// Mount is a folder of the state folder that the node sees at another place.
type Mount struct{ Source, Target string }

// Mounts gives the node the folders whose paths Kubernetes, containerd and the CNI plugins fix, so neither two nodes
// nor a node and the host ever share one.
func (n Node) Mounts() []Mount {
	return []Mount{
		{Source: n.Run(), Target: "/run"},
		{Source: n.KubeletRoot(), Target: "/var/lib/kubelet"},
		{Source: filepath.Join(n.Dir, "log"), Target: "/var/log"},
		{Source: filepath.Join(n.Dir, "cni"), Target: "/var/lib/cni"},
	}
}

// Cgroup is the parent of the node's pods.
func (n Node) Cgroup() string { return filepath.Join(CgroupRoot, n.Name) }

// Component is the name of a process that exists once per node.
func (n Node) Component(name string) string { return name + "-" + n.Name }
