// Command check runs the health scripts in ../resource_customizations on their test data, with the Lua interpreter and the
// libraries that Argo CD gives to scripts of users. It also compares what kstatus computes with ../kstatus.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// healthStatus is what a script returns.
type healthStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// healthTest is the content of a file health_test.yaml.
type healthTest struct {
	Tests []struct {
		HealthStatus healthStatus `json:"healthStatus"`
		InputPath    string       `json:"inputPath"`
	} `json:"tests"`
}

// read parses a YAML file.
func read(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, value)
}

// toLua converts JSON to Lua.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}

// run runs a script on an object. Scripts of users have the libraries base and table only.
func run(script string, object map[string]any) (healthStatus, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return healthStatus{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return healthStatus{}, fmt.Errorf("the script returned %s", state.Get(-1).Type())
	}
	text := func(key string) string { return lua.LVAsString(table.RawGetString(key)) }
	return healthStatus{Status: text("status"), Message: text("message")}, nil
}

// object reads a manifest as the API server sends it, with integers.
func object(path string) (*unstructured.Unstructured, error) {
	var content any
	if err := read(path, &content); err != nil {
		return nil, err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	found := &unstructured.Unstructured{}
	return found, found.UnmarshalJSON(text)
}

// check checks the script of one kind and returns how many states it was run on.
func check(dir, statuses string) (int, error) {
	script, err := os.ReadFile(filepath.Join(dir, "health.lua"))
	if err != nil {
		return 0, err
	}
	var expected healthTest
	if err := read(filepath.Join(dir, "health_test.yaml"), &expected); err != nil {
		return 0, err
	}
	var computed map[string]string
	if err := read(statuses, &computed); err != nil {
		return 0, err
	}
	for _, test := range expected.Tests {
		path := filepath.Join(dir, test.InputPath)
		object, err := object(path)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		found, err := run(string(script), object.Object)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if found != test.HealthStatus {
			return 0, fmt.Errorf("%s: the health is %+v and not %+v", path, found, test.HealthStatus)
		}
		result, err := status.Compute(object)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if string(result.Status) != computed[test.InputPath] {
			return 0, fmt.Errorf("%s: kstatus is %s and not %s", path, result.Status, computed[test.InputPath])
		}
	}
	return len(expected.Tests), nil
}

func main() {
	scripts, err := filepath.Glob("../resource_customizations/*/*/health.lua")
	if err != nil || len(scripts) == 0 {
		fmt.Fprintln(os.Stderr, "check: there are no scripts", err)
		os.Exit(1)
	}
	for _, script := range scripts {
		dir := filepath.Dir(script)
		kind := filepath.Base(dir)
		count, err := check(dir, filepath.Join("..", "kstatus", kind+".yaml"))
		if err != nil {
			fmt.Fprintln(os.Stderr, "check:", err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d states\n", kind, count)
	}
}
