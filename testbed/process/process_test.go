package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestAStatLineIsReadPastAnyCommandName(t *testing.T) {
	line := "42 (a) R (b c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21"
	state, start, err := parseStat(line)
	if err != nil || state != "S" || start != 98765 {
		t.Errorf("got state %q and start %d (%v)", state, start, err)
	}
}

func TestAMalformedStatLineIsAnError(t *testing.T) {
	for _, line := range []string{"", "42 (a", "42 (a) S 1 2", "42 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if _, _, err := parseStat(line); err == nil {
			t.Errorf("no error for %q", line)
		}
	}
}

func TestAProcessIsAliveOnlyUnderItsWholeIdentity(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	other := self
	other.Start++
	if other.Alive() {
		t.Error("a process with another start time is alive")
	}
	other = self
	other.Boot = "an earlier one"
	if other.Alive() {
		t.Error("a process of an earlier boot is alive")
	}
	if (Identity{}).Alive() {
		t.Error("the zero identity is alive")
	}
}

func TestAProcessThatEndsOnTheSignalIsNotKilled(t *testing.T) {
	cmd, id := run(t, "sleep", "60")
	begin := time.Now()
	if err := Stop([]Identity{id}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if time.Since(begin) > 10*time.Second {
		t.Error("Stop waited for the whole grace period")
	}
	if id.Alive() {
		t.Error("it still runs")
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v", err)
	}
}

func TestAProcessThatIgnoresTheSignalIsKilled(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "deaf")
	cmd, id := run(t, "sh", "-c", `trap "" TERM; : >"$0"; while :; do sleep 0.05; done`, marker)
	deadline := time.Now().Add(10 * time.Second)
	for _, err := os.Stat(marker); err != nil; _, err = os.Stat(marker) {
		if time.Now().After(deadline) {
			t.Fatal("it did not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := Stop([]Identity{id}, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}

func TestAnotherProcessWithARecordedPidIsNotStopped(t *testing.T) {
	_, id := run(t, "sleep", "60")
	stale := id
	stale.Start--
	if err := Stop([]Identity{stale}, time.Second); err != nil {
		t.Fatal(err)
	}
	if !id.Alive() {
		t.Error("it was ended")
	}
}

func TestWithoutARecordNothingIsAlive(t *testing.T) {
	record, err := Load(filepath.Join(t.TempDir(), "missing.json"))
	if err != nil || record.Alive() {
		t.Errorf("got %+v (%v)", record, err)
	}
}

// run starts a program that is killed when the test ends.
func run(t *testing.T, name string, args ...string) (*exec.Cmd, Identity) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test may have stopped and reaped it already.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, id
}
