// This file implements `testbed logs`.

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dask-operator/testbed/instance"
)

// Logs prints the log of a component. If the name is empty, it prints those of all components and prefixes each line with
// the component's name. If follow is set, it keeps printing what is appended until the context ends.
func Logs(ctx context.Context, i instance.Instance, component string, follow bool, out io.Writer) error {
	files, err := filepath.Glob(i.Log("*"))
	if err != nil {
		return err
	}
	if component != "" {
		if _, err := os.Stat(i.Log(component)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no log of %s in %s", component, i.Logs())
		}
		files = []string{i.Log(component)}
	}
	if len(files) == 0 {
		return notUp(i)
	}
	var readers []*logReader
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		prefix := ""
		if component == "" {
			prefix = fmt.Sprintf("%-24s| ", strings.TrimSuffix(filepath.Base(file), ".log"))
		}
		readers = append(readers, &logReader{lines: bufio.NewReader(f), prefix: prefix})
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		for _, r := range readers {
			if err := r.copy(out, !follow); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// logReader prints whole lines only: the end of a line may not have been written yet when its start is read.
type logReader struct {
	lines   *bufio.Reader
	prefix  string
	partial string
}

// copy prints all complete lines. If final is set, it also prints an incomplete last line.
func (r *logReader) copy(out io.Writer, final bool) error {
	for {
		text, err := r.lines.ReadString('\n')
		r.partial += text
		if err == nil || final && r.partial != "" {
			if _, err := fmt.Fprint(out, r.prefix, strings.TrimSuffix(r.partial, "\n"), "\n"); err != nil {
				return err
			}
			r.partial = ""
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
