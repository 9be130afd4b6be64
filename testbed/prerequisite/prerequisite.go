// Package prerequisite checks whether the machine has the programs that a node needs.
package prerequisite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CNIPlugins is where Debian installs CNI plugins.
const CNIPlugins = "/usr/lib/cni"

// programDirectories are searched for programs.
var programDirectories = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// needs are the programs, with the Debian packages that contain them.
var needs = []struct {
	program, pkg string
	directories  []string
}{
	{"containerd", "containerd", programDirectories},
	{"containerd-shim-runc-v2", "containerd", programDirectories},
	{"ctr", "containerd", programDirectories},
	{"runc", "runc", programDirectories},
	{"ptp", "containernetworking-plugins", []string{CNIPlugins}},
	{"host-local", "containernetworking-plugins", []string{CNIPlugins}},
	{"loopback", "containernetworking-plugins", []string{CNIPlugins}},
	{"portmap", "containernetworking-plugins", []string{CNIPlugins}},
	{"iptables", "iptables", programDirectories},
	{"nft", "nftables", programDirectories},
	{"mount", "mount", programDirectories},
	{"umount", "mount", programDirectories},
}

// Find returns the path of a program, or an empty string.
func Find(program string) string { return find(program, programDirectories) }

// Check returns an error that names everything that is missing, and how to install it.
func Check(isRoot bool) error {
	if !isRoot {
		return errors.New("a node needs root; `up --control-plane-only` does not")
	}
	return check(find)
}

// check is Check for root, with a replaceable search.
func check(find func(program string, directories []string) string) error {
	var programs, packages []string
	for _, need := range needs {
		if find(need.program, need.directories) == "" {
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

// find returns the path of an executable in one of the directories, or an empty string.
func find(program string, directories []string) string {
	for _, directory := range directories {
		path := filepath.Join(directory, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
