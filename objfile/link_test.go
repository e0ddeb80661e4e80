package objfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// linkEnv makes the test program stand in for a linker: it edits every
// object and library of the command line and hands over to gcc. Its value is
// the folder where edited files are kept.
const linkEnv = "OBJFILE_TEST_LINK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(linkEnv); dir != "" {
		if err := shakeAndLink(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shakeAndLink runs gcc with every object and Rust library of its arguments
// replaced by an edited one.
func shakeAndLink(dir string, args []string) error {
	var out []string
	for i, arg := range args {
		switch filepath.Ext(arg) {
		case ".o":
			b, err := os.ReadFile(arg)
			if err != nil {
				return err
			}
			path := filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(arg)))
			if err := shakeFile(arg, b, path); err != nil {
				return err
			}
			arg = path
		case ".rlib":
			path := filepath.Join(dir, filepath.Base(arg))
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				if err := shakeLibrary(arg, path); err != nil {
					return err
				}
			}
			arg = path
		}
		out = append(out, arg)
	}
	cmd := exec.Command("gcc", out...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// shaken returns an object after all the changes of shake.
func shaken(name string, b []byte) ([]byte, error) {
	f, err := objfile.Parse(name, b)
	if err != nil || f.NumSymbols == 0 {
		return b, err
	}
	e, _, err := shake(f)
	if err != nil {
		return nil, err
	}
	var w bytes.Buffer
	_, err = e.Write(&w)
	return w.Bytes(), err
}

func shakeFile(name string, b []byte, path string) error {
	b, err := shaken(name, b)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// shakeLibrary edits every object of a Rust library and makes a library of
// them, with an index of its own.
func shakeLibrary(lib, path string) error {
	b, err := os.ReadFile(lib)
	if err != nil {
		return err
	}
	a, err := objfile.ParseArchive(lib, b)
	if err != nil {
		return err
	}
	var names, members []byte
	var symbols []any
	for _, m := range a.Members {
		if m.Name == "lib.rmeta" || objfile.FileType(m.Data) != objfile.ET_REL {
			continue
		}
		f, err := objfile.Parse(m.Name, m.Data)
		if err != nil {
			return err
		}
		for i := f.FirstGlobal; i < f.NumSymbols; i++ {
			if s := f.Symbol(i); s.Section != objfile.SecUndef {
				symbols = append(symbols, f.NameOf(&s), len(members))
			}
		}
		b, err := shaken(lib, m.Data)
		if err != nil {
			return err
		}
		members = append(members, arMember(fmt.Sprintf("/%d", len(names)), b)...)
		names = append(append(names, m.Name...), "/\n"...)
	}
	table := arMember("//", names)
	before := 8 + len(arMember("/", sysvIndex(false, symbols...))) + len(table)
	for i := 1; i < len(symbols); i += 2 {
		symbols[i] = symbols[i].(int) + before
	}
	return os.WriteFile(path, arFile(arMember("/", sysvIndex(false, symbols...)), table, members), 0o600)
}

// linkers are those under test: how gcc is told, and the program's name.
var linkers = []struct{ name, use, program string }{
	{"GNU ld", "bfd", "ld.bfd"},
	{"gold", "gold", "ld.gold"},
	{"mold", "mold", "mold"},
	{"lld", "lld", "ld.lld"},
	{"lld 19", "lld", "ld.lld-19"},
	{"rust-lld", "lld", "rust-lld"},
}

// eachLinker runs a test with every linker that is here; gcc is the
// argument that makes gcc use it, path the linker itself.
func eachLinker(t *testing.T, f func(t *testing.T, gcc []string, path string)) {
	tool(t, "gcc")
	for _, l := range linkers {
		t.Run(l.name, func(t *testing.T) {
			path, err := exec.LookPath(l.program)
			if l.program == "rust-lld" {
				path, err = rustLLD()
			}
			if err != nil {
				t.Skipf("no %s", l.program)
			}
			gcc := []string{"-fuse-ld=" + l.use}
			if l.use == "lld" { // gcc looks for ld.lld and no other name
				dir := t.TempDir()
				if err := os.Symlink(path, filepath.Join(dir, "ld.lld")); err != nil {
					t.Fatal(err)
				}
				gcc, path = append(gcc, "-B"+dir), filepath.Join(dir, "ld.lld")
			}
			f(t, gcc, path)
		})
	}
}

func rustLLD() (string, error) {
	root, err := sysroot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld")
	_, err = os.Stat(path)
	return path, err
}

// run runs a program and returns what it prints and its exit status.
func run(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), linkEnv+"=")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s%v", out, cmd.ProcessState)
}

// editedFile writes an edited object beside the others.
func editedFile(t *testing.T, dir, name string, edit func(f *objfile.File, e *objfile.Edit)) string {
	t.Helper()
	f := parse(t, name, read(t, filepath.Join(dir, name)))
	e := objfile.NewEdit(f)
	edit(f, e)
	return write(t, dir, "edited-"+name, written(t, e))
}

// symbolNamed finds a symbol.
func symbolNamed(t testing.TB, f *objfile.File, name string) uint32 {
	t.Helper()
	for i := range f.NumSymbols {
		if f.SymbolName(i) == name {
			return i
		}
	}
	t.Fatalf("%s: no symbol %s", f.Name, name)
	return 0
}

// TestLinkEditedC: a program of two objects. One call and one pointer go to
// another function by a new symbol, a global name moves to the other object,
// a function's body becomes a jump, what nobody needs is excluded.
func TestLinkEditedC(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "main.c", []byte(`
#include <stdio.h>
#include <stdint.h>
int moved(int); int other(int); int keeps_address(int);
static __attribute__((noinline)) int first(int x) { return x + 1; }
static __attribute__((noinline)) int second(int x) { return x + 100; }
static __attribute__((noinline)) int jumps(int x) { return first(x) * second(x) + 7 * x + 3; }
int (*volatile pointer)(int) = first;
__attribute__((aligned(4096))) char page[1];
char unaligned[3] = "ab";
static const char nobody_reads_this[] __attribute__((used)) = "nobody reads this constant";
static __attribute__((used)) int nobody_calls_this(int x) { return second(x) + nobody_reads_this[x]; }
int main(void) {
	printf("%d %d %d %d %d\n", first(1), second(1), jumps(1), pointer(1), moved(1));
	printf("%s %d %d\n", unaligned, (int)((uintptr_t)unaligned % 256), (int)((uintptr_t)second % 256));
	return first(1) == 2 ? 0 : 3;
}
`))
	write(t, dir, "other.c", []byte("int moved(int x) { return x + 1000; } int other(int x) { return x + 2000; }\n"))
	flags := []string{"-c", "-O1", "-g", "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables", "-fno-inline", "-fPIC", "-fno-ipa-cp", "-fno-ipa-icf"}
	command(t, dir, "gcc", append(flags, "main.c", "-o", "main.o")...)
	command(t, dir, "gcc", append(flags, "other.c", "-o", "other.o")...)

	section := func(f *objfile.File, name string) uint32 { return f.Symbol(symbolNamed(t, f, name)).Section }
	add := func(e *objfile.Edit, name string, s objfile.Symbol) uint32 {
		k, err := e.AddSymbol(name, s)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	// redirect changes all relocations of a section that refer to the start
	// of one of its file's functions, by whatever symbol.
	redirect := func(f *objfile.File, e *objfile.Edit, in, of, to uint32) {
		rs, n := f.Relocs(in), 0
		for k := range rs.Len() {
			r := rs.At(k)
			if s := f.Symbol(r.Sym); s.Section == of && s.Value == 0 {
				r.Sym = to
				e.SetReloc(in, k, r)
				n++
			}
		}
		if n == 0 {
			t.Errorf("no reference from %s to %s", f.Sections[in].Name, f.Sections[of].Name)
		}
	}
	mainObj := editedFile(t, dir, "main.o", func(f *objfile.File, e *objfile.Edit) {
		first, second := section(f, "first"), section(f, "second")
		mark := add(e, "mark$1", objfile.Symbol{Bind: objfile.STB_GLOBAL, Other: objfile.STV_HIDDEN, Section: second})
		redirect(f, e, section(f, "main"), first, mark)    // first(1) is 101 now
		redirect(f, e, section(f, "pointer"), first, mark) // and so is pointer(1)
		e.SetAlign(section(f, "unaligned"), 256)
		e.SetAlign(second, 256)
		e.SetContents(section(f, "jumps"), []byte{0xe9, 0, 0, 0, 0}, []objfile.Reloc{{Offset: 1, Type: 4, Sym: mark, Addend: -4}})
		e.Exclude(section(f, "nobody_reads_this"))
		e.Exclude(section(f, "nobody_calls_this"))
	})
	otherObj := editedFile(t, dir, "other.o", func(f *objfile.File, e *objfile.Edit) {
		k := symbolNamed(t, f, "moved")
		s := f.Symbol(k)
		s.Section = section(f, "other") // moved is an alias of other now
		if err := e.SetSymbol(k, s); err != nil {
			t.Fatal(err)
		}
	})

	const want = "101 101 101 101 2001\nab 0 0\nexit status 3"
	eachLinker(t, func(t *testing.T, gcc []string, _ string) {
		for _, extra := range [][]string{{}, {"-Wl,--gc-sections"}, {"-static"}, {"-no-pie"}} {
			out := filepath.Join(t.TempDir(), "program")
			command(t, dir, "gcc", append(append(gcc, extra...), "-o", out, mainObj, otherObj)...)
			if got := run(t, out); got != want {
				t.Errorf("%q: the program says\n%s\nwant\n%s", extra, got, want)
			}
			if bytes.Contains(read(t, out), []byte("nobody reads this constant")) {
				t.Errorf("%q: the excluded constant is in the program", extra)
			}
		}
	})
}

// TestLinkShakenCxx: exceptions through edited objects.
func TestLinkShakenCxx(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "cxx.cc", []byte(cxxSource))
	write(t, dir, "main.cc", []byte(`
#include <cstdio>
#include <stdexcept>
#include <string>
struct Base { virtual ~Base(); virtual int f(int); };
int guard(Base *b, int x);
static int depth(int n) { struct D { int n; ~D() { printf("~%d ", n); } } d{n}; if (n == 0) throw std::runtime_error("deep"); return depth(n - 1) + 1; }
int main() {
	Base b;
	printf("%d %d\n", guard(&b, 3), guard(&b, 30));
	try { depth(5); } catch (const std::exception &e) { printf("%s\n", e.what()); }
	std::string s;
	for (int i = 0; i < 40; i++) s += std::to_string(i);
	puts(s.c_str());
}
`))
	for _, flags := range [][]string{{"-O0", "-g"}, {"-O2", "-ffunction-sections"}} {
		for _, name := range []string{"cxx", "main"} {
			command(t, dir, "g++", append(flags, "-c", name+".cc", "-o", name+".o")...)
			if err := shakeFile(name+".o", read(t, filepath.Join(dir, name+".o")), filepath.Join(dir, "edited-"+name+".o")); err != nil {
				t.Fatal(err)
			}
		}
		eachLinker(t, func(t *testing.T, gcc []string, _ string) {
			plain, edited := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "edited")
			command(t, dir, "g++", append(gcc, "-o", plain, "cxx.o", "main.o")...)
			command(t, dir, "g++", append(gcc, "-o", edited, "edited-cxx.o", "edited-main.o")...)
			got, want := run(t, edited), run(t, plain)
			if got != want || !strings.Contains(want, "~0 ~1 ~2 ~3 ~4 ~5 deep\n") {
				t.Errorf("%q: the program says\n%s\nwant\n%s", flags, got, want)
			}
			if !strings.Contains(command(t, dir, "nm", edited), "alias$") {
				t.Error("the aliases are not in the program")
			}
		})
	}
}

// TestLinkShakenRust: a Rust program all of whose objects, the standard
// library's too, are edited: panics, threads, collections.
func TestLinkShakenRust(t *testing.T) {
	tool(t, "rustc")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, cache := t.TempDir(), t.TempDir()
	write(t, dir, "main.rs", []byte(`
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
trait Speak { fn speak(&self) -> String; }
struct Dog(u32);
struct Cat { lives: u8 }
impl Speak for Dog { fn speak(&self) -> String { format!("woof {}", self.0) } }
impl Speak for Cat { fn speak(&self) -> String { format!("meow {:#x}", self.lives) } }
impl Drop for Cat { fn drop(&mut self) { println!("cat gone"); } }
fn show<T: Display>(items: &[T]) -> String { items.iter().map(|i| i.to_string()).collect::<Vec<_>>().join(",") }
fn main() {
    std::panic::set_hook(Box::new(|info| println!("hook: {}", info.location().unwrap())));
    let zoo: Vec<Box<dyn Speak>> = vec![Box::new(Dog(7)), Box::new(Cat { lives: 9 })];
    for a in &zoo { println!("{}", a.speak()); }
    let caught = std::panic::catch_unwind(|| { let _c = Cat { lives: 1 }; let v: Vec<i32> = vec![]; v[3] });
    println!("{}", caught.is_err());
    println!("{} {} {}", show(&[1, 2]), show(&["a", "b"]), show(&[1.5, 2.25]));
    let handles: Vec<_> = (0..4).map(|i| std::thread::spawn(move || (0..=i * 1000u64).sum::<u64>())).collect();
    println!("{:?}", handles.into_iter().map(|h| h.join().unwrap()).collect::<Vec<_>>());
    println!("{}", std::thread::spawn(|| -> i32 { panic!("in a thread") }).join().is_err());
    let words = "the quick brown fox jumps over the lazy dog the end";
    let mut count: HashMap<&str, i32> = HashMap::new();
    for w in words.split(' ') { *count.entry(w).or_default() += 1; }
    println!("{:?}", count.into_iter().collect::<BTreeMap<_, _>>());
    println!("{:?} {:?}", "12x".parse::<i32>(), "1e3".parse::<f64>());
    std::process::exit(zoo.len() as i32);
}
`))
	profiles := [][]string{{"-O"}, {"-g"}}
	if testing.Short() {
		profiles = profiles[:1]
	}
	for _, profile := range profiles {
		plain := filepath.Join(t.TempDir(), "plain")
		command(t, dir, "rustc", append(profile, "-o", plain, "main.rs")...)
		want := run(t, plain)
		if !strings.HasSuffix(want, "exit status 2") {
			t.Fatalf("the program says\n%s", want)
		}
		eachLinker(t, func(t *testing.T, gcc []string, _ string) {
			edited := filepath.Join(t.TempDir(), "edited")
			args := append(profile, "-Clinker="+self, "-Clinker-flavor=gcc", "-Clink-self-contained=-linker", "-Zunstable-options", "-o", edited, "main.rs")
			for _, a := range gcc {
				args = append(args, "-Clink-arg="+a)
			}
			t.Setenv(linkEnv, cache)
			t.Setenv("RUSTC_BOOTSTRAP", "1")
			command(t, dir, "rustc", args...)
			if got := run(t, edited); got != want {
				t.Errorf("%q: the program says\n%s\nwant\n%s", profile, got, want)
			}
			if !strings.Contains(command(t, dir, "nm", edited), "alias$") {
				t.Error("the aliases are not in the program")
			}
		})
	}
}

// TestLinkEdited32: ELF32 with SHT_REL.
func TestLinkEdited32(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "main.s", []byte(`
	.section .text.one,"ax",@progbits
one:	movl $1, %ebx
	ret
	.section .text.two,"ax",@progbits
	.type two, @function
two:	movl $2, %ebx
	ret
	.size two, .-two
	.text
	.globl _start
_start:	call one
	addl value, %ebx
	movl $1, %eax
	int $0x80
	.section .data.value,"aw",@progbits
value:	.long 10
	.section .data.other,"aw",@progbits
	.long 20
`))
	command(t, dir, "as", "--32", "-o", "main.o", "main.s")
	edited := editedFile(t, dir, "main.o", func(f *objfile.File, e *objfile.Edit) {
		for i := range uint32(len(f.Sections)) {
			switch f.Sections[i].Name {
			case ".text.two":
				e.SetAlign(i, 64)
				e.SetContents(i, []byte("\xbb\x03\x00\x00\x00\xc3"), nil) // movl $3, %ebx; ret
			case ".text":
				two := f.Symbol(symbolNamed(t, f, "two"))
				two.Bind, two.Other = objfile.STB_GLOBAL, objfile.STV_HIDDEN
				k, err := e.AddSymbol("mark$1", two)
				if err != nil {
					t.Fatal(err)
				}
				r := f.Relocs(i).At(0)
				r.Sym = k
				e.SetReloc(i, 0, r)
			case ".data.value":
				e.Patch(i, 0, []byte{20})
			case ".data.other":
				e.Exclude(i)
			}
		}
	})
	eachLinker(t, func(t *testing.T, _ []string, ld string) {
		plain, out := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "edited")
		command(t, dir, ld, "-m", "elf_i386", "-o", plain, "main.o")
		command(t, dir, ld, "-m", "elf_i386", "-o", out, edited)
		if got := run(t, plain); got != "exit status 11" {
			t.Skipf("32-bit programs do not run here: %s", got)
		}
		if got := run(t, out); got != "exit status 23" {
			t.Errorf("the program says %s", got)
		}
	})
}

// TestManySections: more sections than e_shnum and st_shndx can hold, in
// both classes; an edit in a section beyond; the program runs.
func TestManySections(t *testing.T) {
	if testing.Short() {
		t.Skip("assembles 70,000 sections")
	}
	const count = 70000
	var source bytes.Buffer
	for i := range count {
		fmt.Fprintf(&source, ".section .text.f%d,\"ax\",@progbits\n.type f%[1]d,@function\n.globl f%[1]d\nf%[1]d: movl $%d,%%ebx\nret\n", i, i/1000)
	}
	source.WriteString(".text\n.globl _start\n_start: call f5000\nmovl $1,%eax\nint $0x80\n")
	dir := t.TempDir()
	write(t, dir, "many.s", source.Bytes())
	for _, bits := range []string{"--32", "--64"} {
		t.Run(bits, func(t *testing.T) {
			command(t, dir, "as", bits, "-o", "many.o", "many.s")
			o := object{"many.o", read(t, filepath.Join(dir, "many.o"))}
			f := parse(t, o.name, o.data)
			sameAsReadelf(t, dir, f)

			edited := editedFile(t, dir, "many.o", func(f *objfile.File, e *objfile.Edit) {
				last := f.Symbol(symbolNamed(t, f, fmt.Sprintf("f%d", count-1)))
				if last.Section <= 0xffff {
					t.Fatalf("the last function is in section %d", last.Section)
				}
				k, err := e.AddSymbol("mark$1", objfile.Symbol{Bind: objfile.STB_GLOBAL, Other: objfile.STV_HIDDEN, Section: last.Section})
				if err != nil {
					t.Fatal(err)
				}
				// f7000 moves into the last section, the last function out
				// of it and of the extended indices.
				moved := symbolNamed(t, f, "f7000")
				low := f.Symbol(moved).Section
				for k, section := range map[uint32]uint32{moved: last.Section, symbolNamed(t, f, fmt.Sprintf("f%d", count-1)): low} {
					s := f.Symbol(k)
					s.Section = section
					if err := e.SetSymbol(k, s); err != nil {
						t.Fatal(err)
					}
				}
				text := f.Symbol(symbolNamed(t, f, "_start")).Section
				r := f.Relocs(text).At(0)
				r.Sym = k
				e.SetReloc(text, 0, r)
				e.SetAlign(last.Section, 64)
			})
			g := parse(t, "edited-many.o", read(t, edited))
			sameAsReadelf(t, dir, g)
			if s := g.Symbol(g.NumSymbols - 1); s.Section <= 0xffff || g.NameOf(&s) != "mark$1" {
				t.Errorf("new symbol %q %+v", g.NameOf(&s), s)
			}

			eachLinker(t, func(t *testing.T, _ []string, ld string) {
				emulation := map[string]string{"--32": "elf_i386", "--64": "elf_x86_64"}[bits]
				for _, program := range []struct{ object, want string }{{"many.o", "exit status 5"}, {edited, "exit status 69"}} {
					out := filepath.Join(t.TempDir(), "program")
					command(t, dir, ld, "-m", emulation, "-o", out, program.object)
					if got := run(t, out); got != program.want {
						t.Errorf("the program says %s, want %s", got, program.want)
					}
				}
			})
		})
	}
}

// sameAsReadelf compares all section names and symbols with readelf's
// listing, which, unlike debug/elf, knows extended section indices.
func sameAsReadelf(t *testing.T, dir string, f *objfile.File) {
	t.Helper()
	path := write(t, dir, "listed.o", f.Data)
	n := uint32(0)
	for _, line := range strings.Split(command(t, dir, "readelf", "--symbols", "--wide", path), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 7 || fields[0] == "Num:" || !strings.HasSuffix(fields[0], ":") {
			continue
		}
		s := f.Symbol(n)
		section := fmt.Sprint(s.Section)
		if s.Section == objfile.SecUndef {
			section = "UND"
		}
		name := f.NameOf(&s)
		if s.Type == objfile.STT_SECTION {
			name = f.Sections[s.Section].Name
		}
		want := fmt.Sprintf("%d: %0*x %s", n, 2*f.WordSize(), s.Value, section)
		if got := fmt.Sprintf("%s %s %s", fields[0], fields[1], fields[6]); got != want {
			t.Fatalf("symbol %d: %q, readelf says %q", n, want, got)
		}
		if len(fields) > 7 && fields[7] != name || len(fields) == 7 && name != "" {
			t.Fatalf("symbol %d is called %q, readelf says %q", n, name, fields)
		}
		n++
	}
	if n != f.NumSymbols {
		t.Errorf("%d symbols, readelf lists %d", f.NumSymbols, n)
	}
	sections := 0
	for _, line := range strings.Split(command(t, dir, "readelf", "--section-headers", "--wide", path), "\n") {
		var i int
		var name, typ string
		if k, _ := fmt.Sscanf(strings.TrimSpace(line), "[%d] %s %s", &i, &name, &typ); k == 3 && i > 0 {
			sections++
			if f.Sections[i].Name != name {
				t.Fatalf("section %d is called %q, readelf says %q", i, f.Sections[i].Name, name)
			}
		}
	}
	if sections != len(f.Sections)-1 {
		t.Errorf("%d sections, readelf lists %d", len(f.Sections)-1, sections)
	}
}
