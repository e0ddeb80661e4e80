package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Random programs: small ones made by a seed, of parts that are copies of each
// other or nearly so, linked plainly and folded, and compared by running. What
// no one thought of as a case, a few thousand of them come by.

// program is one random program, ready to be linked.
type program struct {
	args []string // of cc, but for the output
	kept string   // or the folder of a link that rustc asked for
	// observes marks lines of the output that tell of equal addresses of what
	// fold = all may give one address: "" if there are none.
	observes string
	// host is what runs a shared library, "" for a program.
	host string
}

// run runs what was linked.
func (p program) run(dir, output string) (outcome, error) {
	if p.host != "" {
		return run(dir, environ(), p.host, output)
	}
	return run(dir, environ(), output)
}

// TestRandom runs the seeds FIRST-LAST of LEANLINK_E2E_RANDOM, or a few. A
// program that fails is left in the temporary folder under its seed.
func TestRandom(t *testing.T) {
	for _, kind := range []struct {
		name  string
		few   string
		tools []string
		make  func(r *rand.Rand, dir string) (program, error)
	}{
		{"assembly", "1-40", []string{"tool:gcc", "tool:ar"}, randomAssembly},
		{"rust", "1-5", []string{"tool:rustc", "tool:gcc"}, randomRust},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if hostTriple() != "x86_64-unknown-linux-gnu" && kind.name == "assembly" {
				t.Skip("the assembly is x86-64's")
			}
			for _, tool := range kind.tools {
				need(t, tool)
			}
			first, last, err := seeds(envOr("LEANLINK_E2E_RANDOM", kind.few))
			if err != nil {
				t.Fatal(err)
			}
			folds := &totals{}
			t.Cleanup(func() {
				before, after := folds.before.Load(), folds.after.Load()
				t.Logf("%d programs: %d allocated bytes, folded %+.2f%%", last-first+1, before, percent(before, after))
				if !t.Failed() && percent(before, after) > -1 {
					t.Errorf("hardly anything folds: the programs show nothing")
				}
			})
			for seed := first; seed <= last; seed++ {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					// One processor's work at a time each: two are enough for a laptop.
					t.Parallel()
					dir := t.TempDir()
					t.Cleanup(func() {
						if t.Failed() {
							keepFailed(t, dir, fmt.Sprintf("leanlink-random-%s-%d", kind.name, seed))
						}
					})
					r := rand.New(rand.NewPCG(seed, uint64(len(kind.name))))
					p, err := kind.make(r, dir)
					if err != nil {
						t.Fatal(err)
					}
					// Each seed has a linker of its own: what folds does not depend on it.
					p.compare(t, dir, [...]string{"lld", "bfd", "gold", "mold"}[seed%4], folds)
				})
			}
		})
	}
}

// totals is the allocated size of all programs of a kind.
type totals struct{ before, after atomic.Uint64 }

// seeds reads FIRST-LAST.
func seeds(s string) (first, last uint64, err error) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	if first, err = strconv.ParseUint(a, 10, 64); err == nil {
		last, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("LEANLINK_E2E_RANDOM=%s: not FIRST-LAST: %w", s, err)
	}
	return first, last, nil
}

func keepFailed(t *testing.T, dir, name string) {
	to := filepath.Join(os.TempDir(), name)
	os.RemoveAll(to)
	if out, err := exec.Command("cp", "-r", dir, to).CombinedOutput(); err != nil {
		t.Logf("cp: %v %s", err, out)
		return
	}
	t.Logf("left in %s", to)
}

// compare links the program in all ways and runs what comes out.
func (p program) compare(t *testing.T, dir, linker string, folds *totals) {
	need(t, "linker:"+linker)
	flags, _ := linkerFlags(linker)
	link := func(driver, output string, env ...string) {
		t.Helper()
		argv := append(append(append([]string{driver}, flags...), p.args...), "-o", output)
		if p.kept != "" {
			args, err := caseArgs(p.kept, linker, output, nil)
			if err != nil {
				t.Fatal(err)
			}
			argv = append([]string{driver}, args...)
		}
		o, err := run(dir, environ(append(env, "LEANLINK_VERIFY=true", "LEANLINK_SAVE="+filepath.Join(dir, "saved"), "LC_ALL=C", "HOME="+dir)...), argv...)
		if err != nil || o.status != 0 || strings.Contains(o.stdout+o.stderr, "leanlink") {
			t.Fatalf("%s: %v %v", strings.Join(argv, " "), err, o)
		}
	}
	plain := filepath.Join(dir, "plain")
	link("cc", plain)
	want, err := p.run(dir, plain)
	if err != nil || want.status != 0 {
		t.Fatalf("the plain program: %v %v", err, want)
	}
	before, err := allocSize(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"safe", "all"} {
		output := filepath.Join(dir, mode)
		link(tools.leanlink, output, "LEANLINK_FOLD="+mode)
		got, err := p.run(dir, output)
		if err != nil {
			t.Fatal(err)
		}
		want := want
		if mode == "all" && p.observes != "" {
			want.stdout, got.stdout = without(want.stdout, p.observes), without(got.stdout, p.observes)
		}
		if got != want {
			t.Fatalf("%s with %s: %v\n=== plain: %v", mode, linker, got, want)
		}
		after, err := allocSize(output)
		if err != nil {
			t.Fatal(err)
		}
		// A leader that is aligned for others can cost a few bytes.
		if after > before+128 {
			t.Errorf("%s with %s: %d allocated bytes, the plain link has %d", mode, linker, after, before)
		}
		folds.before.Add(before)
		folds.after.Add(after)
	}
}

// without leaves out the lines that begin with prefix.
func without(s, prefix string) string {
	var kept []string
	for _, line := range strings.SplitAfter(s, "\n") {
		if !strings.HasPrefix(line, prefix) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// command runs a compiler or the like in dir, for as long as it takes.
func command(dir string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, environ("LC_ALL=C", "RUSTC_BOOTSTRAP=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
