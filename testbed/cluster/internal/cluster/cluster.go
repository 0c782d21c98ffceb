// Package cluster brings a Kubernetes of real components up on this machine, and takes it down without a trace.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/config"
	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/network"
	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

// ComponentNames are the names under which the one binary becomes a component.
var ComponentNames = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

const (
	// pauseProgram lies beside this program.
	pauseProgram = "pause"
	// adminName is the base name of the administrator's certificate.
	adminName = "admin"
)

// Cluster is the testbed's Kubernetes, whether it is up or not.
type Cluster struct {
	testbed    layout.Testbed
	executable string
	out        io.Writer
	records    process.Records

	// What follows is there once open has run.
	tools            tools
	authority        *pki.Authority
	admin, anonymous *http.Client
}

// tools are the programs of the host that a cluster needs.
type tools struct{ containerd, ctr, cniPlugins string }

// New returns the cluster of that state folder, with the addresses that it runs with; progress goes to out.
func New(testbed layout.Testbed, out io.Writer) (*Cluster, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	if err := layout.CheckVisible(executable); err != nil {
		return nil, err
	}
	// A record that cannot be read is no reason not to end a cluster, which needs none; Up says so.
	if recorded, err := recordedFamily(testbed); err == nil && recorded != nil {
		testbed.Family = *recorded
	}
	return &Cluster{testbed: testbed, executable: executable, out: out, records: process.Records{Dir: testbed.Processes()}}, nil
}

// say reports progress; nobody listening is no reason to stop.
func (c *Cluster) say(format string, values ...any) {
	_, _ = fmt.Fprintf(c.out, format+"\n", values...)
}

// findTools names what is missing, and how to get it, before anything is started.
func findTools() (tools, error) {
	var missing []string
	find := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			missing = append(missing, name)
		}
		return path
	}
	found := tools{containerd: find("containerd"), ctr: find("ctr")}
	for _, name := range []string{"runc", "nft", "ip", "mount"} {
		find(name)
	}
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			found.cniPlugins = dir
			break
		}
	}
	if found.cniPlugins == "" {
		missing = append(missing, "the CNI plugins")
	}
	if len(missing) > 0 {
		return tools{}, fmt.Errorf("this machine lacks %s: apt-get install containerd runc containernetworking-plugins nftables iproute2",
			strings.Join(missing, ", "))
	}
	return found, nil
}

// open prepares keys and clients.
func (c *Cluster) open() error {
	var err error
	if c.tools, err = findTools(); err != nil {
		return err
	}
	if c.authority, err = pki.Open(c.testbed.PKI()); err != nil {
		return err
	}
	admin, err := c.authority.Issue(pki.Subject{Name: adminName, User: "admin", Groups: []string{"system:masters"}})
	if err != nil {
		return err
	}
	if c.anonymous, err = newClient("", nil); err != nil {
		return err
	}
	c.admin, err = newClient(c.authority.Pair(pki.AuthorityName).Certificate, &admin)
	return err
}

// claim makes sure that this is the one testbed of the machine.
func (c *Cluster) claim() error {
	if os.Geteuid() != 0 {
		return errors.New("the testbed's namespaces, mounts and cgroups need root: run this as root")
	}
	owner, err := network.Owner()
	if err != nil {
		return err
	}
	if owner != "" && owner != c.testbed.Dir {
		return fmt.Errorf("the testbed in %[1]s is up: end it first with `testbed-cluster down --state %[1]s`", owner)
	}
	return nil
}

// lock keeps two changes of one cluster apart. The returned function unlocks.
func (c *Cluster) lock() (func() error, error) {
	if err := c.claim(); err != nil {
		return nil, err
	}
	for {
		if err := os.MkdirAll(c.testbed.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make state folder: %w", err)
		}
		file, err := os.OpenFile(c.testbed.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // a `down` has just removed the folder
		}
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			c.say("waiting for another command on %s", c.testbed.Dir)
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", c.testbed.Lock(), err), file.Close())
		}
		// While this waited, a `down` may have removed the file that it now holds.
		if current, err := os.Stat(c.testbed.Lock()); err == nil {
			if held, err := file.Stat(); err == nil && os.SameFile(held, current) {
				return file.Close, nil
			}
		}
		if err := file.Close(); err != nil {
			return nil, fmt.Errorf("unlock: %w", err)
		}
	}
}

// recordedFamily is that of the cluster of this state folder; nil before the first one.
func recordedFamily(testbed layout.Testbed) (*layout.Family, error) {
	content, err := os.ReadFile(testbed.FamilyRecord())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's IP family: %w", err)
	}
	family, err := layout.ParseFamily(strings.TrimSpace(string(content)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", testbed.FamilyRecord(), err)
	}
	return &family, nil
}

// chooseFamily settles the family before anything has an address: the one that is asked for, or that there is. A
// cluster that has nodes keeps the one that it was made with: nodes and services cannot change theirs.
func (c *Cluster) chooseFamily(asked *layout.Family, nodes int) error {
	recorded, err := recordedFamily(c.testbed)
	if err != nil {
		return err
	}
	switch {
	case nodes > 0 && recorded != nil && asked != nil && *recorded != *asked:
		return fmt.Errorf("the cluster in %s is %s and %s is asked for: end it first with `testbed-cluster down`",
			c.testbed.Dir, *recorded, *asked)
	case asked != nil:
		c.testbed.Family = *asked
	case recorded != nil:
		c.testbed.Family = *recorded
	}
	if c.testbed.Family.HasIPv6() {
		if err := network.CheckIPv6(); err != nil {
			return err
		}
	}
	return config.Write(c.testbed.FamilyRecord(), []byte(c.testbed.Family.String()+"\n"))
}

// count is how many nodes there are, by their records; 0 when the cluster is down.
func (c *Cluster) count() (int, error) {
	highest := 0
	for _, node := range c.testbed.Nodes(layout.MaxNodes) {
		_, found, err := c.records.Get(node.Name)
		if err != nil {
			return 0, err
		}
		if found {
			highest = node.Number
		}
	}
	return highest, nil
}

// ctr talks to the containerd of a node, in the kubelet's namespace of images and containers.
func (c *Cluster) ctr(ctx context.Context, node layout.Node, arguments ...string) (string, error) {
	arguments = append([]string{"--address", node.Socket(), "--namespace", "k8s.io"}, arguments...)
	output, err := exec.CommandContext(ctx, c.tools.ctr, arguments...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}
