// Command testbed-cluster runs a Kubernetes of real components on one machine: it is all of them, and what brings them
// up and down.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"cocoon.farm/testbed/cluster/internal/cluster"
	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/node"
)

const usage = `testbed-cluster: a Kubernetes of real components on this machine

  testbed-cluster up [--nodes 1|2] [--ip-family ipv4|ipv6|dual]
                                            start it, repair it, or change the number of nodes
  testbed-cluster down                      end it and remove every trace
  testbed-cluster status [--json]           what runs; exits with 1 unless everything does
  testbed-cluster load IMAGE.tar...         import image tarballs into every node
  testbed-cluster exec [--node N] -- CMD    run CMD inside a node's network, with the host's files
  testbed-cluster kubectl ...               also etcd, kubelet, kube-apiserver and the other components

All but the last take --state DIR (default: $COCOON_TESTBED_DIR, or /var/lib/cocoon-testbed).`

// errUnhealthy makes status exit with 1 after it has said all there is to say.
var errUnhealthy = errors.New("")

func main() {
	if code, found := runComponent(filepath.Base(os.Args[0]), os.Args); found {
		os.Exit(code)
	}
	if len(os.Args) > 1 {
		if code, found := runComponent(os.Args[1], os.Args[1:]); found {
			os.Exit(code)
		}
	}
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, errUnhealthy) {
			fmt.Fprintln(os.Stderr, "testbed-cluster:", err)
		}
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("no command\n" + usage)
	}
	name, arguments := arguments[0], arguments[1:]
	if name == node.InitCommand {
		return node.Init(arguments)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(flags.Output(), usage) }
	state := flags.String("state", "", "")
	var act func(context.Context, layout.Testbed) error
	switch name {
	case "up":
		nodes := flags.Int("nodes", 0, "")
		var family *layout.Family
		flags.Func("ip-family", "", func(name string) error {
			parsed, err := layout.ParseFamily(name)
			family = &parsed
			return err
		})
		act = func(ctx context.Context, testbed layout.Testbed) error { return up(ctx, testbed, *nodes, family) }
	case "down":
		act = down
	case "status":
		asJSON := flags.Bool("json", false, "")
		act = func(ctx context.Context, testbed layout.Testbed) error { return status(ctx, testbed, *asJSON) }
	case "load":
		act = func(ctx context.Context, testbed layout.Testbed) error { return load(ctx, testbed, flags.Args()) }
	case "exec":
		number := flags.Int("node", 1, "")
		act = func(_ context.Context, testbed layout.Testbed) error { return execute(testbed, *number, flags.Args()) }
	case "help", "-h", "--help":
		fmt.Println(usage)
		return nil
	default:
		return fmt.Errorf("unknown command %q\n%s", name, usage)
	}
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	testbed, err := layout.New(*state)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return act(ctx, testbed)
}

func up(ctx context.Context, testbed layout.Testbed, nodes int, family *layout.Family) error {
	c, err := cluster.New(testbed, os.Stderr)
	if err != nil {
		return err
	}
	return c.Up(ctx, nodes, family)
}

func down(_ context.Context, testbed layout.Testbed) error {
	c, err := cluster.New(testbed, os.Stderr)
	if err != nil {
		return err
	}
	return c.Down()
}

func status(ctx context.Context, testbed layout.Testbed, asJSON bool) error {
	c, err := cluster.New(testbed, os.Stderr)
	if err != nil {
		return err
	}
	current, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(current); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
	} else {
		fmt.Println(current)
	}
	if !current.Up {
		return errUnhealthy
	}
	return nil
}

func load(ctx context.Context, testbed layout.Testbed, tarballs []string) error {
	if len(tarballs) == 0 {
		return errors.New("load takes at least one image tarball")
	}
	c, err := cluster.New(testbed, os.Stderr)
	if err != nil {
		return err
	}
	return c.Load(ctx, tarballs)
}

func execute(testbed layout.Testbed, number int, command []string) error {
	if len(command) == 0 {
		return errors.New("exec takes a command after --")
	}
	if number < 1 || number > layout.MaxNodes {
		return fmt.Errorf("node %d: nodes are numbered from 1 to %d", number, layout.MaxNodes)
	}
	return node.Exec(testbed.Node(number), command)
}
