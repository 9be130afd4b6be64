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

// Network is a namespace joined to the machine by a pair of devices.
type Network struct {
	// Name is the namespace's, and HostDevice that of the machine's end of the pair.
	Name, HostDevice string
	// Subnet is the /30 that the pair has.
	Subnet netip.Prefix
}

// Choose keeps the recorded subnet unless another device has taken it since, or takes a free one.
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

// Ensure makes what is missing of the network. Each step may find itself done.
func Ensure(n Network) error {
	if err := ensureNamespace(n.Name); err != nil {
		return fmt.Errorf("make the network namespace %s: %w", n.Name, err)
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
		return fmt.Errorf("join the network namespace %s to the machine: %w", n.Name, err)
	}
	if err := ensureRoutes(inside); err != nil {
		return fmt.Errorf("set up routes in the network namespace %s: %w", n.Name, err)
	}
	return Do(n.Name, confine)
}

func ensureNamespace(name string) error {
	path := filepath.Join(namedNamespaces, name)
	var stat unix.Statfs_t
	err := unix.Statfs(path, &stat)
	if err == nil && stat.Type == unix.NSFS_MAGIC {
		return nil
	}
	// A file without a namespace on it is what a start that was cut short left.
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result := make(chan error, 1)
	go func() {
		// The thread is now in the new namespace; it ends with this goroutine.
		runtime.LockOSThread()
		handle, err := netns.NewNamed(name)
		if err == nil {
			err = handle.Close()
		}
		result <- err
	}()
	return <-result
}

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

// bringUp leaves the device with this address only.
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

// ensureRoutes gives the node a default route, which programs look for, into a bridge that leads
// nowhere.
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

// confine lets the node forward between pods, and answers from them to the machine, but nothing that
// begins with them: the machine's answers would leave by its own default route.
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

// Delete removes the devices and the namespace's name; the namespace ends with its last process.
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
