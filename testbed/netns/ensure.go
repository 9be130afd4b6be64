// This file creates and deletes the network of a node.

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	namedNamespaces = "/run/netns"
	nodeDevice      = "eth0"
	voidDevice      = "void0"
)

// Network is a network namespace that a veth pair connects to the machine.
type Network struct {
	// Name is the name of the namespace, and HostDevice that of the pair's end on the machine.
	Name, HostDevice string
	// Subnet is the /30 of the pair's addresses.
	Subnet netip.Prefix
}

// Choose returns the recorded subnet if no other device uses it, and otherwise a free one.
func Choose(recorded netip.Prefix, hostDevice string) (netip.Prefix, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list network devices: %w", err)
	}
	var used []netip.Prefix
	for _, link := range links {
		if link.Attrs().Name == hostDevice {
			continue
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, addr := range addrs {
			if ip, ok := netip.AddrFromSlice(addr.IP.To4()); ok {
				ones, _ := addr.Mask.Size()
				used = append(used, netip.PrefixFrom(ip, ones).Masked())
			}
		}
	}
	if recorded.IsValid() && !overlaps(recorded, used) {
		return recorded, nil
	}
	return FirstFree(used)
}

// Ensure creates the parts of the network that do not exist.
func Ensure(n Network) error {
	if err := ensureNamespace(n.Name); err != nil {
		return fmt.Errorf("create the network namespace %s: %w", n.Name, err)
	}
	handle, err := netns.GetFromName(n.Name)
	if err != nil {
		return fmt.Errorf("open the network namespace %s: %w", n.Name, err)
	}
	defer handle.Close()
	inside, err := netlink.NewHandleAt(handle)
	if err != nil {
		return fmt.Errorf("enter the network namespace %s: %w", n.Name, err)
	}
	defer inside.Close()
	if err := ensurePair(n, handle, inside); err != nil {
		return fmt.Errorf("connect the network namespace %s to the machine: %w", n.Name, err)
	}
	if err := ensureRoutes(inside); err != nil {
		return fmt.Errorf("set up routes in the network namespace %s: %w", n.Name, err)
	}
	return Do(n.Name, confine)
}

// ensureNamespace creates the named network namespace.
func ensureNamespace(name string) error {
	path := filepath.Join(namedNamespaces, name)
	var stat unix.Statfs_t
	err := unix.Statfs(path, &stat)
	if err == nil && stat.Type == unix.NSFS_MAGIC {
		return nil
	}
	// An interrupted start leaves a file on which no namespace is mounted.
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result := make(chan error, 1)
	go func() {
		// NewNamed moves the thread into the new namespace. The locked thread ends with this goroutine.
		runtime.LockOSThread()
		handle, err := netns.NewNamed(name)
		if err == nil {
			err = handle.Close()
		}
		result <- err
	}()
	return <-result
}

// ensurePair creates the veth pair with its addresses.
func ensurePair(n Network, namespace netns.NsHandle, inside *netlink.Handle) error {
	host, err := netlink.LinkByName(n.HostDevice)
	_, nodeErr := inside.LinkByName(nodeDevice)
	if err == nil && nodeErr != nil {
		if err := netlink.LinkDel(host); err != nil {
			return err
		}
	}
	if err != nil || nodeErr != nil {
		pair := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: n.HostDevice},
			PeerName:  nodeDevice, PeerNamespace: netlink.NsFd(namespace),
		}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		if host, err = netlink.LinkByName(n.HostDevice); err != nil {
			return err
		}
	}
	node, err := inside.LinkByName(nodeDevice)
	if err != nil {
		return err
	}
	if err := bringUp(&netlink.Handle{}, host, HostAddr(n.Subnet), n.Subnet.Bits()); err != nil {
		return err
	}
	return bringUp(inside, node, NodeAddr(n.Subnet), n.Subnet.Bits())
}

// bringUp sets the device up, with this address as its only one.
func bringUp(where *netlink.Handle, link netlink.Link, addr netip.Addr, bits int) error {
	want := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, 32)}}
	addrs, err := where.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, old := range addrs {
		if !old.Equal(*want) {
			if err := where.AddrDel(link, &old); err != nil {
				return err
			}
		}
	}
	if err := where.AddrReplace(link, want); err != nil {
		return err
	}
	return where.LinkSetUp(link)
}

// ensureRoutes gives the node a default route, because programs expect one. It leads to a bridge without other devices.
func ensureRoutes(inside *netlink.Handle) error {
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return err
	}
	void, err := inside.LinkByName(voidDevice)
	if err != nil {
		if err := inside.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: voidDevice}}); err != nil {
			return err
		}
		if void, err = inside.LinkByName(voidDevice); err != nil {
			return err
		}
	}
	if err := inside.LinkSetUp(void); err != nil {
		return err
	}
	_, everywhere, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		return err
	}
	return inside.RouteReplace(&netlink.Route{LinkIndex: void.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK})
}

// confine configures the forwarding of packets: between pods, and from pods to the machine only as replies. Connections
// from pods to the machine are dropped, because the machine would send the replies to its own default route.
func confine() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(`table ip testbed
delete table ip testbed
table ip testbed {
	chain forward {
		type filter hook forward priority 0;
		oifname "` + nodeDevice + `" ct state != { established, related } drop
	}
}
`)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("confine the pods: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Delete removes the devices and the name of the namespace. The namespace itself ends with its last process.
func Delete(name, hostDevice string) error {
	if link, err := netlink.LinkByName(hostDevice); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("delete the network device %s: %w", hostDevice, err)
		}
	}
	path := filepath.Join(namedNamespaces, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
