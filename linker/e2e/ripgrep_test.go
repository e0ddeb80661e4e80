package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// ripgrep is its source and two target folders in the user's cache, so that only
// the first run compiles.
type ripgrep struct {
	source, cache string
	linker        string // a copy of this test binary under the name keeplink
}

// buildLimit is for one cargo command; the longest takes a tenth of it.
const buildLimit = 30 * time.Minute

func newRipgrep(t *testing.T) *ripgrep {
	t.Helper()
	if testing.Short() {
		t.Skip("compiling ripgrep takes minutes; not with -short")
	}
	need(t, "tool:cargo", "tool:rustc", "linker:lld")
	version, err := exec.Command("rustc", "-vV").Output()
	if err != nil {
		t.Fatal(err)
	}
	release := regexp.MustCompile(`(?m)^release: (\S+)`).FindSubmatch(version)
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	g := &ripgrep{cache: filepath.Join(user, "leanlink-ci", ripgrepName+"-"+ripgrepVersion+"-rustc-"+string(release[1]))}
	g.source = filepath.Join(g.cache, "source")
	// Cargo recompiles everything when the linker's path changes, so it must not.
	g.linker = filepath.Join(g.cache, "keeplink")
	if err := os.MkdirAll(g.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	lockFolder(t, g.cache)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceExecutable(g.linker, self); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(g.source, "Cargo.lock")); err != nil {
		if err := fetchCrate(g.source, ripgrepName, ripgrepVersion); err != nil {
			if requireTools() {
				t.Fatal(err)
			}
			t.Skipf("%s %s is missing: %v", ripgrepName, ripgrepVersion, err)
		}
	}
	return g
}

// lockFolder keeps other runs of the tests out of a folder until the test ends.
func lockFolder(t *testing.T, dir string) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

// replaceExecutable copies a program to a path at which an older one may be running.
func replaceExecutable(to, from string) error {
	fresh := to + ".new"
	if err := copyFile(fresh, from); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	return os.Rename(fresh, to)
}

// fetchCrate brings a crate's published source into a folder. Cargo has no
// command for that: as the dependency of an empty crate it lands among the
// registry's sources, from where it is copied.
func fetchCrate(to, name, version string) error {
	dir, err := os.MkdirTemp("", "leanlink-fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	manifest := fmt.Sprintf("[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\n%s = \"=%s\"\n", name, version)
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "Cargo.toml"), []byte(manifest), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "src/lib.rs"), nil, 0o644); err != nil {
		return err
	}
	cmd := exec.Command("cargo", "vendor", "--quiet", "vendor")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cargo vendor: %w\n%s", err, out)
	}
	partial := to + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.CopyFS(partial, os.DirFS(filepath.Join(dir, "vendor", name))); err != nil {
		return err
	}
	return os.Rename(partial, to)
}

// cargo runs cargo in ripgrep's source with keeplink as the linker, which hands
// on to driver, and returns what it printed.
func (g *ripgrep) cargo(t *testing.T, driver string, env []string, args ...string) string {
	t.Helper()
	args = append(args, "--locked", "--target-dir", filepath.Join(g.cache, "target"))
	cmd := exec.Command("cargo", args...)
	cmd.Dir = g.source
	for _, v := range environ() {
		if !strings.HasPrefix(v, "CARGO_TARGET_") && !strings.HasPrefix(v, "RUSTFLAGS=") &&
			!strings.HasPrefix(v, "RUST_BACKTRACE=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	triple := strings.ToUpper(strings.ReplaceAll(hostTriple(), "-", "_"))
	cmd.Env = append(cmd.Env, "CARGO_TARGET_"+triple+"_LINKER="+g.linker, "KEEPLINK_DRIVER="+driver, "CARGO_TERM_COLOR=never")
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(buildLimit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Run(); err != nil {
		t.Fatalf("cargo %s (%v): %v\n%s", strings.Join(args, " "), env, err, tail(out.String(), 8000))
	}
	return out.String()
}

// relink removes the programs of a profile, so that Cargo links them again
// without compiling anything: a change of leanlink or of its settings is nothing
// to Cargo.
func (g *ripgrep) relink(t *testing.T, folder string) {
	t.Helper()
	deps := filepath.Join(g.cache, "target", folder, "deps")
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

// profileFolder is where Cargo builds a profile.
var profileFolder = map[string]string{"release": "release", "dev": "debug"}

func (g *ripgrep) program(profile string) string {
	return filepath.Join(g.cache, "target", profileFolder[profile], "rg")
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// TestRipgrep holds what the README promises of ripgrep.
func TestRipgrep(t *testing.T) {
	g := newRipgrep(t)
	g.relink(t, "release")
	kept := filepath.Join(t.TempDir(), "rg.case")
	g.cargo(t, "cc", []string{"KEEPLINK_CASE=" + kept, "KEEPLINK_CRATE=rg"}, "build", "--release")
	t.Run("size", func(t *testing.T) { g.size(t, kept) })
	t.Run("icf", func(t *testing.T) { g.comparison(t, kept) })
	for _, profile := range []string{"release", "dev"} {
		if profile == "dev" {
			g.relink(t, profileFolder[profile])
			g.cargo(t, "cc", nil, "build")
		}
		plain, err := allocSize(g.program(profile))
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range []string{"safe", "all"} {
			t.Run("tests/"+profile+"/"+mode, func(t *testing.T) { g.ownTests(t, profile, mode, plain) })
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

var testResult = regexp.MustCompile(`(?m)^test result: (ok|FAILED)\. (\d+) passed; (\d+) failed`)

// ownTests runs ripgrep's test suite, with leanlink as the linker of everything.
// The rg that it tests must be smaller than plain.
func (g *ripgrep) ownTests(t *testing.T, profile, mode string, plain uint64) {
	g.relink(t, profileFolder[profile])
	start := time.Now()
	// fold is set explicitly: in Cargo's dev profile it would be off.
	// ripgrep's tests all work in one folder below TMPDIR.
	env := []string{"LEANLINK_FOLD=" + mode, "LEANLINK_VERIFY=true", "TMPDIR=" + t.TempDir()}
	out := g.cargo(t, tools.leanlink, env, "test", "--profile", profile)
	passed := 0
	for _, m := range testResult.FindAllStringSubmatch(out, -1) {
		var n int
		fmt.Sscan(m[2], &n)
		passed += n
		if m[1] != "ok" {
			t.Errorf("%s", m[0])
		}
	}
	if strings.Contains(out, "leanlink: ") {
		t.Errorf("leanlink has something to say:\n%s", tail(out, 4000))
	}
	if passed < 300 {
		t.Errorf("only %d tests of ripgrep's ran", passed)
	}
	t.Logf("%d tests of ripgrep's passed, %.0f s with linking", passed, time.Since(start).Seconds())
	folded, err := allocSize(g.program(profile))
	if err != nil {
		t.Fatal(err)
	}
	if folded >= plain {
		t.Errorf("the tested rg is not folded: %d allocated bytes, plain %d", folded, plain)
	}
}
