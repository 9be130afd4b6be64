// Package cluster brings a Kubernetes up, looks after it, and takes it down again.
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

// cluster is an instance together with what it is set up as.
type cluster struct {
	instance.Instance
	state instance.State
	lock  *instance.Lock
	out   io.Writer
	// spawned tells, of the components started by this process, when one ends.
	spawned map[string]<-chan struct{}
	timeout time.Duration
}

// hasNode tells whether the cluster runs pods.
func (c *cluster) hasNode() bool { return c.state.Mode == instance.Node }

// namespace is the network namespace that the components run in; empty is the machine's.
func (c *cluster) namespace() string {
	if c.hasNode() {
		return c.Namespace()
	}
	return ""
}

// nodeAddr is the node's address, if there is a node.
func (c *cluster) nodeAddr() netip.Addr {
	if !c.hasNode() {
		return netip.Addr{}
	}
	return netns.NodeAddr(c.state.Subnet)
}

// externalURL is the API server's address for users, and localURL that for components.
func (c *cluster) externalURL() string {
	if c.hasNode() {
		return c.apiServerURL(c.nodeAddr().String())
	}
	return c.localURL()
}

func (c *cluster) localURL() string { return c.apiServerURL("127.0.0.1") }

func (c *cluster) apiServerURL(host string) string {
	return "https://" + host + ":" + strconv.Itoa(c.state.Ports.APIServer)
}

// client is an administrator's.
func (c *cluster) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	// A user's proxy settings are not for this address.
	config.Proxy = noProxy
	return kubernetes.NewForConfig(config)
}

func (c *cluster) say(format string, args ...any) {
	fmt.Fprintf(c.out, format+"\n", args...)
}
