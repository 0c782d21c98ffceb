// Package cgroup owns the testbed's cgroups: one parent per node, in every hierarchy of version 1 and in version 2.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Root is where the hierarchies are mounted.
	Root = "/sys/fs/cgroup"
	// removalPatience covers the kernel's delay between a process's end and its leaving the cgroup.
	removalPatience = 10 * time.Second
	removalPause    = 20 * time.Millisecond
)

// Create makes the cgroup in every hierarchy below root, ready to hold processes.
func Create(root, path string) error {
	parents, err := hierarchies(root)
	if err != nil {
		return err
	}
	for _, hierarchy := range parents {
		folder := hierarchy
		for _, element := range strings.Split(strings.Trim(path, "/"), "/") {
			parent := folder
			folder = filepath.Join(parent, element)
			if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := inherit(parent, folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit passes on what a new cgroup lacks: CPUs and memory nodes in version 1, controllers in version 2.
func inherit(parent, child string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		current, err := os.ReadFile(filepath.Join(child, file))
		if err != nil || len(strings.TrimSpace(string(current))) > 0 {
			continue
		}
		if err := copyFile(filepath.Join(parent, file), filepath.Join(child, file)); err != nil {
			return err
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return nil // version 1
	}
	for _, controller := range strings.Fields(string(controllers)) {
		// One by one, since a controller that cannot be delegated here makes the kernel refuse the whole line, and
		// the kubelet says which of them it needs.
		err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("delegate controller %s: %w", controller, err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read cgroup setting: %w", err)
	}
	if err := os.WriteFile(to, content, 0o644); err != nil {
		return fmt.Errorf("write cgroup setting: %w", err)
	}
	return nil
}

// Remove removes the cgroup and all below it, in every hierarchy below root. Their processes must have been ended.
func Remove(root, path string) error {
	parents, err := hierarchies(root)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(removalPatience)
	for _, hierarchy := range parents {
		for {
			err := removeTree(filepath.Join(hierarchy, path))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(removalPause)
		}
	}
	return nil
}

// removeTree removes folders alone: the files in them are the kernel's.
func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeTree(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hierarchies lists the roots of all hierarchies: root itself in version 2, its folders in version 1. Links such as
// "cpu" for "cpu,cpuacct" name a hierarchy twice and are left out.
func hierarchies(root string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if entry.IsDir() {
			found = append(found, filepath.Join(root, entry.Name()))
		}
	}
	return found, nil
}
