package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestACgroupIsMadeInEveryHierarchyAndGoneAfterRemoval(t *testing.T) {
	root := t.TempDir()
	for _, hierarchy := range []string{"cpuset", "memory", "unified"} {
		if err := os.Mkdir(filepath.Join(root, hierarchy), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "unified", "cgroup.controllers"), "")
	if err := Create(root, "/testbed/node1"); err != nil {
		t.Fatal(err)
	}
	if err := Create(root, "/testbed/node1"); err != nil {
		t.Fatalf("making it again: %v", err)
	}
	for _, hierarchy := range []string{"cpuset", "memory", "unified"} {
		if _, err := os.Stat(filepath.Join(root, hierarchy, "testbed", "node1")); err != nil {
			t.Error(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "memory", "testbed", "node1", "kubepods", "pod1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root, "/testbed"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root, "/testbed"); err != nil {
		t.Fatalf("removing it again: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(root, "*", "testbed")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestAnEmptyCpusetInheritsAndAFilledOneIsKept(t *testing.T) {
	parent := t.TempDir()
	child := filepath.Join(parent, "child")
	write(t, filepath.Join(parent, "cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(parent, "cpuset.mems"), "0\n")
	write(t, filepath.Join(child, "cpuset.cpus"), "\n")
	write(t, filepath.Join(child, "cpuset.mems"), "1\n")
	if err := inherit(parent, child); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "1\n"} {
		if got, err := os.ReadFile(filepath.Join(child, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q (%v)", file, got, want, err)
		}
	}
}

func TestAHierarchyUnderTwoNamesIsCountedOnce(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "cpu,cpuacct"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("cpu,cpuacct", filepath.Join(root, "cpu")); err != nil {
		t.Fatal(err)
	}
	if found, err := hierarchies(root); err != nil || len(found) != 1 {
		t.Errorf("found %v, %v, want one", found, err)
	}
}
