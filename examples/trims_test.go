package examples

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var trimmed = flag.String("trimmed", "some", "the firmware that is trimmed: some, which has each kind of code, or all")

// trimSome are those of -trimmed some: each processor's instructions, C code, and defmt.
var trimSome = []string{"aarch64-semihost", "cortex-m-files", "cortex-m-tasks", "cortex-m0-pulse", "riscv-semihost"}

// trims are what firmware can do without.
var trims = []string{"LEANLINK_TRIM_PANIC=trap", "LEANLINK_TRIM_UNWIND_TABLES=drop"}

// TestTrimmed links firmware with what docs/trims.md offers for it, checked, and runs it: it prints what it does when it is
// not trimmed, and a panic traps, which its fault handler reports in the place of the panic's. With -trimmed all it makes
// the table there:
//
//	go test ./examples -run TestTrimmed -trimmed all -v -timeout 60m
func TestTrimmed(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs firmware")
	}
	leanlink := os.Getenv("LEANLINK_BIN")
	if leanlink == "" {
		missing(t, "LEANLINK_BIN names no leanlink")
	}
	if *trimmed != "some" && *trimmed != "all" {
		t.Fatalf("-trimmed is some or all, not %q", *trimmed)
	}
	table := []string{"| | folded | trimmed | |", "|---|---|---|---|"}
	var folded, left uint64
	for _, f := range firmwares {
		if f.target != "" || f.flags != "" || *trimmed == "some" && !slices.Contains(trimSome, f.dir) {
			continue
		}
		t.Run(f.dir, func(t *testing.T) {
			config := readConfig(t, f.dir)
			f.require(t, config)
			for _, ending := range endings {
				name := cmp.Or(ending.feature, "success")
				link := compile(t, build{dir: f.dir, target: config.target, feature: ending.feature})
				for _, w := range f.linkers(t) {
					if w.name != "rust-lld" && w.name != f.gnu {
						continue
					}
					t.Run(name+"/"+w.name, func(t *testing.T) {
						env := []string{"LEANLINK_REAL_LINKER=" + w.path, "LEANLINK_VERIFY=true"}
						full, less := filepath.Join(t.TempDir(), f.dir), filepath.Join(t.TempDir(), f.dir)
						link.run(t, full, leanlink, f.args(link, w, true), env...)
						link.run(t, less, leanlink, f.args(link, w, true), append(env, trims...)...)
						before, after := flash(t, full), flash(t, less)
						t.Logf("%d bytes, %d with what is trimmed", after, before)
						if after >= before {
							t.Errorf("%d bytes, %d with what is trimmed", after, before)
						}
						if ending.feature == "" && w.name == "rust-lld" {
							folded, left = folded+before, left+after
							table = append(table, row(f.dir, before, after))
						}
						if ending.feature == "panic" {
							f.runTrapped(t, config, less)
						} else {
							f.run(t, config.runner, less, name, ending.status, false)
						}
					})
				}
			}
		})
	}
	t.Log("\n" + strings.Join(append(table, row("all", folded, left)), "\n"))
}

func row(name string, before, after uint64) string {
	return fmt.Sprintf("| %s | %d | %d | −%.1f%% |", name, before, after, 100*float64(before-after)/float64(max(before, 1)))
}

// traps are what the fault handlers say of a trap, by the first part of the target's name. Thumb's is the same fault as
// that of the examples' own.
var traps = map[string]string{"riscv32imac": "exception 3", "aarch64": "exception class 0x3c"}

// runTrapped runs firmware that panics where its panics are traps: it ends as it would in a fault at the same place.
func (f firmware) runTrapped(t *testing.T, c config, program string) {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(f.dir, "expected", "fault.txt"))
	if err != nil {
		t.Fatal(err)
	}
	arch, _, _ := strings.Cut(c.target, "-")
	if trap, ok := traps[arch]; ok {
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		lines[len(lines)-1] = trap
		text = []byte(strings.Join(lines, "\n") + "\n")
	}
	expected := filepath.Join(dir, "trap.txt")
	if err := os.WriteFile(expected, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.runFor(t, c.runner, program, expected, endings[slices.IndexFunc(endings, func(e ending) bool { return e.feature == "fault" })].status, false)
}
