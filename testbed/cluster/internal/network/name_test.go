package network

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/layout"
	"cocoon.farm/testbed/cluster/internal/process"
)

// onOwnRun runs f where /run is empty and belongs to nobody else.
func onOwnRun(t *testing.T, f func() error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("it mounts, which needs root")
	}
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with its namespace.
		runtime.LockOSThread()
		result <- errors.Join(
			unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
			f(),
		)
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// useAsAnEngineDoes prepares the folder of names as `ip netns add` and netavark do, and adds one.
func useAsAnEngineDoes(folder, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("", folder, "", unix.MS_SHARED|unix.MS_REC, ""); errors.Is(err, unix.EINVAL) {
		err = errors.Join(
			unix.Mount(folder, folder, "", unix.MS_BIND|unix.MS_REC, ""),
			unix.Mount("", folder, "", unix.MS_SHARED|unix.MS_REC, ""),
		)
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, name), nil, 0o444)
}

func TestANamedNetworkIsWithdrawnAlthoughAnotherProgramUsesTheFolder(t *testing.T) {
	onOwnRun(t, func() error {
		node := layout.Testbed{Dir: "/state"}.Node(1)
		member := Member{Node: node, Keeper: process.Identity{PID: os.Getpid()}}
		folder := filepath.Dir(node.NetnsPath())
		for _, step := range []func() error{
			func() error { return Attach(member) },
			func() error { return useAsAnEngineDoes(folder, "other") },
			func() error { return Detach(node) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		names, err := os.ReadDir(folder)
		if err != nil || len(names) != 1 || names[0].Name() != "other" {
			t.Errorf("names %v, %v, want the other program's", names, err)
		}
		return nil
	})
}

func TestTheFolderOfNamesGoesWithTheLastName(t *testing.T) {
	onOwnRun(t, func() error {
		testbed := layout.Testbed{Dir: "/state"}
		keeper := process.Identity{PID: os.Getpid()}
		for _, node := range testbed.Nodes(layout.MaxNodes) {
			if err := Attach(Member{Node: node, Keeper: keeper}); err != nil {
				return err
			}
		}
		for _, node := range testbed.Nodes(layout.MaxNodes) {
			if err := Detach(node); err != nil {
				return err
			}
		}
		folder := filepath.Dir(testbed.Node(1).NetnsPath())
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", folder, err)
		}
		return nil
	})
}
