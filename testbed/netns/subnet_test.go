package netns

import (
	"errors"
	"net/netip"
	"testing"
)

func TestTheFirstSubnetOfAnEmptyPoolIsItsFirst(t *testing.T) {
	subnet, err := FirstFree(nil)
	if err != nil || subnet.String() != "198.18.0.0/30" {
		t.Fatalf("got %s (%v)", subnet, err)
	}
	if host, node := HostAddr(subnet), NodeAddr(subnet); host.String() != "198.18.0.1" || node.String() != "198.18.0.2" {
		t.Errorf("the machine has %s and the node %s", host, node)
	}
}

func TestSubnetsInUseAreSkipped(t *testing.T) {
	used := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("198.18.0.0/30"),
		// A single address takes its whole /30.
		netip.MustParsePrefix("198.18.0.7/32"),
	}
	if subnet, err := FirstFree(used); err != nil || subnet.String() != "198.18.0.8/30" {
		t.Errorf("got %s (%v)", subnet, err)
	}
}

func TestAFreedSubnetIsTakenAgain(t *testing.T) {
	used := []netip.Prefix{netip.MustParsePrefix("198.18.0.0/30"), netip.MustParsePrefix("198.18.0.8/30")}
	if subnet, err := FirstFree(used); err != nil || subnet.String() != "198.18.0.4/30" {
		t.Errorf("got %s (%v)", subnet, err)
	}
}

func TestAPoolThatIsInUseAltogetherIsAnError(t *testing.T) {
	if _, err := FirstFree([]netip.Prefix{netip.MustParsePrefix("198.18.0.0/15")}); !errors.Is(err, errPoolExhausted) {
		t.Errorf("got %v", err)
	}
}

func TestTheLastSubnetOfThePoolIsUsable(t *testing.T) {
	var used []netip.Prefix
	for bits := 17; bits <= 30; bits++ {
		used = append(used, firstOf(t, used, bits))
	}
	if subnet, err := FirstFree(used); err != nil || subnet.String() != "198.18.255.252/30" {
		t.Errorf("got %s (%v)", subnet, err)
	}
}

// firstOf is the free prefix of that length at the first free address.
func firstOf(t *testing.T, used []netip.Prefix, bits int) netip.Prefix {
	t.Helper()
	subnet, err := FirstFree(used)
	if err != nil {
		t.Fatal(err)
	}
	return netip.PrefixFrom(subnet.Addr(), bits)
}

func TestWithoutANamespaceDoStaysWhereItIs(t *testing.T) {
	want := errors.New("from inside")
	if err := Do("", func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}
