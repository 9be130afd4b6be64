// This file implements `testbed load-image` and the pause image.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"dask-operator/testbed/instance"
	"dask-operator/testbed/ociimage"
	"dask-operator/testbed/prerequisite"
	"dask-operator/testbed/process"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// LoadImages imports image archives into the node's containerd, so that pods can use them.
func LoadImages(ctx context.Context, i instance.Instance, archives []string, out io.Writer) error {
	state, ok, err := i.Load()
	if err != nil {
		return err
	}
	c := &cluster{Instance: i, state: state, out: out}
	switch {
	case !ok:
		return notUp(i)
	case !c.hasNode():
		return errors.New("this cluster is a control plane only: there is no node to load images into")
	}
	record, err := process.Load(c.Record(containerd))
	if err != nil {
		return err
	}
	if !record.Alive() {
		return errors.New("the node's containerd does not run; run `up` first")
	}
	for _, archive := range archives {
		if err := c.importImage(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) importImage(ctx context.Context, archive string) error {
	ctr := exec.CommandContext(ctx, prerequisite.Find("ctr"),
		"--address", c.ContainerdSocket(), "--namespace", "k8s.io", "images", "import", archive)
	output, err := ctr.CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, text)
	}
	for line := range strings.Lines(text) {
		c.say("%s", strings.TrimSpace(line))
	}
	return nil
}

// ensurePauseImage imports the pause image, unless containerd has it. It is built from the pause program in the directory
// of this binary.
func (c *cluster) ensurePauseImage(ctx context.Context) error {
	conn, err := c.runtimeConnection()
	if err != nil {
		return err
	}
	defer conn.Close()
	request := &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: pauseImage}}
	answer, err := runtimeapi.NewImageServiceClient(conn).ImageStatus(ctx, request)
	if err != nil {
		return fmt.Errorf("get the status of the pause image: %w", err)
	}
	if answer.GetImage() != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(filepath.Dir(self), "pause"))
	if err != nil {
		return fmt.Errorf("read the pause program, which build.sh puts into the directory of testbed: %w", err)
	}
	archive, err := os.Create(c.Data("pause.tar"))
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	err = ociimage.Write(archive, pauseImage, "pause", program)
	if err := errors.Join(err, archive.Close()); err != nil {
		return err
	}
	return c.importImage(ctx, archive.Name())
}

// notUp returns the error of commands that need a cluster.
func notUp(i instance.Instance) error {
	return fmt.Errorf("there is no cluster in %s; run `up` first", i.Dir)
}
