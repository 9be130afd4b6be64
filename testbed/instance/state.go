// This file defines what is recorded about an instance.

package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"dask-operator/testbed/atomicfile"
)

// Mode is the kind of a cluster.
type Mode string

const (
	// Node is a control plane and a node that runs pods.
	Node Mode = "node"
	// ControlPlane is a control plane without nodes.
	ControlPlane Mode = "control-plane"
)

// Ports are the TCP ports of the control plane.
type Ports struct {
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	APIServer         int `json:"apiServer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
}

// State is the recorded state of an instance. Its file also marks the directory as that of an instance.
type State struct {
	Mode  Mode  `json:"mode"`
	Ports Ports `json:"ports"`
	// Subnet is the /30 that connects the machine and the node. It is invalid if there is no node.
	Subnet netip.Prefix `json:"subnet"`
	// AuditLog is the path of the API server's audit log, or empty.
	AuditLog string `json:"auditLog,omitempty"`
	// AdmissionPlugins are enabled in addition to the default ones.
	AdmissionPlugins []string `json:"admissionPlugins,omitempty"`
}

// Load reads the state. ok is false if the directory holds no instance.
func (i Instance) Load() (state State, ok bool, err error) {
	data, err := os.ReadFile(i.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, err
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return State{}, false, fmt.Errorf("read %s: %w", i.stateFile(), err)
	}
	return state, true, nil
}

// Save writes the state.
func (i Instance) Save(state State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(i.stateFile(), append(data, '\n'), 0o644)
}

// Empty reports whether the directory is empty or does not exist.
func (i Instance) Empty() (bool, error) {
	entries, err := os.ReadDir(i.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}

func (i Instance) stateFile() string { return i.path("cluster.json") }
