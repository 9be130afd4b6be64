// This file defines a component as a process: its command line, its files and its readiness.

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"dask-operator/testbed/process"
)

// service is a component of the cluster.
type service struct {
	name string
	args []string
	// program is the path of a program that is not part of this binary.
	program string
	// files are read by the component only when it starts. It is restarted when one of them changes.
	files []string
	// ready returns an error that says why the component is not ready.
	ready func(ctx context.Context) error
}

// digest returns a hash of the command line and of the contents of the files.
func (s service) digest() (string, error) {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	if err := encoder.Encode([]any{s.name, s.program, s.args}); err != nil {
		return "", err
	}
	for _, path := range s.files {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read a file of %s: %w", s.name, err)
		}
		if err := encoder.Encode([]any{path, data}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// action is what has to be done for a service to run with the current configuration.
type action int

const (
	keep action = iota
	start
	replace
)

// decide compares the digest that a process was started with to the desired one.
func decide(alive bool, running, desired string) action {
	switch {
	case !alive:
		return start
	case running != desired:
		return replace
	default:
		return keep
	}
}

// services returns all components. Each depends only on earlier ones.
func (c *cluster) services() []service {
	services := c.controlPlane()
	if c.hasNode() {
		services = append(services, c.node()...)
	}
	return services
}

// service returns the component called name.
func (c *cluster) service(name string) service {
	for _, s := range c.services() {
		if s.name == name {
			return s
		}
	}
	panic("no such service: " + name)
}

// records returns the process records of the cluster's components by name.
func (c *cluster) records() (map[string]process.Record, error) {
	entries, err := os.ReadDir(c.Records())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	records := map[string]process.Record{}
	for _, entry := range entries {
		name, ok := recordName(entry.Name())
		if !ok {
			continue
		}
		if records[name], err = process.Load(c.Record(name)); err != nil {
			return nil, err
		}
	}
	return records, nil
}
