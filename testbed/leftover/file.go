// This file removes files that the kubelet and CNI plugins leave behind.

package leftover

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	containerLogLinks = "/var/log/containers"
	devicePlugins     = "/var/lib/kubelet/device-plugins"
	networkResults    = "/var/lib/cni/results"
)

// RemoveFiles removes what the kubelet and CNI plugins write to directories that cannot be configured: links to logs in
// dir, results of the pod network, and the socket for device plugins.
func RemoveFiles(dir, podNetwork string) error {
	if err := removeMatching(filepath.Join(containerLogLinks, "*"), func(path string) bool {
		target, err := os.Readlink(path)
		return err == nil && strings.HasPrefix(target, dir+"/")
	}); err != nil {
		return err
	}
	if err := removeNetworkResults(podNetwork); err != nil {
		return err
	}
	// The socket is kept if another kubelet listens on it.
	socket := filepath.Join(devicePlugins, "kubelet.sock")
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		for _, path := range []string{socket, filepath.Join(devicePlugins, "kubelet_internal_checkpoint"), filepath.Join(devicePlugins, "DEPRECATION")} {
			if err := removeFile(path); err != nil {
				return err
			}
		}
	}
	removeEmpty(containerLogLinks, networkResults, filepath.Dir(networkResults), devicePlugins, filepath.Dir(devicePlugins))
	return nil
}

// removeNetworkResults removes the CNI results of a pod network, whose files are called NETWORK-SANDBOX-DEVICE, and those
// of the loopback devices of the same sandboxes, whose network has the same name in every instance.
func removeNetworkResults(podNetwork string) error {
	paths, err := filepath.Glob(filepath.Join(networkResults, podNetwork+"-*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		sandbox, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), podNetwork+"-"), "-")
		for _, path := range []string{path, filepath.Join(networkResults, "cni-loopback-"+sandbox+"-lo")} {
			if err := removeFile(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeMatching removes the files that match pattern and for which ours holds.
func removeMatching(pattern string, ours func(path string) bool) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if ours(path) {
			if err := removeFile(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFile removes a file if it exists.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes the directories that are empty. The others are still in use by other programs.
func removeEmpty(directories ...string) {
	for _, directory := range directories {
		_ = os.Remove(directory)
	}
}
