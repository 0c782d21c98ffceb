package cluster

import (
	"context"
	"fmt"
	"strings"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

// Status is what tools and tests need to know of a running cluster.
type Status struct {
	// Up says that every recorded process runs and every node is Ready.
	Up    bool   `json:"up"`
	State string `json:"state"`
	// Kubeconfig works from the host and from inside the testbed's network, as cluster-admin.
	Kubeconfig string `json:"kubeconfig"`
	Kubectl    string `json:"kubectl"`
	// IPFamily is ipv4, ipv6 or dual.
	IPFamily string `json:"ipFamily"`
	// Netns is the network of the first node, where `exec` runs things.
	Netns string `json:"netns"`
	// HostIP is the host's primary address as pods and nodes see it.
	HostIP string `json:"hostIP"`
	// NodeIP is the first node's primary address: what listens on it inside Netns is reached by pods and by the host.
	NodeIP string `json:"nodeIP"`
	// KubeletRootDirs is each node's /var/lib/kubelet, as the host sees it.
	KubeletRootDirs map[string]string `json:"kubeletRootDirs"`
	Nodes           []NodeStatus      `json:"nodes"`
	Processes       []ProcessStatus   `json:"processes"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name             string   `json:"name"`
	Ready            bool     `json:"ready"`
	Addresses        []string `json:"addresses"`
	Netns            string   `json:"netns"`
	PodCIDRs         []string `json:"podCIDRs"`
	KubeletRootDir   string   `json:"kubeletRootDir"`
	ContainerdSocket string   `json:"containerdSocket"`
}

// ProcessStatus is one process that should run.
type ProcessStatus struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
	Log     string `json:"log"`
}

// Status looks and changes nothing.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	count, err := c.count()
	if err != nil {
		return Status{}, err
	}
	first := c.testbed.ControlPlane()
	status := Status{
		Up:              count > 0,
		State:           c.testbed.Dir,
		Kubeconfig:      c.testbed.AdminKubeconfig(),
		Kubectl:         c.program("kubectl"),
		IPFamily:        c.testbed.Family.String(),
		Netns:           first.Netns,
		HostIP:          c.testbed.Primary().Host.String(),
		NodeIP:          first.Address().String(),
		KubeletRootDirs: map[string]string{},
	}
	if count == 0 {
		return status, nil
	}
	if err := c.addProcesses(&status); err != nil {
		return Status{}, err
	}
	ready := map[string]bool{}
	if status.Up {
		if ready, err = c.askNodes(ctx); err != nil {
			status.Up = false
		}
	}
	for _, node := range c.testbed.Nodes(count) {
		status.Up = status.Up && ready[node.Name]
		status.KubeletRootDirs[node.Name] = node.KubeletRoot()
		status.Nodes = append(status.Nodes, NodeStatus{
			Name: node.Name, Ready: ready[node.Name], Netns: node.Netns,
			Addresses:      each(node.Shares, func(s layout.Share) string { return s.Address.String() }),
			PodCIDRs:       each(node.Shares, func(s layout.Share) string { return s.Range.String() }),
			KubeletRootDir: node.KubeletRoot(), ContainerdSocket: node.Socket(),
		})
	}
	return status, nil
}

func (c *Cluster) addProcesses(status *Status) error {
	records, err := c.records.All()
	if err != nil {
		return err
	}
	for _, record := range records {
		running := record.Identity.Alive()
		status.Up = status.Up && running
		status.Processes = append(status.Processes, ProcessStatus{
			Name: record.Name, PID: record.Identity.PID, Running: running, Log: process.LogPath(c.testbed.Logs(), record.Name),
		})
	}
	return nil
}

func (c *Cluster) askNodes(ctx context.Context) (map[string]bool, error) {
	admin := pki.PairIn(c.testbed.PKI(), adminName)
	var err error
	if c.admin, err = newClient(pki.PairIn(c.testbed.PKI(), pki.AuthorityName).Certificate, &admin); err != nil {
		return nil, err
	}
	return c.readyNodes(ctx)
}

// String is the status for people.
func (s Status) String() string {
	if len(s.Nodes) == 0 {
		return fmt.Sprintf("down (%s)", s.State)
	}
	var out strings.Builder
	word := map[bool]string{true: "up", false: "damaged: `up` repairs it"}[s.Up]
	fmt.Fprintf(&out, "%s\nkubeconfig  %s\nhost        %s\n", word, s.Kubeconfig, s.HostIP)
	for _, node := range s.Nodes {
		fmt.Fprintf(&out, "%-11s %s %s\n", node.Name, strings.Join(node.Addresses, " "), map[bool]string{true: "Ready", false: "NotReady"}[node.Ready])
	}
	for _, entry := range s.Processes {
		fmt.Fprintf(&out, "  %-26s %7d %s\n", entry.Name, entry.PID, map[bool]string{true: "running", false: "ended"}[entry.Running])
	}
	return strings.TrimRight(out.String(), "\n")
}
