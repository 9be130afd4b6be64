package kubeconfig

import (
	"net"
	"path/filepath"
	"testing"

	"dask-operator/testbed/pki"
	"k8s.io/client-go/tools/clientcmd"
)

func TestAKubeconfigHoldsAllThatAClientNeeds(t *testing.T) {
	directory := t.TempDir()
	if err := pki.Ensure(directory, pki.Cluster{ServiceIP: net.IPv4(10, 96, 0, 1), Domain: "cluster.local"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, "kubeconfig")
	if err := Write(path, "https://127.0.0.1:6443", directory, pki.Admin); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" {
		t.Errorf("it leads to %s", config.Host)
	}
	if len(config.CAData) == 0 || len(config.CertData) == 0 || len(config.KeyData) == 0 {
		t.Error("it does not hold the certificates themselves")
	}
}

func TestAKubeconfigOfAnUnknownUserIsAnError(t *testing.T) {
	directory := t.TempDir()
	if err := Write(filepath.Join(directory, "kubeconfig"), "https://127.0.0.1:6443", directory, "nobody"); err == nil {
		t.Error("no error")
	}
}
