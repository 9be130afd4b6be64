package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWritingTheSameContentsLeavesTheFileUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "one", 0o644)
	before := stat(t, path)
	write(t, path, "one", 0o644)
	if !os.SameFile(before, stat(t, path)) {
		t.Error("the file was replaced")
	}
}

func TestWritingReplacesContentsAndModeAndLeavesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "one", 0o644)
	write(t, path, "two", 0o600)
	if data, err := os.ReadFile(path); err != nil || string(data) != "two" {
		t.Errorf("the file holds %q (%v)", data, err)
	}
	if mode := stat(t, path).Mode().Perm(); mode != 0o600 {
		t.Errorf("the file's mode is %o", mode)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v (%v)", entries, err)
	}
}

func TestWritingIntoAMissingDirectoryFails(t *testing.T) {
	if err := Write(filepath.Join(t.TempDir(), "missing", "file"), nil, 0o644); err == nil {
		t.Error("no error")
	}
}

func write(t *testing.T, path, data string, mode os.FileMode) {
	t.Helper()
	if err := Write(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
