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
	// program is the path of a program that is not linked into this binary.
	program string
	// files are those whose contents the component reads once, when it starts.
	files []string
	// ready fails, saying why, as long as the component does not do its work.
	ready func(ctx context.Context) error
}

// digest stands for everything that the service is started with.
func (s service) digest() (string, error) {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	if err := encoder.Encode([]any{s.name, s.program, s.args}); err != nil {
		return "", err
	}
	for _, path := range s.files {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read what %s is started with: %w", s.name, err)
		}
		if err := encoder.Encode([]any{path, data}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// action is what is to be done about a service.
type action int

const (
	keep action = iota
	start
	replace
)

// decide compares what runs with what is wanted.
func decide(alive bool, running, wanted string) action {
	switch {
	case !alive:
		return start
	case running != wanted:
		return replace
	default:
		return keep
	}
}

// services lists all components, in the order in which they depend on each other.
func (c *cluster) services() []service {
	services := c.controlPlane()
	if c.hasNode() {
		services = append(services, c.node()...)
	}
	return services
}

func (c *cluster) service(name string) service {
	for _, s := range c.services() {
		if s.name == name {
			return s
		}
	}
	panic("no such service: " + name)
}

// records are the processes that were started for the cluster, by name.
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
