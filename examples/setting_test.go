package examples

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/BurntSushi/toml"
)

type config struct {
	target string
	runner []string
}

func readConfig(t *testing.T, dir string) config {
	t.Helper()
	var file struct {
		Build  struct{ Target string }
		Target map[string]toml.Primitive
	}
	meta, err := toml.DecodeFile(filepath.Join(dir, ".cargo", "config.toml"), &file)
	if err != nil {
		t.Fatal(err)
	}
	// A target with a dot in its name is two tables to TOML, and Cargo understands no other way to write it.
	table, rest, dotted := strings.Cut(file.Build.Target, ".")
	var leaf struct{ Runner string }
	if dotted {
		var tables map[string]struct{ Runner string }
		err = meta.PrimitiveDecode(file.Target[table], &tables)
		leaf = tables[rest]
	} else {
		err = meta.PrimitiveDecode(file.Target[table], &leaf)
	}
	if err != nil || leaf.Runner == "" {
		t.Fatalf("%s: no runner: %v", dir, err)
	}
	return config{file.Build.Target, strings.Fields(leaf.Runner)}
}

func cargo(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command("cargo", args...)
	cmd.Dir = dir
	cmd.Env = append(environ(), append(env, "CARGO_TERM_COLOR=never")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cargo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// environ is the environment without what configures these tests, which leanlink would refuse as settings it does not
// know.
func environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LEANLINK_") })
	if dir := os.Getenv("LEANLINK_TEST_TARGET"); dir != "" {
		env = append(env, "CARGO_TARGET_DIR="+dir)
	}
	return env
}

func targetDir(t *testing.T) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("LEANLINK_TEST_TARGET"), os.Getenv("CARGO_TARGET_DIR"), "target")
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// rustBin is the folder of rustc's own rust-lld.
func rustBin(t *testing.T) string {
	t.Helper()
	libs, err := hostLibs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(libs), "bin")
}

var hostLibs = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("rustc", "--print", "target-libdir").Output()
	return strings.TrimSpace(string(out)), err
})

// rustTarget skips the test where rustc has no core for the target.
func rustTarget(t *testing.T, target string) {
	t.Helper()
	out, err := exec.Command("rustc", "--print", "target-libdir", "--target", target).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(strings.TrimSpace(string(out))); errors.Is(err, fs.ErrNotExist) {
		missing(t, "rustup target "+target)
	}
}

// tool finds a program, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name)
	}
	return path
}

// missing skips the test, or fails it where every tool is meant to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("LEANLINK_REQUIRE_TOOLS") == "1" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}
