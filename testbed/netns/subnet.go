// This file chooses the subnet of a node.

package netns

import (
	"errors"
	"net/netip"
)

// pool is reserved for benchmarks of network devices (RFC 2544), so no real network uses it.
var pool = netip.MustParsePrefix("198.18.0.0/16")

// errPoolExhausted is returned when every /30 of the pool is in use.
var errPoolExhausted = errors.New("no /30 of 198.18.0.0/16 is free")

// FirstFree returns the first /30 of the pool that overlaps none of the used prefixes.
func FirstFree(used []netip.Prefix) (netip.Prefix, error) {
	const bits = 30
	for addr := pool.Addr(); pool.Contains(addr); {
		candidate := netip.PrefixFrom(addr, bits)
		if !overlaps(candidate, used) {
			return candidate, nil
		}
		for range 1 << (32 - bits) {
			addr = addr.Next()
		}
	}
	return netip.Prefix{}, errPoolExhausted
}

// HostAddr returns the machine's address in the subnet.
func HostAddr(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// NodeAddr returns the node's address in the subnet.
func NodeAddr(subnet netip.Prefix) netip.Addr { return HostAddr(subnet).Next() }

// overlaps reports whether prefix overlaps one of the others.
func overlaps(prefix netip.Prefix, others []netip.Prefix) bool {
	for _, other := range others {
		if prefix.Overlaps(other) {
			return true
		}
	}
	return false
}
