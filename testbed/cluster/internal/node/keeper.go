// Package node gives each Kubernetes node its own namespaces: processes, network, mounts, host name and IPC. A keeper
// holds them; when it ends, the kernel ends every process of the node, pods included.
package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/process"
)

const (
	// InitCommand is the subcommand by which the binary becomes a node's first process.
	InitCommand = "node-init"

	namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	// reportDescriptor is where the first process reports a failure; its closing without a word is success.
	reportDescriptor = 3
)

// Boot starts the node's keeper and returns once the node's mounts are in place. executable is this program, pause the
// program that the keeper turns into.
func Boot(testbed layout.Testbed, node layout.Node, executable, pause string) (process.Identity, error) {
	if err := freshRun(node); err != nil {
		return process.Identity{}, err
	}
	for _, mount := range node.Mounts() {
		if err := os.MkdirAll(mount.Source, 0o755); err != nil {
			return process.Identity{}, fmt.Errorf("make folder of %s: %w", node.Name, err)
		}
	}
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return process.Identity{}, fmt.Errorf("make pipe: %w", err)
	}
	defer report.Close()

	command := exec.Command(executable, InitCommand, testbed.Dir, testbed.Family.String(), strconv.Itoa(node.Number), pause)
	command.Dir = "/"
	command.ExtraFiles = []*os.File{reportEnd}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	err = command.Start()
	if closeErr := reportEnd.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return process.Identity{}, fmt.Errorf("start %s: %w: the testbed needs root and namespaces", node.Name, err)
	}
	go func() { _ = command.Wait() }()
	failure, err := io.ReadAll(report)
	if err == nil && len(failure) > 0 {
		err = errors.New(string(failure))
	}
	if err != nil {
		return process.Identity{}, fmt.Errorf("start %s: %w", node.Name, err)
	}
	return process.Identify(command.Process.Pid)
}

// freshRun empties the node's /run, as a reboot does: sockets and states of processes that the last keeper took along
// would mislead the new ones.
func freshRun(node layout.Node) error {
	if err := os.RemoveAll(node.Run()); err != nil {
		return fmt.Errorf("empty /run of %s: %w", node.Name, err)
	}
	return nil
}

// Init is the first process of a node: it arranges the node's mounts and becomes pause. It returns only on failure.
func Init(arguments []string) error {
	report := os.NewFile(reportDescriptor, "report")
	syscall.CloseOnExec(reportDescriptor)
	err := initialise(arguments)
	if _, writeErr := fmt.Fprint(report, err); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	return err
}

func initialise(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("%s takes a state folder, an IP family, a node number and a program, got %q", InitCommand, arguments)
	}
	testbed, err := layout.New(arguments[0])
	if err != nil {
		return err
	}
	if testbed.Family, err = layout.ParseFamily(arguments[1]); err != nil {
		return err
	}
	number, err := strconv.Atoi(arguments[2])
	if err != nil {
		return fmt.Errorf("node number: %w", err)
	}
	node := testbed.Node(number)
	if err := mountAll(node); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(node.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := setNetwork(testbed.Family); err != nil {
		return err
	}
	pause := arguments[3]
	if err := unix.Exec(pause, []string{filepath.Base(pause), node.Netns}, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", pause, err)
	}
	return nil
}

// setNetwork lets pods' traffic through, by settings of the node's own network.
func setNetwork(family layout.Family) error {
	settings := [][2]string{{"ipv4/ip_forward", "1"}}
	if family.HasIPv6() {
		settings = append(settings,
			[2]string{"ipv6/conf/all/forwarding", "1"},
			// Nobody else has an address of the node's own links, so each is used without looking for a duplicate first.
			[2]string{"ipv6/conf/default/accept_dad", "0"},
		)
	}
	for _, setting := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", setting[0]), []byte(setting[1]), 0o644); err != nil {
			return fmt.Errorf("let pods' traffic through: %w", err)
		}
	}
	return nil
}

// Enter runs f with the namespaces of the keeper: processes that f starts live in the node.
func Enter(keeper process.Identity, f func() error) error {
	pidfd, err := keeper.Open()
	if err != nil {
		return fmt.Errorf("enter node: %w", err)
	}
	defer unix.Close(pidfd)
	return onOwnThread(func() error {
		// A thread that shares its root and working folder with others may not change mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter node: unshare: %w", err)
		}
		if err := unix.Setns(pidfd, namespaces); err != nil {
			return fmt.Errorf("enter node: setns: %w", err)
		}
		return f()
	})
}

// Exec replaces this process by a command inside the node's network, with the host's files and process table. It
// returns only on failure.
func Exec(node layout.Node, command []string) error {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	netns, err := os.Open(node.NetnsPath())
	if err != nil {
		return fmt.Errorf("enter network of %s: %w: is the cluster up?", node.Name, err)
	}
	defer netns.Close()
	return onOwnThread(func() error {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network of %s: %w", node.Name, err)
		}
		if err := unix.Exec(program, command, os.Environ()); err != nil {
			return fmt.Errorf("run %s: %w", program, err)
		}
		return nil
	})
}

// onOwnThread runs f on a thread that serves nothing else and ends with it, since its namespaces stay changed.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime then ends the thread.
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

// Holds reports whether the keeper still holds the node's namespaces. One that is ending has let go of them already,
// while the kernel ends the node's other processes.
func Holds(keeper process.Identity) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", keeper.PID))
	return err == nil && keeper.Alive()
}

// Resident reports whether a process uses the network or the files of the node, whatever started it.
func Resident(node layout.Node, pid int) bool {
	return sameFile(fmt.Sprintf("/proc/%d/ns/net", pid), node.NetnsPath()) ||
		sameFile(fmt.Sprintf("/proc/%d/root/run", pid), node.Run())
}

func sameFile(one, other string) bool {
	first, err := os.Stat(one)
	if err != nil {
		return false
	}
	second, err := os.Stat(other)
	return err == nil && os.SameFile(first, second)
}
