package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/cgroup"
	"cocoon.farm/testbed/cluster/internal/config"
	"cocoon.farm/testbed/cluster/internal/image"
	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/network"
	"cocoon.farm/testbed/cluster/internal/node"
	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

// Up makes the cluster run with that many nodes and addresses of that family; 0 and nil keep what there is, or take one
// node and IPv4. Every step makes only what is missing, so it starts a cluster, repairs a damaged one and leaves a
// healthy one alone.
func (c *Cluster) Up(ctx context.Context, count int, family *layout.Family) (err error) {
	started := time.Now()
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	current, err := c.count()
	if err != nil {
		return err
	}
	if count == 0 {
		count = max(current, 1)
	}
	if count > layout.MaxNodes {
		return fmt.Errorf("%d nodes asked for: the testbed has at most %d", count, layout.MaxNodes)
	}
	if err := c.chooseFamily(family, current); err != nil {
		return err
	}
	if err := c.prepare(count); err != nil {
		return err
	}
	members, err := c.bootNodes(count)
	if err != nil {
		return err
	}
	if err := network.Connect(c.testbed.Dir, members); err != nil {
		return err
	}
	if err := c.startComponents(ctx, members); err != nil {
		return err
	}
	if err := until(ctx, startPatience, func() error { return nil }, c.schedulable(count)); err != nil {
		return fmt.Errorf("wait for nodes: %w", err)
	}
	for number := current; number > count; number-- {
		if err := c.removeNode(ctx, c.testbed.Node(number)); err != nil {
			return err
		}
	}
	c.say("cluster ready in %.1f s: export KUBECONFIG=%s", time.Since(started).Seconds(), c.testbed.AdminKubeconfig())
	return nil
}

// prepare makes folders, keys, kubeconfigs, images and cgroups.
func (c *Cluster) prepare(count int) error {
	for _, folder := range []string{c.testbed.Bin(), c.testbed.Logs(), c.testbed.Processes()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make state folder: %w", err)
		}
	}
	if err := c.open(); err != nil {
		return err
	}
	if err := c.writeKubeconfigs(count); err != nil {
		return err
	}
	for _, name := range ComponentNames {
		if err := link(c.executable, c.program(name)); err != nil {
			return err
		}
	}
	for _, node := range c.testbed.Nodes(count) {
		if err := cgroup.Create(cgroup.Root, node.Cgroup()); err != nil {
			return err
		}
	}
	return image.Write(c.testbed.PauseImage(), config.PauseImage, c.pause())
}

func (c *Cluster) pause() string { return filepath.Join(filepath.Dir(c.executable), pauseProgram) }

// link points a name at the executable of this run, whatever it pointed at before.
func link(target, name string) error {
	if current, err := os.Readlink(name); err == nil && current == target {
		return nil
	}
	partial := name + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("link component: %w", err)
	}
	if err := os.Symlink(target, partial); err != nil {
		return fmt.Errorf("link component: %w", err)
	}
	if err := os.Rename(partial, name); err != nil {
		return fmt.Errorf("link component: %w", err)
	}
	return nil
}

func (c *Cluster) writeKubeconfigs(count int) error {
	authority := c.authority.Pair(pki.AuthorityName).Certificate
	proxy, err := c.authority.Issue(pki.Subject{Name: "kube-proxy", User: "system:kube-proxy"})
	if err != nil {
		return err
	}
	if _, err := c.controlPlaneKeys(); err != nil {
		return err
	}
	server := c.api("")
	failures := []error{
		config.WriteKubeconfig(c.testbed.AdminKubeconfig(), server, "admin", authority, c.authority.Pair(adminName)),
		config.WriteKubeconfig(c.kubeconfig("kube-proxy"), server, "system:kube-proxy", authority, proxy),
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		failures = append(failures, config.WriteKubeconfig(c.kubeconfig(name), server, "system:"+name, authority, c.authority.Pair(name)))
	}
	for _, node := range c.testbed.Nodes(count) {
		// Issues the node's certificate.
		if _, err := c.nodeComponents(node); err != nil {
			return err
		}
		name := node.Component("kubelet")
		failures = append(failures, config.WriteKubeconfig(c.kubeconfig(name), server, "system:node:"+node.Name, authority, c.authority.Pair(name)))
	}
	return errors.Join(failures...)
}

// bootNodes makes sure that every node has its namespaces.
func (c *Cluster) bootNodes(count int) ([]network.Member, error) {
	var members []network.Member
	for _, of := range c.testbed.Nodes(count) {
		record, found, err := c.records.Get(of.Name)
		if err != nil {
			return nil, err
		}
		member := network.Member{Node: of, Keeper: record.Identity}
		if !found || !node.Holds(member.Keeper) {
			if member.Keeper, err = c.boot(of, member.Keeper); err != nil {
				return nil, err
			}
		}
		if !network.Attached(member) {
			if err := network.Attach(member); err != nil {
				return nil, err
			}
		}
		members = append(members, member)
	}
	return members, nil
}

// boot starts a node afresh: what its last run has left behind, on purpose or not, would be cut off from the new one.
func (c *Cluster) boot(of layout.Node, last process.Identity) (process.Identity, error) {
	if err := last.End(unix.SIGKILL, endPatience); err != nil {
		return process.Identity{}, fmt.Errorf("end last run of %s: %w", of.Name, err)
	}
	if err := process.Sweep(func(pid int) bool { return node.Resident(of, pid) }, endPatience); err != nil {
		return process.Identity{}, err
	}
	if err := node.MakeMountpoints(of, c.testbed.Mountpoints()); err != nil {
		return process.Identity{}, err
	}
	keeper, err := node.Boot(c.testbed, of, c.executable, c.pause())
	if err != nil {
		return process.Identity{}, err
	}
	return keeper, c.records.Put(process.Record{Name: of.Name, Identity: keeper})
}
