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
	if err := shareFolder(filepath.Dir(path)); err != nil {
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

// shareFolder makes the folder of names a shared mount, as `ip netns` and container engines do before they use it. They
// mount a folder that is none over itself, which hides the names in it: those can be neither unmounted nor removed.
func shareFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", folder, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// EINVAL: it is no mount.
	if err := unix.Mount(folder, folder, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on itself: %w", folder, err)
	}
	if err := unix.Mount("", folder, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the mount %s: %w", folder, err)
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
	if err := removeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("withdraw network of %s: %w", of.Name, err)
	}
	return nil
}

// removeFolder removes the folder of names, and the mount that it is, with its last name. Whoever needs it next makes
// both again.
func removeFolder(folder string) error {
	names, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) || len(names) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	// EINVAL: it is no mount. EBUSY: somebody is about to add a name.
	err = unix.Unmount(folder, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("unmount %s: %w", folder, err)
	}
	err = os.Remove(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}
