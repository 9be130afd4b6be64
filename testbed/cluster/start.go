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
	// grace is the time that a component has to end by itself. It is short, as the API server would
	// wait a minute for its watchers to go away, and none has anything to lose.
	grace = 3 * time.Second
	// pollInterval is short, since what is waited for is on this machine.
	pollInterval = 100 * time.Millisecond
	attempt      = 3 * time.Second
)

func recordName(file string) (string, bool) {
	name, ok := strings.CutSuffix(file, ".json")
	return name, ok && !strings.HasPrefix(name, ".")
}

// ensure leaves the service running as it is wanted, and does not wait until it is ready.
func (c *cluster) ensure(s service) error {
	wanted, err := s.digest()
	if err != nil {
		return err
	}
	record, err := process.Load(c.Record(s.name))
	if err != nil {
		return err
	}
	switch decide(record.Alive(), record.Digest, wanted) {
	case keep:
		return nil
	case replace:
		c.say("%s is started anew, since its configuration has changed", s.name)
		if err := process.Stop([]process.Identity{record.Identity}, grace); err != nil {
			return err
		}
	}
	return netns.Do(c.namespace(), func() error {
		ended, err := process.Spawn(process.Command{
			Name: s.name, Args: s.args, Program: s.program, Digest: wanted,
			Record: c.Record(s.name), Log: c.Log(s.name), Lock: c.lock.File,
		})
		c.spawned[s.name] = ended
		return err
	})
}

// await waits until the service is ready, and not longer than it lives.
func (c *cluster) await(ctx context.Context, s service) error {
	begin := time.Now()
	if err := c.poll(ctx, s.name, s.ready); err != nil {
		return err
	}
	c.say("%-24s ready (%.1f s)", s.name, time.Since(begin).Seconds())
	return nil
}

// poll repeats the check, on behalf of the named component, until it succeeds.
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
			return fmt.Errorf("%s ended before it was ready; its last words were %q, its log is %s", name, lastLine(c.Log(name)), c.Log(name))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("interrupted while waiting for %s", name)
			}
			return fmt.Errorf("%s is not ready after %s: %w; its log is %s", name, c.timeout, err, c.Log(name))
		case <-ticker.C:
		}
	}
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
