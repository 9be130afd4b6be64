package config

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var values = Values{
	ContainerdData: "/d/data", ContainerdState: "/r/state", ContainerdSocket: "/r/containerd.sock", RuncState: "/r/runc",
	PauseImage: "pause:1", CNIPlugins: "/plugins", CNIConfig: "/d/cni",
	PodNetwork: "pods", PodAddresses: "/d/addresses", PodCIDR: "10.244.0.0/24",
	NodeIP: "198.18.0.2", DNSIP: "10.96.0.10", Domain: "cluster.local",
	KubeletCert: "/d/kubelet.crt", KubeletKey: "/d/kubelet.key", ClientCA: "/d/ca.crt",
	Cgroup: "/testbed-x", PodLogs: "/d/log/pods", VolumePlugins: "/d/plugins",
	CoreDNSKubeconfig: `/d "quoted" <dir>/coredns.kubeconfig`,
}

func TestTheKubeletIsConfiguredForThisNode(t *testing.T) {
	var got map[string]any
	if err := yaml.UnmarshalStrict([]byte(render(t, Kubelet)), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"address": "198.18.0.2", "containerRuntimeEndpoint": "unix:///r/containerd.sock", "cgroupRoot": "/testbed-x",
		"failCgroupV1": false, "clusterDomain": "cluster.local", "podLogsDir": "/d/log/pods",
	} {
		if got[key] != want {
			t.Errorf("%s is %v", key, got[key])
		}
	}
}

func TestThePodNetworkIsValidJSON(t *testing.T) {
	var got struct {
		Name    string
		Plugins []struct{ Type string }
	}
	if err := json.Unmarshal([]byte(render(t, Network)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "pods" || len(got.Plugins) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestThePolicyLogsMetadataOnceForEachRequest(t *testing.T) {
	var got struct {
		OmitStages []string
		Rules      []struct{ Level string }
	}
	if err := yaml.Unmarshal([]byte(render(t, AuditPolicy)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.OmitStages) != 1 || len(got.Rules) != 1 || got.Rules[0].Level != "Metadata" {
		t.Errorf("got %+v", got)
	}
}

func TestContainerdKeepsEverythingInTheInstancesDirectories(t *testing.T) {
	text := render(t, Containerd)
	for _, line := range []string{
		`root = "/d/data"`, `state = "/r/state"`, `address = "/r/containerd.sock"`, `Root = "/r/runc"`,
		`sandbox_image = "pause:1"`, `conf_dir = "/d/cni"`, `netns_mounts_under_state_dir = true`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%s is missing", line)
		}
	}
}

func TestPathsAreQuoted(t *testing.T) {
	if want := `kubeconfig "/d \"quoted\" <dir>/coredns.kubeconfig"`; !strings.Contains(render(t, Corefile), want) {
		t.Errorf("%s is missing", want)
	}
}

func TestRenderingIsRepeatable(t *testing.T) {
	for _, name := range []string{Containerd, Network, Kubelet, Corefile, AuditPolicy} {
		if render(t, name) != render(t, name) {
			t.Errorf("%s is rendered differently each time", name)
		}
	}
}

func render(t *testing.T, name string) string {
	t.Helper()
	data, err := Render(name, values)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
