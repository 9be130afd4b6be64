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

// Options is what a user may choose.
type Options struct {
	Mode instance.Mode
	// AuditLog and AdmissionPlugins stay as they were if they are nil.
	AuditLog         *string
	AdmissionPlugins *[]string
	// Timeout is how long each component may take to become ready.
	Timeout time.Duration
}

// Up makes the cluster be there and ready, whatever of it is there already.
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
	if err := c.settle(o); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startAll(ctx); err != nil {
		return err
	}
	c.say("%s is up at %s (%.1f s)", c.describe(), c.externalURL(), time.Since(begin).Seconds())
	c.say("export KUBECONFIG=%s", c.Kubeconfig())
	return nil
}

func (c *cluster) describe() string {
	if c.hasNode() {
		return "the cluster"
	}
	return "the control plane"
}

// settle decides what the cluster is to be, and records it before anything else exists.
func (c *cluster) settle(o Options) error {
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
			return fmt.Errorf("%s is neither empty nor a cluster's folder", c.Dir)
		}
		state.Mode = o.Mode
	}
	if state.Mode != o.Mode {
		return fmt.Errorf("%s holds a cluster of the other kind (%s); run `down` first", c.Dir, state.Mode)
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
		return c.settleNetwork()
	}
	if err := c.settlePorts(); err != nil {
		return err
	}
	return c.Save(c.state)
}

func (c *cluster) settlePorts() error {
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

// settleNetwork finds a subnet and takes it, while no other instance does the same.
func (c *cluster) settleNetwork() error {
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

// prepare makes everything that is there before the first process.
func (c *cluster) prepare() error {
	if err := c.MakeFolders(); err != nil {
		return err
	}
	if err := c.writeCertificates(); err != nil {
		return err
	}
	if err := c.writeConfigs(); err != nil {
		return err
	}
	if c.hasNode() {
		return leftover.MakeCgroup(c.Cgroup())
	}
	return nil
}

// startAll starts each component as soon as those that it cannot do without are ready.
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

func (c *cluster) ensureReady(ctx context.Context, name string) error {
	s := c.service(name)
	if err := c.ensure(s); err != nil {
		return err
	}
	return c.await(ctx, s)
}
