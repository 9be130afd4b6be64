// Command monitors reads manifests from standard input. It fails if a monitor or rule of the Prometheus operator has a field
// that its Go type does not have. The API servers of the tests do not have the schemas of these kinds.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// kinds are the kinds of monitoring.coreos.com/v1 that the chart may contain.
var kinds = map[string]func() any{
	"PodMonitor":     func() any { return &monitoringv1.PodMonitor{} },
	"PrometheusRule": func() any { return &monitoringv1.PrometheusRule{} },
	"ServiceMonitor": func() any { return &monitoringv1.ServiceMonitor{} },
}

// header is the part of a manifest that identifies it.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

// check checks all documents and returns how many were of these kinds.
func check(input io.Reader) (int, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(input))
	checked := 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return checked, nil
		}
		if err != nil {
			return checked, err
		}
		var found header
		if err := yaml.Unmarshal(document, &found); err != nil {
			return checked, err
		}
		if found.APIVersion != "monitoring.coreos.com/v1" {
			continue
		}
		empty, ok := kinds[found.Kind]
		if !ok {
			return checked, fmt.Errorf("%s %s: this kind cannot be checked", found.Kind, found.Metadata.Name)
		}
		if err := yaml.UnmarshalStrict(document, empty()); err != nil {
			return checked, fmt.Errorf("%s %s: %w", found.Kind, found.Metadata.Name, err)
		}
		checked++
	}
}

func main() {
	checked, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("monitors and rules without unknown fields: %d\n", checked)
}
