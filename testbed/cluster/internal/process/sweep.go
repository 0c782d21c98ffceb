package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSweeps bounds the passes over the process table: a second one finds what was forked during the first, a third
// what was forked during the second; whatever outruns three passes of SIGKILL is no remainder but an attack.
const maxSweeps = 3

// Sweep kills every process that belongs, other than this one and its ancestors, and waits for their end. It is for
// what no record names any more.
func Sweep(belongs func(pid int) bool, patience time.Duration) error {
	spared, err := lineage()
	if err != nil {
		return err
	}
	for range maxSweeps {
		found, err := matching(belongs, spared)
		if err != nil || len(found) == 0 {
			return err
		}
		var failures []error
		for _, id := range found {
			failures = append(failures, id.End(unix.SIGKILL, patience))
		}
		if err := errors.Join(failures...); err != nil {
			return err
		}
	}
	left, err := matching(belongs, spared)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d processes of the testbed are still starting others after %d passes, the first is %d", len(left), maxSweeps, left[0].PID)
	}
	return err
}

func matching(belongs func(pid int) bool, spared map[int]bool) ([]Identity, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Identity
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || spared[pid] || !belongs(pid) {
			continue
		}
		id, err := Identify(pid)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, id)
	}
	return found, nil
}

// lineage is this process and its ancestors: a shell inside the testbed may be what asks for its end.
func lineage() (map[int]bool, error) {
	pids := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !pids[pid]; {
		pids[pid] = true
		parent, err := parentOf(pid)
		if err != nil {
			return nil, err
		}
		pid = parent
	}
	return pids, nil
}

func parentOf(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("find parent of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "PPid:"); found {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("find parent of process %d: status has no PPid", pid)
}
