// This file implements `testbed down`.

package cluster

import (
	"fmt"
	"io"
	"os"
	"time"

	"dask-operator/testbed/instance"
	"dask-operator/testbed/leftover"
	"dask-operator/testbed/netns"
	"dask-operator/testbed/process"
)

// Down stops the cluster and removes everything it created. It also cleans up after a cluster that never became ready, or
// whose directory was deleted.
func Down(i instance.Instance, out io.Writer) error {
	begin := time.Now()
	lock, err := i.LockExisting()
	if err != nil {
		return err
	}
	if lock != nil {
		defer lock.Release()
	}
	state, ok, err := i.Load()
	if err != nil {
		return err
	}
	empty, err := i.Empty()
	if err != nil {
		return err
	}
	if !ok && !empty {
		return fmt.Errorf("%s is not the directory of a cluster; nothing was removed", i.Dir)
	}
	c := &cluster{Instance: i, state: state, out: out}
	root := os.Geteuid() == 0
	if c.hasNode() && !root {
		return fmt.Errorf("the cluster in %s has a node; removing it needs root", i.Dir)
	}
	if err := c.stopComponents(); err != nil {
		return err
	}
	// Without recorded state the mode is unknown, so root also looks for remains of a node.
	if root && (c.hasNode() || !ok) {
		if err := c.removeNode(); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(i.Dir); err != nil {
		return err
	}
	c.say("removed the cluster in %s (%.1f s)", i.Dir, time.Since(begin).Seconds())
	return nil
}

// stopComponents stops the clients of the API server first, because they would restart what is stopped next.
func (c *cluster) stopComponents() error {
	records, err := c.records()
	if err != nil {
		return err
	}
	var clients, servers []process.Identity
	for name, record := range records {
		switch name {
		case etcd, apiServer:
			servers = append(servers, record.Identity)
		default:
			clients = append(clients, record.Identity)
		}
	}
	if err := process.Stop(clients, grace); err != nil {
		return fmt.Errorf("stop the components: %w", err)
	}
	// No grace period: these two would only wait for open requests, and save data that is deleted anyway.
	if err := process.Stop(servers, 0); err != nil {
		return fmt.Errorf("stop the API server and etcd: %w", err)
	}
	return nil
}

// removeNode removes what a node leaves outside of the instance's directory.
func (c *cluster) removeNode() error {
	if err := leftover.StopShims(c.ContainerdSocket()); err != nil {
		return err
	}
	if err := leftover.RemoveCgroup(c.Cgroup()); err != nil {
		return err
	}
	if err := leftover.RemoveShimSockets(c.containerdState()); err != nil {
		return err
	}
	if err := leftover.Unmount(c.Runtime(), c.Dir); err != nil {
		return err
	}
	if err := leftover.RemoveFiles(c.Dir, c.PodNetwork()); err != nil {
		return err
	}
	machine, err := instance.LockMachine()
	if err != nil {
		return err
	}
	defer machine.Release()
	if err := netns.Delete(c.Namespace(), c.HostDevice()); err != nil {
		return err
	}
	return c.RemoveRuntime()
}
