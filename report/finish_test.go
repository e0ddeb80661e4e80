package report

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Two objects have local functions of the same name and size; local sections
// without a symbol; two functions that a folding linker would make one.
var finishSources = map[string]string{
	"one.c": `
static __attribute__((noinline)) int helper(int x) { return x * 3 + 1; }
static __attribute__((noinline)) int only_one(int x) { return helper(x) + 7; }
int one(int x) { return only_one(x) + helper(x); }
int folded_here(int x) { return x - 9; }
int table_one[4] = {1, 2, 3, 4};
`,
	"two.c": `
static __attribute__((noinline)) int helper(int x) { return x * 5 + 1; }
int two(int x) { return helper(x) ^ 2; }
int leader(int x) { return x - 9; }
`,
	"main.c": `
int one(int), two(int), leader(int);
extern int table_one[];
int main(int argc, char **argv) { return one(argc) + two(argc) + leader(argc) + table_one[argc & 3]; }
`,
}

// finishReport compiles finishSources and describes the objects as Prepare
// would: folded_here is folded into leader.
func finishReport(t *testing.T, dir string) *Report {
	t.Helper()
	tool(t, "gcc")
	writeFiles(t, dir, finishSources)
	r := &Report{Tool: "leanlink test", Modes: Modes{Fold: "all", GC: true, Machine: "x86_64"}}
	for _, name := range []string{"one", "two", "main"} {
		run(t, dir, "gcc", "-O1", "-ffunction-sections", "-fdata-sections", "-fPIE", "-c", name+".c")
		f, err := elf.Open(filepath.Join(dir, name+".o"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := InputIndex(len(r.Inputs))
		r.Inputs = append(r.Inputs, Input{Path: name + ".o", Fate: InputRewritten})
		symbols, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range f.Sections {
			if s.Flags&elf.SHF_ALLOC == 0 {
				continue
			}
			sec := Section{Input: in, Index: uint32(n), Name: s.Name, Size: s.Size, Align: s.Addralign, Into: None, Kind: KindOther}
			switch {
			case s.Flags&elf.SHF_EXECINSTR != 0:
				sec.Kind = KindCode
			case s.Type == elf.SHT_NOBITS:
				sec.Kind = KindBSS
			}
			for _, y := range symbols {
				if int(y.Section) == n && elf.ST_TYPE(y.Info) != elf.STT_SECTION {
					sec.Symbols = append(sec.Symbols, Symbol{y.Name, y.Value, y.Size})
				}
			}
			if s.Size == 0 || s.Name == ".eh_frame" {
				sec.Size, sec.Fate, sec.Reason = 0, FateIneligible, ReasonEmpty
			}
			r.Sections = append(r.Sections, sec)
		}
	}
	leader := find(t, r, "leader")
	folded := &r.Sections[find(t, r, "folded_here")]
	folded.Fate, folded.Into = FateFolded, leader
	r.Tally()
	return r
}

func find(t *testing.T, r *Report, symbol string) SectionIndex {
	t.Helper()
	for i := range r.Sections {
		for _, y := range r.Sections[i].Symbols {
			if y.Name == symbol {
				return SectionIndex(i)
			}
		}
	}
	t.Fatalf("no section defines %s", symbol)
	return None
}

// addresses returns what the symbol table of a program says; helper, which two
// files define, is "FILE:helper".
func addresses(t *testing.T, path string) map[string]uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]uint64{}
	file := ""
	for _, y := range symbols {
		switch {
		case elf.ST_TYPE(y.Info) == elf.STT_FILE:
			file = y.Name
		case y.Name == "helper":
			m[file+":helper"] = y.Value
		default:
			m[y.Name] = y.Value
		}
	}
	return m
}

// rustLLD returns options that make gcc link with the lld that rustc ships.
func rustLLD(t *testing.T) []string {
	t.Helper()
	out := run(t, ".", "rustc", "--print", "sysroot")
	found, err := filepath.Glob(filepath.Join(strings.TrimSpace(out), "lib/rustlib/*/bin/gcc-ld"))
	if err != nil || len(found) == 0 {
		missing(t, "rustc has no gcc-ld")
	}
	return []string{"-B" + found[0], "-fuse-ld=lld"}
}

func TestFinish(t *testing.T) {
	for _, linker := range []string{"bfd", "gold", "lld", "mold"} {
		t.Run(linker, func(t *testing.T) {
			dir := t.TempDir()
			r := finishReport(t, dir)
			args := []string{"-fuse-ld=" + linker}
			switch linker {
			case "lld":
				args = rustLLD(t)
			default:
				tool(t, map[string]string{"bfd": "ld.bfd", "gold": "ld.gold", "mold": "mold"}[linker])
			}
			args = append(args, "one.o", "two.o", "main.o", "-Wl,--build-id", "-o", "app", "-Wl,-Map=app.map")
			run(t, dir, "gcc", args...)
			out := filepath.Join(dir, "app")
			if err := Finish(r, out); err != nil {
				t.Fatal(err)
			}
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
			truth := addresses(t, out)
			want := map[string]uint64{
				"one.c:helper": truth["one.c:helper"], "two.c:helper": truth["two.c:helper"], "only_one": truth["only_one"], "one": truth["one"], "two": truth["two"],
				"leader": truth["leader"], "main": truth["main"], "table_one": truth["table_one"], "folded_here": 0,
			}
			got := map[string]uint64{}
			for i := range r.Sections {
				s := &r.Sections[i]
				for _, y := range s.Symbols {
					name := y.Name
					if name == "helper" {
						name = strings.TrimSuffix(r.Inputs[s.Input].Path, "o") + "c:" + name
					}
					got[name] = s.Addr
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("addresses (-symbol table +report):\n%s", d)
			}
			if truth["leader"] == 0 || truth["one.c:helper"] == truth["two.c:helper"] {
				t.Errorf("the program is not what this test is for: %v", truth)
			}
			if notes := run(t, dir, "readelf", "-n", "app"); !strings.Contains(notes, r.Output.BuildID) || len(r.Output.BuildID) < 16 {
				t.Errorf("build ID %q; readelf says\n%s", r.Output.BuildID, notes)
			}
			if stale, err := Stale(r, out); stale || err != nil {
				t.Errorf("a fresh report is stale: %v, %v", stale, err)
			}

			// Stripped, and then with the map.
			placed := map[string]uint64{}
			for i := range r.Sections {
				s := &r.Sections[i]
				if s.Kind == KindCode && s.After() > 0 {
					placed[fmt.Sprint(s.Input, s.Name)] = s.Addr
				}
			}
			run(t, dir, "strip", "app")
			if stale, err := Stale(r, out); !stale || err != nil {
				t.Errorf("a stripped output is another: %v, %v", stale, err)
			}
			if err := Finish(r, out); err != nil {
				t.Fatal(err)
			}
			if !r.Output.Stripped {
				t.Error("the output is stripped, the report does not say so")
			}
			m, err := os.Open(filepath.Join(dir, "app.map"))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			err = FinishWithMap(r, out, m, func(name string) (InputIndex, bool) {
				for i := range r.Inputs {
					if r.Inputs[i].Path == name {
						return InputIndex(i), true
					}
				}
				return 0, false
			})
			if err != nil {
				t.Fatal(err)
			}
			mapped := map[string]uint64{}
			for i := range r.Sections {
				s := &r.Sections[i]
				if s.Kind == KindCode && s.After() > 0 {
					mapped[fmt.Sprint(s.Input, s.Name)] = s.Addr
				}
			}
			if d := cmp.Diff(placed, mapped); d != "" || !r.Output.Mapped {
				t.Errorf("addresses by map (-symbols +map):\n%s", d)
			}

			// The command, on what was written.
			file := filepath.Join(dir, "app"+Suffix)
			if err := os.WriteFile(file, mustWrite(t, r), 0o644); err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := symbolize(file, fmt.Sprintf("%x", truth["leader"]+1), fmt.Sprintf("0x%x", truth["two.c:helper"]), "1")
			wantOut := fmt.Sprintf("%#x: leader+0x1 (two.o)\n%#x: folded_here+0x1 (one.o), folded into it\n%#x: helper (two.o)\n0x1: ??\n", truth["leader"]+1, truth["leader"]+1, truth["two.c:helper"])
			if status != 1 || stdout != wantOut || stderr != "" {
				t.Errorf("status %d\n%s%s\nwant\n%s", status, stdout, stderr, wantOut)
			}
		})
	}
}

func symbolize(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Symbolize(args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestFinishErrors(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	missing := filepath.Join(dir, "missing")
	if err := Finish(r, missing); fmt.Sprint(err) != "report: open "+missing+": no such file or directory" {
		t.Error(err)
	}
	writeFiles(t, dir, map[string]string{"text": "hello"})
	text := filepath.Join(dir, "text")
	if err := Finish(r, text); err == nil || !strings.HasPrefix(err.Error(), "report: "+text+": ") {
		t.Error(err)
	}
	if _, err := Stale(r, missing); !os.IsNotExist(err) {
		t.Error(err)
	}
	if stale, err := Stale(r, text); !stale || err != nil {
		t.Error(stale, err)
	}
}

func TestSymbolize(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "app"+Suffix)
	r := sample()
	if err := os.WriteFile(file, mustWrite(t, r), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Output.Stripped = true
	for i := range r.Sections {
		r.Sections[i].Addr = 0
	}
	stripped := filepath.Join(dir, "stripped"+Suffix)
	if err := os.WriteFile(stripped, mustWrite(t, r), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	writeFiles(t, dir, map[string]string{"broken": "{"})
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{file, "0x1000"}, 0, "0x1000: main (app)\n", ""},
		{[]string{file, "1027"}, 0, "0x1027: main+0x27 (app)\n", ""},
		{[]string{file, "1028"}, 1, "0x1028: ??\n", ""},
		{[]string{file, "1034"}, 0, "0x1034: app::run+0x4 (app)\n0x1034: json::run+0x4 (json), folded into it\n", ""},
		{[]string{"--mangled", file, "1034"}, 0, "0x1034: _ZN3app3run" + testHash + "+0x4 (app)\n0x1034: _RNvCs1_4json3run+0x4 (json), folded into it\n", ""},
		{[]string{file, "2004"}, 0, "0x2004: json::walk+0x4 (json), a jump to app::run\n", ""},
		{[]string{file, "2005", "0"}, 1, "0x2005: ??\n0x0: ??\n", ""},
		{[]string{"--", file, "FFFFFFFF80000007"}, 0, "0xffffffff80000007: COUNT+0x7 (json)\n", ""},
		{[]string{stripped, "1000"}, 1, "", "leanlink symbolize: " + stripped + ": the output is stripped and was linked without a map, so no addresses are known\n"},
		{[]string{broken, "1000"}, 1, "", "leanlink symbolize: " + broken + ": truncated or damaged report: unexpected end of JSON input at byte 1\n"},
		{[]string{file + "x", "1000"}, 1, "", "leanlink symbolize: " + file + "x: no such file or directory\n"},
		{[]string{file, "main"}, 2, "", "leanlink symbolize: main is not a hexadecimal address\n"},
		{[]string{file}, 2, "", symbolizeUsage},
		{nil, 2, "", symbolizeUsage},
		{[]string{"--what", file, "1"}, 2, "", "leanlink symbolize: no such option: --what\n" + symbolizeUsage},
		{[]string{"--help"}, 0, symbolizeUsage, ""},
	} {
		status, stdout, stderr := symbolize(c.args...)
		if status != c.status || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("symbolize %q: status %d\n%s%swant %d\n%s%s", c.args, status, stdout, stderr, c.status, c.stdout, c.stderr)
		}
	}
}

// An odd address is how a pointer to a Thumb function looks.
func TestNamesThumb(t *testing.T) {
	r := sample()
	r.Modes.Machine = "arm"
	names := r.AddressTable().Names(0x1001)
	if len(names) != 1 || names[0].Symbol != "main" || names[0].Offset != 0 {
		t.Errorf("%v", names)
	}
}

func TestSummary(t *testing.T) {
	var b bytes.Buffer
	if err := Summary(&b, sample()); err != nil {
		t.Fatal(err)
	}
	want := `target/release/deps/app: x86_64-unknown-linux-gnu, release, fold safe, lld

               before        after   change
code              220          105   -52.3%
rodata             16            8   -50.0%
bss                 8            8    +0.0%
lsda               12           12    +0.0%
unwind            148          104   -29.7%
total             404          237   -41.3%

2 of 9 live sections folded, 1 more into a jump; 1 dropped (124 bytes)
output: 20,000 bytes on disk, 130 of them allocated
1 of 3 inputs left alone
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if err := Summary(failingWriter{}, sample()); fmt.Sprint(err) != "disk full" {
		t.Error(err)
	}
}

// What rustc names its files and symbols must be read as it means it, in both
// manglings and with generics of one crate used by another.
func TestRustCrates(t *testing.T) {
	tool(t, "rustc")
	for _, mangling := range []string{"legacy", "v0"} {
		t.Run(mangling, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{
				"shapes.rs": `
pub trait Area { fn area(&self) -> u64; }
impl Area for Vec<u8> { #[inline(never)] fn area(&self) -> u64 { self.len() as u64 } }
pub struct Square(pub u64);
impl Area for Square { #[inline(never)] fn area(&self) -> u64 { self.0 * self.0 } }
#[inline(never)] pub fn total<T: Area>(list: &[T]) -> u64 { list.iter().map(|x| x.area()).sum() }
`,
				"main.rs": `
use shapes::{Area, Square, total};
pub struct Mine(u64);
impl Area for Mine { #[inline(never)] fn area(&self) -> u64 { self.0 } }
impl std::fmt::Display for Mine { #[inline(never)] fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "mine {}", self.0) } }
fn main() { println!("{} {} {} {}", total(&[Mine(3)]), total(&[Square(2)]), vec![1u8].area(), Mine(7)); }
`})
			args := []string{"--edition=2021", "-Copt-level=1", "-Ccodegen-units=4", "-Csave-temps"}
			if mangling == "v0" {
				args = append(args, "-Csymbol-mangling-version=v0")
			} else {
				args = append(args, "-Csymbol-mangling-version=legacy", "-Zunstable-options")
				t.Setenv("RUSTC_BOOTSTRAP", "1")
			}
			run(t, dir, "rustc", append(args, "--crate-type=rlib", "shapes.rs")...)
			run(t, dir, "rustc", append(args, "--extern=shapes=libshapes.rlib", "main.rs", "-o", "my-prog")...)
			if got := FileCrate("libshapes.rlib", ""); got != "shapes" {
				t.Errorf("libshapes.rlib is of %q", got)
			}
			units, err := filepath.Glob(filepath.Join(dir, "my-prog.*.rcgu.o"))
			if err != nil || len(units) == 0 {
				t.Fatalf("rustc left no objects: %v", err)
			}
			crates := (&Report{Inputs: []Input{{Crate: "main"}, {Crate: "shapes"}, {Crate: "std"}}}).Crates()
			defined := map[string]string{}
			for _, unit := range units {
				if base := filepath.Base(unit); FileCrate(base, "") != "main" && strings.Contains(base, "-cgu.") {
					t.Errorf("%s is of %q", base, FileCrate(base, ""))
				}
				f, err := elf.Open(unit)
				if err != nil {
					t.Fatal(err)
				}
				symbols, err := f.Symbols()
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				for _, y := range symbols {
					if !isRust(y.Name) {
						continue
					}
					crate, asked := crates.Of(y.Name)
					if crate == "" {
						t.Errorf("%s: no crate", y.Name)
					}
					if mangling == "v0" && strings.Contains(y.Name, "6shapes5total") && asked != "main" {
						t.Errorf("%s: asked for by %q, want main", y.Name, asked)
					}
					defined[Generic(y.Name)] = crate
				}
			}
			for name, want := range map[string]string{
				"shapes::total":                           "shapes",
				"<main::Mine as shapes::Area>::area":      "main",
				"<main::Mine as core::fmt::Display>::fmt": "main",
				"<shapes::Square as shapes::Area>::area":  "shapes",
				"<alloc::vec::Vec as shapes::Area>::area": "shapes",
				"main::main":          "main",
				"std::rt::lang_start": "std",
			} {
				if got := defined[name]; got != want {
					t.Errorf("%s is of %q, want %q", name, got, want)
				}
			}
			if t.Failed() {
				t.Log(defined)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	env := map[string]string{"HOME": "/home/me", "CARGO_MANIFEST_DIR": "/ws/crates/app"}
	args := []string{"/ws/target/x86_64-unknown-linux-gnu/release/deps/rustcAb12zZ/symbols.o", "/home/me/.rustup/toolchains/stable/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-d1.rlib"}
	p := NewPaths("/ws", "/ws/target/x86_64-unknown-linux-gnu/release/deps/app-1", args, func(k string) string { return env[k] })
	for arg, want := range map[string]string{
		"/ws/target/x86_64-unknown-linux-gnu/release/deps/rustcAb12zZ/symbols.o":                     "target/x86_64-unknown-linux-gnu/release/deps/rustcXXXXXX/symbols.o",
		"/ws/target/x86_64-unknown-linux-gnu/release/deps/libx-1.rlib":                               "target/x86_64-unknown-linux-gnu/release/deps/libx-1.rlib",
		"/home/me/.rustup/toolchains/stable/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-d1.rlib": "$SYSROOT/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-d1.rlib",
		"-L/home/me/.cargo/registry/src/index-1/zstd-1/lib":                                          "-L$CARGO_HOME/registry/src/index-1/zstd-1/lib",
		"-Wl,--version-script=/ws/target/x/rustcAb12zZ/list,-z,now":                                  "-Wl,--version-script=target/x/rustcXXXXXX/list,-z,now",
		"-B/home/me/.rustup/toolchains/stable/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld":       "-B$SYSROOT/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld",
		"/ws/crates/app/link.x":             "crates/app/link.x",
		"/ws":                               ".",
		"/wsx/a.o":                          "/wsx/a.o",
		"/home/me/lib/a.o":                  "~/lib/a.o",
		"/usr/lib/gcc/x/12/../../../crt1.o": "/usr/lib/crt1.o",
		"/usr/lib/crt1.o":                   "/usr/lib/crt1.o",
		"relative/a.o":                      "relative/a.o",
		"-lc":                               "-lc",
		"-Wl,-rpath,/ws/lib":                "-Wl,-rpath,lib",
		"":                                  "",
	} {
		if got := p.ShortenArg(arg); got != want {
			t.Errorf("ShortenArg(%q) = %q, want %q", arg, got, want)
		}
	}
	// The same project elsewhere has the same paths.
	q := NewPaths("/other/place", "/elsewhere/out/release/deps/app-1", []string{"/opt/rust/lib/rustlib/x/lib/libstd-d1.rlib"}, func(string) string { return "" })
	for path, want := range map[string]string{
		"/elsewhere/out/release/deps/libx-1.rlib":    "target/release/deps/libx-1.rlib",
		"/opt/rust/lib/rustlib/x/lib/libstd-d1.rlib": "$SYSROOT/lib/rustlib/x/lib/libstd-d1.rlib",
		"/other/place/link.x":                        "link.x",
	} {
		if got := q.Shorten(path); got != want {
			t.Errorf("Shorten(%q) = %q, want %q", path, got, want)
		}
	}
	// Without Cargo, paths are relative to the output and to the working folder.
	b := NewPaths("/sandbox/1", "out/app", nil, func(string) string { return "" })
	for path, want := range map[string]string{"/sandbox/1/out/a.o": "a.o", "/sandbox/1/src/a.o": "src/a.o"} {
		if got := b.Shorten(path); got != want {
			t.Errorf("Shorten(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestTargetFolder(t *testing.T) {
	for dir, want := range map[string]string{
		"/ws/target/release/deps":                           "/ws/target",
		"/ws/target/thumbv7em-none-eabihf/release/examples": "/ws/target",
		"/t/riscv32imac-unknown-none-elf/debug/deps":        "/t",
		"/t/debug/build/foo-0123456789abcdef":               "/t",
		"/home/me/src":                                      "",
		"/":                                                 "",
	} {
		if got := targetFolder(dir); got != want {
			t.Errorf("targetFolder(%q) = %q, want %q", dir, got, want)
		}
	}
}

// A report is not of a file in which anything differs but debug information.
func TestStale(t *testing.T) {
	tool(t, "gcc")
	dir := t.TempDir()
	writeFiles(t, dir, finishSources)
	run(t, dir, "gcc", "-g", "one.c", "two.c", "main.c", "-Wl,--build-id=none", "-o", "app")
	app := filepath.Join(dir, "app")
	r := &Report{}
	if err := Finish(r, app); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	stale := func(what string, image []byte, want bool) {
		t.Helper()
		path := filepath.Join(dir, "other")
		if err := os.WriteFile(path, image, 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := Stale(r, path); got != want || err != nil {
			t.Errorf("%s: stale %v (%v), want %v", what, got, err, want)
		}
	}
	stale("a copy", image, false)
	stale("one byte longer", append(bytes.Clone(image), 0), true)
	stale("no ELF file", append([]byte("X"), image[1:]...), true)
	debug := 0
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NULL || s.FileSize == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		isDebug := strings.HasPrefix(s.Name, ".debug_")
		if isDebug {
			debug++
		}
		for _, at := range []uint64{s.Offset, s.Offset + s.FileSize - 1} {
			other := bytes.Clone(image)
			other[at] ^= 0x40
			stale(s.Name, other, !isDebug)
		}
	}
	if debug < 4 {
		t.Errorf("%d debug sections", debug)
	}
	other := bytes.Clone(image)
	other[len(other)-8] ^= 1 // of a section header
	stale("section headers", other, true)
}
