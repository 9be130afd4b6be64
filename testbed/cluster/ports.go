// This file chooses the ports of the control plane.

package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	"dask-operator/testbed/instance"
)

// nodePorts are the default ports, which are free in the node's own network namespace.
var nodePorts = instance.Ports{Etcd: 2379, EtcdPeer: 2380, APIServer: 6443, ControllerManager: 10257, Scheduler: 10259}

// freePorts picks free ports below the range that Linux uses for outgoing connections. It starts at a random port, so that
// instances that start at the same time do not collide.
func freePorts() (instance.Ports, error) {
	const first, last = 20000, 32000
	var ports instance.Ports
	next := first + rand.IntN(last-first)
	for _, port := range []*int{&ports.Etcd, &ports.EtcdPeer, &ports.APIServer, &ports.ControllerManager, &ports.Scheduler} {
		for tries := 0; *port == 0; tries++ {
			if tries > last-first {
				return ports, fmt.Errorf("no port between %d and %d is free on 127.0.0.1", first, last)
			}
			if portFree(next) {
				*port = next
			}
			if next++; next > last {
				next = first
			}
		}
	}
	return ports, nil
}

func portFree(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// usable reports whether every port is either free or used by its own running component.
func usable(ports instance.Ports, running func(component string) bool) bool {
	for component, wanted := range map[string][]int{
		etcd:              {ports.Etcd, ports.EtcdPeer},
		apiServer:         {ports.APIServer},
		controllerManager: {ports.ControllerManager},
		scheduler:         {ports.Scheduler},
	} {
		if running(component) {
			continue
		}
		for _, port := range wanted {
			if port == 0 || !portFree(port) {
				return false
			}
		}
	}
	return true
}
