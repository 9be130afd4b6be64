package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary act as testbed when Spawn executes it.
func TestMain(m *testing.M) {
	if err := Announce(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestASpawnedProcessRecordsItselfBeforeTheLockIsFree(t *testing.T) {
	directory := t.TempDir()
	lock, err := os.Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(directory, "sleep.json")
	ended, err := Spawn(Command{
		Name: "sleep", Args: []string{"60"}, Program: "/bin/sleep", Digest: "what it was started with",
		Record: record, Log: filepath.Join(directory, "sleep.log"), Lock: lock,
	})
	if err != nil {
		t.Fatal(err)
	}
	// The lock as it remains when the process that called Spawn is killed.
	lock.Close()
	again, err := os.Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := unix.Flock(int(again.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r, err := Load(record)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Alive() || r.Digest != "what it was started with" {
		t.Errorf("the record is %+v", r)
	}
	if err := Stop([]Identity{r.Identity}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the end of the process was not reported")
	}
}
