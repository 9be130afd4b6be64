package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"dask-operator/testbed/atomicfile"
)

const (
	recordVariable  = "TESTBED_RECORD"
	digestVariable  = "TESTBED_DIGEST"
	programVariable = "TESTBED_PROGRAM"
	// lockFD is the first of exec.Cmd's ExtraFiles.
	lockFD = 3
)

// Record is what a started process leaves behind about itself.
type Record struct {
	Identity
	// Digest stands for everything that the process was started with.
	Digest string `json:"digest"`
}

// Load reads a record; without one it returns the zero Record, which is not alive.
func Load(path string) (Record, error) {
	var r Record
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read the process record %s: %w", path, err)
	}
	return r, nil
}

// Announce does nothing in a process that a user started. In one that Spawn started it writes the
// record, and only then lets go of the cluster's lock: whoever takes the lock next finds every
// process recorded, even if the one that started it was killed in between. If the process is to be
// another program, Announce becomes it and does not return.
func Announce() error {
	path := os.Getenv(recordVariable)
	if path == "" {
		return nil
	}
	self, err := Self()
	if err != nil {
		return err
	}
	data, err := json.Marshal(Record{Identity: self, Digest: os.Getenv(digestVariable)})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data, 0o644); err != nil {
		return err
	}
	program := os.Getenv(programVariable)
	for _, name := range []string{recordVariable, digestVariable, programVariable} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	if err := syscall.Close(lockFD); err != nil {
		return fmt.Errorf("let go of the lock: %w", err)
	}
	if program == "" {
		return nil
	}
	if err := syscall.Exec(program, os.Args[1:], os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}
