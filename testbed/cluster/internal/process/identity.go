// Package process starts, recognises and ends the testbed's processes. A process is known by its pid together with its
// start time and the boot, so a pid that the kernel has given to somebody else is never signalled.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identity names one process for ever.
type Identity struct {
	PID int `json:"pid"`
	// StartTicks is when it started, in clock ticks since boot (field 22 of proc_pid_stat(5)).
	StartTicks uint64 `json:"startTicks"`
	// Boot is the kernel's random boot id.
	Boot string `json:"boot"`
}

// ErrGone says that the process has ended.
var ErrGone = errors.New("process has ended")

// Identify returns the identity of a running process, or ErrGone.
func Identify(pid int) (Identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("read boot id: %w", err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Identity{}, ErrGone
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	state, start, err := parseStat(stat)
	if err != nil {
		return Identity{}, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	if state == 'Z' || state == 'X' {
		return Identity{}, ErrGone
	}
	return Identity{PID: pid, StartTicks: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// parseStat takes the state and the start time out of /proc/PID/stat. The command's name comes before both and may hold
// spaces and parentheses, so the fields are counted from the last parenthesis on.
func parseStat(stat []byte) (state byte, startTicks uint64, err error) {
	const (
		fieldsBeforeState = 2  // pid, (name)
		startField        = 22 // counted from 1
	)
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("stat %q has no command name", stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	index := startField - fieldsBeforeState - 1
	if len(fields) <= index {
		return 0, 0, fmt.Errorf("stat %q has %d fields after the command name", stat, len(fields))
	}
	startTicks, err = strconv.ParseUint(fields[index], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("stat %q: start time: %w", stat, err)
	}
	return fields[0][0], startTicks, nil
}

// Alive reports whether this very process still runs.
func (id Identity) Alive() bool {
	current, err := Identify(id.PID)
	return err == nil && current == id
}

// Open returns a pidfd of this very process, which the caller closes, or ErrGone.
func (id Identity) Open() (int, error) {
	if id.PID <= 0 {
		return -1, ErrGone
	}
	pidfd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", id.PID, err)
	}
	// The descriptor fixes the process; only now is it certain which one it is.
	if !id.Alive() {
		return -1, errors.Join(ErrGone, unix.Close(pidfd))
	}
	return pidfd, nil
}

// End signals the process and waits until it has ended, at most for patience. A process that had ended before is no
// error.
func (id Identity) End(signal unix.Signal, patience time.Duration) error {
	pidfd, err := id.Open()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := unix.PidfdSendSignal(pidfd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(signal), id.PID, err)
	}
	return awaitEnd(pidfd, id.PID, patience)
}

// awaitEnd waits for a pidfd to become readable, which it does when the process has ended.
func awaitEnd(pidfd, pid int, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d has not ended within %s", pid, patience)
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if ready > 0 {
			return nil
		}
	}
}
