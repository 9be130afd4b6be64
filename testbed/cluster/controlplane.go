// This file defines the components of the control plane.

package cluster

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"dask-operator/testbed/config"
	"dask-operator/testbed/pki"
)

const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

func (c *cluster) controlPlane() []service {
	return []service{c.etcd(), c.apiServer(), c.controllerManager(), c.scheduler()}
}

func (c *cluster) cert(name string) string { return pki.CertFile(c.PKI(), name) }
func (c *cluster) key(name string) string  { return pki.KeyFile(c.PKI(), name) }

func (c *cluster) etcd() service {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.state.Ports.Etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.state.Ports.EtcdPeer)
	return service{
		name: etcd,
		args: []string{
			"--name=testbed",
			"--data-dir=" + c.Data(etcd),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=testbed=" + peer,
			// Test data need not survive a power failure.
			"--unsafe-no-fsync",
		},
		ready: c.httpReady(client + "/readyz"),
	}
}

func (c *cluster) apiServer() service {
	bind, advertise := "127.0.0.1", "127.0.0.1"
	if c.hasNode() {
		bind, advertise = "0.0.0.0", c.nodeAddr().String()
	}
	args := []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.state.Ports.Etcd),
		"--bind-address=" + bind,
		"--advertise-address=" + advertise,
		"--secure-port=" + strconv.Itoa(c.state.Ports.APIServer),
		"--tls-cert-file=" + c.cert(pki.APIServer),
		"--tls-private-key-file=" + c.key(pki.APIServer),
		"--client-ca-file=" + c.cert(pki.CA),
		"--service-account-issuer=https://kubernetes.default.svc." + domain,
		"--service-account-key-file=" + pki.PublicKeyFile(c.PKI(), pki.ServiceAccount),
		"--service-account-signing-key-file=" + c.key(pki.ServiceAccount),
		"--service-cluster-ip-range=" + serviceNet,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--enable-admission-plugins=" + strings.Join(append([]string{"NodeRestriction"}, c.state.AdmissionPlugins...), ","),
		"--kubelet-client-certificate=" + c.cert(pki.KubeletClient),
		"--kubelet-client-key=" + c.key(pki.KubeletClient),
		"--kubelet-certificate-authority=" + c.cert(pki.CA),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + c.cert(pki.FrontProxyCA),
		"--requestheader-allowed-names=" + pki.FrontProxyClient,
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + c.cert(pki.FrontProxyClient),
		"--proxy-client-key-file=" + c.key(pki.FrontProxyClient),
		"--profiling=false",
	}
	if !c.hasNode() {
		// Endpoints may not contain a loopback address, and there are no pods that would use them.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	files := []string{
		c.cert(pki.APIServer), c.cert(pki.CA), c.cert(pki.KubeletClient), c.key(pki.ServiceAccount),
		c.cert(pki.FrontProxyCA), c.cert(pki.FrontProxyClient),
	}
	if c.state.AuditLog != "" {
		args = append(args,
			"--audit-log-path="+c.state.AuditLog,
			"--audit-policy-file="+c.Config(config.AuditPolicy),
			// In megabytes. Large, so that all requests are in one file and can be counted.
			"--audit-log-maxsize=100000",
		)
		files = append(files, c.Config(config.AuditPolicy))
	}
	return service{name: apiServer, args: args, files: files, ready: c.apiServerReady}
}

func (c *cluster) controllerManager() service {
	const workers = "40"
	kubeconfig := c.KubeconfigOf(controllerManager)
	args := []string{
		"--service-account-private-key-file=" + c.key(pki.ServiceAccount),
		"--root-ca-file=" + c.cert(pki.CA),
		"--cluster-signing-cert-file=" + c.cert(pki.CA),
		"--cluster-signing-key-file=" + c.key(pki.CA),
		"--use-service-account-credentials=true",
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + podsCIDR,
		"--service-cluster-ip-range=" + serviceNet,
		"--flex-volume-plugin-dir=" + c.volumePlugins(),
		// Tests create and delete hundreds of objects.
		"--concurrent-deployment-syncs=" + workers,
		"--concurrent-replicaset-syncs=" + workers,
		"--concurrent-gc-syncs=" + workers,
		"--concurrent-namespace-syncs=" + workers,
		"--concurrent-service-endpoint-syncs=" + workers,
	}
	return c.controller(controllerManager, kubeconfig, c.state.Ports.ControllerManager, pki.ControllerManager,
		args, c.key(pki.ServiceAccount))
}

func (c *cluster) scheduler() service {
	return c.controller(scheduler, c.KubeconfigOf(scheduler), c.state.Ports.Scheduler, pki.Scheduler, nil)
}

// controller returns a service with the flags that kube-controller-manager and kube-scheduler have in common.
func (c *cluster) controller(name, kubeconfig string, port int, cert string, args []string, files ...string) service {
	return service{
		name: name,
		args: append([]string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			"--secure-port=" + strconv.Itoa(port),
			"--tls-cert-file=" + c.cert(cert),
			"--tls-private-key-file=" + c.key(cert),
			// There is one replica, which need not wait for the lease of its predecessor to expire.
			"--leader-elect=false",
			"--kube-api-qps=200",
			"--kube-api-burst=400",
			"--profiling=false",
		}, args...),
		files: append([]string{kubeconfig, c.cert(cert), c.cert(pki.CA)}, files...),
		ready: c.httpReady(fmt.Sprintf("https://127.0.0.1:%d/healthz", port)),
	}
}

func (c *cluster) volumePlugins() string { return filepath.Join(c.Data(kubelet), "volume-plugins") }
