// Package instance knows where a cluster keeps what, and what it was set up as.
package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// runtimeRoot holds what must have a short path: a socket's may not exceed 107 bytes.
const runtimeRoot = "/run/testbed"

// Instance is one cluster, named by the folder of its files.
type Instance struct {
	// Dir is the absolute path of the folder.
	Dir string
	// ID is short, derived from Dir, and part of the name of everything outside Dir.
	ID string
}

// Open names the instance in dir, which need not exist.
func Open(dir string) (Instance, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Instance{}, fmt.Errorf("resolve %s: %w", dir, err)
	}
	// The same folder is the same cluster, whichever links lead to it; a folder that is still to be
	// made is reached by a parent that may be a link as well.
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Instance{}, fmt.Errorf("resolve %s: %w", dir, err)
	}
	sum := sha256.Sum256([]byte(abs))
	return Instance{Dir: abs, ID: hex.EncodeToString(sum[:4])}, nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (i Instance) Kubeconfig() string { return i.path("kubeconfig") }

// KubeconfigOf is the path of a component's kubeconfig.
func (i Instance) KubeconfigOf(component string) string {
	return i.path("config", component+".kubeconfig")
}

// Config is the path of a configuration file.
func (i Instance) Config(name string) string { return i.path("config", name) }

// CNI is the folder of the node's network configuration.
func (i Instance) CNI() string { return i.path("cni") }

// PKI is the folder of keys and certificates.
func (i Instance) PKI() string { return i.path("pki") }

// Data is the folder in which a component keeps its state.
func (i Instance) Data(component string) string { return i.path("data", component) }

// Logs is the folder of the components' logs.
func (i Instance) Logs() string { return i.path("log") }

// Log is the path of a component's log.
func (i Instance) Log(component string) string { return i.path("log", component+".log") }

// PodLogs is the folder of the containers' logs.
func (i Instance) PodLogs() string { return i.path("log", "pods") }

// Records is the folder of the process records.
func (i Instance) Records() string { return i.path("process") }

// Record is the path of a component's process record.
func (i Instance) Record(component string) string { return i.path("process", component+".json") }

// Runtime is the folder of sockets and of the container runtime's volatile state.
func (i Instance) Runtime() string { return filepath.Join(runtimeRoot, i.ID) }

// ContainerdSocket is the path of the container runtime's socket.
func (i Instance) ContainerdSocket() string { return filepath.Join(i.Runtime(), "containerd.sock") }

// Namespace is the name of the node's network namespace.
func (i Instance) Namespace() string { return "testbed-" + i.ID }

// HostDevice is the name of the network device by which the machine reaches the node.
func (i Instance) HostDevice() string { return "tb" + i.ID }

// Cgroup is the path, below each cgroup hierarchy, of the group that holds all pods.
func (i Instance) Cgroup() string { return "testbed-" + i.ID }

// PodNetwork is the name of the pods' network.
func (i Instance) PodNetwork() string { return "testbed-" + i.ID }

func (i Instance) path(elements ...string) string {
	return filepath.Join(append([]string{i.Dir}, elements...)...)
}

// MakeFolders makes the folders that the paths above lie in.
func (i Instance) MakeFolders() error {
	for _, dir := range []string{i.path("config"), i.CNI(), i.path("data"), i.PodLogs(), i.Records()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return os.MkdirAll(i.PKI(), 0o700)
}
