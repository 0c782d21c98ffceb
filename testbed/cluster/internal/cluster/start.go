package cluster

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/network"
	"cocoon.farm/testbed/cluster/internal/node"
	"cocoon.farm/testbed/cluster/internal/process"
)

// startComponents starts everything as soon as what it needs is ready.
func (c *Cluster) startComponents(ctx context.Context, members []network.Member) error {
	control, err := c.controlPlane()
	if err != nil {
		return err
	}
	first := members[0]
	var runtimes, kubelets []launch
	for _, member := range members {
		parts, err := c.nodeComponents(member.Node)
		if err != nil {
			return err
		}
		runtimes = append(runtimes, launch{parts.containerd, member})
		kubelets = append(kubelets, launch{parts.kubelet, member}, launch{parts.proxy, member})
	}
	stages := [][]launch{
		append([]launch{{control.etcd, first}}, runtimes...),
		{{control.apiServer, first}},
		append([]launch{{control.controllers, first}, {control.scheduler, first}}, kubelets...),
	}
	for number, stage := range stages {
		if err := c.runStage(ctx, stage); err != nil {
			return err
		}
		if number > 0 {
			continue
		}
		for _, member := range members {
			if err := c.loadPause(ctx, member.Node); err != nil {
				return err
			}
		}
	}
	return nil
}

// launch is a component and the node that it runs in.
type launch struct {
	component
	in network.Member
}

// runStage starts all components of a stage before it waits for the first: they come up side by side.
func (c *Cluster) runStage(ctx context.Context, stage []launch) error {
	fresh := make([]bool, len(stage))
	for i, l := range stage {
		var err error
		if fresh[i], err = c.start(l, false); err != nil {
			return err
		}
	}
	for i, l := range stage {
		if err := c.awaitReady(ctx, l, fresh[i]); err != nil {
			return err
		}
	}
	return nil
}

// start runs the component unless it runs with this very configuration, and reports whether it is a new process.
func (c *Cluster) start(l launch, anew bool) (fresh bool, err error) {
	digest, err := l.Digest()
	if err != nil {
		return false, err
	}
	record, found, err := c.records.Get(l.Name)
	if err != nil {
		return false, err
	}
	if found && record.Identity.Alive() {
		if !anew && record.Digest == digest {
			return false, nil
		}
		c.say("stopping %s", l.Name)
		if err := end(record.Identity); err != nil {
			return false, fmt.Errorf("stop %s: %w", l.Name, err)
		}
	}
	identity, err := process.Launch(l.Spec, c.testbed.Logs(), func(f func() error) error { return node.Enter(l.in.Keeper, f) })
	if err != nil {
		return false, err
	}
	return true, c.records.Put(process.Record{Name: l.Name, Identity: identity, Digest: digest})
}

// end asks a process to end, and makes it.
func end(id process.Identity) error {
	if id.End(unix.SIGTERM, endPatience) == nil {
		return nil
	}
	return id.End(unix.SIGKILL, endPatience)
}

// awaitReady waits for the component. One that was running before and does not answer is started again, once.
func (c *Cluster) awaitReady(ctx context.Context, l launch, fresh bool) error {
	began := time.Now()
	for {
		record, _, err := c.records.Get(l.Name)
		if err != nil {
			return err
		}
		patience := healthPatience
		if fresh {
			patience = startPatience
		}
		err = until(ctx, patience, running(record.Identity), l.ready)
		if err == nil {
			if fresh {
				c.say("%s ready (%.1f s)", l.Name, time.Since(began).Seconds())
			}
			return nil
		}
		if fresh || ctx.Err() != nil {
			return fmt.Errorf("start %s: %w\n%s", l.Name, err, process.LogTail(c.testbed.Logs(), l.Name))
		}
		c.say("%s does not answer: %v", l.Name, err)
		if fresh, err = c.start(l, true); err != nil {
			return err
		}
	}
}
