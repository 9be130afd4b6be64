package cluster

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dask-operator/testbed/instance"
)

func TestAServiceWithTheCurrentConfigurationIsKept(t *testing.T) {
	for _, test := range []struct {
		alive           bool
		running, wanted string
		want            action
	}{
		{false, "", "a", start},
		{false, "a", "a", start},
		{true, "a", "a", keep},
		{true, "a", "b", replace},
	} {
		if got := decide(test.alive, test.running, test.wanted); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

func TestPreparingTwiceLeavesTheDigestsUnchanged(t *testing.T) {
	for _, mode := range []instance.Mode{instance.ControlPlane, instance.Node} {
		c := prepared(t, mode)
		before := digests(t, c)
		if err := c.writeCertificates(); err != nil {
			t.Fatal(err)
		}
		if err := c.writeConfigs(); err != nil {
			t.Fatal(err)
		}
		for name, digest := range digests(t, c) {
			if before[name] != digest {
				t.Errorf("%s: %s would be restarted", mode, name)
			}
		}
	}
}

func TestAnAuditLogRestartsOnlyTheAPIServer(t *testing.T) {
	c := prepared(t, instance.Node)
	before := digests(t, c)
	c.state.AuditLog = "/tmp/audit.log"
	var changed []string
	for name, digest := range digests(t, c) {
		if before[name] != digest {
			changed = append(changed, name)
		}
	}
	if !slices.Equal(changed, []string{apiServer}) {
		t.Errorf("restarted: %v", changed)
	}
}

func TestAChangedConfigurationFileRestartsItsReader(t *testing.T) {
	c := prepared(t, instance.Node)
	before := digests(t, c)
	if err := os.WriteFile(c.Config("kubelet.yaml"), []byte("maxPods: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	after := digests(t, c)
	if before[kubelet] == after[kubelet] {
		t.Error("the kubelet keeps its old configuration")
	}
	if before[proxy] != after[proxy] {
		t.Error("kube-proxy is restarted")
	}
}

func TestAdmissionPluginsAreAddedToTheDefaultOnes(t *testing.T) {
	c := prepared(t, instance.ControlPlane)
	c.state.AdmissionPlugins = []string{"AlwaysPullImages", "PodNodeSelector"}
	want := "--enable-admission-plugins=NodeRestriction,AlwaysPullImages,PodNodeSelector"
	if args := c.service(apiServer).args; !slices.Contains(args, want) {
		t.Errorf("%s is not in %v", want, args)
	}
}

func TestAControlPlaneWithoutANodeListensOnLoopbackOnly(t *testing.T) {
	c := prepared(t, instance.ControlPlane)
	for _, s := range c.services() {
		for _, arg := range s.args {
			if strings.Contains(arg, "0.0.0.0") {
				t.Errorf("%s has %s", s.name, arg)
			}
		}
	}
	if len(c.services()) != 4 {
		t.Errorf("it has %d components", len(c.services()))
	}
}

func TestFreePortsAreDifferentAndKeptWhileTheyAreFree(t *testing.T) {
	ports, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	all := []int{ports.Etcd, ports.EtcdPeer, ports.APIServer, ports.ControllerManager, ports.Scheduler}
	slices.Sort(all)
	if len(slices.Compact(all)) != 5 {
		t.Errorf("got %+v", ports)
	}
	nothingRuns := func(string) bool { return false }
	if !usable(ports, nothingRuns) {
		t.Error("free ports are given up")
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports.APIServer})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if usable(ports, nothingRuns) {
		t.Error("a port that another program took is kept")
	}
	if !usable(ports, func(name string) bool { return name == apiServer }) {
		t.Error("a port that its own component has is given up")
	}
}

func TestADirectoryOfSomethingElseIsLeftAlone(t *testing.T) {
	i := open(t)
	precious := filepath.Join(i.Dir, "precious")
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Down(i, new(bytes.Buffer)); err == nil {
		t.Error("it was taken down")
	}
	if err := Up(context.Background(), i, Options{Mode: instance.ControlPlane}, new(bytes.Buffer)); err == nil {
		t.Error("a cluster was put into it")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestAClusterOfAnotherKindIsRefused(t *testing.T) {
	i := open(t)
	if err := i.Save(instance.State{Mode: instance.Node}); err != nil {
		t.Fatal(err)
	}
	err := Up(context.Background(), i, Options{Mode: instance.ControlPlane}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "run `down` first") {
		t.Errorf("got %v", err)
	}
}

func TestImagesAreRefusedWithoutANode(t *testing.T) {
	i := open(t)
	if err := i.Save(instance.State{Mode: instance.ControlPlane}); err != nil {
		t.Fatal(err)
	}
	err := LoadImages(context.Background(), i, []string{"image.tar"}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "control plane only") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAClusterCommandsSaySo(t *testing.T) {
	i := open(t)
	for _, err := range []error{
		Status(context.Background(), i, new(bytes.Buffer)),
		Logs(context.Background(), i, "", false, new(bytes.Buffer)),
		LoadImages(context.Background(), i, nil, new(bytes.Buffer)),
	} {
		if err == nil || !strings.Contains(err.Error(), "there is no cluster") {
			t.Errorf("got %v", err)
		}
	}
}

func TestLogsOfAllComponentsHaveTheirNames(t *testing.T) {
	i := open(t)
	if err := i.MakeDirectories(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{etcd: "one\ntwo", kubelet: "three\n"} {
		if err := os.WriteFile(i.Log(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var all, one bytes.Buffer
	if err := Logs(context.Background(), i, "", false, &all); err != nil {
		t.Fatal(err)
	}
	if err := Logs(context.Background(), i, etcd, false, &one); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(all.String()), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "etcd ") || !strings.HasSuffix(lines[2], "| three") {
		t.Errorf("got %q", all.String())
	}
	if one.String() != "one\ntwo\n" {
		t.Errorf("got %q", one.String())
	}
}

func open(t *testing.T) instance.Instance {
	t.Helper()
	i, err := instance.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func prepared(t *testing.T, mode instance.Mode) *cluster {
	t.Helper()
	c := &cluster{
		Instance: open(t), out: new(bytes.Buffer),
		state: instance.State{Mode: mode, Ports: nodePorts, Subnet: netip.MustParsePrefix("198.18.0.0/30")},
	}
	for _, step := range []func() error{c.MakeDirectories, c.writeCertificates, c.writeConfigs} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func digests(t *testing.T, c *cluster) map[string]string {
	t.Helper()
	digests := map[string]string{}
	for _, s := range c.services() {
		digest, err := s.digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[s.name] = digest
	}
	return digests
}
