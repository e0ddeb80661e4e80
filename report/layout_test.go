package report

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool returns the path of a program. Without it the test is skipped by its
// name, or fails where LEANLINK_REQUIRE_TOOLS says that all must be there.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(tb, name+" is not installed")
	}
	return path
}

func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
		tb.Fatal(what)
	}
	tb.Skip(what)
}

// run runs a program in a folder and returns what it printed.
func run(tb testing.TB, dir, name string, args ...string) string {
	tb.Helper()
	cmd := exec.Command(tool(tb, name), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func writeFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

// checkLayout fails unless the ranges are disjoint and add up, in the file and
// in memory, to what the file's headers say.
func checkLayout(t *testing.T, path string, l *Layout) {
	t.Helper()
	file, vm := l.Sum()
	var fileSum, vmSum, at uint64
	for i := range file {
		fileSum += file[i]
		vmSum += vm[i]
	}
	if info, err := os.Stat(path); err != nil || uint64(info.Size()) != l.FileSize || fileSum != l.FileSize {
		t.Errorf("%s: ranges have %d bytes, FileSize is %d (%v)", path, fileSum, l.FileSize, err)
	}
	for i := range l.Ranges {
		r := &l.Ranges[i]
		if r.File > 0 {
			if r.Offset != at {
				t.Fatalf("%s: range %d begins at %#x, the one before ends at %#x", path, i, r.Offset, at)
			}
			at += r.File
		}
		if r.File == 0 && r.VM == 0 {
			t.Errorf("%s: range %d is empty", path, i)
		}
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var mem, load uint64
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			mem += p.Memsz
			load += p.Filesz
		}
	}
	if vmSum != mem || l.VMSize != mem {
		t.Errorf("%s: ranges have %d bytes in memory, VMSize is %d, the segments %d", path, vmSum, l.VMSize, mem)
	}
	if l.LoadSize != load {
		t.Errorf("%s: LoadSize is %d, the segments have %d bytes of the file", path, l.LoadSize, load)
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOBITS {
			continue
		}
		var n uint64
		for i := range l.Ranges {
			if r := &l.Ranges[i]; r.Section >= 0 && f.Sections[r.Section] == s {
				n += r.File
			}
		}
		if n != s.FileSize {
			t.Errorf("%s: section %s: ranges have %d bytes, it has %d", path, s.Name, n, s.FileSize)
		}
	}
}

const layoutC = `
#include <stdio.h>
__thread int counter = 3;
__thread char scratch[40];
static const char table[64] = "a table";
int zeros[100];
int ones[3] = {1, 2, 3};
__attribute__((noinline)) int twice(int x) { return x * 2 + table[x & 63]; }
extern int also_twice(int x) __attribute__((alias("twice")));
int main(int argc, char **argv) { counter++; scratch[argc]++; zeros[argc] = ones[argc % 3]; printf("%d\n", twice(argc)); return 0; }
`

func TestLayout(t *testing.T) {
	tool(t, "gcc")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a.c": layoutC})
	for _, c := range []struct {
		name string
		args []string
	}{
		{"pie", nil},
		{"static", []string{"-static"}},
		{"no-pie", []string{"-no-pie", "-O2"}},
		{"debug", []string{"-g", "-ffunction-sections", "-Wl,--gc-sections"}},
		{"shared", []string{"-shared", "-fPIC"}},
		{"stripped", []string{"-s"}},
		{"separate-code", []string{"-Wl,-z,noseparate-code"}},
		{"gold", []string{"-fuse-ld=gold"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, dir, "gcc", append([]string{"a.c", "-o", c.name}, c.args...)...)
			path := filepath.Join(dir, c.name)
			l, err := ReadLayout(path)
			if err != nil {
				t.Fatal(err)
			}
			checkLayout(t, path, l)
			if l.Stripped != (c.name == "stripped") {
				t.Errorf("Stripped is %v", l.Stripped)
			}
			if l.Stripped {
				return
			}
			// What nm says of each symbol must be what its ranges say.
			sizes := map[string]uint64{}
			unwind := map[string]bool{}
			for i := range l.Ranges {
				r := &l.Ranges[i]
				names := append([]string{r.Symbol}, r.Aliases...)
				for _, n := range names {
					if r.Label == LabelUnwind {
						unwind[n] = true
					} else {
						sizes[n] += r.VM
					}
				}
			}
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			symbols, err := f.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			for _, y := range symbols {
				switch y.Name {
				case "main", "twice", "also_twice", "zeros", "ones", "table":
					checked++
					if sizes[y.Name] != y.Size || y.Size == 0 {
						t.Errorf("%s: ranges have %d bytes, nm says %d", y.Name, sizes[y.Name], y.Size)
					}
				}
			}
			if checked != 6 {
				t.Errorf("%d of 6 symbols found", checked)
			}
			if !unwind["main"] || !unwind["twice"] {
				t.Errorf("no unwind bytes of main and twice")
			}
			file, vm := l.Sum()
			if vm[LabelTBSS] != 0 || file[LabelTLS] == 0 || vm[LabelBSS] < 400 || file[LabelBSS] != 0 {
				t.Errorf("tbss %d, tls %d, bss %d", vm[LabelTBSS], file[LabelTLS], vm[LabelBSS])
			}
			if c.name == "debug" && file[LabelDebug] == 0 {
				t.Error("no debug info")
			}
		})
	}
}

// C++ exceptions have landing-pad tables; each belongs to its function, and
// with GNU ld, which drops those of dropped functions, none is left over.
func TestLayoutLSDA(t *testing.T) {
	tool(t, "g++")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a.cc": `
#include <cstdio>
struct D { int n; ~D() { std::printf("%d\n", n); } };
__attribute__((noinline)) void thrower(int x) { if (x > 5) throw x; }
__attribute__((noinline)) void one(int x) { D d{x}; try { thrower(x); } catch (int) { std::puts("int"); } }
__attribute__((noinline)) void two(int x) noexcept { D d{x}; thrower(x - 100); }
int main(int c, char **) { one(c); two(c); }
`})
	run(t, dir, "g++", "-O1", "-ffunction-sections", "-Wl,--gc-sections", "a.cc", "-o", "a")
	path := filepath.Join(dir, "a")
	l, err := ReadLayout(path)
	if err != nil {
		t.Fatal(err)
	}
	checkLayout(t, path, l)
	owners := map[string]uint64{}
	for i := range l.Ranges {
		if r := &l.Ranges[i]; r.Label == LabelLSDA {
			owners[Demangle(r.Symbol)] += r.File
		}
	}
	if owners["one(int)"] == 0 || owners["two(int)"] == 0 || owners[""] != 0 {
		t.Errorf("landing-pad tables: %v", owners)
	}
}

// The program that runs this test is an ELF file by Go's own linker.
func TestLayoutOfSelf(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ReadLayout(path)
	if err != nil {
		t.Skipf("the test's own program: %v", err)
	}
	checkLayout(t, path, l)
}

// A file without section headers is what its segments say.
func TestLayoutWithoutSections(t *testing.T) {
	le := binary.LittleEndian
	b := make([]byte, 64+2*56+300)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)  // ET_EXEC
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // e_phoff
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	le.PutUint16(b[58:], 64)
	segment := func(at int, flags uint32, off, addr, file, mem uint64) {
		le.PutUint32(b[at:], 1)
		le.PutUint32(b[at+4:], flags)
		for i, v := range []uint64{off, addr, addr, file, mem, 0x1000} {
			le.PutUint64(b[at+8+8*i:], v)
		}
	}
	segment(64, 5, 0, 0x400000, 276, 276)
	segment(120, 6, 300, 0x402000, 100, 150)
	l, err := NewLayout(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range l.Ranges {
		got = append(got, fmt.Sprintf("%v %#x+%d at %#x+%d", r.Label, r.Offset, r.File, r.Addr, r.VM))
	}
	want := `ELF header 0x0+64 at 0x400000+64
program headers 0x40+112 at 0x400040+112
code 0xb0+100 at 0x4000b0+100
padding 0x114+24 at 0x0+0
data 0x12c+100 at 0x402000+100
padding 0x190+76 at 0x0+0
bss 0x0+0 at 0x402064+50`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if l.VMSize != 426 || l.LoadSize != 376 {
		t.Errorf("VMSize %d, LoadSize %d", l.VMSize, l.LoadSize)
	}
}

func TestLayoutErrors(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"text": "hello", "short": "\x7fELF\x02\x01\x01"})
	for name, want := range map[string]string{
		"text":  "not a readable ELF file: ",
		"short": "not a readable ELF file: ",
		"":      "not a regular file",
	} {
		path := filepath.Join(dir, name)
		_, err := ReadLayout(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+": "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := ReadLayout(filepath.Join(dir, "missing")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestX86Fill(t *testing.T) {
	for hex, want := range map[string]bool{
		"90": true, "6690": true, "0f1f00": true, "0f1f4000": true, "0f1f440000": true, "660f1f440000": true, "0f1f8000000000": true,
		"0f1f840000000000": true, "662e0f1f840000000000": true, "66666666662e0f1f840000000000": true, "cccccc": true, "0000": true, "": true,
		"c3": false, "66": false, "0f1f": false, "0f1f40": false, "0f0b": false, "90c3": false, "2e": false,
	} {
		var b []byte
		fmt.Sscanf(hex, "%x", &b)
		if got := isX86Fill(b); got != want {
			t.Errorf("isX86Fill(%s) = %v", hex, got)
		}
	}
}

// Every file of a captured link's outputs that LEANLINK_OUTPUTS names.
func TestLayoutOfOutputs(t *testing.T) {
	files := strings.Fields(os.Getenv("LEANLINK_OUTPUTS"))
	if len(files) == 0 {
		t.Skip("LEANLINK_OUTPUTS names no files")
	}
	for _, path := range files {
		l, err := ReadLayout(path)
		if err != nil {
			t.Fatal(err)
		}
		checkLayout(t, path, l)
	}
}

func FuzzLayout(f *testing.F) {
	if path, err := exec.LookPath("gcc"); err == nil {
		dir := f.TempDir()
		writeFiles(f, dir, map[string]string{"a.c": "int f(int x){return x;} int _start(void){return f(1);}"})
		for _, args := range [][]string{{"-static"}, {"-pie"}, {"-m32", "-static"}} {
			cmd := exec.Command(path, append(args, "-nostdlib", "-fPIC", "-Wl,-z,max-page-size=64,--build-id=none", "a.c", "-o", "a")...)
			cmd.Dir = dir
			if cmd.Run() == nil {
				if b, err := os.ReadFile(filepath.Join(dir, "a")); err == nil {
					f.Add(b)
				}
			}
		}
	}
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := NewLayout(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		file, vm := l.Sum()
		var fileSum, vmSum uint64
		for i := range file {
			fileSum += file[i]
			vmSum += vm[i]
		}
		if fileSum != uint64(len(b)) || vmSum != l.VMSize {
			t.Errorf("ranges have %d of %d bytes in the file, %d of %d in memory", fileSum, len(b), vmSum, l.VMSize)
		}
	})
}
