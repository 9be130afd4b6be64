package leftover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyTheShimsOfThisRuntimeAreRecognised(t *testing.T) {
	const socket = "/run/testbed/a/containerd.sock"
	for command, want := range map[string]bool{
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address " + socket:                  true,
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd/other.sock": false,
		"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x":                                     false,
		"vim -address " + socket: false,
		"":                       false,
	} {
		line := strings.ReplaceAll(command, " ", "\x00") + "\x00"
		if got := isShimOf(line, socket); got != want {
			t.Errorf("%q: got %v", command, got)
		}
	}
}

func TestTheSocketsOfShimsAreFoundByTheirBundles(t *testing.T) {
	directory := t.TempDir()
	socket := filepath.Join(directory, "containerd", "s", "0123")
	other := filepath.Join(directory, "containerd", "s", "4567")
	bundle := filepath.Join(directory, "state", "io.containerd.runtime.v2.task", "k8s.io", "sandbox")
	write(t, socket, "")
	write(t, other, "")
	write(t, filepath.Join(bundle, "address"), "unix://"+socket)
	if err := RemoveShimSockets(filepath.Join(directory, "state")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is still there")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("another runtime's socket was removed")
	}
}

func TestGroupsAreListedAfterTheGroupsThatTheyAreIn(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "a", "b", "cgroup.procs"), "")
	groups := groupsBelow(root)
	if want := []string{root, filepath.Join(root, "a"), filepath.Join(root, "a", "b")}; strings.Join(groups, " ") != strings.Join(want, " ") {
		t.Errorf("got %v", groups)
	}
}

func TestNothingIsMountedBelowAnOrdinaryDirectory(t *testing.T) {
	if err := Unmount(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}
