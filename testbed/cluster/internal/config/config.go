// Package config renders the files that components are started with.
package config

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/pki"
)

// PauseImage is the reference of the image of pod sandboxes.
const PauseImage = "cocoon.farm/testbed/pause:1"

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").
	Option("missingkey=error").
	// A Go string literal of printable ASCII is one in JSON, TOML and YAML as well.
	Funcs(template.FuncMap{"quote": strconv.QuoteToASCII}).
	ParseFS(files, "templates/*"))

// NodeFiles are where a node's configuration lies.
type NodeFiles struct{ Containerd, Kubelet, Resolver, Network string }

// FilesOf says where the configuration of a node lies.
func FilesOf(testbed layout.Testbed, node layout.Node) NodeFiles {
	dir := filepath.Join(testbed.Config(), node.Name)
	return NodeFiles{
		Containerd: filepath.Join(dir, "containerd.toml"),
		Kubelet:    filepath.Join(dir, "kubelet.yaml"),
		Resolver:   filepath.Join(dir, "resolv.conf"),
		Network:    filepath.Join(dir, "cni", "10-pods.conflist"),
	}
}

// WriteNode writes the configuration of a node whose kubelet serves with that certificate.
func WriteNode(testbed layout.Testbed, node layout.Node, authority string, serving pki.Pair, cniPlugins string) error {
	paths := FilesOf(testbed, node)
	values := map[string]any{
		"Node":       node,
		"Opt":        filepath.Join(node.Dir, "opt"),
		"PauseImage": PauseImage,
		"CNIPlugins": cniPlugins,
		"CNIConfig":  filepath.Dir(paths.Network),
		"Authority":  authority,
		"Serving":    serving,
		"ResolvConf": paths.Resolver,
		"HealthPort": layout.KubeletHealthPort,
	}
	return errors.Join(
		render(paths.Containerd, "containerd.toml", values),
		render(paths.Kubelet, "kubelet.yaml", values),
		render(paths.Network, "cni.conflist", values),
		Write(paths.Resolver, fmt.Appendf(nil, "nameserver %s\noptions attempts:1 timeout:1\n", testbed.Primary().Loopback)),
	)
}

// WriteKubeconfig writes a kubeconfig for the API server at that URL with everything in it, so that it can be copied
// elsewhere.
func WriteKubeconfig(path, server, user, authority string, client pki.Pair) error {
	values := map[string]any{
		"User":   user,
		"Server": server,
	}
	for key, file := range map[string]string{"Authority": authority, "Certificate": client.Certificate, "Key": client.Key} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("make kubeconfig: %w", err)
		}
		values[key] = base64.StdEncoding.EncodeToString(content)
	}
	return render(path, "kubeconfig.yaml", values)
}

func render(path, name string, values map[string]any) error {
	var content bytes.Buffer
	if err := templates.ExecuteTemplate(&content, name, values); err != nil {
		return fmt.Errorf("render %s: %w", path, err)
	}
	return Write(path, content.Bytes())
}

// Write replaces a file that only root may read. A file that has the content already is not touched.
func Write(path string, content []byte) error {
	current, err := os.ReadFile(path)
	if err == nil && bytes.Equal(current, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
