package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// benchCase is a link to be measured.
type benchCase struct {
	name, what string
	slow       bool // not in a short run
	runs       int  // at most; 0 for no limit
	relink     bool // the crate changes before each run: see relink
	// slowLinkers are left out, for they would take minutes.
	slowLinkers []string
	// build makes the case's folder if it is not there, and says where it is.
	build func(o options, work string) (string, error)
}

var cases = []benchCase{
	{name: "hello", what: "cargo new, release", build: cargo("hello", helloWorld, "--release")},
	{name: "firmware", what: "examples/cortex-m-json", build: cargo("firmware", example("cortex-m-json"), "--release")},
	{name: "ripgrep", what: "ripgrep 15.2.0, release with debug information", build: ripgrep},
	{name: "ripgrep-relink", what: "the same, one crate changed before each link", relink: true, build: relink(ripgrep)},
	{name: "server", what: "bench/server, dev, folding asked for", slow: true, runs: 5, build: cargo("server", server)},
	{name: "synthetic-1k", what: "1,000 functions", build: synthetic(1_000)},
	{name: "synthetic-10k", what: "10,000 functions", build: synthetic(10_000)},
	{name: "synthetic-100k", what: "100,000 functions", runs: 5, build: synthetic(100_000)},
	{name: "synthetic-1m", what: "1,000,000 functions", slow: true, runs: 3, slowLinkers: []string{"gold", "bfd"}, build: synthetic(1_000_000)},
}

func caseNames() []string {
	names := make([]string, len(cases))
	for i := range cases {
		names[i] = cases[i].name
	}
	return names
}

// saved is where a case's link is kept. The folder has one link.
func saved(o options, name string) string { return filepath.Join(o.cache, "cases", name) }

// onlyFolder is the single folder in one, "" if there is none.
func onlyFolder(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		return ""
	}
	return filepath.Join(dir, entries[0].Name())
}

// cargo builds a program with leanlink for a linker that keeps the link. source
// says in which folder and for which target.
func cargo(name string, source func(o options) (dir, target string, err error), flags ...string) func(options, string) (string, error) {
	return func(o options, work string) (string, error) {
		if dir := onlyFolder(saved(o, name)); dir != "" {
			return dir, nil
		}
		dir, target, err := source(o)
		if err != nil {
			return "", err
		}
		return keepLink(o, name, dir, target, append([]string{"build"}, flags...))
	}
}

// keepLink runs cargo so that its last link for the target is kept.
func keepLink(o options, name, dir, target string, args []string) (string, error) {
	keep := saved(o, name)
	if err := os.RemoveAll(keep); err != nil {
		return "", err
	}
	// Builds of the same crates share what they build, but must link.
	build := filepath.Join(o.cache, "target-"+name)
	if err := os.RemoveAll(build); err != nil {
		return "", err
	}
	defer os.RemoveAll(build)
	args = append(args, "--locked", "--target", target, "--config", fmt.Sprintf("target.%s.linker=%q", target, o.program))
	vars := []string{"CARGO_TARGET_DIR=" + build, "LEANLINK_SAVE=" + keep, "LEANLINK_FOLD=safe", "LEANLINK_REPORT=off"}
	if err := command(o.log, dir, vars, "cargo", args...); err != nil {
		return "", err
	}
	if dir := onlyFolder(keep); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("%s does not hold one link", keep)
}

// hostTarget is the triple of this machine, of which the linkers are.
const hostTarget = "x86_64-unknown-linux-gnu"

// helloWorld is what cargo new makes.
func helloWorld(o options) (dir, target string, err error) {
	dir = filepath.Join(o.cache, "hello")
	for name, text := range map[string]string{
		"Cargo.toml":  "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n",
		"Cargo.lock":  "version = 3\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
		"src/main.rs": "fn main() {\n    println!(\"Hello, world!\");\n}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return "", "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			return "", "", err
		}
	}
	return dir, hostTarget, nil
}

// projectFolder is the folder of this source.
func projectFolder() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "leanlink").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func server(o options) (dir, target string, err error) {
	dir, err = projectFolder()
	return filepath.Join(dir, "bench", "server"), hostTarget, err
}

func example(name string) func(options) (string, string, error) {
	return func(options) (dir, target string, err error) {
		dir, err = projectFolder()
		return filepath.Join(dir, "examples", name), "thumbv7em-none-eabihf", err
	}
}

func ripgrep(o options, work string) (string, error) {
	if dir := onlyFolder(saved(o, "ripgrep")); dir != "" {
		return dir, nil
	}
	return keepLink(o, "ripgrep", work, hostTarget, []string{"install", "ripgrep@15.2.0", "--root", filepath.Join(work, "ripgrep")})
}

// environment is this process's own but for what would configure leanlink or
// Cargo otherwise than vars.
func environment(vars ...string) (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LEANLINK_") && (!strings.HasPrefix(v, "CARGO") || strings.HasPrefix(v, "CARGO_HOME=")) {
			env = append(env, v)
		}
	}
	return append(env, vars...)
}

// command runs a program, what it prints going to the log.
func command(log io.Writer, dir string, vars []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = environment(vars...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// rustFolder is where rustc has its own linker.
func rustFolder() (string, error) {
	out, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err != nil {
		return "", fmt.Errorf("rustc --print sysroot: %w", err)
	}
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("the cases are links of and for %s", hostTarget)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "lib", "rustlib", hostTarget, "bin"), nil
}
