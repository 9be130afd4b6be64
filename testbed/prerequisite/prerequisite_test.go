package prerequisite

import (
	"strings"
	"testing"
)

func TestMissingProgramsAreNamedWithTheirPackages(t *testing.T) {
	missing := map[string]bool{"runc": true, "ctr": true, "containerd": true}
	err := check(func(program string, _ []string) string {
		if missing[program] {
			return ""
		}
		return "/usr/bin/" + program
	})
	if want := "missing: containerd, ctr, runc; install with: apt-get install containerd runc"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestCheckSucceedsWhenNothingIsMissing(t *testing.T) {
	if err := check(func(program string, _ []string) string { return "/usr/bin/" + program }); err != nil {
		t.Error(err)
	}
}

func TestWithoutRootTheErrorNamesTheAlternative(t *testing.T) {
	if err := Check(false); err == nil || !strings.Contains(err.Error(), "--control-plane-only") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyExecutableFilesAreFound(t *testing.T) {
	if Find("sh") == "" {
		t.Error("there is no shell")
	}
	if path := find("passwd", []string{"/etc"}); path != "" {
		t.Errorf("%s is taken for a program", path)
	}
}
