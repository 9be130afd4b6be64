// This file identifies processes.

package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Identity identifies one process. It is never reused.
type Identity struct {
	PID int `json:"pid"`
	// Start is the start time in clock ticks since boot, as in /proc/PID/stat.
	Start uint64 `json:"start"`
	// Boot is the boot id of the kernel.
	Boot string `json:"boot"`
}

// Self returns the identity of the calling process.
func Self() (Identity, error) { return Identify(os.Getpid()) }

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	state, start, err := parseStat(string(stat))
	if err != nil {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	// A zombie has ended, even if its parent has not reaped it yet.
	if state == "Z" || state == "X" {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Start: start, Boot: boot}, nil
}

// Alive reports whether exactly this process still runs.
func (id Identity) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	now, err := Identify(id.PID)
	return err == nil && now == id
}

// bootID returns the boot id of the kernel.
var bootID = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
})

// parseStat returns the state and the start time from a line of /proc/PID/stat. The name of the command, in parentheses, may
// itself contain spaces and parentheses, so the other fields start after the last one.
func parseStat(stat string) (state string, start uint64, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return "", 0, fmt.Errorf("malformed stat line %q", stat)
	}
	fields := strings.Fields(stat[end+1:])
	const startField = 22 - 3
	if len(fields) <= startField {
		return "", 0, fmt.Errorf("malformed stat line %q", stat)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("malformed stat line %q: %w", stat, err)
	}
	return fields[0], start, nil
}
