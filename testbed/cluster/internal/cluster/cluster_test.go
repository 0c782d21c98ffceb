package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/pki"
	"cocoon.farm/testbed/cluster/internal/process"
)

func alive() error { return nil }

func newCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := New(layout.Testbed{Dir: t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if c.authority, err = pki.Open(c.testbed.PKI()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.testbed.Processes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWaitingEndsWithTheConditionOrWithTheProcess(t *testing.T) {
	calls := 0
	third := func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}
	if err := until(t.Context(), time.Hour, alive, third); err != nil || calls != 3 {
		t.Errorf("got %v after %d looks, want success after 3", err, calls)
	}
	never := func(context.Context) error { return errors.New("not yet") }
	dead := func() error { return process.ErrGone }
	if err := until(t.Context(), time.Hour, dead, never); !errors.Is(err, process.ErrGone) {
		t.Errorf("got %v, want the process's end", err)
	}
	if err := until(t.Context(), time.Nanosecond, alive, never); err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("got %v, want the last failure as cause", err)
	}
}

func TestOnlyASuccessfulAnswerIsReady(t *testing.T) {
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	ready := answers(server.Client(), server.URL)
	if err := ready(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want an error that names the status", err)
	}
	status = http.StatusOK
	if err := ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestANodeIsReadyByItsConditionAlone(t *testing.T) {
	ready, err := parseReadyNodes([]byte(`{"items":[
		{"metadata":{"name":"node1"},"status":{"conditions":[{"type":"DiskPressure","status":"False"},{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"node2"},"status":{"conditions":[{"type":"DiskPressure","status":"True"},{"type":"Ready","status":"Unknown"}]}},
		{"metadata":{"name":"node3"},"status":{}}]}`))
	if err != nil || len(ready) != 1 || !ready["node1"] {
		t.Errorf("got %v, %v, want node1 alone", ready, err)
	}
	if _, err := parseReadyNodes([]byte(`{"items":`)); err == nil {
		t.Error("half a list was read")
	}
}

func TestEveryComponentHasItsOwnNameAndLoopbackIsNeverAdvertised(t *testing.T) {
	c := newCluster(t)
	control, err := c.controlPlane()
	if err != nil {
		t.Fatal(err)
	}
	all := []component{control.etcd, control.apiServer, control.controllers, control.scheduler}
	for _, node := range c.testbed.Nodes(layout.MaxNodes) {
		parts, err := c.nodeComponents(node)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parts.containerd, parts.kubelet, parts.proxy)
	}
	seen := map[string]bool{}
	for _, part := range all {
		if seen[part.Name] {
			t.Errorf("two processes are called %s", part.Name)
		}
		seen[part.Name] = true
	}
	if flags := strings.Join(control.apiServer.Args, " "); !strings.Contains(flags, "--advertise-address=198.18.217.11") {
		t.Errorf("flags of the API server: %s", flags)
	}
}

func TestANodeCountsFromTheMomentItsKeeperIsRecorded(t *testing.T) {
	c := newCluster(t)
	for want, name := range []string{"", "node1", "node2"} {
		if name != "" {
			if err := c.records.Put(process.Record{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.count(); err != nil || got != want {
			t.Errorf("got %d nodes, %v, want %d", got, err, want)
		}
	}
}

func TestAClusterThatWasNeverStartedIsDown(t *testing.T) {
	c := newCluster(t)
	status, err := c.Status(t.Context())
	if err != nil || status.Up || !strings.HasPrefix(status.String(), "down") {
		t.Errorf("got %v, %v", status, err)
	}
	if err := c.Load(t.Context(), []string{"image.tar"}); !errors.Is(err, errNotUp) {
		t.Errorf("loading gave %v", err)
	}
}

func TestALinkIsMovedToTheProgramOfThisRun(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kubelet")
	for _, target := range []string{"/cache/one", "/cache/two", "/cache/two"} {
		if err := link(target, name); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(name); err != nil || got != target {
			t.Errorf("link leads to %s, %v, want %s", got, err, target)
		}
	}
}

func TestRemovingStateLeavesWhatOthersKeepThere(t *testing.T) {
	c := newCluster(t)
	chain := filepath.Join(c.testbed.Dir, "chain")
	if err := os.Mkdir(chain, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.removeState(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(c.testbed.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "chain" {
		t.Errorf("left %v, %v, want the chain's folder alone", left, err)
	}
}

func TestAClusterKeepsItsFamily(t *testing.T) {
	c := newCluster(t)
	dual, single := layout.Dual, layout.IPv4
	if err := c.chooseFamily(&dual, 0); err != nil {
		t.Fatal(err)
	}
	again, err := New(layout.Testbed{Dir: c.testbed.Dir}, io.Discard)
	if err != nil || again.testbed.Family != layout.Dual {
		t.Fatalf("got %v, %v, want dual", again, err)
	}
	if err := again.chooseFamily(nil, 1); err != nil || again.testbed.Family != layout.Dual {
		t.Errorf("asked for none: %s, %v", again.testbed.Family, err)
	}
	if err := again.chooseFamily(&single, 1); err == nil || !strings.Contains(err.Error(), "is dual and ipv4 is asked for") {
		t.Errorf("got %v, want an error that names both", err)
	}
	if err := again.chooseFamily(&single, 0); err != nil || again.testbed.Family != layout.IPv4 {
		t.Errorf("asked for another before there is a node: %s, %v", again.testbed.Family, err)
	}
}

func TestAddressesOfIPv6AreInBracketsWhereAPortFollows(t *testing.T) {
	c := clusterWithFlags(t, layout.IPv6, 2,
		"--listen-client-urls=http://[::1]:2379 ", "--etcd-servers=http://[::1]:2379 ",
		"--listen-metrics-urls=http://[fd14:d7f:174e:1::11]:2381 ",
		"--advertise-address=fd14:d7f:174e:1::11 ", "--service-cluster-ip-range=fd14:d7f:174e:2::/112 ",
		"--node-ip=fd14:d7f:174e:1::12 ", "--healthz-bind-address=[fd14:d7f:174e:1::12]:10256 ",
	)
	if got := c.api("/readyz"); got != "https://[fd14:d7f:174e:1::11]:6443/readyz" {
		t.Errorf("got %s", got)
	}
}

func TestADualClusterIsToldBothOfAll(t *testing.T) {
	clusterWithFlags(t, layout.Dual, 1,
		"--service-cluster-ip-range=10.96.0.0/16,fd14:d7f:174e:2::/112 ",
		"--node-ip=198.18.217.11,fd14:d7f:174e:1::11 ", "--cluster-cidr=10.244.0.0/16,fd14:d7f:174e:100::/56 ",
	)
}

// clusterWithFlags answers a cluster of the family, whose control plane and node of this number have the flags.
func clusterWithFlags(t *testing.T, family layout.Family, node int, wanted ...string) *Cluster {
	t.Helper()
	c := newCluster(t)
	c.testbed.Family = family
	control, err := c.controlPlane()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := c.nodeComponents(c.testbed.Node(node))
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Join(slices.Concat(control.etcd.Args, control.apiServer.Args, parts.kubelet.Args, parts.proxy.Args), " ")
	for _, want := range wanted {
		if !strings.Contains(flags, want) {
			t.Errorf("flags lack %q: %s", want, flags)
		}
	}
	return c
}
