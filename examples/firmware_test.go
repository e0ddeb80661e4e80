// Package examples holds the programs that leanlink is shown and tested with. Its tests build each firmware, run it in
// QEMU and compare what it prints: linked by the target's own linker, by others, and by leanlink on top of each.
package examples

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leanlink/report"
)

var (
	update = flag.Bool("update", false, "write what the plainly linked firmware prints as the expected output")
	links  = flag.String("links", "", "folder to keep the links in and to take them from, instead of compiling each time")
)

// A firmware is a member of the workspace in this folder; its target and emulator are in its own Cargo config.
type firmware struct {
	dir    string
	target string   // "" is its config's
	gnu    string   // GNU ld for its target
	emul   string   // GNU ld's emulation, where the target's is not its default
	gcc    string   // GNU driver, where leanlink's translation to its style is tested
	flip   bool     // flip-link can link it
	flags  string   // RUSTFLAGS
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
	{dir: "riscv-semihost", flags: "-Ctarget-feature=+relax", gnu: "riscv64-unknown-elf-ld", emul: "-melf32lriscv"},
	{dir: "riscv-web", gnu: "riscv64-unknown-elf-ld", emul: "-melf32lriscv"},
}

// An ending is the way in which a firmware ends: its cargo feature asks for it.
type ending struct {
	feature string // "" is none
	status  int
}

var endings = []ending{
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
	os.Exit(keepingLinks(m.Run))
}

// keepingLinks runs with a folder for the links.
func keepingLinks(run func() int) int {
	if *links == "" {
		dir, err := os.MkdirTemp("", "leanlink-examples-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		*links = dir
	}
	return run()
}

func TestFirmware(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs firmware")
	}
	for _, f := range firmwares {
		config := readConfig(t, f.dir)
		config.target = cmp.Or(f.target, config.target)
		t.Run(f.name(config), func(t *testing.T) {
			f.require(t, config)
			for _, ending := range endings {
				name := cmp.Or(ending.feature, "success")
				t.Run(name, func(t *testing.T) {
					link := compile(t, build{dir: f.dir, target: config.target, feature: ending.feature, flags: f.flags})
					f.linkEachWay(t, link, ending.feature == "", func(t *testing.T, program string, record bool) {
						f.run(t, config.runner, program, name, ending.status, record)
					})
				})
			}
		})
	}
}

// name is the firmware's, with what it is built for.
func (f firmware) name(c config) string {
	_, feature, _ := strings.Cut(f.flags, "=")
	return f.dir + "/" + c.target + feature
}

// require skips the test where something is missing that the firmware is built or run with.
func (f firmware) require(t *testing.T, c config) {
	t.Helper()
	for _, name := range append([]string{"cargo", "rustc", c.runner[0]}, f.needs...) {
		tool(t, name)
	}
	rustTarget(t, c.target)
}

// A way is a program that links: a linker as it is, and what leanlink is told of it.
type way struct {
	name  string
	plain string   // the way whose output is the measure, "" for this one itself
	path  string   // the program
	env   []string // what it needs to know
}

// linkers are the linkers of a firmware that are there.
func (f firmware) linkers(t *testing.T) []way {
	ways := []way{{name: "rust-lld", path: "rust-lld"}} // which is not on the PATH: rustc brings its own
	names := []string{f.gnu, f.gcc}
	if f.flip {
		names = append(names, "flip-link")
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		path, err := exec.LookPath(name) // its warnings begin with the name it was called by
		if err != nil {
			if os.Getenv("LEANLINK_REQUIRE_TOOLS") == "1" {
				t.Fatalf("missing: %s", name)
			}
			t.Logf("missing: %s", name)
			continue
		}
		w := way{name: name, path: path}
		if name == f.gcc {
			w.plain = f.gnu // the driver calls the linker of the same name
		}
		ways = append(ways, w)
	}
	return ways
}

// args spells a link's arguments for a linker; with leanlink before it, for what rustc gives leanlink.
func (f firmware) args(link keptLink, w way, folded bool) []string {
	args := link.args
	if w.name != f.gnu && w.name != f.gcc {
		return args
	}
	if !folded {
		args = args[2:] // without "-flavor gnu", which is for lld only
	}
	if f.emul != "" {
		args = append(slices.Clone(args), f.emul)
	}
	return args
}

// linkEachWay links with each linker, plain and by leanlink in both modes: the output must run the same, be no larger
// and come with the same warnings. check says that leanlink is to check it.
func (f firmware) linkEachWay(t *testing.T, link keptLink, check bool, run func(t *testing.T, program string, record bool)) {
	type result struct {
		size    uint64
		printed string
	}
	plain := map[string]result{}
	linkers := f.linkers(t)
	for _, w := range linkers {
		if w.plain != "" {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), f.dir)
			printed := link.run(t, out, w.path, f.args(link, w, false))
			plain[w.name] = result{flash(t, out), printed}
			t.Logf("%d bytes", plain[w.name].size)
			run(t, out, *update && w.name == "rust-lld")
		})
	}
	leanlink := os.Getenv("LEANLINK_BIN")
	if leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	var folded []way
	for _, w := range linkers {
		folded = append(folded, way{w.name, cmp.Or(w.plain, w.name), leanlink, []string{"LEANLINK_REAL_LINKER=" + w.path}})
		if w.name == "flip-link" {
			folded = append(folded, way{"flip-link above leanlink", w.name, w.path, asRustLLD(t, leanlink)})
		}
	}
	for _, w := range folded {
		for _, fold := range []string{"safe", "all"} {
			t.Run("leanlink/"+w.name+"/"+fold, func(t *testing.T) {
				want, ok := plain[w.plain]
				if !ok {
					t.Skipf("%s did not link it plain", w.plain)
				}
				out := filepath.Join(t.TempDir(), f.dir)
				printed := link.run(t, out, w.path, f.args(link, w, true), append(w.env, "LEANLINK_FOLD="+fold, "LEANLINK_VERIFY="+strconv.FormatBool(check))...)
				if printed != want.printed {
					t.Errorf("printed %q, want %q", printed, want.printed)
				}
				size := flash(t, out)
				t.Logf("%d bytes, %d plain", size, want.size)
				if size > want.size {
					t.Errorf("%d bytes of flash, %d when linked plain", size, want.size)
				}
				if r, err := report.ReadFile(out + report.Suffix); err != nil {
					t.Error(err)
				} else if r.Modes.Fold != fold {
					t.Errorf("the report says that the link folds %q", r.Modes.Fold)
				}
				run(t, out, false)
			})
		}
	}
}

// asRustLLD makes leanlink what programs find that look for rust-lld, as flip-link does.
func asRustLLD(t *testing.T, leanlink string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(leanlink, filepath.Join(dir, "rust-lld")); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + strings.Join([]string{dir, rustBin(t), os.Getenv("PATH")}, string(os.PathListSeparator))}
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
	f.runFor(t, runner, program, filepath.Join(f.dir, "expected", ending+".txt"), status, record)
}

// runFor does so with what is expected in a file of any name.
func (f firmware) runFor(t *testing.T, runner []string, program, expected string, status int, record bool) {
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
	compare(t, expected, text, record)
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
