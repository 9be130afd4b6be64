package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	"dask-operator/testbed/instance"
)

// nodePorts are those of the components in a network namespace of their own.
var nodePorts = instance.Ports{Etcd: 2379, EtcdPeer: 2380, APIServer: 6443, ControllerManager: 10257, Scheduler: 10259}

// freePorts picks ports below those that Linux gives to outgoing connections, which come and go,
// from a random one on, so that instances that start at once do not meet.
func freePorts() (instance.Ports, error) {
	const first, last = 20000, 32000
	var ports instance.Ports
	next := first + rand.IntN(last-first)
	for _, port := range []*int{&ports.Etcd, &ports.EtcdPeer, &ports.APIServer, &ports.ControllerManager, &ports.Scheduler} {
		for tries := 0; *port == 0; tries++ {
			if tries > last-first {
				return ports, fmt.Errorf("no port from %d to %d of 127.0.0.1 is free", first, last)
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

// usable tells whether every port is free or belongs to a component that runs.
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
