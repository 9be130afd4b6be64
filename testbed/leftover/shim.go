// This file stops containerd shims, which outlive containerd.

package leftover

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dask-operator/testbed/process"
)

// StopShims kills the shims of the containerd that has this socket.
func StopShims(containerdSocket string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var shims []process.Identity
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		id, err := process.Identify(pid)
		if err != nil {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && isShimOf(string(command), containerdSocket) {
			shims = append(shims, id)
		}
	}
	return process.Stop(shims, 0)
}

// isShimOf reports whether a command line of /proc, with a zero byte after each argument, is that of a shim of this
// containerd.
func isShimOf(commandLine, containerdSocket string) bool {
	args := strings.Split(strings.TrimSuffix(commandLine, "\x00"), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
		return false
	}
	i := slices.Index(args, "-address")
	return i >= 0 && i+1 < len(args) && args[i+1] == containerdSocket
}

// RemoveShimSockets removes the sockets of the shims whose bundles are below the state directory of containerd. containerd
// 1.6 keeps the sockets in a directory that cannot be configured.
func RemoveShimSockets(containerdState string) error {
	files, err := filepath.Glob(filepath.Join(containerdState, "io.containerd.runtime.v2.task", "*", "*", "address"))
	if err != nil {
		return err
	}
	for _, file := range files {
		address, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if path, ok := strings.CutPrefix(strings.TrimSpace(string(address)), "unix://"); ok {
			if err := removeFile(path); err != nil {
				return err
			}
			removeEmpty(filepath.Dir(path), filepath.Dir(filepath.Dir(path)))
		}
	}
	return nil
}
