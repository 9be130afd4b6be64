// Command testbed runs a real Kubernetes cluster on one Linux machine. The binary contains all of its components.
package main

import (
	"fmt"
	"os"

	"dask-operator/testbed/cli"
	"dask-operator/testbed/component"
	"dask-operator/testbed/process"
)

func main() {
	if err := process.Announce(); err != nil {
		fail(err)
	}
	if len(os.Args) > 1 {
		if code, ok := component.Run(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
	if err := cli.Execute(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testbed:", err)
	os.Exit(1)
}
