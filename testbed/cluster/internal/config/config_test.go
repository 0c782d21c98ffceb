package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/pki"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestNodesNeverShareASocketACgroupOrAPodRange(t *testing.T) {
	testbed := layout.Testbed{Dir: t.TempDir(), Family: layout.Dual}
	for _, node := range testbed.Nodes(layout.MaxNodes) {
		if err := WriteNode(testbed, node, "/pki/ca.crt", pki.Pair{Certificate: "/pki/a.crt", Key: "/pki/a.key"}, "/usr/lib/cni"); err != nil {
			t.Fatal(err)
		}
		paths := FilesOf(testbed, node)
		var kubelet struct {
			ContainerRuntimeEndpoint, CgroupRoot, Address, ResolvConf string
		}
		if err := yaml.UnmarshalStrict([]byte(read(t, paths.Kubelet)), &map[string]any{}); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(read(t, paths.Kubelet)), &kubelet); err != nil {
			t.Fatal(err)
		}
		if kubelet.ContainerRuntimeEndpoint != "unix://"+node.Socket() || kubelet.CgroupRoot != node.Cgroup() || kubelet.Address != node.Address().String() {
			t.Errorf("kubelet of %s: %+v", node.Name, kubelet)
		}
		for _, share := range node.Shares {
			if !json.Valid([]byte(read(t, paths.Network))) || !strings.Contains(read(t, paths.Network), share.Range.String()) {
				t.Errorf("network of %s: %s", node.Name, read(t, paths.Network))
			}
		}
		if toml := read(t, paths.Containerd); !strings.Contains(toml, `address = "`+node.Socket()+`"`) {
			t.Errorf("containerd of %s: %s", node.Name, toml)
		}
	}
}

func TestAKubeconfigHoldsItsKeysAndIsForRootAlone(t *testing.T) {
	dir := t.TempDir()
	authority, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Issue(pki.Subject{Name: "admin", User: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.kubeconfig")
	if err := WriteKubeconfig(path, "https://198.18.217.11:6443", "admin", authority.Pair("ca").Certificate, client); err != nil {
		t.Fatal(err)
	}
	var kubeconfig struct {
		Clusters []struct {
			Cluster struct {
				Server    string
				Authority []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Key []byte `json:"client-key-data"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, path)), &kubeconfig); err != nil {
		t.Fatal(err)
	}
	cluster := kubeconfig.Clusters[0].Cluster
	if cluster.Server != "https://198.18.217.11:6443" || string(cluster.Authority) != read(t, authority.Pair("ca").Certificate) {
		t.Errorf("cluster is %s with authority %s", cluster.Server, cluster.Authority)
	}
	if string(kubeconfig.Users[0].User.Key) != read(t, client.Key) {
		t.Error("the client key is another one")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v)", info.Mode(), err)
	}
}

func TestAFileWithTheSameContentIsNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "file")
	if err := Write(path, []byte("a")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("rewritten at %v (%v)", after.ModTime(), err)
	}
}
