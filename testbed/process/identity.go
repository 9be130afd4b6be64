// Package process starts, recognises and ends the processes of a cluster.
//
// A pid alone names nobody for long, so a process is known by its pid, the time it started and the
// boot it started in; signals go through a pidfd opened before that identity is checked.
package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Identity names one process for ever.
type Identity struct {
	PID int `json:"pid"`
	// Start is the start time in clock ticks since the boot, as in /proc/PID/stat.
	Start uint64 `json:"start"`
	// Boot is the id of the boot that Start counts from.
	Boot string `json:"boot"`
}

// Self is the calling process.
func Self() (Identity, error) { return Identify(os.Getpid()) }

// Identify tells who has the pid now.
func Identify(pid int) (Identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	state, start, err := parseStat(string(stat))
	if err != nil {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	// A zombie has ended; that its parent has not noticed is of no interest here.
	if state == "Z" || state == "X" {
		return Identity{}, fmt.Errorf("identify process %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Start: start, Boot: boot}, nil
}

// Alive tells whether this very process still runs.
func (id Identity) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	now, err := Identify(id.PID)
	return err == nil && now == id
}

var bootID = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
})

// parseStat reads the state and the start time from a /proc/PID/stat line. The command's name, in
// parentheses, may itself hold spaces and parentheses; the fields begin after the last one.
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
