package netns

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do calls f in the namespace; with an empty name, where the caller is. Only f itself is inside: a
// goroutine that it starts is not, a process or a socket is.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("find the network namespace: %w", err)
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
		// A thread that cannot go back stays locked and ends with this goroutine.
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Dialer returns a function that connects from inside the namespace. The address must be an IP's.
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
