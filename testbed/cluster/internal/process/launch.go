package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// LogPath is where the process of that name writes its output.
func LogPath(logs, name string) string { return filepath.Join(logs, name+".log") }

// Launch starts a process that outlives the caller, in the namespaces that enter runs its argument in. The log of the
// process before it is kept beside its own, as NAME.log.1.
func Launch(spec Spec, logs string, enter func(func() error) error) (Identity, error) {
	path := LogPath(logs, spec.Name)
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("keep earlier log: %w", err)
	}
	output, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Identity{}, fmt.Errorf("open log: %w", err)
	}
	defer output.Close()

	command := exec.Command(spec.Path, spec.Args...)
	command.Dir = "/"
	command.Env = environment(spec)
	command.Stdout, command.Stderr = output, output
	// A session of its own keeps the caller's terminal from ending it.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := enter(command.Start); err != nil {
		return Identity{}, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	identity, err := Identify(command.Process.Pid)
	// Reaped by whoever is its parent: this process while it lives.
	go func() { _ = command.Wait() }()
	if err != nil {
		return Identity{}, fmt.Errorf("start %s: %w\n%s", spec.Name, err, LogTail(logs, spec.Name))
	}
	return identity, nil
}

// environment is the same whoever calls: a variable of theirs such as ETCD_NAME would configure the process.
func environment(spec Spec) []string {
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, spec.Env...)
}

// LogTail returns the last lines of a process's log, for an error message.
func LogTail(logs, name string) string {
	const lines = 12
	path := LogPath(logs, name)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return fmt.Sprintf("last lines of %s:\n%s", path, strings.Join(all, "\n"))
}
