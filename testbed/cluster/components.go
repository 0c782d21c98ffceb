package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the components' --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics in every /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info in every /metrics
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components maps the name a process is started under to the upstream command that it becomes.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

// runComponent becomes the named component and reports whether there is one of that name.
func runComponent(name string, args []string) (code int, found bool) {
	switch name {
	case "etcd":
		etcdmain.Main(args)
		return 0, true
	case "kubeadm": // for nodes that kind makes; the testbed arranges its own
		os.Args = args
		if err := kubeadm.Run(); err != nil {
			return 1, true
		}
		return 0, true
	}
	newCommand, found := components[name]
	if !found {
		return 0, false
	}
	os.Args = args // where the commands look for theirs
	return cli.Run(newCommand()), true
}
