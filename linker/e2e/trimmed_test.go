package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trimmedPrograms are published programs whose own tests run the program, and
// so can run another one in its place.
var trimmedPrograms = []struct {
	crate, version, program, test string
	least                         int // tests that must run
}{
	{"fd-find", "10.5.0", "fd", "tests", 100},
	{"just", "1.59.0", "just", "integration", 1800},
	{"ripgrep", "15.2.0", "rg", "integration", 300},
}

// TestTrimmed has programs that abort on panics linked plainly and with all
// trims, checked, and runs their tests against both. LEANLINK_E2E_TRIMMED
// chooses by name, or all; without it none runs, for each takes many minutes.
func TestTrimmed(t *testing.T) {
	wanted := strings.Split(os.Getenv("LEANLINK_E2E_TRIMMED"), ",")
	for _, p := range trimmedPrograms {
		if !slices.Contains(wanted, p.crate) && !slices.Contains(wanted, "all") {
			continue
		}
		t.Run(p.crate, func(t *testing.T) {
			c := newCrate(t, p.crate, p.version, "-trimmed")
			driver := filepath.Join(c.cache, "leanlink")
			if err := replaceExecutable(driver, tools.leanlink); err != nil {
				t.Fatal(err)
			}
			plain := []string{"LEANLINK_DISABLE=1"}
			trims := []string{"LEANLINK_TRIM_PANIC=trap", "LEANLINK_TRIM_BACKTRACE=addresses", "LEANLINK_TRIM_UNWIND_TABLES=drop",
				"LEANLINK_TRIM_RELOCATIONS=packed", "LEANLINK_TRIM_ALIGN=size", "LEANLINK_VERIFY=true"}
			built := map[string]string{}
			sizes := map[string]uint64{}
			for variant, env := range map[string][]string{"plain": plain, "trimmed": trims} {
				target := filepath.Join(c.cache, variant)
				if out, err := c.cargo(driver, target, append(env, "CARGO_PROFILE_RELEASE_PANIC=abort"), "build", "--release", "--bin", p.program); err != nil {
					t.Fatalf("%v\n%s", err, tail(out, 4000))
				}
				built[variant] = filepath.Join(target, "release", p.program)
				size, err := allocSize(built[variant])
				if err != nil {
					t.Fatal(err)
				}
				sizes[variant] = size
			}
			t.Logf("%d bytes, plain %d (%+.2f%%)", sizes["trimmed"], sizes["plain"], percent(sizes["plain"], sizes["trimmed"]))
			tests := filepath.Join(c.cache, "tests")
			if out, err := c.cargo(driver, tests, plain, "test", "--no-run", "--test", p.test); err != nil {
				t.Fatalf("%v\n%s", err, tail(out, 4000))
			}
			ran := map[string]results{}
			for variant, program := range built {
				if err := putInPlace(filepath.Join(tests, "debug"), p.program, program); err != nil {
					t.Fatal(err)
				}
				out, _ := c.cargo(driver, tests, plain, "test", "--no-fail-fast", "--test", p.test)
				r, err := parseResults(out)
				if err != nil {
					t.Fatalf("%s: %v\n%s", variant, err, tail(out, 4000))
				}
				if n := r.count("ok"); n < p.least {
					t.Fatalf("%s: only %d tests passed, at least %d were expected\n%s", variant, n, p.least, tail(out, 4000))
				}
				ran[variant] = r
			}
			if diff := cmp.Diff(ran["plain"], ran["trimmed"]); diff != "" {
				t.Errorf("the trimmed program does otherwise (-plain +trimmed):\n%s", diff)
			}
			t.Logf("%d tests passed, %v fail with the plain program, too", ran["trimmed"].count("ok"), ran["plain"].failed())
		})
	}
}

// putInPlace puts another program where Cargo has one: at its name, and where it
// was linked to, from where Cargo brings it there again.
func putInPlace(dir, name, program string) error {
	list, err := filepath.Glob(filepath.Join(dir, "deps", name+"-*"))
	if err != nil {
		return err
	}
	was, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	for _, path := range append(list, filepath.Join(dir, name)) {
		if info, err := os.Stat(path); err != nil || !os.SameFile(info, was) {
			continue
		}
		if err := replaceExecutable(path, program); err != nil {
			return err
		}
	}
	return nil
}
