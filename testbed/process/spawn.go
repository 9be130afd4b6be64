package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Command is a process to start.
type Command struct {
	// Name is the linked program's name, and the first argument of any other.
	Name string
	Args []string
	// Program is the path of a program that is not linked into this binary.
	Program string
	// Digest goes into the record.
	Digest string
	// Record and Log are the paths of the process's record and of its output.
	Record, Log string
	// Lock is the held lock of the cluster.
	Lock *os.File
}

// searchPath is what the started programs find theirs on, whatever the user's environment has.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Spawn starts the command in a session of its own, from the calling thread and therefore in that
// thread's namespaces. The channel closes when the process ends.
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
	// A clean environment keeps a user's proxy settings, among others, out of the cluster.
	cmd.Env = []string{
		"PATH=" + searchPath, "HOME=/",
		// A control plane that tests keep busy spends a fifth of its time on collecting garbage; there is memory enough.
		"GOGC=300",
		recordVariable + "=" + c.Record, digestVariable + "=" + c.Digest, programVariable + "=" + c.Program,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// How it ended is in its log; here it only has to be buried.
		_ = cmd.Wait()
	}()
	return ended, nil
}
