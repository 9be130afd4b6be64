// This file runs functions in a network namespace.

package netns

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do calls f in the named network namespace, or in that of the caller if the name is empty. Processes and sockets that f
// creates are inside of the namespace, but goroutines that it starts are not.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("get the current network namespace: %w", err)
			return
		}
		defer origin.Close()
		target, err := netns.GetFromName(name)
		if err != nil {
			result <- fmt.Errorf("open the network namespace %s: %w", name, err)
			return
		}
		defer target.Close()
		if err := netns.Set(target); err != nil {
			result <- fmt.Errorf("enter the network namespace %s: %w", name, err)
			return
		}
		err = f()
		// A thread that cannot return to its namespace stays locked, so that it ends with this goroutine.
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Dialer returns a function that connects from inside the namespace. The address must be an IP address.
func Dialer(name string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var conn net.Conn
		err := Do(name, func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
