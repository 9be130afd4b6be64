package instance

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTheSameDirectoryIsTheSameInstanceByAnyPath(t *testing.T) {
	parent := resolved(t, t.TempDir())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(parent, link); err != nil {
		t.Fatal(err)
	}
	before := open(t, filepath.Join(link, "cluster"))
	direct := open(t, filepath.Join(parent, "x", "..", "cluster"))
	if err := os.Mkdir(direct.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	after := open(t, filepath.Join(link, "cluster"))
	if before != direct || after != direct {
		t.Errorf("%+v, %+v and %+v differ", before, direct, after)
	}
}

func TestDifferentDirectoriesAreDifferentInstances(t *testing.T) {
	parent := t.TempDir()
	if open(t, filepath.Join(parent, "a")).ID == open(t, filepath.Join(parent, "b")).ID {
		t.Error("two directories have one id")
	}
}

func TestNamesOutsideTheDirectoryFitTheirLimits(t *testing.T) {
	i := open(t, filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	const deviceName, socketPath = 15, 107
	if len(i.HostDevice()) > deviceName {
		t.Errorf("%s is too long for a network device", i.HostDevice())
	}
	if len(i.ContainerdSocket()) > socketPath-len(".ttrpc") {
		t.Errorf("%s is too long for a socket", i.ContainerdSocket())
	}
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	i := open(t, t.TempDir())
	if _, ok, err := i.Load(); ok || err != nil {
		t.Fatalf("an empty directory holds a cluster (%v)", err)
	}
	want := State{
		Mode: Node, Subnet: netip.MustParsePrefix("198.18.0.4/30"), Ports: Ports{Etcd: 1, APIServer: 2},
		AuditLog: "audit.log", AdmissionPlugins: []string{"AlwaysPullImages"},
	}
	if err := i.Save(want); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := i.Load(); !ok || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v (%v)", got, ok, err)
	}
}

func TestALockKeepsOthersWaitingEvenWhenTheDirectoryIsRemoved(t *testing.T) {
	i := open(t, filepath.Join(t.TempDir(), "cluster"))
	first, err := i.Lock()
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	go func() {
		second, err := i.Lock()
		if err == nil {
			second.Release()
		}
		taken <- err
	}()
	select {
	case <-taken:
		t.Fatal("two hold the lock")
	case <-time.After(50 * time.Millisecond):
	}
	if err := os.Remove(i.Dir); err != nil {
		t.Fatal(err)
	}
	first.Release()
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if empty, err := i.Empty(); !empty || err != nil {
		t.Errorf("the directory is not there and empty (%v)", err)
	}
	if _, err := os.Stat(i.Dir); err != nil {
		t.Error("the second lock is on a directory that is gone")
	}
}

func TestAMissingDirectoryHasNoLockToTake(t *testing.T) {
	i := open(t, filepath.Join(t.TempDir(), "missing"))
	if lock, err := i.LockExisting(); lock != nil || err != nil {
		t.Errorf("got %v (%v)", lock, err)
	}
}

func open(t *testing.T, dir string) Instance {
	t.Helper()
	i, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func resolved(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
