package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/cgroup"
	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/network"
	"cocoon.farm/testbed/cluster/internal/node"
	"cocoon.farm/testbed/cluster/internal/process"
)

// Down ends the cluster and removes all that it has made. It relies on no step of Up having been completed, nor on any
// process being alive or any record being there.
func (c *Cluster) Down() error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	nodes := c.testbed.Nodes(layout.MaxNodes)
	if err := c.endProcesses(nodes); err != nil {
		return errors.Join(err, unlock())
	}
	err = errors.Join(
		c.dismantle(nodes),
		node.RemoveMountpoints(c.testbed.Mountpoints()),
		c.removeState(),
		unlock(),
	)
	if err != nil {
		return err
	}
	c.say("cluster is down")
	return nil
}

// endProcesses ends the keepers, and the kernel with them all else in their nodes; then what else uses the nodes'
// networks from outside.
func (c *Cluster) endProcesses(nodes []layout.Node) error {
	records, err := c.records.All()
	if err != nil {
		return err
	}
	for _, record := range records {
		if err := record.Identity.End(unix.SIGKILL, endPatience); err != nil {
			return fmt.Errorf("end %s: %w", record.Name, err)
		}
	}
	for _, of := range nodes {
		if err := process.Sweep(func(pid int) bool { return node.Resident(of, pid) }, endPatience); err != nil {
			return fmt.Errorf("end what is left of %s: %w", of.Name, err)
		}
	}
	return nil
}

// dismantle removes what the kernel holds.
func (c *Cluster) dismantle(nodes []layout.Node) error {
	failures := []error{network.RemoveHostLink()}
	for _, of := range nodes {
		failures = append(failures, network.Detach(of), node.Unmount(of.Dir))
	}
	return errors.Join(append(failures, cgroup.Remove(cgroup.Root, layout.CgroupRoot))...)
}

// removeState removes the cluster's part of the state folder, and the folder itself if nobody else uses it.
func (c *Cluster) removeState() error {
	for _, path := range append(c.testbed.Owned(), c.testbed.Lock()) {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove state: %w", err)
		}
	}
	if err := os.Remove(c.testbed.Dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("remove state folder: %w", err)
	}
	return nil
}

// removeNode ends one node of a running cluster.
func (c *Cluster) removeNode(ctx context.Context, of layout.Node) error {
	c.say("removing %s", of.Name)
	record, found, err := c.records.Get(of.Name)
	if err != nil {
		return err
	}
	if found {
		if err := record.Identity.End(unix.SIGKILL, endPatience); err != nil {
			return fmt.Errorf("end %s: %w", of.Name, err)
		}
	}
	if err := process.Sweep(func(pid int) bool { return node.Resident(of, pid) }, endPatience); err != nil {
		return fmt.Errorf("end what is left of %s: %w", of.Name, err)
	}
	if err := c.deleteNodeObject(ctx, of); err != nil {
		return err
	}
	failures := []error{
		network.Detach(of),
		node.Unmount(of.Dir),
		cgroup.Remove(cgroup.Root, of.Cgroup()),
		os.RemoveAll(of.Dir),
		os.RemoveAll(filepath.Join(c.testbed.Config(), of.Name)),
	}
	for _, name := range []string{"containerd", "kubelet", "kube-proxy"} {
		failures = append(failures, c.records.Remove(of.Component(name)))
	}
	// The node's own record comes last: it makes an interrupted removal go on next time.
	return errors.Join(append(failures, c.records.Remove(of.Name))...)
}

func (c *Cluster) deleteNodeObject(ctx context.Context, of layout.Node) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.api("/api/v1/nodes/"+of.Name), nil)
	if err != nil {
		return fmt.Errorf("delete node %s: %w", of.Name, err)
	}
	response, err := c.admin.Do(request)
	if err != nil {
		return fmt.Errorf("delete node %s: %w", of.Name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
		return fmt.Errorf("delete node %s: the API server answered %s", of.Name, response.Status)
	}
	return nil
}
