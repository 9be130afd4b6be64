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

// RemoveFiles removes what the kubelet and the network plugins wrote to folders that no setting
// moves: links to logs in dir, results of the pod network, and the device plugins' socket.
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
	// Another kubelet that listens there has a use for it.
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

// removeNetworkResults removes the results of a pod network, called NETWORK-SANDBOX-DEVICE, and those
// of the same sandboxes' loopback devices, whose network has the same name everywhere.
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

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes those of the folders that are empty; the others are still somebody's.
func removeEmpty(folders ...string) {
	for _, folder := range folders {
		_ = os.Remove(folder)
	}
}
