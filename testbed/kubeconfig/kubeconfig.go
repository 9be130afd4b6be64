// Package kubeconfig writes the files by which programs find and enter the cluster.
package kubeconfig

import (
	"fmt"
	"os"

	"dask-operator/testbed/atomicfile"
	"dask-operator/testbed/pki"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Write makes path a kubeconfig for the API server at the URL, as the user whose certificate is
// called name in the folder. It holds the certificates themselves, so that it can be copied away.
func Write(path, server, folder, name string) error {
	authority, err := os.ReadFile(pki.CertFile(folder, pki.CA))
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(pki.CertFile(folder, name))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(pki.KeyFile(folder, name))
	if err != nil {
		return err
	}
	const cluster = "testbed"
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{cluster: {Server: server, CertificateAuthorityData: authority}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{cluster: {Cluster: cluster, AuthInfo: name}},
		CurrentContext: cluster,
	}
	data, err := clientcmd.Write(config)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, data, 0o600)
}
