package leftover

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Unmount unmounts everything below the folders, the innermost first, and fails if anything stays:
// removing a folder must never reach into something that is mounted there.
func Unmount(folders ...string) error {
	for _, folder := range folders {
		mounts, err := mountsBelow(folder)
		if err != nil {
			return err
		}
		for _, path := range slices.Backward(mounts) {
			if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
		if mounts, err = mountsBelow(folder); err != nil {
			return err
		}
		if len(mounts) > 0 {
			return fmt.Errorf("%s is still mounted", mounts[0])
		}
	}
	return nil
}

// mountsBelow lists mount points in the order in which they were mounted.
func mountsBelow(folder string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, folder+"/"), false
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
