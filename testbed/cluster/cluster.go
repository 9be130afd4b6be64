// Package cluster starts a Kubernetes cluster, reports its state, and removes it.
package cluster

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"dask-operator/testbed/instance"
	"dask-operator/testbed/netns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	nodeName   = "node-1"
	domain     = "cluster.local"
	podCIDR    = "10.244.0.0/24"
	podsCIDR   = "10.244.0.0/16"
	serviceNet = "10.96.0.0/16"
	serviceIP  = "10.96.0.1"
	dnsIP      = "10.96.0.10"
	pauseImage = "localhost/testbed-pause:1"
)

// cluster is an instance with its recorded state.
type cluster struct {
	instance.Instance
	state instance.State
	lock  *instance.Lock
	out   io.Writer
	// spawned has a channel for each component that this process started. It is closed when the component ends.
	spawned map[string]<-chan struct{}
	timeout time.Duration
}

// hasNode reports whether the cluster runs pods.
func (c *cluster) hasNode() bool { return c.state.Mode == instance.Node }

// namespace returns the network namespace of the components, or an empty name for that of the machine.
func (c *cluster) namespace() string {
	if c.hasNode() {
		return c.Namespace()
	}
	return ""
}

// nodeAddr returns the node's address, or an invalid one if there is no node.
func (c *cluster) nodeAddr() netip.Addr {
	if !c.hasNode() {
		return netip.Addr{}
	}
	return netns.NodeAddr(c.state.Subnet)
}

// externalURL returns the URL of the API server for users.
func (c *cluster) externalURL() string {
	if c.hasNode() {
		return c.apiServerURL(c.nodeAddr().String())
	}
	return c.localURL()
}

// localURL returns the URL of the API server for the components.
func (c *cluster) localURL() string { return c.apiServerURL("127.0.0.1") }

func (c *cluster) apiServerURL(host string) string {
	return "https://" + host + ":" + strconv.Itoa(c.state.Ports.APIServer)
}

// client returns a client with the administrator's rights.
func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	// The user's proxy settings must not apply to this address.
	config.Proxy = noProxy
	return kubernetes.NewForConfig(config)
}

// say prints a line of progress.
func (c *cluster) say(format string, args ...any) {
	fmt.Fprintf(c.out, format+"\n", args...)
}
