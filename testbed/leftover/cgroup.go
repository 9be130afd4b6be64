// This file creates and removes the cgroup of the pods.

package leftover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dask-operator/testbed/process"
	"github.com/moby/sys/mountinfo"
)

// hierarchies returns the mount points of all cgroup hierarchies of version 1 and 2.
func hierarchies() (v1, v2 []string, err error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, nil, fmt.Errorf("list cgroup mounts: %w", err)
	}
	for _, m := range mounts {
		if m.FSType == "cgroup" {
			v1 = append(v1, m.Mountpoint)
		} else {
			v2 = append(v2, m.Mountpoint)
		}
	}
	return v1, v2, nil
}

// CreateCgroup creates the cgroup that the kubelet puts pods into.
func CreateCgroup(name string) error {
	v1, v2, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range slices.Concat(v1, v2) {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create the cgroup %s: %w", name, err)
		}
	}
	for _, root := range v2 {
		if err := delegate(root, name); err != nil {
			return fmt.Errorf("delegate controllers to the cgroup %s: %w", name, err)
		}
	}
	// In version 1, a new cpuset has no processors until some are assigned.
	for _, root := range v1 {
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(filepath.Join(root, file), filepath.Join(root, name, file)); err != nil {
				return fmt.Errorf("set up the cgroup %s: %w", name, err)
			}
		}
	}
	return nil
}

// delegate enables every controller of a version 2 hierarchy in the cgroup and its children.
func delegate(root, name string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, group := range []string{root, filepath.Join(root, name)} {
		for _, controller := range strings.Fields(string(controllers)) {
			if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies the value of a cgroup file, unless the destination has one.
func inherit(from, to string) error {
	value, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && len(strings.TrimSpace(string(old))) > 0 {
		return nil
	}
	return os.WriteFile(to, value, 0o644)
}

// RemoveCgroup kills all processes in the cgroup, and removes it with its children.
func RemoveCgroup(name string) error {
	v1, v2, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		var groups []string
		for _, root := range slices.Concat(v1, v2) {
			groups = append(groups, groupsBelow(filepath.Join(root, name))...)
		}
		if err := process.Stop(members(groups, name), 0); err != nil {
			return fmt.Errorf("kill the pods' processes: %w", err)
		}
		// A cgroup may be busy for a moment after its last process has ended.
		var busy error
		for _, group := range slices.Backward(groups) {
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				busy = err
			}
		}
		if busy == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove the cgroup %s: %w", name, busy)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// groupsBelow returns a cgroup and all its descendants. Parents come before their children.
func groupsBelow(root string) []string {
	var groups []string
	// Errors are ignored: a cgroup that disappears meanwhile need not be removed.
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	return groups
}

// members returns the processes in the cgroups. Their membership is checked again after they were identified, because the
// pid may have been reused.
func members(groups []string, name string) []process.Identity {
	seen := map[int]bool{}
	var ids []process.Identity
	for _, group := range groups {
		data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil || seen[pid] {
				continue
			}
			seen[pid] = true
			id, err := process.Identify(pid)
			if err != nil {
				continue
			}
			if own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err == nil && strings.Contains(string(own), ":/"+name+"/") {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
