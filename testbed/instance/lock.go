package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is an exclusive hold on a folder. Processes that inherit its File hold it too.
type Lock struct{ File *os.File }

// Release lets go of the lock.
func (l *Lock) Release() { l.File.Close() }

// Lock makes the instance's folder if it is missing and waits until nobody else works on it.
func (i Instance) Lock() (*Lock, error) {
	for {
		if err := os.MkdirAll(i.Dir, 0o755); err != nil {
			return nil, err
		}
		lock, err := lockFolder(i.Dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// LockExisting is Lock for a folder that is not to be made: without one the lock is nil.
func (i Instance) LockExisting() (*Lock, error) {
	lock, err := lockFolder(i.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lock, err
}

// LockMachine keeps other instances from changing what all of them share.
func LockMachine() (*Lock, error) {
	for {
		if err := os.MkdirAll(runtimeRoot, 0o755); err != nil {
			return nil, err
		}
		lock, err := lockFolder(runtimeRoot)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// RemoveRuntime removes the instance's runtime folder, and the one of all instances with the last.
func (i Instance) RemoveRuntime() error {
	if err := os.RemoveAll(i.Runtime()); err != nil {
		return err
	}
	if err := os.Remove(runtimeRoot); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// lockFolder fails with fs.ErrNotExist if the folder was removed while it waited.
func lockFolder(path string) (*Lock, error) {
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
		var there os.FileInfo
		if there, err = os.Stat(path); err == nil && !os.SameFile(held, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{File: f}, nil
}
