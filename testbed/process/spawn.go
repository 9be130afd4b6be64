// This file starts processes.

package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Command is a process to start.
type Command struct {
	// Name is the name of a program in this binary, or the first argument (argv[0]) of another program.
	Name string
	Args []string
	// Program is the path of a program that is not part of this binary.
	Program string
	// Digest is written to the record.
	Digest string
	// Record and Log are the paths of the process's record and of its output.
	Record, Log string
	// Lock is the file of the cluster's lock, which the caller holds.
	Lock *os.File
}

// searchPath is the PATH of the started programs, independent of the user's environment.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Spawn starts the command in a new session. It starts in the namespaces of the calling thread. The channel is closed when
// the process ends.
func Spawn(c Command) (<-chan struct{}, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{c.Name}, c.Args...)...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{c.Lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A clean environment, so that for example the user's proxy settings do not affect the cluster.
	cmd.Env = []string{
		"PATH=" + searchPath, "HOME=/",
		// Less garbage collection, which took a fifth of the control plane's CPU time under tests, for more memory.
		"GOGC=300",
		recordVariable + "=" + c.Record, digestVariable + "=" + c.Digest, programVariable + "=" + c.Program,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The log says how the process ended. Here it only has to be reaped.
		_ = cmd.Wait()
	}()
	return ended, nil
}
