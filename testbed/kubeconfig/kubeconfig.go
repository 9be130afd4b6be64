// Package kubeconfig writes the kubeconfigs of users and components.
package kubeconfig

import (
	"fmt"
	"os"

	"dask-operator/testbed/atomicfile"
	"dask-operator/testbed/pki"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Write writes a kubeconfig to path, for the API server at the URL server and the user whose certificate is called name in
// directory. The certificates are embedded, so that the file can be copied elsewhere.
func Write(path, server, directory, name string) error {
	authority, err := os.ReadFile(pki.CertFile(directory, pki.CA))
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(pki.CertFile(directory, name))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(pki.KeyFile(directory, name))
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
