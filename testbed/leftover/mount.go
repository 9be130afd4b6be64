// This file unmounts file systems that the kubelet and containerd leave behind.

package leftover

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Unmount unmounts everything below the directories, the innermost first. It fails if anything stays mounted, because
// removing the directories would delete the contents of the mounted file system.
func Unmount(directories ...string) error {
	for _, directory := range directories {
		mounts, err := mountsBelow(directory)
		if err != nil {
			return err
		}
		for _, path := range slices.Backward(mounts) {
			if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
		if mounts, err = mountsBelow(directory); err != nil {
			return err
		}
		if len(mounts) > 0 {
			return fmt.Errorf("%s is still mounted", mounts[0])
		}
	}
	return nil
}

// mountsBelow returns the mount points below a directory in the order in which they were mounted.
func mountsBelow(directory string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, directory+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	paths := make([]string, 0, len(mounts))
	for _, m := range mounts {
		paths = append(paths, m.Mountpoint)
	}
	return paths, nil
}
