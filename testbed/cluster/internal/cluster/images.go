package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cocoon.farm/testbed/cluster/internal/config"
	"cocoon.farm/testbed/cluster/internal/layout"
)

// unmanaged selects the images that the kubelet's side of containerd has not taken notice of: it labels those that it
// has.
const unmanaged = `labels."io.cri-containerd.image"!=managed`

// Load imports image tarballs into every node. Afterwards pods with imagePullPolicy IfNotPresent or Never start from
// them.
func (c *Cluster) Load(ctx context.Context, tarballs []string) error {
	count, err := c.count()
	if err != nil {
		return err
	}
	if count == 0 {
		return errNotUp
	}
	if c.tools, err = findTools(); err != nil {
		return err
	}
	for _, tarball := range tarballs {
		if _, err := os.Stat(tarball); err != nil {
			return fmt.Errorf("load image: %w", err)
		}
	}
	for _, node := range c.testbed.Nodes(count) {
		for _, tarball := range tarballs {
			if err := c.importImage(ctx, node, tarball); err != nil {
				return err
			}
			c.say("loaded %s into %s", filepath.Base(tarball), node.Name)
		}
	}
	return nil
}

// importImage returns once pods can use the image: a pod that comes before would try to pull it.
func (c *Cluster) importImage(ctx context.Context, node layout.Node, tarball string) error {
	if _, err := c.ctr(ctx, node, "images", "import", tarball); err != nil {
		return fmt.Errorf("load %s into %s: %w", tarball, node.Name, err)
	}
	noticed := func(ctx context.Context) error {
		left, err := c.ctr(ctx, node, "images", "ls", "--quiet", unmanaged)
		if err != nil {
			return err
		}
		if left = strings.TrimSpace(left); left != "" {
			return fmt.Errorf("not yet noticed: %s", strings.Join(strings.Fields(left), ", "))
		}
		return nil
	}
	if err := until(ctx, healthPatience, func() error { return nil }, noticed); err != nil {
		return fmt.Errorf("load %s into %s: %w", tarball, node.Name, err)
	}
	return nil
}

// loadPause imports the image of pod sandboxes where it is missing.
func (c *Cluster) loadPause(ctx context.Context, node layout.Node) error {
	present, err := c.ctr(ctx, node, "images", "ls", "--quiet", "name=="+config.PauseImage)
	if err != nil {
		return errors.Join(fmt.Errorf("look for pause image on %s", node.Name), err)
	}
	if strings.TrimSpace(present) != "" {
		return nil
	}
	return c.importImage(ctx, node, c.testbed.PauseImage())
}
