// Package examples holds the programs that leanlink is shown and tested with. Its tests build each firmware, run it in
// QEMU and compare what it prints: linked by the target's own linker, by others, and by leanlink on top of each.
package examples

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

var update = flag.Bool("update", false, "write what the plainly linked firmware prints as the expected output")

// A firmware is a member of the workspace in this folder; its target and emulator are in its own Cargo config.
type firmware struct {
	dir    string
	target string   // "" is its config's
	gnu    string   // GNU ld for its target
	emul   string   // GNU ld's emulation, where the target's is not its default
	gcc    string   // GNU driver, where leanlink's translation to its style is tested
	flip   bool     // flip-link can link it
	defmt  bool     // standard output is defmt's frames
	needs  []string // tools that its dependencies' build scripts call
}

var firmwares = []firmware{
	{dir: "aarch64-semihost", gnu: "aarch64-linux-gnu-ld"},
	{dir: "cortex-m-crypto", gnu: "arm-none-eabi-ld"},
	{dir: "cortex-m-display", gnu: "arm-none-eabi-ld"},
	{dir: "cortex-m-files", gnu: "arm-none-eabi-ld", gcc: "arm-none-eabi-gcc", needs: []string{"arm-none-eabi-gcc"}},
	{dir: "cortex-m-json", gnu: "arm-none-eabi-ld"},
	{dir: "cortex-m-net", gnu: "arm-none-eabi-ld"},
	{dir: "cortex-m-script", gnu: "arm-none-eabi-ld"},
	{dir: "cortex-m-tasks", gnu: "arm-none-eabi-ld", gcc: "arm-none-eabi-gcc", flip: true, defmt: true},
	{dir: "cortex-m0-pulse", gnu: "arm-none-eabi-ld", flip: true},
	{dir: "riscv-semihost", gnu: "riscv64-unknown-elf-ld", emul: "-melf32lriscv"},
	{dir: "riscv-semihost", target: "riscv32imc-unknown-none-elf", gnu: "riscv64-unknown-elf-ld", emul: "-melf32lriscv"},
	{dir: "riscv-web", gnu: "riscv64-unknown-elf-ld", emul: "-melf32lriscv"},
}

// Each firmware ends in the way that its cargo feature asks for.
var endings = []struct {
	feature string // "" is none
	status  int
}{
	{"", 0},
	{"panic", 101},
	{"fault", 70},
}

func TestMain(m *testing.M) {
	// As the linker that rustc calls, this program keeps the link for later and then lets rust-lld do it.
	if dir := os.Getenv("EXAMPLES_KEEP_LINK"); dir != "" {
		if err := keepLink(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

func TestFirmware(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs firmware")
	}
	tool(t, "cargo")
	tool(t, "rustc")
	for _, f := range firmwares {
		config := readConfig(t, f.dir)
		config.target = cmp.Or(f.target, config.target)
		t.Run(f.dir+"/"+config.target, func(t *testing.T) {
			tool(t, config.runner[0])
			for _, need := range f.needs {
				tool(t, need)
			}
			rustTarget(t, config.target)
			for _, ending := range endings {
				name := cmp.Or(ending.feature, "success")
				t.Run(name, func(t *testing.T) {
					link := compile(t, f.dir, config.target, ending.feature)
					run := func(t *testing.T, program string, record bool) {
						f.run(t, config.runner, program, name, ending.status, record)
					}
					f.linkEachWay(t, link, run, ending.feature == "")
				})
			}
		})
	}
}

// linkEachWay links with the target's default linker and, where all is true, the others that there are: each plain and
// by leanlink, whose output must run the same and be no larger.
func (f firmware) linkEachWay(t *testing.T, link keptLink, run func(t *testing.T, program string, record bool), all bool) {
	linkers := []string{"rust-lld"}
	if all {
		linkers = append(linkers, f.gnu)
		if f.flip {
			linkers = append(linkers, "flip-link")
		}
	}
	type result struct {
		size    uint64
		printed string
	}
	plain := map[string]result{}
	for _, linker := range linkers {
		t.Run(linker, func(t *testing.T) {
			path := linker
			if linker != "rust-lld" { // which is not on the PATH: rustc brings its own
				path = tool(t, linker)
			}
			args := link.args
			if linker == f.gnu {
				args = slices.Clone(args[2:]) // without "-flavor gnu", which is for lld only
				if f.emul != "" {
					args = append(args, f.emul)
				}
			}
			out := filepath.Join(t.TempDir(), f.dir)
			printed := link.run(t, out, path, args)
			plain[linker] = result{flash(t, out), printed}
			t.Logf("%d bytes", plain[linker].size)
			run(t, out, *update && linker == "rust-lld")
		})
	}
	if all && f.gcc != "" {
		// The driver calls the linker of the same name, so that is what to compare with.
		linkers, plain[f.gcc] = append(linkers, f.gcc), plain[f.gnu]
	}
	for _, linker := range linkers {
		for _, fold := range []string{"safe", "all"} {
			t.Run("leanlink/"+linker+"/"+fold, func(t *testing.T) {
				leanlink := os.Getenv("LEANLINK_BIN")
				if leanlink == "" {
					missing(t, "LEANLINK_BIN names no leanlink")
				}
				want, ok := plain[linker]
				if !ok {
					t.Skipf("%s did not link it plain", linker)
				}
				args := link.args
				if linker == f.gnu && f.emul != "" {
					args = append(slices.Clone(args), f.emul)
				}
				real := linker
				if linker != "rust-lld" {
					real = tool(t, linker) // its warnings begin with the name it was called by
				}
				out := filepath.Join(t.TempDir(), f.dir)
				printed := link.run(t, out, leanlink, args, "LEANLINK_REAL_LINKER="+real, "LEANLINK_FOLD="+fold)
				if printed != want.printed {
					t.Errorf("printed %q, want %q", printed, want.printed)
				}
				size := flash(t, out)
				t.Logf("%d bytes, %d plain", size, want.size)
				if size > want.size {
					t.Errorf("%d bytes of flash, %d when linked plain", size, want.size)
				}
				run(t, out, false)
			})
		}
	}
}

// TestThroughCargo is the whole way that a user goes: rustc calls leanlink.
func TestThroughCargo(t *testing.T) {
	leanlink := os.Getenv("LEANLINK_BIN")
	if testing.Short() || leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	f := firmwares[slices.IndexFunc(firmwares, func(f firmware) bool { return f.defmt })]
	config := readConfig(t, f.dir)
	tool(t, "cargo")
	tool(t, config.runner[0])
	rustTarget(t, config.target)
	// Cargo does not link again because a variable of ours has changed, but it does for another path.
	dir := filepath.Join(t.TempDir(), "linker")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	linker := filepath.Join(dir, "leanlink")
	if err := os.Symlink(leanlink, linker); err != nil {
		t.Fatal(err)
	}
	cargo(t, f.dir, nil, "rustc", "--release", "--locked", "--", "-Clinker="+linker)
	f.run(t, config.runner, filepath.Join(targetDir(t), config.target, "release", f.dir), "success", 0, false)
}

// run runs a program in its emulator and compares what it prints, and how it ends, with what is expected; or makes this
// the expected output, where record is true.
func (f firmware) run(t *testing.T, runner []string, program, ending string, status int, record bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, runner[0], append(slices.Clone(runner[1:]), program)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", runner[0], err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d", got, status)
	}
	// QEMU's own remark on the timer of lm3s6965evb, made before the firmware starts.
	text := strings.ReplaceAll(stderr.String(), "Timer with period zero, disabling\n", "")
	compare(t, filepath.Join(f.dir, "expected", ending+".txt"), text, record)
	if !f.defmt {
		compare(t, os.DevNull, stdout.String(), false)
		return
	}
	log, err := decodeDefmt(program, stdout.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	compare(t, filepath.Join(f.dir, "expected", "defmt.txt"), log, record)
}

func compare(t *testing.T, path, got string, record bool) {
	t.Helper()
	if record {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "(end)", "(end)"
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Errorf("%s:%d: printed %q, want %q", path, i+1, g, w)
			return
		}
	}
}

// A keptLink is a link that rustc asked for, to be done again by any linker.
type keptLink struct {
	args []string // as rustc gives them for lld, without -o and its file
	cwd  string
}

// compile builds a firmware with its default linker and keeps its link.
func compile(t *testing.T, dir, target, feature string) keptLink {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keep := t.TempDir()
	args := []string{"rustc", "--release", "--locked", "--target", target}
	if feature != "" {
		args = append(args, "--features", feature)
	}
	// The extra argument makes this build a new one for Cargo, which would else not link what it has linked before.
	args = append(args, "--", "-Clinker="+self, "-Clink-arg=-L"+keep)
	cargo(t, dir, []string{"EXAMPLES_KEEP_LINK=" + keep}, args...)
	kept, err := os.ReadFile(filepath.Join(keep, "args"))
	if err != nil {
		t.Fatalf("%s for %s was not linked: %v", dir, target, err)
	}
	lines := strings.Split(string(kept), "\n")
	return keptLink{args: lines[1:], cwd: lines[0]}
}

// keepLink writes the working folder and the arguments of a link to dir/args, a line each, copies the objects that
// rustc removes after the link, and links.
func keepLink(dir string, args []string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	kept := []string{cwd}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o":
			i++
			continue
		case strings.HasPrefix(arg, "@"), strings.Contains(arg, "\n"):
			return fmt.Errorf("cannot keep the argument %q", arg)
		case strings.HasSuffix(arg, ".o"):
			data, err := os.ReadFile(arg)
			if err != nil {
				return err
			}
			arg = filepath.Join(dir, fmt.Sprintf("%03d-%s", i, filepath.Base(arg)))
			if err := os.WriteFile(arg, data, 0o644); err != nil {
				return err
			}
		}
		kept = append(kept, arg)
	}
	if err := os.WriteFile(filepath.Join(dir, "args"), []byte(strings.Join(kept, "\n")), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("rust-lld", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// run links into out and returns what the linker printed, with OUT where it named out.
func (link keptLink) run(t *testing.T, out, linker string, args []string, env ...string) string {
	t.Helper()
	// As rustc does, so that rust-lld is found; os/exec would look it up in our own PATH.
	path := rustBin(t) + string(os.PathListSeparator) + os.Getenv("PATH")
	if linker == "rust-lld" {
		linker = filepath.Join(rustBin(t), linker)
	}
	cmd := exec.Command(linker, append(slices.Clone(args), "-o", out)...)
	cmd.Dir = link.cwd
	cmd.Env = append(environ(), append(env, "PATH="+path)...)
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", linker, err, printed)
	}
	return strings.ReplaceAll(string(printed), out, "OUT")
}

// flash is the size of all that is loaded: the allocated sections with contents.
func flash(t *testing.T, path string) uint64 {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var size uint64
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			size += s.Size
		}
	}
	return size
}

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
