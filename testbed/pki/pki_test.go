package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"slices"
	"testing"
)

var testCluster = Cluster{
	NodeName: "node-1", NodeIP: net.IPv4(198, 18, 0, 2), ServiceIP: net.IPv4(10, 96, 0, 1), Domain: "cluster.local",
}

func TestEveryCertificateVerifiesForItsPurposesAndNoOther(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	roots := x509.NewCertPool()
	roots.AddCert(load(t, directory, CA))
	for _, s := range Subjects(testCluster) {
		cert := load(t, directory, s.Name)
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
			if wanted := slices.Contains(s.Usages, usage); (err == nil) != wanted {
				t.Errorf("%s for usage %d: wanted %v, got %v", s.Name, usage, wanted, err)
			}
		}
	}
}

func TestTheAPIServerIsTrustedUnderAllOfItsNames(t *testing.T) {
	cert := load(t, ensure(t, t.TempDir(), testCluster), APIServer)
	for _, name := range []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "127.0.0.1", "10.96.0.1", "198.18.0.2",
	} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if cert.VerifyHostname("198.18.0.6") == nil {
		t.Error("it is trusted under another node's address")
	}
}

func TestUsersHaveTheNamesThatTheAPIServerGivesRightsTo(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	for name, want := range map[string][2]string{
		Admin:             {"admin", "system:masters"},
		ControllerManager: {"system:kube-controller-manager", ""},
		Scheduler:         {"system:kube-scheduler", ""},
		Kubelet:           {"system:node:node-1", "system:nodes"},
		Proxy:             {"system:kube-proxy", ""},
		CoreDNS:           {"system:coredns", ""},
	} {
		subject := load(t, directory, name).Subject
		group := ""
		if len(subject.Organization) > 0 {
			group = subject.Organization[0]
		}
		if got := [2]string{subject.CommonName, group}; got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
}

func TestTheFrontProxyIsNotTrustedByTheClusterAuthority(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	client := load(t, directory, FrontProxyClient)
	if err := client.CheckSignatureFrom(load(t, directory, FrontProxyCA)); err != nil {
		t.Error(err)
	}
	if client.CheckSignatureFrom(load(t, directory, CA)) == nil {
		t.Error("the cluster's authority has signed the front proxy's certificate")
	}
}

func TestEnsuringAgainChangesNothing(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	before := contents(t, directory)
	ensure(t, directory, testCluster)
	for name, data := range contents(t, directory) {
		if before[name] != data {
			t.Errorf("%s has changed", name)
		}
	}
}

func TestANewNodeAddressRenewsOnlyTheCertificatesThatNameIt(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	before := contents(t, directory)
	moved := testCluster
	moved.NodeIP = net.IPv4(198, 18, 0, 6)
	ensure(t, directory, moved)
	var changed []string
	for name, data := range contents(t, directory) {
		if before[name] != data {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	if want := []string{"apiserver.crt", "apiserver.key", "kubelet.crt", "kubelet.key"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %v", changed)
	}
}

func TestAPairThatDoesNotMatchIsMadeAgain(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	stray, err := os.ReadFile(KeyFile(directory, Scheduler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(KeyFile(directory, Admin), stray, 0o600); err != nil {
		t.Fatal(err)
	}
	load(t, ensure(t, directory, testCluster), Admin)
}

func TestPrivateKeysAreReadableByTheirOwnerOnly(t *testing.T) {
	directory := ensure(t, t.TempDir(), testCluster)
	for _, name := range []string{CA, Admin, ServiceAccount} {
		info, err := os.Stat(KeyFile(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the mode of the key %s is %o", name, info.Mode().Perm())
		}
	}
}

func TestAControlPlaneAloneHasNoCertificatesOfANode(t *testing.T) {
	for _, s := range Subjects(Cluster{ServiceIP: testCluster.ServiceIP, Domain: "cluster.local"}) {
		if slices.Contains([]string{Kubelet, Proxy, CoreDNS}, s.Name) {
			t.Errorf("there is one for %s", s.Name)
		}
	}
}

func ensure(t *testing.T, directory string, c Cluster) string {
	t.Helper()
	if err := Ensure(directory, c); err != nil {
		t.Fatal(err)
	}
	return directory
}

func load(t *testing.T, directory, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(CertFile(directory, name), KeyFile(directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func contents(t *testing.T, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(directory + "/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files
}
