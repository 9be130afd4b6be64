// This file locks instances against concurrent commands.

package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is an exclusive lock on a directory. Processes that inherit File hold it as well.
type Lock struct{ File *os.File }

// Release releases the lock, unless another process has inherited it.
func (l *Lock) Release() { l.File.Close() }

// Lock creates the instance's directory if necessary, and waits for the lock on it.
func (i Instance) Lock() (*Lock, error) {
	for {
		if err := os.MkdirAll(i.Dir, 0o755); err != nil {
			return nil, err
		}
		lock, err := lockDirectory(i.Dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// LockExisting is like Lock, but returns nil if the directory does not exist.
func (i Instance) LockExisting() (*Lock, error) {
	lock, err := lockDirectory(i.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lock, err
}

// LockMachine locks what all instances on the machine share.
func LockMachine() (*Lock, error) {
	for {
		if err := os.MkdirAll(runtimeRoot, 0o755); err != nil {
			return nil, err
		}
		lock, err := lockDirectory(runtimeRoot)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// RemoveRuntime removes the instance's runtime directory, and the parent of all of them if this was the last.
func (i Instance) RemoveRuntime() error {
	if err := os.RemoveAll(i.Runtime()); err != nil {
		return err
	}
	if err := os.Remove(runtimeRoot); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// lockDirectory waits for the lock on a directory. It returns fs.ErrNotExist if the directory was removed meanwhile.
func lockDirectory(path string) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err := f.Stat()
	if err == nil {
		var current os.FileInfo
		if current, err = os.Stat(path); err == nil && !os.SameFile(held, current) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{File: f}, nil
}
