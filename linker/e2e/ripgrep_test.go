package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The program that the sizes are promised for.
const (
	ripgrepName    = "ripgrep"
	ripgrepVersion = "15.2.0"
)

// promised is how much smaller ripgrep is at least, in percent of the allocated
// bytes of the same linker's plain output.
var promised = map[string]float64{"safe": 17.5, "all": 18}

// ripgrep is its source, and a target folder of its own in the user's cache.
type ripgrep struct {
	*crate
	target string
}

func newRipgrep(t *testing.T) *ripgrep {
	t.Helper()
	c := newCrate(t, ripgrepName, ripgrepVersion, "")
	return &ripgrep{crate: c, target: filepath.Join(c.cache, "target-kept")}
}

// keep builds ripgrep and keeps the link of rg as a case.
func (g *ripgrep) keep(t *testing.T, dir string) {
	t.Helper()
	g.relink(t)
	env := []string{"KEEPLINK_CASE=" + dir, "KEEPLINK_CRATE=rg"}
	if out, err := g.cargo(g.linker(t, "keeplink"), g.target, env, "build", "--release"); err != nil {
		t.Fatalf("%v\n%s", err, tail(out, 8000))
	}
}

// relink removes the programs, so that Cargo links them again without compiling
// anything else.
func (g *ripgrep) relink(t *testing.T) {
	t.Helper()
	deps := filepath.Join(g.target, "release", "deps")
	list, err := os.ReadDir(deps)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.Ext(e.Name()) == "" {
			if err := os.Remove(filepath.Join(deps, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRipgrep holds what the README promises of ripgrep. Its own tests are a
// suite of TestSuites.
func TestRipgrep(t *testing.T) {
	g := newRipgrep(t)
	kept := filepath.Join(t.TempDir(), "rg.case")
	g.keep(t, kept)
	t.Run("size", func(t *testing.T) { g.size(t, kept) })
	t.Run("trims", func(t *testing.T) { g.trims(t, kept) })
	t.Run("icf", func(t *testing.T) { g.comparison(t, kept) })
}

// trims links the kept link with all trims that a program that unwinds can have.
func (g *ripgrep) trims(t *testing.T, kept string) {
	need(t, "linker:lld")
	dir := t.TempDir()
	link := func(name, driver string, settings ...string) string {
		t.Helper()
		output := filepath.Join(dir, name)
		args, err := caseArgs(kept, "lld", output, nil)
		if err != nil {
			t.Fatal(err)
		}
		o, err := run(g.source, environ(append(settings, "LEANLINK_VERIFY=true")...), append([]string{driver}, args...)...)
		if err != nil || o.status != 0 || strings.Contains(o.stderr, "leanlink") {
			t.Fatalf("%s: %v %v", name, err, o)
		}
		return output
	}
	plain := link("plain", "cc")
	before, err := allocSize(plain)
	if err != nil {
		t.Fatal(err)
	}
	want := g.search(t, plain)
	for panics, least := range map[string]float64{"location": 30, "message": 30} {
		trimmed := link(panics, tools.leanlink, "LEANLINK_TRIM_PANIC="+panics, "LEANLINK_TRIM_BACKTRACE=addresses", "LEANLINK_TRIM_UNWIND_TABLES=calls",
			"LEANLINK_TRIM_RELOCATIONS=packed", "LEANLINK_TRIM_ALIGN=size")
		after, err := allocSize(trimmed)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("panic = %s and the others: %d bytes, plain %d (%+.2f%%)", panics, after, before, percent(before, after))
		if got := -percent(before, after); got < least {
			t.Errorf("panic = %s and the others: %.2f%% smaller, promised are %.0f%%", panics, got, least)
		}
		if g.search(t, trimmed) != want {
			t.Errorf("panic = %s: ripgrep does not find what the plain one finds", panics)
		}
		if err := checkFrames(trimmed); err != nil {
			t.Error(err)
		}
	}
}

// size links the kept link with each linker and mode, compares what the programs
// do and how large they are.
func (g *ripgrep) size(t *testing.T, kept string) {
	dir := t.TempDir()
	tmp, home := filepath.Join(dir, "tmp"), filepath.Join(dir, "home")
	for _, d := range []string{tmp, home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := environ("TMPDIR="+tmp, "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, ".cache"), "LEANLINK_VERIFY=true")
	link := func(t *testing.T, driver, linker, mode string) string {
		t.Helper()
		output := filepath.Join(dir, "rg."+linker+"."+mode)
		args, err := caseArgs(kept, linker, output, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		o, err := run(g.source, append(env, "LEANLINK_FOLD="+mode), append([]string{driver}, args...)...)
		if err != nil || o.status != 0 || strings.Contains(o.stderr, "leanlink") {
			t.Fatalf("%s with %s: %v %v", driver, linker, err, o)
		}
		t.Logf("%s: %.2f s", filepath.Base(output), time.Since(start).Seconds())
		if left := append(entries(t, tmp), entries(t, filepath.Join(home, ".cache"))...); len(left) != 0 {
			t.Fatalf("left behind: %v", left)
		}
		return output
	}
	gains := map[string]map[string]float64{"safe": {}, "all": {}}
	for _, linker := range []string{"lld", "bfd", "gold", "mold"} {
		t.Run(linker, func(t *testing.T) {
			need(t, "linker:"+linker)
			plain := link(t, "cc", linker, "plain")
			before, err := allocSize(plain)
			if err != nil {
				t.Fatal(err)
			}
			want := g.search(t, plain)
			for _, mode := range []string{"safe", "all"} {
				folded := link(t, tools.leanlink, linker, mode)
				after, err := allocSize(folded)
				if err != nil {
					t.Fatal(err)
				}
				gains[mode][linker] = -percent(before, after)
				t.Logf("%s %s: %d bytes, plain %d (%+.2f%%)", linker, mode, after, before, percent(before, after))
				if got := g.search(t, folded); got != want {
					t.Errorf("%s %s: ripgrep does not find what the plain one finds", linker, mode)
				}
				if err := checkFrames(folded); err != nil && linker != "gold" {
					t.Error(err)
				}
				again := folded + ".first"
				if err := os.Rename(folded, again); err != nil {
					t.Fatal(err)
				}
				if err := sameFiles(again, link(t, tools.leanlink, linker, mode)); err != nil {
					t.Errorf("the second link is another: %v", err)
				}
			}
		})
	}
	for mode, want := range promised {
		if got := gains[mode]["lld"]; got < want {
			t.Errorf("fold = %s: ripgrep is %.2f%% smaller than with plain lld, promised are %.1f%%", mode, got, want)
		}
		for linker, got := range gains[mode] {
			if got < gains[mode]["lld"]-0.5 {
				t.Errorf("fold = %s: %.2f%% with %s, more than half a point below the %.2f%% with lld", mode, got, linker, gains[mode]["lld"])
			}
		}
	}
}

// search lets a ripgrep loose on its own source and returns all that it says.
func (g *ripgrep) search(t *testing.T, rg string) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"--version"},
		{"--sort=path", "-c", "fn"},
		{"--sort=path", "-n", `\w+_(matcher|printer)\b`, "crates", "tests"},
		{"--sort=path", "-U", "--multiline-dotall", `impl.*?for \w+ \{`, "-o", "crates/core"},
		{"--sort=path", "--json", "-i", "LICENSE", "--stats", "Cargo.toml"},
		{"--sort=path", "--files", "-t", "rust"},
		{"--type-list"},
		{"--sort=path", "-l", "-g", "*.md", "grep"},
		{"(unclosed"},
		{"--no-such-flag"},
		{"--generate", "complete-bash"},
	} {
		o, err := run(g.source, environ("LC_ALL=C"), append([]string{rg}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%q: %v\n", args, o)
	}
	return elapsed.ReplaceAllString(all.String(), "TIME")
}

// elapsed is what differs from run to run in ripgrep's statistics.
var elapsed = regexp.MustCompile(`"(elapsed|elapsed_total)":\{[^}]*\}|[0-9.]+ seconds`)
