// This file sets up the cluster's DNS and checks it.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"dask-operator/testbed/netns"
	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1 "k8s.io/client-go/applyconfigurations/discovery/v1"
	rbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
)

// applyDNS creates the API objects of CoreDNS: its RBAC rules, and the Service by which pods reach it. CoreDNS runs as a
// process of the node and not as a pod, so the Service has no selector.
func (c *cluster) applyDNS(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	const (
		user      = "system:coredns"
		namespace = "kube-system"
		name      = "kube-dns"
		rbac      = "rbac.authorization.k8s.io"
		port      = 53
	)
	options := metav1.ApplyOptions{FieldManager: "testbed", Force: true}

	role := rbacv1.ClusterRole(user).WithRules(
		rbacv1.PolicyRule().WithAPIGroups("").WithResources("services", "pods", "namespaces").WithVerbs("list", "watch"),
		rbacv1.PolicyRule().WithAPIGroups("discovery.k8s.io").WithResources("endpointslices").WithVerbs("list", "watch"))
	_, roleErr := client.RbacV1().ClusterRoles().Apply(ctx, role, options)

	binding := rbacv1.ClusterRoleBinding(user).
		WithRoleRef(rbacv1.RoleRef().WithAPIGroup(rbac).WithKind("ClusterRole").WithName(user)).
		WithSubjects(rbacv1.Subject().WithAPIGroup(rbac).WithKind("User").WithName(user))
	_, bindingErr := client.RbacV1().ClusterRoleBindings().Apply(ctx, binding, options)

	service := corev1.Service(name, namespace).WithSpec(corev1.ServiceSpec().WithClusterIP(dnsIP).WithPorts(
		corev1.ServicePort().WithName("dns").WithProtocol("UDP").WithPort(port),
		corev1.ServicePort().WithName("dns-tcp").WithProtocol("TCP").WithPort(port)))
	_, serviceErr := client.CoreV1().Services(namespace).Apply(ctx, service, options)

	endpoints := discoveryv1.EndpointSlice(name, namespace).
		WithLabels(map[string]string{"kubernetes.io/service-name": name}).
		WithAddressType("IPv4").
		WithEndpoints(discoveryv1.Endpoint().WithAddresses(c.nodeAddr().String()).
			WithConditions(discoveryv1.EndpointConditions().WithReady(true))).
		WithPorts(
			discoveryv1.EndpointPort().WithName("dns").WithProtocol("UDP").WithPort(port),
			discoveryv1.EndpointPort().WithName("dns-tcp").WithProtocol("TCP").WithPort(port))
	_, endpointsErr := client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, endpoints, options)

	return errors.Join(roleErr, bindingErr, serviceErr, endpointsErr)
}

// coreDNSReady checks that CoreDNS answers at the Service's address, as a pod would use it. This checks kube-proxy too.
func (c *cluster) coreDNSReady(ctx context.Context) error {
	if err := c.httpReady("http://127.0.0.1:8181/ready")(ctx); err != nil {
		return err
	}
	conn, err := netns.Dialer(c.namespace())(ctx, "udp", net.JoinHostPort(dnsIP, "53"))
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline := time.Now().Add(time.Second)
	if limit, ok := ctx.Deadline(); ok && limit.Before(deadline) {
		deadline = limit
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	name := "kubernetes.default.svc." + domain + "."
	exchange := &dns.Conn{Conn: conn}
	if err := exchange.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
		return err
	}
	answer, err := exchange.ReadMsg()
	if err != nil {
		return err
	}
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok && a.A.Equal(net.ParseIP(serviceIP)) {
			return nil
		}
	}
	return fmt.Errorf("lookup of %s returned %s", name, dns.RcodeToString[answer.Rcode])
}
