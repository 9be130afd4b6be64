// This file starts components and waits for them.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"dask-operator/testbed/netns"
	"dask-operator/testbed/process"
)

const (
	// grace is the grace period after SIGTERM. It is short because the API server would wait a minute for watches to end,
	// and no component loses data that matters.
	grace = 3 * time.Second
	// pollInterval is short because all components are on this machine.
	pollInterval = 100 * time.Millisecond
	// attempt is the timeout of one readiness check.
	attempt = 3 * time.Second
)

// recordName returns the name of the component whose record has this file name.
func recordName(file string) (string, bool) {
	name, ok := strings.CutSuffix(file, ".json")
	return name, ok && !strings.HasPrefix(name, ".")
}

// ensure starts the service unless it runs with the current configuration. It does not wait until the service is ready.
func (c *cluster) ensure(s service) error {
	desired, err := s.digest()
	if err != nil {
		return err
	}
	record, err := process.Load(c.Record(s.name))
	if err != nil {
		return err
	}
	switch decide(record.Alive(), record.Digest, desired) {
	case keep:
		return nil
	case replace:
		c.say("restarting %s: its configuration has changed", s.name)
		if err := process.Stop([]process.Identity{record.Identity}, grace); err != nil {
			return err
		}
	}
	return netns.Do(c.namespace(), func() error {
		ended, err := process.Spawn(process.Command{
			Name: s.name, Args: s.args, Program: s.program, Digest: desired,
			Record: c.Record(s.name), Log: c.Log(s.name), Lock: c.lock.File,
		})
		c.spawned[s.name] = ended
		return err
	})
}

// await waits until the service is ready. It fails if the process ends before that.
func (c *cluster) await(ctx context.Context, s service) error {
	begin := time.Now()
	if err := c.poll(ctx, s.name, s.ready); err != nil {
		return err
	}
	c.say("%-24s ready (%.1f s)", s.name, time.Since(begin).Seconds())
	return nil
}

// poll repeats check until it succeeds. It fails if the component called name ends, or after the timeout.
func (c *cluster) poll(ctx context.Context, name string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		tryCtx, cancelTry := context.WithTimeout(ctx, attempt)
		err := check(tryCtx)
		cancelTry()
		if err == nil {
			return nil
		}
		select {
		case <-c.spawned[name]:
			return fmt.Errorf("%s exited before it was ready; the last line of its log %[3]s is %[2]q", name, lastLine(c.Log(name)), c.Log(name))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("interrupted while waiting for %s", name)
			}
			return fmt.Errorf("%s is not ready after %s: %w; see its log %s", name, c.timeout, err, c.Log(name))
		case <-ticker.C:
		}
	}
}

// lastLine returns the last line of a file, or an empty string.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
