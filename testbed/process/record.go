// This file records started processes.

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

// Record is what a started process writes about itself.
type Record struct {
	Identity
	// Digest is a hash of everything that the process was started with.
	Digest string `json:"digest"`
}

// Load reads a record. If there is none, it returns the zero Record, which is not alive.
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

// Announce does nothing in a process that a user started. In a process that Spawn started, it writes the record and then
// releases the cluster's lock. The next holder of the lock therefore finds a record of every process, even if the process
// that called Spawn was killed meanwhile. If the command is another program, Announce executes it and does not return.
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
		return fmt.Errorf("release the lock: %w", err)
	}
	if program == "" {
		return nil
	}
	if err := syscall.Exec(program, os.Args[1:], os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}
