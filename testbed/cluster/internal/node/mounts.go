package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cocoon.farm/testbed/cluster/internal/layout"
)

// kubeletSettings are the kernel settings that the kubelet insists on and would write for the whole machine. A node
// sees files of these contents in their place, so the kubelet finds what it wants and the machine keeps its own.
var kubeletSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func mountAll(node layout.Node) error {
	// Mounts of the host go on arriving, those of the node never leave it, and containers inside share the node's.
	for _, propagation := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("set mount propagation: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for setting, value := range kubeletSettings {
		if err := standIn(filepath.Join(node.Sysctl(), setting), filepath.Join("/proc/sys", setting), value); err != nil {
			return err
		}
	}
	for _, mount := range node.Mounts() {
		if err := bind(mount.Source, mount.Target); err != nil {
			return err
		}
	}
	return nil
}

func standIn(source, target, value string) error {
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		return fmt.Errorf("make stand-in for %s: %w", target, err)
	}
	if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
		return fmt.Errorf("make stand-in for %s: %w", target, err)
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", source, target, err)
	}
	return nil
}

// MakeMountpoints creates the mount points that the host lacks, and keeps a list of them in the file record.
func MakeMountpoints(node layout.Node, record string) error {
	made, err := readLines(record)
	if err != nil {
		return err
	}
	for _, mount := range node.Mounts() {
		if _, err := os.Stat(mount.Target); err == nil {
			continue
		}
		// Recorded before it is made: an interruption leaves a name too many, never a folder too many.
		if !slices.Contains(made, mount.Target) {
			made = append(made, mount.Target)
		}
		if err := os.WriteFile(record, []byte(strings.Join(made, "\n")+"\n"), 0o644); err != nil {
			return fmt.Errorf("record mount points: %w", err)
		}
		if err := os.Mkdir(mount.Target, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
	}
	return nil
}

// RemoveMountpoints removes those that MakeMountpoints created. One that somebody else has come to use is left alone.
func RemoveMountpoints(record string) error {
	made, err := readLines(record)
	if err != nil {
		return err
	}
	var failures []error
	for _, target := range made {
		err := os.Remove(target)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			failures = append(failures, fmt.Errorf("remove mount point: %w", err))
		}
	}
	return errors.Join(failures...)
}

func readLines(path string) ([]string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	return strings.Fields(string(content)), nil
}

// Unmount removes every mount below the folder, the innermost first. Nodes keep their mounts to themselves, so there is
// something to remove only where a tool on the host has mounted there.
func Unmount(folder string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var failures []error
	for _, target := range slices.Backward(mountsBelow(string(table), folder)) {
		// Detached, since a process on the host may still stand in it.
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			failures = append(failures, fmt.Errorf("unmount %s: %w", target, err))
		}
	}
	return errors.Join(failures...)
}

// mountsBelow lists the mount points in or at the folder, in mount order.
func mountsBelow(table, folder string) []string {
	const mountPointField = 4 // proc_pid_mountinfo(5), counted from 0
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var targets []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) <= mountPointField {
			continue
		}
		target := unescape.Replace(fields[mountPointField])
		if target == folder || strings.HasPrefix(target, folder+"/") {
			targets = append(targets, target)
		}
	}
	return targets
}
