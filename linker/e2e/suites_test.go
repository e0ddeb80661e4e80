package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// suite is one crate's own test suite, as testdata/suites/suites.toml has it.
type suite struct {
	Name    string // unique
	Crate   string // as published; Name if empty
	Version string
	Why     string // what it is here for
	CI      bool   // runs with every test run
	// Args are cargo's. Tests are the targets, all of them if there are none.
	Args, Tests []string
	// Drop are dev-dependencies that only benchmarks and examples need.
	Drop []string
	Env  []string
	// Absent are modules of tests that are not published; they stay empty.
	Absent []string
	// CrateType makes the library another kind than it was published as, and
	// everything link it and std dynamically.
	CrateType string `toml:"crate-type"`
	// C are programs that are linked with the static and the shared library.
	C []string
	// Apart: the plain programs are compiled with plain build scripts and
	// procedural macros, too.
	Apart bool
	// Trim: its tests run the program, which is trimmed, too, in release builds.
	Trim bool
	// Least is how many tests run at least.
	Least int
	// Failing are tests that fail plainly: "program: test".
	Failing []string
	// Timing are tests that measure time and so may end either way on a busy
	// machine: "program: test".
	Timing []string
}

// suiteProfiles are what each suite is built with; of the variants the last is
// the one that Cargo sees, and whose build scripts and macros it runs.
var suiteProfiles = []struct {
	name, folder string
	variants     []string
}{
	{"dev", "debug", []string{"plain", "all", "safe"}},
	{"release", "release", []string{"plain", "poison", "safe", "all"}},
}

func readSuites(t *testing.T) []suite {
	t.Helper()
	var file struct{ Suite []suite }
	meta, err := toml.DecodeFile("testdata/suites/suites.toml", &file)
	if err != nil {
		t.Fatal(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		t.Fatalf("testdata/suites/suites.toml: unknown keys %v", unknown)
	}
	return file.Suite
}

// TestSuites runs the test suites of published crates, linked plainly and by
// leanlink, which links their build scripts and procedural macros as well, and
// compares test by test. LEANLINK_E2E_SUITES names the suites, or says all;
// without it the few run that are meant for it.
func TestSuites(t *testing.T) {
	wanted := os.Getenv("LEANLINK_E2E_SUITES")
	for _, s := range readSuites(t) {
		if wanted == "all" || wanted == "" && s.CI || slices.Contains(strings.Split(wanted, ","), s.Name) {
			t.Run(s.Name, func(t *testing.T) { s.run(t) })
		}
	}
}

func (s *suite) run(t *testing.T) {
	name, variety := s.Crate, ""
	if name == "" {
		name = s.Name
	}
	if s.CrateType != "" {
		variety = "-" + s.CrateType
	}
	c := newCrate(t, name, s.Version, variety)
	if err := s.settle(c); err != nil {
		t.Fatal(err)
	}
	linkall := c.linker(t, "linkall")
	for _, p := range suiteProfiles {
		t.Run(p.name, func(t *testing.T) {
			b := &suiteBuild{suite: s, crate: c, linker: linkall, profile: p.name, folder: p.folder, variants: p.variants}
			if s.Trim && p.name == "release" {
				b.variants = append([]string{"plain", "trim"}, p.variants[1:]...)
			}
			b.run(t)
		})
	}
}

// settle makes the source what the suite says: pinned dependencies, none that
// only benchmarks need, the kind of library.
func (s *suite) settle(c *crate) error {
	// Those without a file here bring their own.
	if text, err := os.ReadFile(filepath.Join("testdata/suites", s.Name+".lock")); err == nil {
		if err := writeIfOther(filepath.Join(c.source, "Cargo.lock"), text); err != nil {
			return err
		}
	}
	for _, name := range s.Absent {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(c.source, name)), 0o755); err != nil {
			return err
		}
		if err := writeIfOther(filepath.Join(c.source, name), []byte("// not published\n")); err != nil {
			return err
		}
	}
	manifest, published := filepath.Join(c.source, "Cargo.toml"), filepath.Join(c.cache, "published.toml")
	if _, err := os.Stat(published); os.IsNotExist(err) {
		err = copyFile(published, manifest)
		if err != nil {
			return err
		}
	}
	text, err := os.ReadFile(published)
	if err != nil {
		return err
	}
	for _, name := range s.Drop {
		table := regexp.MustCompile(`(?s)\n\[(target\.[^\n]*\.)?dev-dependencies\.` + regexp.QuoteMeta(name) + `\]\n.*?(\n\[|$)`)
		if !table.Match(text) {
			return fmt.Errorf("%s: no dev-dependency %s to drop", published, name)
		}
		text = table.ReplaceAll(text, []byte("$2"))
	}
	if s.CrateType != "" {
		if !strings.Contains(string(text), "\n[lib]\n") {
			return fmt.Errorf("%s: no [lib] to change", published)
		}
		text = []byte(strings.Replace(string(text), "\n[lib]\n", fmt.Sprintf("\n[lib]\ncrate-type = [%q]\n", s.CrateType), 1))
	}
	return writeIfOther(manifest, text)
}

// writeIfOther leaves a file alone that is already as it should be: Cargo goes by
// its time.
func writeIfOther(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return os.WriteFile(path, text, 0o644)
}

// suiteBuild is one suite in one profile.
type suiteBuild struct {
	*suite
	crate                   *crate
	linker, profile, folder string
	variants                []string
	tmp                     string
}

func (b *suiteBuild) target() string { return filepath.Join(b.crate.cache, "target") }
func (b *suiteBuild) links() string  { return filepath.Join(b.crate.cache, "links", b.profile) }

func (b *suiteBuild) run(t *testing.T) {
	start := time.Now()
	b.tmp = t.TempDir()
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	links, err := b.linked()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) == 0 {
		t.Fatalf("%s: nothing was linked", b.links())
	}
	built := time.Since(start)
	want, err := b.test("plain", links)
	if err != nil {
		t.Fatal(err)
	}
	if b.Apart {
		want, err = b.testApart()
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := want.count("ok"); n < b.Least {
		t.Errorf("only %d tests ran, at least %d were expected", n, b.Least)
	}
	var failing []string
	for _, name := range want.failed() {
		if !slices.Contains(b.Timing, name) {
			failing = append(failing, name)
		}
	}
	if diff := cmp.Diff(b.Failing, failing); diff != "" {
		t.Errorf("plainly linked, other tests fail than suites.toml says (-said +failed):\n%s", diff)
	}
	for _, v := range b.variants {
		if v == "plain" {
			continue
		}
		t.Run(v, func(t *testing.T) { b.compare(t, v, links, want) })
	}
	t.Logf("%s %s: %d passed, %d failed, %d ignored; %d links; built in %.0f s, all in %.0f s", b.Name, b.profile,
		want.count("ok"), want.count("FAILED"), want.count("ignored"), len(links), built.Seconds(), time.Since(start).Seconds())
}

// compare runs the tests of one variant and compares them with the plain ones.
func (b *suiteBuild) compare(t *testing.T, variant string, links []linked, want results) {
	folded, thunks := 0, 0
	var size, plain uint64
	for i := range links {
		l := &links[i]
		if l.Folded[variant] == 0 {
			t.Errorf("%s: nothing folds: %q", filepath.Base(l.Output), l.Reason[variant])
		}
		folded, thunks = folded+l.Folded[variant], thunks+l.Thunks[variant]
		size, plain = size+l.Size[variant], plain+l.Size["plain"]
	}
	got, err := b.test(variant, links)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range got.difference(want) {
		if slices.ContainsFunc(b.Timing, func(name string) bool { return strings.HasPrefix(d, name+": ") }) {
			t.Logf("a matter of time: %s", d)
			continue
		}
		t.Error(d)
	}
	if variant != "poison" && size >= plain {
		t.Errorf("the %d linked files have %d allocated bytes, the plain ones %d", len(links), size, plain)
	}
	b.compareC(t, variant)
	t.Logf("%s %s %s: %d tests as plain, %d links, %d folds, %d jumps, %+.2f%% bytes", b.Name, b.profile, variant,
		len(got), len(links), folded, thunks, percent(plain, size))
}

// env is what cargo gets for everything that it builds and runs.
func (b *suiteBuild) env() []string {
	env := append([]string{
		"LINKALL_LEANLINK=" + tools.leanlink, "LINKALL_DIR=" + b.links(), "LINKALL_VARIANTS=" + strings.Join(b.variants, ","),
		"TMPDIR=" + b.tmp, "RUST_TEST_THREADS=4", "RUST_BACKTRACE=0",
	}, b.Env...)
	if b.CrateType != "" {
		env = append(env, "RUSTFLAGS=-Cprefer-dynamic")
	}
	return env
}

func (b *suiteBuild) args(command string, more ...string) []string {
	args := append([]string{command, "--profile", b.profile}, b.Args...)
	for _, name := range b.Tests {
		args = append(args, "--test", name)
	}
	if len(b.Tests) == 0 {
		args = append(args, "--tests")
	}
	return append(args, more...)
}

// build compiles the tests, and links each variant of them, unless that was done
// by this very leanlink.
func (b *suiteBuild) build() error {
	made := sha256.New()
	for _, file := range []string{tools.leanlink, filepath.Join(b.crate.source, "Cargo.lock"), filepath.Join(b.crate.source, "Cargo.toml")} {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		made.Write(text)
	}
	stamp := fmt.Sprintf("%x %v %v %v", made.Sum(nil), b.variants, b.args(""), b.Env)
	stampFile := filepath.Join(b.links(), "stamp")
	folder := filepath.Join(b.target(), b.folder)
	if old, err := os.ReadFile(stampFile); err != nil || string(old) != stamp {
		// Cargo does not see that the linker is another: not even that of a
		// build script, which everything depends on.
		if err := errors.Join(os.RemoveAll(folder), os.RemoveAll(b.links())); err != nil {
			return err
		}
	} else if links, err := b.linked(); err != nil {
		return err
	} else if err := b.install(b.variants[len(b.variants)-1], links); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(b.links(), 0o755), os.WriteFile(stampFile, []byte(stamp), 0o644)); err != nil {
		return err
	}
	commands := [][]string{b.args("test", "--no-run")}
	if len(b.C) > 0 {
		commands = append(commands, append([]string{"build", "--profile", b.profile}, b.Args...))
	}
	for _, args := range commands {
		if out, err := b.crate.cargo(b.linker, b.target(), b.env(), args...); err != nil {
			return fmt.Errorf("%w\n%s", err, tail(out, 8000))
		}
	}
	return nil
}

// linked reads what linkall wrote down.
func (b *suiteBuild) linked() ([]linked, error) {
	files, err := filepath.Glob(filepath.Join(b.links(), "*.json"))
	if err != nil {
		return nil, err
	}
	var list []linked
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var l linked
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// install puts a variant's files where Cargo has linked them to, with the times
// that it gave them: it takes them for its own.
func (b *suiteBuild) install(variant string, links []linked) error {
	for _, l := range links {
		info, err := os.Stat(l.Output)
		if err != nil {
			if os.IsNotExist(err) {
				continue // a probe of a build script, or one that cargo has cleared away
			}
			return err
		}
		data, err := os.ReadFile(filepath.Join(b.links(), variant, filepath.Base(l.Output)))
		if err != nil {
			return err
		}
		// In place: Cargo has it under a second name, as a hard link.
		if err := os.WriteFile(l.Output, data, 0o755); err != nil {
			return err
		}
		if err := os.Chtimes(l.Output, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// test runs the tests of a variant.
func (b *suiteBuild) test(variant string, links []linked) (results, error) {
	if err := b.install(variant, links); err != nil {
		return nil, err
	}
	// What it links while it runs (programs that a test compiles) is the variant, too.
	env := append(b.env(), "LINKALL_VARIANTS="+variant, "LINKALL_DIR="+b.tmp)
	out, err := b.crate.cargo(b.linker, b.target(), env, b.args("test", "--no-fail-fast")...)
	if strings.Contains(out, "   Compiling "+b.crate.name+" ") {
		return nil, fmt.Errorf("cargo compiled %s again instead of running the %s programs:\n%s", b.crate.name, variant, tail(out, 4000))
	}
	r, parseErr := parseResults(out)
	if parseErr != nil {
		return nil, fmt.Errorf("%s: %w\n%s", variant, parseErr, tail(out, 4000))
	}
	if err != nil && len(r.failed()) == 0 {
		return nil, fmt.Errorf("%s: %w\n%s", variant, err, tail(out, 4000))
	}
	if err == nil && len(r.failed()) > 0 {
		return nil, fmt.Errorf("%s: cargo test succeeded, but %v failed", variant, r.failed())
	}
	if len(r.failed()) > 0 {
		log := filepath.Join(b.crate.cache, fmt.Sprintf("%s-%s.log", b.profile, variant))
		if err := os.WriteFile(log, []byte(out), 0o644); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// testApart compiles everything again with plain build scripts and macros, and
// runs the tests.
func (b *suiteBuild) testApart() (results, error) {
	env := append(b.env(), "LINKALL_VARIANTS=plain", "LINKALL_DIR="+filepath.Join(b.links(), "apart"))
	out, err := b.crate.cargo(b.linker, b.target()+"-apart", env, b.args("test", "--no-fail-fast")...)
	r, parseErr := parseResults(out)
	if parseErr != nil || err != nil && len(r.failed()) == 0 {
		return nil, fmt.Errorf("apart: %w\n%s", errors.Join(parseErr, err), tail(out, 4000))
	}
	return r, nil
}

// compareC links C programs with a variant of the crate's libraries and compares
// what they do with what they do with the plain ones.
func (b *suiteBuild) compareC(t *testing.T, variant string) {
	if len(b.C) == 0 {
		return
	}
	dir := t.TempDir()
	must := func(cwd string, argv ...string) outcome {
		t.Helper()
		env := environ()
		if argv[0] == tools.leanlink {
			env = append(env, variantEnv(variant)...)
		}
		o, err := run(cwd, env, argv...)
		if err != nil || strings.Contains(o.stderr, "leanlink: ") {
			t.Fatalf("%s: %v %v", strings.Join(argv, " "), err, o)
		}
		return o
	}
	library := strings.ReplaceAll(b.crate.name, "-", "_")
	static := filepath.Join(b.target(), b.folder, "lib"+library+".a")
	system := []string{"-Wl,--gc-sections", "-lpthread", "-ldl", "-lm"}
	for _, source := range b.C {
		name := strings.TrimSuffix(filepath.Base(source), ".c")
		object := filepath.Join(dir, name+".o")
		if o := must(b.crate.source, "cc", "-std=gnu11", "-O1", "-ffunction-sections", "-Iinclude", "-c", "-o", object, source); o.status != 0 {
			t.Fatal(o)
		}
		var outcomes []string
		for _, v := range []string{"plain", variant} {
			driver := "cc"
			if v != "plain" {
				driver = tools.leanlink
			}
			shared := filepath.Join(b.links(), v, "lib"+library+".so")
			for _, l := range []struct {
				kind string
				args []string
			}{
				{"static", append([]string{driver, "-o", filepath.Join(dir, name+"."+v+".static"), object, static}, system...)},
				{"shared", []string{driver, "-o", filepath.Join(dir, name+"."+v+".shared"), object, shared, "-Wl,-rpath," + filepath.Dir(shared)}},
			} {
				if o := must(b.crate.source, l.args...); o.status != 0 {
					t.Fatalf("%s %s %s: %v", name, v, l.kind, o)
				}
				// A program finds its files beside its source.
				beside := filepath.Join(b.crate.source, filepath.Dir(source))
				outcomes = append(outcomes, must(beside, l.args[2]).String())
			}
		}
		if outcomes[0] != outcomes[2] || outcomes[1] != outcomes[3] || outcomes[0] != outcomes[1] {
			t.Errorf("%s: the programs with the plain libraries and with the folded ones differ:\n%s", source, strings.Join(outcomes, "\n"))
		}
		if !strings.HasPrefix(outcomes[0], "status 0\n") {
			t.Errorf("%s: %s", source, outcomes[0])
		}
		plain, err := allocSize(filepath.Join(dir, name+".plain.static"))
		if err != nil {
			t.Fatal(err)
		}
		folded, err := allocSize(filepath.Join(dir, name+"."+variant+".static"))
		if err != nil {
			t.Fatal(err)
		}
		if variant != "poison" && folded >= plain {
			t.Errorf("%s: with the static library %d allocated bytes, plainly %d", source, folded, plain)
		}
		t.Logf("%s %s %s %s: %d lines of output as plain, static and shared", b.Name, b.profile, variant, source, strings.Count(outcomes[0], "\n")-3)
	}
}
