// Package instance defines where the files of a cluster are, and reads and writes its recorded state.
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

// runtimeRoot is the directory of sockets: the path of a socket may have at most 107 bytes.
const runtimeRoot = "/run/testbed"

// Instance is one cluster. It is identified by the directory of its files.
type Instance struct {
	// Dir is the absolute path of the directory.
	Dir string
	// ID is a short hash of Dir. It is part of the name of everything outside of Dir.
	ID string
}

// Open returns the instance of dir, which need not exist.
func Open(dir string) (Instance, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Instance{}, fmt.Errorf("resolve %s: %w", dir, err)
	}
	// Symbolic links are resolved, so that a directory always is the same instance. If the directory does not exist yet,
	// its parent may still be a link.
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

// Kubeconfig returns the path of the administrator's kubeconfig.
func (i Instance) Kubeconfig() string { return i.path("kubeconfig") }

// KubeconfigOf returns the path of a component's kubeconfig.
func (i Instance) KubeconfigOf(component string) string {
	return i.path("config", component+".kubeconfig")
}

// Config returns the path of a configuration file.
func (i Instance) Config(name string) string { return i.path("config", name) }

// CNI returns the directory of the node's network configuration.
func (i Instance) CNI() string { return i.path("cni") }

// PKI returns the directory of keys and certificates.
func (i Instance) PKI() string { return i.path("pki") }

// Data returns the directory in which a component keeps its state.
func (i Instance) Data(component string) string { return i.path("data", component) }

// Logs returns the directory of the components' logs.
func (i Instance) Logs() string { return i.path("log") }

// Log returns the path of a component's log.
func (i Instance) Log(component string) string { return i.path("log", component+".log") }

// PodLogs returns the directory of the containers' logs.
func (i Instance) PodLogs() string { return i.path("log", "pods") }

// Records returns the directory of the process records.
func (i Instance) Records() string { return i.path("process") }

// Record returns the path of a component's process record.
func (i Instance) Record(component string) string { return i.path("process", component+".json") }

// Runtime returns the directory of sockets and of the container runtime's volatile state.
func (i Instance) Runtime() string { return filepath.Join(runtimeRoot, i.ID) }

// ContainerdSocket returns the path of the container runtime's socket.
func (i Instance) ContainerdSocket() string { return filepath.Join(i.Runtime(), "containerd.sock") }

// Namespace returns the name of the node's network namespace.
func (i Instance) Namespace() string { return "testbed-" + i.ID }

// HostDevice returns the name of the machine's network device that connects to the node.
func (i Instance) HostDevice() string { return "tb" + i.ID }

// Cgroup returns the path of the pods' cgroup below the root of each cgroup hierarchy.
func (i Instance) Cgroup() string { return "testbed-" + i.ID }

// PodNetwork returns the name of the pod network in the CNI configuration.
func (i Instance) PodNetwork() string { return "testbed-" + i.ID }

func (i Instance) path(elements ...string) string {
	return filepath.Join(append([]string{i.Dir}, elements...)...)
}

// MakeDirectories creates the directories of the paths above.
func (i Instance) MakeDirectories() error {
	for _, dir := range []string{i.path("config"), i.CNI(), i.path("data"), i.PodLogs(), i.Records()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return os.MkdirAll(i.PKI(), 0o700)
}
