// This file implements `testbed up`.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"dask-operator/testbed/instance"
	"dask-operator/testbed/leftover"
	"dask-operator/testbed/netns"
	"dask-operator/testbed/prerequisite"
)

// Options are the settings of a cluster that a user can choose.
type Options struct {
	Mode instance.Mode
	// AuditLog and AdmissionPlugins keep their recorded values if they are nil.
	AuditLog         *string
	AdmissionPlugins *[]string
	// Timeout is how long to wait for each component to become ready.
	Timeout time.Duration
}

// Up starts the components that do not run with the current configuration, and waits until all are ready.
func Up(ctx context.Context, i instance.Instance, o Options, out io.Writer) error {
	begin := time.Now()
	if o.Mode == instance.Node {
		if err := prerequisite.Check(os.Geteuid() == 0); err != nil {
			return err
		}
	}
	lock, err := i.Lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	c := &cluster{Instance: i, lock: lock, out: out, spawned: map[string]<-chan struct{}{}, timeout: o.Timeout}
	if err := c.recordState(o); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startAll(ctx); err != nil {
		return err
	}
	c.say("%s is ready at %s (%.1f s)", c.describe(), c.externalURL(), time.Since(begin).Seconds())
	c.say("export KUBECONFIG=%s", c.Kubeconfig())
	return nil
}

// describe names the kind of the cluster in messages.
func (c *cluster) describe() string {
	if c.hasNode() {
		return "the cluster"
	}
	return "the control plane"
}

// recordState merges the options with the recorded state. It saves the result before anything is created, so that Down
// knows what to remove.
func (c *cluster) recordState(o Options) error {
	state, ok, err := c.Load()
	if err != nil {
		return err
	}
	if !ok {
		empty, err := c.Empty()
		if err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%s is neither empty nor the directory of a cluster", c.Dir)
		}
		state.Mode = o.Mode
	}
	if state.Mode != o.Mode {
		return fmt.Errorf("%s holds a cluster of another kind (%s); run `down` first", c.Dir, state.Mode)
	}
	if o.AuditLog != nil {
		state.AuditLog = *o.AuditLog
	}
	if o.AdmissionPlugins != nil {
		state.AdmissionPlugins = *o.AdmissionPlugins
	}
	c.state = state
	if c.hasNode() {
		c.state.Ports = nodePorts
		return c.allocateNetwork()
	}
	if err := c.allocatePorts(); err != nil {
		return err
	}
	return c.Save(c.state)
}

// allocatePorts keeps the recorded ports if they are still usable, and otherwise chooses free ones.
func (c *cluster) allocatePorts() error {
	records, err := c.records()
	if err != nil {
		return err
	}
	if usable(c.state.Ports, func(name string) bool { return records[name].Alive() }) {
		return nil
	}
	c.state.Ports, err = freePorts()
	return err
}

// allocateNetwork chooses a subnet and creates the node's network. It holds the lock of the machine, so that no other
// instance chooses the same subnet.
func (c *cluster) allocateNetwork() error {
	machine, err := instance.LockMachine()
	if err != nil {
		return err
	}
	defer machine.Release()
	if c.state.Subnet, err = netns.Choose(c.state.Subnet, c.HostDevice()); err != nil {
		return err
	}
	if err := c.Save(c.state); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Runtime(), 0o700); err != nil {
		return err
	}
	return netns.Ensure(netns.Network{Name: c.Namespace(), HostDevice: c.HostDevice(), Subnet: c.state.Subnet})
}

// prepare creates everything that the processes need.
func (c *cluster) prepare() error {
	if err := c.MakeDirectories(); err != nil {
		return err
	}
	if err := c.writeCertificates(); err != nil {
		return err
	}
	if err := c.writeConfigs(); err != nil {
		return err
	}
	if c.hasNode() {
		return leftover.CreateCgroup(c.Cgroup())
	}
	return nil
}

// startAll starts each component as soon as the components that it depends on are ready.
func (c *cluster) startAll(ctx context.Context) error {
	if c.hasNode() {
		if err := c.ensure(c.service(containerd)); err != nil {
			return err
		}
	}
	for _, name := range []string{etcd, apiServer} {
		if err := c.ensureReady(ctx, name); err != nil {
			return err
		}
	}
	controllers := []service{c.service(controllerManager), c.service(scheduler)}
	if err := errors.Join(c.ensure(controllers[0]), c.ensure(controllers[1])); err != nil {
		return err
	}
	if c.hasNode() {
		if err := c.startNode(ctx); err != nil {
			return err
		}
	}
	for _, s := range controllers {
		if err := c.await(ctx, s); err != nil {
			return err
		}
	}
	return c.poll(ctx, controllerManager, c.defaultServiceAccountReady)
}

// startNode starts the components of the node and waits until they are ready.
func (c *cluster) startNode(ctx context.Context) error {
	if err := c.await(ctx, c.service(containerd)); err != nil {
		return err
	}
	if err := c.ensurePauseImage(ctx); err != nil {
		return err
	}
	if err := c.poll(ctx, apiServer, c.applyDNS); err != nil {
		return err
	}
	rest := []service{c.service(kubelet), c.service(proxy), c.service(coreDNS)}
	for _, s := range rest {
		if err := c.ensure(s); err != nil {
			return err
		}
	}
	for _, s := range rest {
		if err := c.await(ctx, s); err != nil {
			return err
		}
	}
	return c.poll(ctx, kubelet, c.kubeletKnowsPods)
}

// ensureReady starts a component and waits until it is ready.
func (c *cluster) ensureReady(ctx context.Context, name string) error {
	s := c.service(name)
	if err := c.ensure(s); err != nil {
		return err
	}
	return c.await(ctx, s)
}
