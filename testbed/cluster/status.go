// This file implements `testbed status`.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"

	"dask-operator/testbed/instance"
)

// Status prints the state of each component. It fails if one is not ready.
func Status(ctx context.Context, i instance.Instance, out io.Writer) error {
	state, ok, err := i.Load()
	if err != nil {
		return err
	}
	if !ok {
		return notUp(i)
	}
	c := &cluster{Instance: i, state: state, out: out}
	if c.hasNode() && os.Geteuid() != 0 {
		return errors.New("checking a node needs root, to enter its network namespace")
	}
	records, err := c.records()
	if err != nil {
		return err
	}
	services := c.services()
	states := make([]string, len(services))
	var probes sync.WaitGroup
	for n, s := range services {
		if !records[s.name].Alive() {
			states[n] = "down"
			continue
		}
		probes.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, attempt)
			defer cancel()
			if states[n] = "ready"; s.ready(ctx) != nil {
				states[n] = "not ready"
			}
		})
	}
	probes.Wait()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tPID\tSTATE")
	failed := 0
	for n, s := range services {
		pid := "-"
		if states[n] != "down" {
			pid = fmt.Sprint(records[s.name].PID)
		}
		if states[n] != "ready" {
			failed++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.name, pid, states[n])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	c.say("API server: %s", c.externalURL())
	if failed > 0 {
		return fmt.Errorf("%d of %d components are not ready", failed, len(services))
	}
	return nil
}
