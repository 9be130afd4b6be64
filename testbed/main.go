package main

import (
	"os"

	"dask-operator/testbed/component"
)

func main() {
	if len(os.Args) > 1 {
		if code, ok := component.Run(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
}
