package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const mountTable = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /state/node1/kubelet/pods/a\040b/token rw shared:9 - tmpfs tmpfs rw
31 30 0:41 / /state/node1/kubelet/pods/a\040b/token/inner rw - tmpfs tmpfs rw
32 22 0:42 / /state-of-somebody-else rw - tmpfs tmpfs rw
33 22 0:43 / /state rw - tmpfs tmpfs rw
`

func TestOnlyMountsBelowTheFolderAreFoundWithTheirRealNames(t *testing.T) {
	want := []string{"/state/node1/kubelet/pods/a b/token", "/state/node1/kubelet/pods/a b/token/inner", "/state"}
	if got := mountsBelow(mountTable, "/state"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := mountsBelow("cut short", "/state"); got != nil {
		t.Errorf("got %q from a table cut short", got)
	}
}

func TestOnlyEmptyMountpointsOfOurOwnMakingAreRemoved(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "mountpoints")
	empty, used, gone := filepath.Join(dir, "empty"), filepath.Join(dir, "used"), filepath.Join(dir, "gone")
	for _, path := range []string{empty, filepath.Join(used, "by-somebody")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(record, []byte(empty+"\n"+used+"\n"+gone+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RemoveMountpoints(record); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); !os.IsNotExist(err) {
		t.Errorf("the empty mount point is still there (%v)", err)
	}
	if _, err := os.Stat(used); err != nil {
		t.Errorf("a folder in use was removed: %v", err)
	}
}
