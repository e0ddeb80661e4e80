package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"leanlink/report"
)

// programs builds cargo-size-report and leanlink once and returns their folder.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "size-report-test-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "leanlink/cargo-plugin/cargo-size-report", "leanlink/linker/leanlink").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	status := m.Run()
	if dir, err := programs(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

const helloMain = `use std::collections::BTreeMap;
fn main() {
    let mut m: BTreeMap<String, u32> = BTreeMap::new();
    for a in std::env::args() { *m.entry(a).or_default() += 1; }
    println!("{m:?}");
}
`

// crate is a project in a folder of its own.
type crate struct {
	t   *testing.T
	dir string
	bin string
	env []string
}

func newCrate(t *testing.T) *crate {
	t.Helper()
	if _, err := exec.LookPath("cargo"); err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("cargo is not installed")
		}
		t.Skip("cargo is not installed")
	}
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	c := &crate{t: t, dir: t.TempDir(), bin: bin}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "LEANLINK_"), strings.HasPrefix(name, "CARGO_TARGET_"), name == "CARGO_BUILD_TARGET", name == "RUSTFLAGS", name == "PATH", name == "COLUMNS", name == "CARGO":
		default:
			c.env = append(c.env, v)
		}
	}
	c.env = append(c.env, "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+t.TempDir())
	c.write("Cargo.toml", "[package]\nname = \"my-hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n")
	c.write("src/main.rs", helloMain)
	return c
}

func (c *crate) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crate) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// run runs cargo size-report and checks its exit status.
func (c *crate) run(status int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	cmd := exec.Command("cargo", append([]string{"size-report"}, args...)...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		c.t.Fatalf("cargo size-report %s: exit status %d, wanted %d\n%s%s", strings.Join(args, " "), got, status, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

func (c *crate) contains(text string, parts ...string) {
	c.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			c.t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

func TestBuildAndShow(t *testing.T) {
	c := newCrate(t)
	out, errs := c.run(0, "--release")
	c.contains(errs, "Compiling my-hello", "Finished")
	c.contains(out, "target/size-report/release/my-hello", "What leanlink folded", "the file")
	if entries, err := os.ReadDir(filepath.Join(c.dir, "target")); err != nil || len(entries) != 1 {
		t.Errorf("in the user's target folder is %v (%v), not just size-report", entries, err)
	}

	// The second time nothing is built; a changed setting links again.
	if _, errs = c.run(0, "--release"); strings.Contains(errs, "Compiling") {
		t.Errorf("built again:\n%s", errs)
	}
	c.write("leanlink.toml", "fold = \"all\"\n")
	out, errs = c.run(0, "--release")
	c.contains(errs, "Compiling")
	c.contains(out, "fold all")
	if _, errs = c.run(0, "--release"); strings.Contains(errs, "Compiling") {
		t.Errorf("built again:\n%s", errs)
	}
	os.Remove(filepath.Join(c.dir, "leanlink.toml"))

	// Rows add up to the size on disk.
	info, err := os.Stat(filepath.Join(c.dir, "target/size-report/release/my-hello"))
	if err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"top", "crates", "sections"} {
		out, _ = c.run(0, view, "--release", "-q", "--format", "json", "-n", "3")
		var v struct {
			Files []struct {
				Tables []struct{ Rows []map[string]any }
			}
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		sum := 0.0
		for _, row := range v.Files[0].Tables[0].Rows {
			n, _ := row["bytes"].(float64)
			if row["row"] == "total" {
				if n != sum {
					t.Errorf("%s: the total is %v, the rows have %v", view, n, sum)
				}
				continue
			}
			sum += n
		}
		if now, err := os.Stat(filepath.Join(c.dir, "target/size-report/release/my-hello")); err == nil {
			info = now
		}
		if sum != float64(info.Size()) {
			t.Errorf("%s: rows of %v bytes, the file has %d", view, sum, info.Size())
		}
	}

	// cargo-bloat's words.
	out, _ = c.run(0, "--release", "-q", "--crates", "--split-std", "-n", "0", "-w")
	c.contains(out, "core", "my_hello")
	out, _ = c.run(0, "top", "--release", "-q", "--filter", "my_hello", "--full-fn", "--message-format", "json")
	c.contains(out, "my_hello::main::h")
	out, _ = c.run(0, "why", "my_hello::main", "--release", "-q")
	c.contains(out, "alive by itself", "my_hello::main")
	for _, view := range []string{"dup", "near", "generics", "dropped", "retained", "panics"} {
		for _, format := range []string{"table", "csv", "markdown", "json"} {
			if out, _ = c.run(0, view, "--release", "-q", "--format", format); len(out) < 50 {
				t.Errorf("%s as %s: %q", view, format, out)
			}
		}
	}
	out, _ = c.run(0, "--release", "-q", "--format", "html")
	page := c.read(strings.TrimSpace(out))
	c.contains(page, "my_hello", "<!DOCTYPE html>")
}

func TestFailures(t *testing.T) {
	c := newCrate(t)
	_, errs := c.run(2, "nonsense")
	c.contains(errs, "error: no such view: nonsense; there are summary, top,")
	_, errs = c.run(2, "--nonsense")
	c.contains(errs, "error: no such option: --nonsense")
	_, errs = c.run(2, "-n", "x")
	c.contains(errs, "error: -n x: must be a number of rows; 0 is all")
	_, errs = c.run(2, "top", "--file", filepath.Join(c.bin, "leanlink"), "--sort", "x")
	c.contains(errs, "error: --sort x: there is no such column, only share, of_code, bytes, crate, asked_by, name")
	_, errs = c.run(2, "top", "--filter", "(")
	c.contains(errs, "error: filter \"(\": error parsing regexp")
	_, errs = c.run(101, "--bin", "other")
	c.contains(errs, "no bin target named `other`")
	_, errs = c.run(101, "--file", "nothing")
	c.contains(errs, "error: nothing: no such file or directory")
	_, errs = c.run(101, "--file", "Cargo.toml")
	c.contains(errs, "error: Cargo.toml: neither an ELF file nor a report of leanlink")
	c.write("src/main.rs", "fn main() { nonsense }\n")
	_, errs = c.run(101, "--release")
	c.contains(errs, "cannot find value `nonsense`")
	c.write("src/main.rs", helloMain)
	_, errs = c.run(101, "dup")
	c.contains(errs, "dup needs the report of the link: folding is off in this profile")
}

func TestDiffAndBudget(t *testing.T) {
	c := newCrate(t)
	c.run(0, "--release", "-q")
	built := filepath.Join(c.dir, "target/size-report/release/my-hello")
	old, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	c.write("old", string(old))
	found, err := filepath.Glob(filepath.Join(c.dir, "target/size-report/release/deps/my_hello-*"+report.Suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("reports: %v, %v", found, err)
	}
	note, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	c.write("old"+report.Suffix, string(note))
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...)
		cmd.Dir, cmd.Env = c.dir, c.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", "src", "Cargo.toml")
	git("commit", "-q", "-m", "one")

	c.write("src/main.rs", strings.Replace(helloMain, "println!", "eprintln!(\"{}\", 1.5_f64.powf(m.len() as f64).sin());\n    println!", 1))
	out, _ := c.run(0, "diff", "old", "--release", "-q")
	c.contains(out, "By crate", "core::num::flt2dec::", "new", "what is as it was")
	byFile := out[strings.Index(out, "By part"):]
	out, errs := c.run(0, "diff", "--rev", "HEAD", "--release")
	c.contains(errs, "Building HEAD")
	if got := out[strings.Index(out, "By part"):]; !strings.Contains(got, "core::num::flt2dec::") {
		t.Errorf("by revision:\n%s\nby file:\n%s", got, byFile)
	}
	cmd := exec.Command("git", "worktree", "list")
	cmd.Dir = c.dir
	if list, err := cmd.Output(); err != nil || bytes.Count(list, []byte("\n")) != 1 {
		t.Errorf("a worktree is left: %s %v", list, err)
	}

	// A run that was killed leaves its worktree, which is no hindrance; and the
	// revision's crates are not built beside those of the run before.
	s := &session{env: c.env}
	if dir, unlock, err := s.revisionFolder(c.dir); err != nil {
		t.Error(err)
	} else {
		unlock()
		git("worktree", "add", "-q", "--detach", filepath.Join(dir, filepath.Base(c.dir)), "HEAD")
	}
	c.run(0, "diff", "--rev", "HEAD", "--release", "-q")
	if again, err := filepath.Glob(filepath.Join(c.dir, "target/size-report/revisions/size-report/release/deps/my_hello-*.d")); err != nil || len(again) != 1 {
		t.Errorf("built for the revision: %v, %v", again, err)
	}

	_, errs = c.run(101, "--release", "-q", "--check")
	c.contains(errs, "no budget is set")
	c.write("leanlink.toml", "[budget]\ntotal = \"100kB\"\n\"section..text\" = \"10MB\"\n")
	out, errs = c.run(1, "--release", "-q", "--check")
	c.contains(out, "EXCEEDED")
	c.contains(errs, "leanlink.toml:1: budget.total: target/size-report/release/my-hello: ", "the limit is 100,000")
	c.write("leanlink.toml", "[budget]\ntotal = \"100MB\"\ncrate.std = \"+50%\"\n")
	_, errs = c.run(101, "--release", "-q", "--check")
	c.contains(errs, "budget.crate.std limits growth: name what to compare with, --baseline FILE")
	c.run(0, "--release", "-q", "--check", "--baseline", "old")
	out, _ = c.run(0, "advise", "--release", "-q")
	c.contains(out, "What would make it smaller", "symbol table", "strip = true", "relative relocations", "the backtrace symbolizer")
	c.write("leanlink.toml", "[budget]\ntotal = \"+0\"\n")
	_, errs = c.run(1, "--release", "-q", "--check", "--baseline", "old")
	c.contains(errs, "too many")
}

func TestInitAndUndo(t *testing.T) {
	c := newCrate(t)
	host := hostOf(t)
	const before = "# mine\n[build]\njobs = 2 # two\n\n[target.%s]\nlinker = \"gcc\" # why\nrustflags = []\n"
	c.write(".cargo/config.toml", fmt.Sprintf(before, host))
	out, _ := c.run(0, "init", "--check")
	c.contains(out, ".cargo/config.toml (would be changed): the linker for "+host+" is leanlink", "leanlink.toml (would be new)")
	if got := c.read(".cargo/config.toml"); got != fmt.Sprintf(before, host) {
		t.Fatalf("--check changed the file:\n%s", got)
	}
	c.run(0, "init")
	c.contains(c.read(".cargo/config.toml"), "# mine", "jobs = 2 # two", "linker = \"leanlink\" # why")
	c.contains(c.read("leanlink.toml"), `real-linker = "gcc"`)
	out, _ = c.run(0, "init")
	c.contains(out, "nothing to change")
	c.run(0, "--release", "-q")
	if _, err := os.Stat(filepath.Join(c.dir, "target/release/my-hello")); err != nil {
		t.Errorf("with leanlink as the linker the build is not the user's: %v", err)
	}
	out, _ = c.run(0, "doctor")
	c.contains(out, "leanlink is the linker (.cargo/config.toml)", "the real linker is ", "/gcc (leanlink.toml:2)")
	c.write("leanlink.toml", strings.Replace(c.read("leanlink.toml"), `"gcc"`, `"no-such-gcc"`, 1))
	out, _ = c.run(101, "doctor")
	c.contains(out, "FAIL  "+host+": the real linker no-such-gcc (leanlink.toml:2) is not there")
	c.write("leanlink.toml", strings.Replace(c.read("leanlink.toml"), `"no-such-gcc"`, `"gcc"`, 1))
	c.run(0, "init", "--undo")
	if got := c.read(".cargo/config.toml"); got != fmt.Sprintf(before, host) {
		t.Errorf("--undo leaves:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "leanlink.toml")); err == nil {
		t.Error("--undo leaves leanlink.toml")
	}
}

func TestUserLinkerIsTheRealOne(t *testing.T) {
	c := newCrate(t)
	host := hostOf(t)
	c.write("mylinker", "#!/bin/sh\necho ran >> \"$(dirname \"$0\")/ran\"\nexec cc \"$@\"\n")
	if err := os.Chmod(filepath.Join(c.dir, "mylinker"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := "[target.'cfg(all(unix, not(windows)))']\nlinker = \"./mylinker\"\n"
	c.write(".cargo/config.toml", config)
	c.run(0, "--release", "-q", "--target", host)
	c.contains(c.read("ran"), "ran")
	if c.read(".cargo/config.toml") != config {
		t.Error("the user's config was changed")
	}

	// A linker that rustc's own flag names goes before all of these.
	c.write("flaglinker", strings.ReplaceAll(c.read("mylinker"), "/ran", "/flagran"))
	if err := os.Chmod(filepath.Join(c.dir, "flaglinker"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.write("leanlink.toml", "[target."+host+"]\nreal-linker = \"nowhere\"\n")
	c.env = append(c.env, "RUSTFLAGS=-Clinker="+filepath.Join(c.dir, "flaglinker"))
	out, _ := c.run(0, "--release", "-q")
	c.contains(out, "What leanlink folded")
	c.contains(c.read("flagran"), "ran")
	out, _ = c.run(0, "doctor")
	c.contains(out, "RUSTFLAGS names the linker ", "by rustc's -Clinker, which goes before linker = \"leanlink\"")
}

// TestSeveral has a workspace with several programs, a shared library and a
// build folder apart from the target folder.
func TestSeveral(t *testing.T) {
	c := newCrate(t)
	c.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"2\"\n")
	os.RemoveAll(filepath.Join(c.dir, "src"))
	for _, name := range []string{"a", "b"} {
		c.write(name+"/Cargo.toml", "[package]\nname = \"prog-"+name+"\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
		c.write(name+"/src/main.rs", helloMain)
	}
	c.write("b/Cargo.toml", "[package]\nname = \"prog-b\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nname = \"shared\"\ncrate-type = [\"cdylib\"]\n")
	c.write("b/src/lib.rs", "#[no_mangle]\npub extern \"C\" fn answer(x: u32) -> u32 { x.checked_mul(42).unwrap() }\n")
	c.write("a/examples/show.rs", helloMain)
	c.write("a/tests/it.rs", "#[test]\nfn it() {}\n")
	out, _ := c.run(0, "--release", "-q")
	c.contains(out, "target/size-report/release/prog-a: ", "target/size-report/release/prog-b: ", "target/size-report/release/libshared.so: ")
	if n := strings.Count(out, "What leanlink folded"); n != 3 {
		t.Errorf("%d of 3 reports were found:\n%s", n, out)
	}
	out, _ = c.run(0, "crates", "--release", "-q", "-p", "prog-a", "--example", "show")
	c.contains(out, "release/examples/show")
	if strings.Contains(out, "prog-b") {
		t.Errorf("another program is shown:\n%s", out)
	}
	out, _ = c.run(0, "crates", "--release", "-q", "-p", "prog-a", "--test", "it")
	c.contains(out, "release/deps/it-")
	if strings.Contains(out, "release/prog-a") { // which Cargo builds for the test
		t.Errorf("another program is shown:\n%s", out)
	}
	out, _ = c.run(0, "--release", "-q", "--format", "html")
	for _, name := range []string{"prog-a", "prog-b", "shared"} {
		page := "target/size-report/release/" + name + ".size-report.html"
		c.contains(out, page)
		c.contains(c.read(page), "<!DOCTYPE html>")
	}
	_, errs := c.run(101, "--release", "-q", "--format", "html", "-o", "page.html")
	c.contains(errs, "-o names one file and the project has 3 programs, each with a page; choose it by --bin")

	c.write(".cargo/config.toml", "[build]\nbuild-dir = \"elsewhere\"\n[target."+hostOf(t)+"]\nlinker = \"leanlink\"\n")
	out, _ = c.run(0, "--release", "-q", "--bin", "prog-a")
	c.contains(out, "target/release/prog-a: ", "What leanlink folded")
	if _, err := os.Stat(filepath.Join(c.dir, "elsewhere/release/deps")); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	c := newCrate(t)
	_, errs := c.run(101, "history")
	c.contains(errs, "there is no history yet")
	c.run(0, "--release", "-q", "--record")
	c.run(0, "--release", "-q", "--record")
	out, _ := c.run(0, "history")
	c.contains(out, "my-hello, release", "▁▁")
	list, bad, err := readHistory(filepath.Join(c.dir, historyFile))
	if err != nil || bad != 0 || len(list) != 2 {
		t.Fatalf("%d records, %d bad, %v", len(list), bad, err)
	}
	var parts uint64
	for _, n := range list[0].Parts {
		parts += n
	}
	if parts != list[0].File {
		t.Errorf("parts of %d bytes, the file has %d", parts, list[0].File)
	}
}

// TestAppendLocked has many writers at once.
func TestAppendLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, []byte(`{"name":"cut o`), 0o644); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			if err := appendLocked(path, []byte(fmt.Sprintf("{\"name\":\"p%d\",\"crates\":{%q:1}}\n", i, strings.Repeat("x", 5000)))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	list, bad, err := readHistory(path)
	if err != nil || len(list) != 40 || bad != 1 {
		t.Errorf("%d records, %d bad, %v", len(list), bad, err)
	}
}

func hostOf(t *testing.T) string {
	t.Helper()
	s := &session{opts: &options{}, env: os.Environ(), dir: t.TempDir()}
	host, err := s.hostTriple()
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func TestParseMemory(t *testing.T) {
	regions, err := parseMemory("/* a b */ MEMORY\n{\n  FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 256K /* x */\n  RAM : org = 0x20000000 + 4K, len = 20K - 0x10\n REST (rw) : o = ORIGIN(RAM) + LENGTH(RAM), l = 1M\n}\nREGION_ALIAS(\"X\", RAM);")
	if err != nil {
		t.Fatal(err)
	}
	want := []report.Region{{Name: "FLASH", Origin: 0x08000000, Length: 256 << 10}, {Name: "RAM", Origin: 0x20001000, Length: 20<<10 - 16}, {Name: "REST", Origin: 0x20001000 + 20<<10 - 16, Length: 1 << 20}}
	if fmt.Sprint(regions) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", regions, want)
	}
	// As esp-hal has it.
	regions, err = parseMemory("MEMORY {\n DRAM : ORIGIN = 0x3FC80000, LENGTH = 313K - 0x4000\n dram2_seg ( RW ) : ORIGIN = ORIGIN(DRAM) + LENGTH(DRAM), len = 0x3fcde710 - (ORIGIN(DRAM) + LENGTH( DRAM ))\n half : o = (1 + 1) * 2K, l = LENGTH(DRAM) / 2\n}")
	if err != nil {
		t.Fatal(err)
	}
	const dram = 313<<10 - 0x4000
	want = []report.Region{{Name: "DRAM", Origin: 0x3fc80000, Length: dram}, {Name: "dram2_seg", Origin: 0x3fc80000 + dram, Length: 0x3fcde710 - 0x3fc80000 - dram}, {Name: "half", Origin: 4 << 10, Length: dram / 2}}
	if fmt.Sprint(regions) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", regions, want)
	}
	for _, bad := range []string{"1 +", "(1", "1)", "2 / 0", "ORIGIN(B)", "1 2", "1 ^ 2"} {
		if _, err := parseMemory("MEMORY { A : ORIGIN = " + bad + ", LENGTH = 1 }"); err == nil {
			t.Errorf("ORIGIN = %s is no error", bad)
		}
	}
	if _, err := parseMemory("MEMORY { A : ORIGIN = x, LENGTH = 1 }"); err == nil || err.Error() != `region A: ORIGIN: "x" is not a number` {
		t.Errorf("a bad number: %v", err)
	}
}

func TestCfgHolds(t *testing.T) {
	facts := []string{"unix", `target_os="linux"`, `target_arch="x86_64"`}
	for expr, want := range map[string]bool{
		"cfg(unix)": true, "cfg(windows)": false, `cfg(all(unix, target_os = "linux"))`: true, `cfg(any(windows, not(unix)))`: false,
		`cfg(not(target_arch="arm"))`: true, "cfg(all())": true, "cfg(any())": false, "cfg(true)": true, "cfg(unix": false, "cfg(strange(unix))": false, "": false,
	} {
		if got := cfgHolds(expr, facts); got != want {
			t.Errorf("%s: %v", expr, got)
		}
	}
}

func TestTomlEdits(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"empty", "", "[target.t-x] # cargo size-report init\nlinker = \"leanlink\" # cargo size-report init\n"},
		{"no newline", "[build]\njobs = 1", "[build]\njobs = 1\n[target.t-x] # cargo size-report init\nlinker = \"leanlink\" # cargo size-report init\n"},
		{"table", "[target.t-x]\nrunner = \"q\"\n", "[target.t-x]\nlinker = \"leanlink\" # cargo size-report init\nrunner = \"q\"\n"},
		{"dotted", "target.t-x.linker = 'cc'\n", "target.t-x.linker = \"leanlink\" # cargo size-report init, was 'cc'\n"},
		{"inline", "[target]\nt-x = { ar = \"linker\", linker = \"cc\" }\n", "[target]\nt-x = { ar = \"linker\", linker = \"leanlink\" } # cargo size-report init, was \"cc\"\n"},
		{"other", "[target.other]\nlinker = \"x\"\n", "[target.other]\nlinker = \"x\"\n[target.t-x] # cargo size-report init\nlinker = \"leanlink\" # cargo size-report init\n"},
	} {
		got, err := tomlSet(c.before, "t-x", "linker", "leanlink")
		if err != nil || got != c.after {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", c.name, err, got, c.after)
			continue
		}
		back := tomlUndo(got)
		if strings.TrimRight(back, "\n") != strings.TrimRight(c.before, "\n") {
			t.Errorf("%s: undone to\n%s\nnot\n%s", c.name, back, c.before)
		}
	}
	if _, err := tomlSet("[target]\nt-x = { ar = \"y\" }\n", "t-x", "linker", "leanlink"); err == nil || !strings.HasSuffix(err.Error(), "set it to \"leanlink\" by hand") {
		t.Errorf("an inline table without the key: %v", err)
	}
}
