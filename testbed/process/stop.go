// This file stops processes.

package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Stop sends SIGTERM to all processes at once, and SIGKILL to those that still run after the grace period. It returns when
// all have ended. Without a grace period it sends SIGKILL only.
func Stop(ids []Identity, grace time.Duration) error {
	var fds []unix.PollFd
	defer func() {
		for _, fd := range fds {
			unix.Close(int(fd.Fd))
		}
	}()
	for _, id := range ids {
		fd, err := open(id)
		if err != nil {
			return err
		}
		if fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if grace > 0 {
		if err := signal(fds, unix.SIGTERM); err != nil {
			return err
		}
		running, err := wait(fds, grace)
		if err != nil || !running {
			return err
		}
	}
	if err := signal(fds, unix.SIGKILL); err != nil {
		return err
	}
	const killTimeout = 30 * time.Second
	running, err := wait(fds, killTimeout)
	if err == nil && running {
		err = fmt.Errorf("killed processes still run after %s", killTimeout)
	}
	return err
}

// open returns a pidfd of the process, or -1 if it has ended.
func open(id Identity) (int, error) {
	if id.PID <= 0 {
		return -1, nil
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", id.PID, err)
	}
	if !id.Alive() {
		unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// signal sends a signal to all processes that still run.
func signal(fds []unix.PollFd, s unix.Signal) error {
	for _, fd := range fds {
		if err := unix.PidfdSendSignal(int(fd.Fd), s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal a process: %w", err)
		}
	}
	return nil
}

// wait waits until all processes have ended. It returns true if some still run after the timeout.
func wait(fds []unix.PollFd, timeout time.Duration) (running bool, err error) {
	deadline := time.Now().Add(timeout)
	for {
		left := max(time.Until(deadline), 0)
		var open []unix.PollFd
		for _, fd := range fds {
			one := []unix.PollFd{fd}
			if _, err := unix.Poll(one, 0); err != nil && !errors.Is(err, unix.EINTR) {
				return false, fmt.Errorf("wait for a process: %w", err)
			}
			if one[0].Revents == 0 {
				open = append(open, fd)
			}
		}
		if len(open) == 0 {
			return false, nil
		}
		if left == 0 {
			return true, nil
		}
		if _, err := unix.Poll(open, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("wait for a process: %w", err)
		}
	}
}
