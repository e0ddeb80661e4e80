package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	// Nothing of it is used. But go test must not take a result from its cache
	// that was another leanlink's.
	_ "leanlink/linker"
)

// tools is what TestMain found or built, the same for all scripts.
var tools struct {
	bin      string // folder with leanlink in it
	leanlink string
	sysroot  string // of rustc, "" if there is none
	gccLD    string // rustc's own lld under the name ld.lld, "" if not shipped
	lld19    string // folder in which ld.lld is Debian's lld 19, "" if not installed
}

func TestMain(m *testing.M) {
	testscript.Main(runner{m}, map[string]func(){
		"keeplink":   keepLink,
		"linkall":    linkAll,
		"unredirect": unredirect,
	})
}

// runner builds leanlink around the tests. It stands between testscript.Main and
// the tests because that calls os.Exit, so deferred calls of TestMain never run.
type runner struct{ m *testing.M }

func (r runner) Run() int {
	dir, err := os.MkdirTemp("", "leanlink-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := findTools(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return r.m.Run()
}

func findTools(dir string) error {
	tools.bin = filepath.Join(dir, "bin")
	tools.leanlink = filepath.Join(tools.bin, "leanlink")
	if installed := os.Getenv("LEANLINK_E2E_BINARY"); installed != "" {
		// To test a released binary, or another version's.
		if err := copyFile(tools.leanlink, installed); err != nil {
			return err
		}
		if err := os.Chmod(tools.leanlink, 0o755); err != nil {
			return err
		}
	} else {
		build := exec.Command("go", "build", "-o", tools.leanlink, "leanlink/linker/leanlink")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building leanlink: %v\n%s", err, out)
		}
	}
	if out, err := exec.Command("rustc", "--print", "sysroot").Output(); err == nil {
		tools.sysroot = strings.TrimSpace(string(out))
		gccLD := filepath.Join(tools.sysroot, "lib/rustlib", hostTriple(), "bin/gcc-ld")
		if _, err := os.Stat(filepath.Join(gccLD, "ld.lld")); err == nil {
			tools.gccLD = gccLD
		}
	}
	if path, err := exec.LookPath("ld.lld-19"); err == nil {
		tools.lld19 = filepath.Join(dir, "lld-19")
		if err := os.Mkdir(tools.lld19, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(tools.lld19, "ld.lld")); err != nil {
			return err
		}
	}
	return nil
}

// hostTriple is the Rust name of the machine the tests run on.
func hostTriple() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return arch + "-unknown-linux-gnu"
}

// requireTools says that a missing tool is a failure, as in CI.
func requireTools() bool { return os.Getenv("LEANLINK_REQUIRE_TOOLS") == "1" }

// have answers the conditions [tool:X] and [linker:X]. A script asks
// `[!tool:mold] skip 'mold is missing'`; in CI the question itself fails.
func have(cond string) (bool, error) {
	kind, name, _ := strings.Cut(cond, ":")
	var ok bool
	switch kind {
	case "tool":
		_, ok = toolPath(name)
	case "linker":
		_, ok = linkerFlags(name)
	case "target":
		_, err := os.Stat(filepath.Join(tools.sysroot, "lib/rustlib", name))
		ok = err == nil
	case "x86-64":
		return runtime.GOARCH == "amd64", nil
	case "root":
		return os.Geteuid() == 0, nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if !ok && requireTools() {
		return false, fmt.Errorf("%s is missing, and LEANLINK_REQUIRE_TOOLS=1 forbids to skip", cond)
	}
	return ok, nil
}

// toolPath finds a program. Debian's LLVM tools carry its version in their names.
func toolPath(name string) (string, bool) {
	for _, n := range []string{name, name + "-19"} {
		if path, err := exec.LookPath(n); err == nil {
			return path, true
		}
	}
	return "", false
}

// linkerFlags are the arguments that make cc use the named linker.
func linkerFlags(name string) ([]string, bool) {
	switch name {
	case "lld": // the one that rustc ships, and uses by itself
		return []string{"-B" + tools.gccLD, "-fuse-ld=lld"}, tools.gccLD != ""
	case "lld-19":
		return []string{"-B" + tools.lld19, "-fuse-ld=lld"}, tools.lld19 != ""
	case "bfd", "gold", "mold":
		_, err := exec.LookPath(map[string]string{"bfd": "ld.bfd", "gold": "ld.gold", "mold": "mold"}[name])
		return []string{"-fuse-ld=" + name}, err == nil
	}
	return nil, false
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		Condition:           have,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		ContinueOnError:     true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rust":    cmdRust,
			"case":    cmdCase,
			"links":   cmdLinks,
			"folded":  cmdFolded,
			"apart":   cmdApart,
			"smaller": cmdSmaller,
			"dynsame": cmdDynSame,
			"frames":  cmdFrames,
			"dwarf":   cmdDwarf,
			"aligned": cmdAligned,
			"section": cmdSection,
			"same":    cmdSame,

			"joined":       cmdJoined,
			"dwarfsame":    cmdDwarfSame,
			"lines":        cmdLines,
			"backtrace":    cmdBacktrace,
			"smaller-than": cmdSmallerThan,
		},
	})
}

// setup gives each script a home, a cache and a temporary folder of its own, so
// that what leanlink leaves behind is seen.
func setup(env *testscript.Env) error {
	path := tools.bin
	if tools.sysroot != "" {
		// Past rustup's proxies: they want the real home folder.
		path += ":" + filepath.Join(tools.sysroot, "bin")
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name == "GOCACHE" || name == "GOFLAGS" || name == "GOMODCACHE" {
			env.Vars = append(env.Vars, v)
		}
	}
	home := filepath.Join(env.WorkDir, ".home")
	env.Vars = append(env.Vars,
		"PATH="+path+":"+os.Getenv("PATH"),
		"HOME="+home,
		"CARGO_HOME="+envOr("CARGO_HOME", filepath.Join(os.Getenv("HOME"), ".cargo")),
		"RUSTUP_HOME="+envOr("RUSTUP_HOME", filepath.Join(os.Getenv("HOME"), ".rustup")),
		"LC_ALL=C",
		"LEANLINK_VERIFY="+envOr("LEANLINK_VERIFY", "true"),
		"RUST_BACKTRACE=0",
		"LEANLINK="+tools.leanlink,
		"SYSROOT="+tools.sysroot,
		"TRIPLE="+hostTriple(),
		"GCC_LD="+tools.gccLD,
	)
	return os.Mkdir(home, 0o755)
}

// environ is this process's environment without what sets leanlink up: how the
// tests are run must not be how the links are.
func environ(more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LEANLINK_") {
			env = append(env, v)
		}
	}
	return append(env, more...)
}

func envOr(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}

// outcome is what running a program came to.
type outcome struct {
	stdout, stderr string
	status         int // 128+N for signal N, as a shell says it
}

func (o outcome) String() string {
	return fmt.Sprintf("status %d\n--- stdout\n%s--- stderr\n%s", o.status, o.stdout, o.stderr)
}

// runLimit ends a program that hangs; nothing here takes a tenth of it.
const runLimit = 2 * time.Minute

// run executes argv in dir and waits for it.
func run(dir string, env []string, argv ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String()}
	if ctx.Err() != nil {
		return o, fmt.Errorf("%s: still running after %v", argv[0], runLimit)
	}
	if exit, ok := err.(*exec.ExitError); ok {
		o.status = exit.ExitCode()
		if ws, ok := exit.Sys().(interface {
			Signaled() bool
		}); ok && ws.Signaled() {
			o.status = 128 + signalOf(exit)
		}
		return o, nil
	}
	return o, err
}

// scriptEnv is the script's environment as exec wants it.
func scriptEnv(ts *testscript.TestScript, more ...string) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME", "LC_ALL", "LEANLINK_VERIFY",
		"RUST_BACKTRACE", "RUSTC_BOOTSTRAP", "GOMAXPROCS", "LD_LIBRARY_PATH", "LEANLINK_KEEP", "LEANLINK_SAVE"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// glob resolves a script's pattern; one that matches nothing is a mistake in the script.
func glob(ts *testscript.TestScript, pattern string) []string {
	all, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	var files []string
	for _, f := range all {
		// leanlink's reports lie beside the outputs.
		if !strings.HasSuffix(f, ".leanlink.json.gz") {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		ts.Fatalf("%s: no such file", pattern)
	}
	sort.Strings(files)
	return files
}
