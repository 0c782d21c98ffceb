package process

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is long enough for a loaded machine; no test waits for it to run out.
const patience = time.Minute

// start runs a process that ends by itself only after the test.
func start(t *testing.T) Identity {
	t.Helper()
	command := exec.Command("sleep", "3600")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = command.Wait(); close(done) }()
	t.Cleanup(func() { _ = command.Process.Kill(); <-done })
	id, err := Identify(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAProcessIsAliveUntilItIsEnded(t *testing.T) {
	id := start(t)
	if !id.Alive() {
		t.Fatal("not alive after its start")
	}
	if err := id.End(unix.SIGTERM, patience); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("alive after its end")
	}
	if err := id.End(unix.SIGTERM, patience); err != nil {
		t.Errorf("ending it again: %v", err)
	}
}

func TestAnotherProcessUnderTheSamePidIsNeverSignalled(t *testing.T) {
	id := start(t)
	for name, recycled := range map[string]Identity{
		"start time": {PID: id.PID, StartTicks: id.StartTicks - 1, Boot: id.Boot},
		"boot":       {PID: id.PID, StartTicks: id.StartTicks, Boot: "an earlier one"},
		"no process": {},
	} {
		if recycled.Alive() {
			t.Errorf("%s: taken for the recorded process", name)
		}
		if _, err := recycled.Open(); !errors.Is(err, ErrGone) {
			t.Errorf("%s: open gave %v, want ErrGone", name, err)
		}
		if err := recycled.End(unix.SIGKILL, patience); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !id.Alive() {
		t.Error("the innocent process was ended")
	}
}

func TestStatIsReadBehindTheStrangestCommandName(t *testing.T) {
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, name := range []string{"(sleep)", "(a b)", "(a) R 1 (b)", "()"} {
		state, start, err := parseStat([]byte("42 " + name + rest))
		if err != nil || state != 'S' || start != 4711 {
			t.Errorf("%s: got %c, %d, %v", name, state, start, err)
		}
	}
	for _, broken := range []string{"", "42 (sleep", "42 (sleep) S 1", "42 (sleep)" + strings.Replace(rest, "4711", "x", 1)} {
		if _, _, err := parseStat([]byte(broken)); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}

func TestASweepEndsWhatBelongsAndNothingElse(t *testing.T) {
	mine, other := start(t), start(t)
	belongs := func(pid int) bool { return pid == mine.PID || pid == os.Getpid() || pid == os.Getppid() }
	if err := Sweep(belongs, patience); err != nil {
		t.Fatal(err)
	}
	if mine.Alive() || !other.Alive() {
		t.Errorf("swept process alive: %v, other process alive: %v", mine.Alive(), other.Alive())
	}
}

func TestARecordIsReadBackAndADamagedOneIsNone(t *testing.T) {
	records := Records{Dir: t.TempDir()}
	want := Record{Name: "etcd", Identity: Identity{PID: 7, StartTicks: 8, Boot: "b"}, Digest: "d"}
	if err := records.Put(want); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(records.path("cut-short"), []byte(`{"name":"cut-`), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := records.All()
	if err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("got %v, %v, want only %v", all, err, want)
	}
	if err := records.Remove("etcd"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := records.Get("etcd"); found || err != nil {
		t.Errorf("found %v after removal, %v", found, err)
	}
}

func TestADigestChangesWithArgumentsEnvironmentAndInputs(t *testing.T) {
	input := filepath.Join(t.TempDir(), "config")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(input, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func(spec Spec) string {
		t.Helper()
		sum, err := spec.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	write("one")
	spec := Spec{Name: "x", Path: "/bin/sh", Args: []string{"-c"}, Inputs: []string{input}}
	first := digest(spec)
	if again := digest(spec); again != first {
		t.Error("the same spec has two digests")
	}
	write("two")
	if digest(spec) == first {
		t.Error("an input's new content left the digest as it was")
	}
	write("one")
	spec.Args = []string{"-c", ""}
	if digest(spec) == first {
		t.Error("another argument left the digest as it was")
	}
	spec.Args, spec.Env = []string{"-c"}, []string{"A=b"}
	if digest(spec) == first {
		t.Error("another environment left the digest as it was")
	}
}

func TestALaunchedProcessWritesItsLogAndKeepsTheOneBefore(t *testing.T) {
	logs := t.TempDir()
	here := func(f func() error) error { return f() }
	for _, word := range []string{"first", "second"} {
		id, err := Launch(Spec{Name: "x", Path: "/bin/sh", Args: []string{"-c", "echo " + word + "; exec sleep 3600"}}, logs, here)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); !strings.Contains(LogTail(logs, "x"), word); {
			if time.Now().After(deadline) {
				t.Fatalf("no %q in the log", word)
			}
		}
		if err := id.End(unix.SIGKILL, patience); err != nil {
			t.Fatal(err)
		}
	}
	earlier, err := os.ReadFile(LogPath(logs, "x") + ".1")
	if err != nil || string(earlier) != "first\n" {
		t.Errorf("earlier log is %q, %v", earlier, err)
	}
}
