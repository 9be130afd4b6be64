// Package prerequisite finds out what a node needs of the machine and does not find.
package prerequisite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CNIPlugins is where Debian puts the programs that connect pods.
const CNIPlugins = "/usr/lib/cni"

var programFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// needs lists the programs, and the Debian packages that they are in.
var needs = []struct {
	program, pkg string
	folders      []string
}{
	{"containerd", "containerd", programFolders},
	{"containerd-shim-runc-v2", "containerd", programFolders},
	{"ctr", "containerd", programFolders},
	{"runc", "runc", programFolders},
	{"ptp", "containernetworking-plugins", []string{CNIPlugins}},
	{"host-local", "containernetworking-plugins", []string{CNIPlugins}},
	{"loopback", "containernetworking-plugins", []string{CNIPlugins}},
	{"portmap", "containernetworking-plugins", []string{CNIPlugins}},
	{"iptables", "iptables", programFolders},
	{"nft", "nftables", programFolders},
	{"mount", "mount", programFolders},
	{"umount", "mount", programFolders},
}

// Find is the path of a program, or empty.
func Find(program string) string { return find(program, programFolders) }

// Check fails, in one sentence, if anything that a node needs is missing.
func Check(isRoot bool) error {
	if !isRoot {
		return errors.New("a node needs root; `up --control-plane-only` does not")
	}
	return check(find)
}

func check(find func(program string, folders []string) string) error {
	var programs, packages []string
	for _, need := range needs {
		if find(need.program, need.folders) == "" {
			programs = append(programs, need.program)
			packages = append(packages, need.pkg)
		}
	}
	if len(programs) == 0 {
		return nil
	}
	slices.Sort(packages)
	return fmt.Errorf("missing: %s; install with: apt-get install %s",
		strings.Join(programs, ", "), strings.Join(slices.Compact(packages), " "))
}

func find(program string, folders []string) string {
	for _, folder := range folders {
		path := filepath.Join(folder, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
