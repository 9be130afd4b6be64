// Package process starts, identifies and stops the processes of a cluster.
//
// Pids are reused, so a process is identified by its pid, its start time and the boot id. Signals are sent through a pidfd
// that was opened before this identity was checked.
package process
