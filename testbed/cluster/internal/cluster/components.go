package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"cocoon.farm/testbed/cluster/internal/config"
	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

const (
	etcdClientPort = 2379
	etcdPeerPort   = 2380
	etcdName       = "testbed"

	// kubeletVolumePlugins is the kubelet's folder for them, in the kubelet's configuration as well.
	kubeletVolumePlugins = "/var/lib/kubelet/volume-plugins"
)

// component is a process of a node together with what tells that it serves.
type component struct {
	process.Spec
	ready func(context.Context) error
}

// controlPlane is what the first node runs besides its own components. etcd and the API server come up one after the
// other; the rest needs both.
type controlPlane struct {
	etcd, apiServer, controllers, scheduler component
}

func (c *Cluster) controlPlane() (controlPlane, error) {
	address := c.testbed.ControlPlane().Address()
	keys, err := c.controlPlaneKeys()
	if err != nil {
		return controlPlane{}, err
	}
	return controlPlane{
		etcd:        c.etcd(address),
		apiServer:   c.apiServer(address, keys),
		controllers: c.controllers(address, keys),
		scheduler:   c.scheduler(address, keys),
	}, nil
}

// keys are the certificates of the control plane.
type keys struct {
	authority, tokens, apiServer, kubeletClient, controllers, scheduler pki.Pair
}

func (c *Cluster) controlPlaneKeys() (keys, error) {
	control := c.testbed.ControlPlane().Addresses()
	served := slices.Clone(control)
	for _, network := range c.testbed.Networks() {
		served = append(served, network.APIService(), network.Loopback)
	}
	issued := keys{authority: c.authority.Pair(pki.AuthorityName)}
	for subject, pair := range map[*pki.Subject]*pki.Pair{
		{
			Name: "kube-apiserver", User: "kube-apiserver",
			Addresses: served,
			Hosts:     []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		}: &issued.apiServer,
		{Name: "kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}: &issued.kubeletClient,
		{Name: "kube-controller-manager", User: "system:kube-controller-manager", Addresses: control}:       &issued.controllers,
		{Name: "kube-scheduler", User: "system:kube-scheduler", Addresses: control}:                         &issued.scheduler,
	} {
		var err error
		if *pair, err = c.authority.Issue(*subject); err != nil {
			return keys{}, err
		}
	}
	var err error
	issued.tokens, err = c.authority.TokenKey()
	return issued, err
}

// etcdURL is where the database listens, on the loopback of the first node.
func (c *Cluster) etcdURL(port uint16) string {
	return url("http", c.testbed.Primary().Loopback, port, "")
}

func (c *Cluster) etcd(address netip.Addr) component {
	clients, peers := c.etcdURL(etcdClientPort), c.etcdURL(etcdPeerPort)
	return component{
		Spec: process.Spec{
			Name: "etcd",
			Path: c.program("etcd"),
			Args: []string{
				"--name=" + etcdName,
				"--data-dir=" + c.testbed.Etcd(),
				"--listen-client-urls=" + clients,
				"--advertise-client-urls=" + clients,
				"--listen-peer-urls=" + peers,
				"--initial-advertise-peer-urls=" + peers,
				"--initial-cluster=" + etcdName + "=" + peers,
				"--listen-metrics-urls=" + url("http", address, layout.EtcdHealthPort, ""),
				// A testbed that loses its machine is made anew.
				"--unsafe-no-fsync",
				"--log-level=warn",
			},
		},
		ready: answers(c.anonymous, url("http", address, layout.EtcdHealthPort, "/readyz")),
	}
}

func (c *Cluster) apiServer(address netip.Addr, keys keys) component {
	return component{
		Spec: process.Spec{
			Name: "kube-apiserver",
			Path: c.program("kube-apiserver"),
			Args: []string{
				"--etcd-servers=" + c.etcdURL(etcdClientPort),
				fmt.Sprintf("--secure-port=%d", layout.APIServerPort),
				// Loopback would leave the service "kubernetes" without an endpoint.
				"--advertise-address=" + address.String(),
				"--service-cluster-ip-range=" + list(c.testbed.Networks(), func(n layout.Network) string { return n.Services.String() }),
				"--tls-cert-file=" + keys.apiServer.Certificate,
				"--tls-private-key-file=" + keys.apiServer.Key,
				"--client-ca-file=" + keys.authority.Certificate,
				"--service-account-issuer=https://kubernetes.default.svc",
				"--service-account-key-file=" + keys.tokens.Certificate,
				"--service-account-signing-key-file=" + keys.tokens.Key,
				"--kubelet-client-certificate=" + keys.kubeletClient.Certificate,
				"--kubelet-client-key=" + keys.kubeletClient.Key,
				"--kubelet-certificate-authority=" + keys.authority.Certificate,
				// Host names of nodes resolve nowhere.
				"--kubelet-preferred-address-types=InternalIP",
				"--authorization-mode=Node,RBAC",
				"--enable-admission-plugins=NodeRestriction",
				"--allow-privileged",
				"--profiling=false",
			},
			Inputs: []string{keys.apiServer.Certificate, keys.authority.Certificate, keys.tokens.Certificate, keys.kubeletClient.Certificate},
		},
		ready: answers(c.admin, c.api("/readyz")),
	}
}

func (c *Cluster) controllers(address netip.Addr, keys keys) component {
	kubeconfig := c.kubeconfig("kube-controller-manager")
	return component{
		Spec: process.Spec{
			Name: "kube-controller-manager",
			Path: c.program("kube-controller-manager"),
			Args: append(controllerFlags(kubeconfig, address, keys.controllers),
				"--use-service-account-credentials",
				"--service-account-private-key-file="+keys.tokens.Key,
				"--root-ca-file="+keys.authority.Certificate,
				"--cluster-signing-cert-file="+keys.authority.Certificate,
				"--cluster-signing-key-file="+keys.authority.Key,
				// The default is a folder of the host, which it makes.
				"--flex-volume-plugin-dir="+kubeletVolumePlugins,
			),
			Inputs: []string{kubeconfig, keys.controllers.Certificate, keys.authority.Certificate, keys.tokens.Certificate},
		},
		ready: answers(c.admin, url("https", address, layout.ControllerManagerPort, "/healthz")),
	}
}

func (c *Cluster) scheduler(address netip.Addr, keys keys) component {
	kubeconfig := c.kubeconfig("kube-scheduler")
	return component{
		Spec: process.Spec{
			Name:   "kube-scheduler",
			Path:   c.program("kube-scheduler"),
			Args:   controllerFlags(kubeconfig, address, keys.scheduler),
			Inputs: []string{kubeconfig, keys.scheduler.Certificate},
		},
		ready: answers(c.admin, url("https", address, layout.SchedulerPort, "/readyz")),
	}
}

// controllerFlags are common to the controller manager and the scheduler.
func controllerFlags(kubeconfig string, address netip.Addr, serving pki.Pair) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + address.String(),
		"--tls-cert-file=" + serving.Certificate,
		"--tls-private-key-file=" + serving.Key,
		// There is one of each, and renewing a lease is most of what an idle one would do.
		"--leader-elect=false",
		"--profiling=false",
	}
}

// nodeComponents is what every node runs.
type nodeComponents struct {
	containerd, kubelet, proxy component
}

func (c *Cluster) nodeComponents(node layout.Node) (nodeComponents, error) {
	serving, err := c.authority.Issue(pki.Subject{
		Name: node.Component("kubelet"), User: "system:node:" + node.Name, Groups: []string{"system:nodes"},
		Addresses: node.Addresses(), Hosts: []string{node.Name},
	})
	if err != nil {
		return nodeComponents{}, err
	}
	if err := config.WriteNode(c.testbed, node, c.authority.Pair(pki.AuthorityName).Certificate, serving, c.tools.cniPlugins); err != nil {
		return nodeComponents{}, err
	}
	return nodeComponents{
		containerd: c.containerd(node),
		kubelet:    c.kubelet(node, serving),
		proxy:      c.proxy(node),
	}, nil
}

func (c *Cluster) containerd(node layout.Node) component {
	files := config.FilesOf(c.testbed, node)
	return component{
		Spec: process.Spec{
			Name:   node.Component("containerd"),
			Path:   c.tools.containerd,
			Args:   []string{"--config=" + files.Containerd, "--log-level=warn"},
			Inputs: []string{files.Containerd},
		},
		ready: func(ctx context.Context) error {
			_, err := c.ctr(ctx, node, "version")
			return err
		},
	}
}

func (c *Cluster) kubelet(node layout.Node, serving pki.Pair) component {
	files := config.FilesOf(c.testbed, node)
	kubeconfig := c.kubeconfig(node.Component("kubelet"))
	return component{
		Spec: process.Spec{
			Name: node.Component("kubelet"),
			Path: c.program("kubelet"),
			Args: []string{
				"--config=" + files.Kubelet,
				"--kubeconfig=" + kubeconfig,
				"--hostname-override=" + node.Name,
				"--node-ip=" + list(node.Addresses(), netip.Addr.String),
				// Container statistics are for eviction alone here; the default of 10 s costs CPU all the time.
				"--housekeeping-interval=30s",
			},
			Inputs: []string{files.Kubelet, kubeconfig, serving.Certificate},
		},
		ready: answers(c.anonymous, url("http", node.Address(), layout.KubeletHealthPort, "/healthz")),
	}
}

func (c *Cluster) proxy(node layout.Node) component {
	kubeconfig := c.kubeconfig("kube-proxy")
	return component{
		Spec: process.Spec{
			Name: node.Component("kube-proxy"),
			Path: c.program("kube-proxy"),
			Args: []string{
				"--kubeconfig=" + kubeconfig,
				"--hostname-override=" + node.Name,
				"--proxy-mode=nftables",
				"--cluster-cidr=" + list(c.testbed.Networks(), func(n layout.Network) string { return n.Pods.String() }),
				"--healthz-bind-address=" + netip.AddrPortFrom(node.Address(), layout.KubeProxyHealthPort).String(),
				// Connection tracking is sized for the whole machine, so the values stay as they are.
				"--conntrack-max-per-core=0", "--conntrack-min=0",
				"--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
				"--oom-score-adj=0",
			},
			Inputs: []string{kubeconfig},
		},
		ready: answers(c.anonymous, url("http", node.Address(), layout.KubeProxyHealthPort, "/healthz")),
	}
}

// program is the name under which the one binary becomes the component.
func (c *Cluster) program(name string) string { return filepath.Join(c.testbed.Bin(), name) }

func (c *Cluster) kubeconfig(name string) string {
	return filepath.Join(c.testbed.Kubeconfigs(), name+".kubeconfig")
}

func (c *Cluster) api(path string) string {
	return url("https", c.testbed.ControlPlane().Address(), layout.APIServerPort, path)
}

// url is that of a path, or of the root where it is empty. An address of IPv6 stands in brackets.
func url(scheme string, address netip.Addr, port uint16, path string) string {
	return scheme + "://" + netip.AddrPortFrom(address, port).String() + path
}

// each is one word of each family, the primary one first.
func each[T any](items []T, word func(T) string) []string {
	var words []string
	for _, item := range items {
		words = append(words, word(item))
	}
	return words
}

// list is how components take them.
func list[T any](items []T, word func(T) string) string { return strings.Join(each(items, word), ",") }
