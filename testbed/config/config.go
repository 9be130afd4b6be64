// Package config renders the configuration files of the components.
package config

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"text/template"
)

// Names of the configuration files.
const (
	Containerd  = "containerd.toml"
	Network     = "network.conflist"
	Kubelet     = "kubelet.yaml"
	Corefile    = "Corefile"
	AuditPolicy = "audit-policy.yaml"
)

// Values are what the templates refer to. They differ between instances.
type Values struct {
	ContainerdData, ContainerdState, ContainerdSocket, RuncState string
	PauseImage                                                   string
	CNIPlugins, CNIConfig                                        string
	PodNetwork, PodAddresses, PodCIDR                            string
	NodeIP, DNSIP, Domain                                        string
	KubeletCert, KubeletKey, ClientCA                            string
	Cgroup, PodLogs, VolumePlugins                               string
	CoreDNSKubeconfig                                            string
}

//go:embed files
var files embed.FS

// templates quotes strings as JSON, which is also valid in TOML, YAML and a Corefile.
var templates = template.Must(template.New("").Option("missingkey=error").
	Funcs(template.FuncMap{"quote": quote}).ParseFS(files, "files/*"))

// Render returns the contents of the file called name.
func Render(name string, v Values) ([]byte, error) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, v); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// quote returns s as a JSON string.
func quote(s string) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(s)
	return string(bytes.TrimSpace(out.Bytes())), err
}
