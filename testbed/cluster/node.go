// This file defines the components of the node.

package cluster

import (
	"dask-operator/testbed/config"
	"dask-operator/testbed/pki"
	"dask-operator/testbed/prerequisite"
)

const (
	containerd = "containerd"
	kubelet    = "kubelet"
	proxy      = "kube-proxy"
	coreDNS    = "coredns"
)

// node returns the components that run pods.
func (c *cluster) node() []service {
	return []service{
		{
			name:    containerd,
			program: prerequisite.Find(containerd),
			args:    []string{"--config=" + c.Config(config.Containerd)},
			files:   []string{c.Config(config.Containerd)},
			ready:   c.containerdReady,
		},
		{
			name: kubelet,
			args: []string{
				"--config=" + c.Config(config.Kubelet),
				"--kubeconfig=" + c.KubeconfigOf(kubelet),
				"--root-dir=" + c.Data(kubelet),
				"--cert-dir=" + c.PKI(),
				"--hostname-override=" + nodeName,
				"--node-ip=" + c.nodeAddr().String(),
			},
			files: []string{c.Config(config.Kubelet), c.KubeconfigOf(kubelet), c.cert(pki.Kubelet), c.cert(pki.CA)},
			ready: c.kubeletReady,
		},
		{
			name: proxy,
			args: []string{
				"--kubeconfig=" + c.KubeconfigOf(proxy),
				"--hostname-override=" + nodeName,
				"--proxy-mode=nftables",
				"--cluster-cidr=" + podsCIDR,
				"--healthz-bind-address=127.0.0.1:10256",
				"--metrics-bind-address=127.0.0.1:10249",
				// Do not change settings of the machine: its connection tracking limits, and the OOM score.
				"--conntrack-max-per-core=0",
				"--oom-score-adj=0",
			},
			files: []string{c.KubeconfigOf(proxy)},
			ready: c.httpReady("http://127.0.0.1:10256/healthz"),
		},
		{
			name:  coreDNS,
			args:  []string{"-conf=" + c.Config(config.Corefile)},
			files: []string{c.Config(config.Corefile), c.KubeconfigOf(coreDNS)},
			ready: c.coreDNSReady,
		},
	}
}
