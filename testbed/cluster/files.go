// This file writes the files that the components read.

package cluster

import (
	"net"
	"path/filepath"

	"dask-operator/testbed/atomicfile"
	"dask-operator/testbed/config"
	"dask-operator/testbed/kubeconfig"
	"dask-operator/testbed/pki"
	"dask-operator/testbed/prerequisite"
)

// writeCertificates writes all certificates and kubeconfigs.
func (c *cluster) writeCertificates() error {
	cluster := pki.Cluster{NodeName: nodeName, ServiceIP: net.ParseIP(serviceIP), Domain: domain}
	users := map[string]string{controllerManager: pki.ControllerManager, scheduler: pki.Scheduler}
	if c.hasNode() {
		cluster.NodeIP = c.nodeAddr().AsSlice()
		users[kubelet], users[proxy], users[coreDNS] = pki.Kubelet, pki.Proxy, pki.CoreDNS
	}
	if err := pki.Ensure(c.PKI(), cluster); err != nil {
		return err
	}
	for component, cert := range users {
		if err := kubeconfig.Write(c.KubeconfigOf(component), c.localURL(), c.PKI(), cert); err != nil {
			return err
		}
	}
	return kubeconfig.Write(c.Kubeconfig(), c.externalURL(), c.PKI(), pki.Admin)
}

// writeConfigs writes the configuration files of the components.
func (c *cluster) writeConfigs() error {
	files := map[string]string{config.AuditPolicy: c.Config(config.AuditPolicy)}
	if c.hasNode() {
		for _, name := range []string{config.Containerd, config.Kubelet, config.Corefile} {
			files[name] = c.Config(name)
		}
		files[config.Network] = filepath.Join(c.CNI(), config.Network)
	}
	values := c.values()
	for name, path := range files {
		data, err := config.Render(name, values)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// containerdState returns the directory of containerd's volatile state.
func (c *cluster) containerdState() string { return filepath.Join(c.Runtime(), containerd) }

// values returns what the configuration files refer to.
func (c *cluster) values() config.Values {
	return config.Values{
		ContainerdData:    c.Data(containerd),
		ContainerdState:   c.containerdState(),
		ContainerdSocket:  c.ContainerdSocket(),
		RuncState:         filepath.Join(c.Runtime(), "runc"),
		PauseImage:        pauseImage,
		CNIPlugins:        prerequisite.CNIPlugins,
		CNIConfig:         c.CNI(),
		PodNetwork:        c.PodNetwork(),
		PodAddresses:      c.Data("addresses"),
		PodCIDR:           podCIDR,
		NodeIP:            c.nodeAddr().String(),
		DNSIP:             dnsIP,
		Domain:            domain,
		KubeletCert:       c.cert(pki.Kubelet),
		KubeletKey:        c.key(pki.Kubelet),
		ClientCA:          c.cert(pki.CA),
		Cgroup:            "/" + c.Cgroup(),
		PodLogs:           c.PodLogs(),
		VolumePlugins:     c.volumePlugins(),
		CoreDNSKubeconfig: c.KubeconfigOf(coreDNS),
	}
}
