package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/process"
)

// Member is a running node.
type Member struct {
	layout.Node
	Keeper process.Identity
}

// Attach publishes a newly booted node's network under its name, where `ip netns` looks for it.
func Attach(member Member) error {
	if err := Detach(member.Node); err != nil {
		return err
	}
	path := member.NetnsPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("publish network of %s: %w", member.Name, err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return fmt.Errorf("publish network of %s: %w", member.Name, err)
	}
	if err := unix.Mount(networkOf(member.Keeper), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("publish network of %s at %s: %w", member.Name, path, err)
	}
	return nil
}

// Attached reports whether the published name leads to this node.
func Attached(member Member) bool {
	published, err := os.Stat(member.NetnsPath())
	if err != nil {
		return false
	}
	own, err := os.Stat(networkOf(member.Keeper))
	return err == nil && os.SameFile(published, own)
}

func networkOf(keeper process.Identity) string { return fmt.Sprintf("/proc/%d/ns/net", keeper.PID) }

// Detach withdraws the name of a node's network. The network ends with the node's last process.
func Detach(of layout.Node) error {
	path := of.NetnsPath()
	// EINVAL: the name is there and nothing is mounted on it.
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("withdraw network of %s: %w", of.Name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw network of %s: %w", of.Name, err)
	}
	// The folder goes with its last name; where others are left, or `ip netns` has mounted it, it stays.
	err = os.Remove(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("withdraw network of %s: %w", of.Name, err)
	}
	return nil
}
