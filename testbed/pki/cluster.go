// This file defines the certificates of a cluster.

package pki

import (
	"crypto/x509"
	"net"
)

// Base names of the files that Ensure writes.
const (
	CA                = "ca"
	FrontProxyCA      = "front-proxy-ca"
	FrontProxyClient  = "front-proxy-client"
	APIServer         = "apiserver"
	KubeletClient     = "apiserver-kubelet-client"
	Admin             = "admin"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	CoreDNS           = "coredns"
	ServiceAccount    = "service-account"
)

// Cluster are the properties of a cluster that its certificates contain.
type Cluster struct {
	NodeName string
	// NodeIP is nil if there is no node.
	NodeIP net.IP
	// ServiceIP is the cluster IP of the API server.
	ServiceIP net.IP
	Domain    string
}

// Ensure writes all keys and certificates of the cluster to directory. It keeps those that are still valid and match.
func Ensure(directory string, c Cluster) error {
	ca, err := EnsureAuthority(directory, CA)
	if err != nil {
		return err
	}
	for _, s := range Subjects(c) {
		if err := ca.Ensure(s); err != nil {
			return err
		}
	}
	// A client with a certificate of this authority may impersonate any user, so there is only one.
	frontProxy, err := EnsureAuthority(directory, FrontProxyCA)
	if err != nil {
		return err
	}
	if err := frontProxy.Ensure(client(FrontProxyClient, FrontProxyClient)); err != nil {
		return err
	}
	return EnsureKeyPair(directory, ServiceAccount)
}

// Subjects returns the subjects of the certificates that the cluster's authority signs.
func Subjects(c Cluster) []Subject {
	local := net.IPv4(127, 0, 0, 1)
	apiServer := Subject{
		Name: APIServer, CommonName: "kube-apiserver", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + c.Domain,
		},
		IPs: []net.IP{local, c.ServiceIP},
	}
	subjects := []Subject{
		client(KubeletClient, "kube-apiserver-kubelet-client", "system:masters"),
		client(Admin, "admin", "system:masters"),
		both(ControllerManager, "system:kube-controller-manager", local),
		both(Scheduler, "system:kube-scheduler", local),
	}
	if c.NodeIP != nil {
		apiServer.IPs = append(apiServer.IPs, c.NodeIP)
		kubelet := both(Kubelet, "system:node:"+c.NodeName, local, c.NodeIP)
		kubelet.Organization = []string{"system:nodes"}
		kubelet.DNSNames = []string{c.NodeName}
		subjects = append(subjects, kubelet,
			client(Proxy, "system:kube-proxy"), client(CoreDNS, "system:coredns"))
	}
	return append(subjects, apiServer)
}

// client returns a subject with a client certificate.
func client(name, user string, groups ...string) Subject {
	return Subject{
		Name: name, CommonName: user, Organization: groups,
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// both returns a subject whose certificate is for a client and a server: a component that is a client of the API server and
// serves health checks and metrics.
func both(name, user string, ips ...net.IP) Subject {
	return Subject{
		Name: name, CommonName: user, DNSNames: []string{"localhost"}, IPs: ips,
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}
