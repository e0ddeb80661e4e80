package objfile_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"leanlink/objfile"
)

// object is a real relocatable object.
type object struct {
	name string
	data []byte
}

// cSource has what makes sections, symbols and relocations of many kinds.
const cSource = `
#ifdef __linux__
__thread
#endif
int per_thread = 3;
static int counter; int common_one[8];
extern int puts(const char *); extern int elsewhere(const char *); extern int weak_one(void) __attribute__((weak));
static int twice(int x) { return 2 * x + counter; }
int thrice(int x) { return 3 * x; }
int (*const table[])(int) = { twice, thrice };
const char *const words[] = { "one", "two", "three" };
int same(int) __attribute__((alias("thrice")));
__attribute__((visibility("hidden"))) int hidden_one(int x) { return table[x & 1](x) + per_thread++; }
int choose(int x) {
	switch (x) {
	case 0: return elsewhere("zero"); case 1: return elsewhere("one"); case 2: return elsewhere(words[x]);
	case 3: return twice(x); case 4: return thrice(x); case 5: return weak_one ? weak_one() : 0;
	case 6: return hidden_one(x); case 7: return common_one[x]; default: return puts("default");
	}
}
`

// cxxSource has landing pads, COMDAT groups and vtables.
const cxxSource = `
struct Base { virtual ~Base(); virtual int f(int); };
template <class T> struct Holder { T t; ~Holder() { t = 0; } int get(int x) { if (x > 9) throw x; return x + t; } };
int Base::f(int x) { Holder<int> a{x}; Holder<long> b{x}; return a.get(x) + b.get(x); }
Base::~Base() {}
int guard(Base *b, int x) { try { Holder<short> h{1}; return b->f(x); } catch (int &e) { return e; } catch (...) { throw; } }
`

// rustSource has generics, trait objects, constants and unwinding.
const rustSource = `
#![crate_type = "lib"]
use std::collections::HashMap;
pub trait Shape { fn area(&self) -> f64; fn name(&self) -> String { "shape".to_string() } }
pub struct Square(pub f64);
pub struct Circle(pub f64);
impl Shape for Square { fn area(&self) -> f64 { self.0 * self.0 } }
impl Shape for Circle { fn area(&self) -> f64 { self.0 * self.0 * 3.14 } fn name(&self) -> String { format!("circle {}", self.0) } }
pub fn total(shapes: &[Box<dyn Shape>]) -> f64 { shapes.iter().map(|s| s.area()).sum() }
pub fn count(words: &[String]) -> HashMap<String, usize> { let mut m = HashMap::new(); for w in words { *m.entry(w.clone()).or_insert(0) += 1; } m }
pub fn guarded(v: Vec<String>, i: usize) -> String { std::panic::catch_unwind(move || v[i].clone()).unwrap_or_default() }
pub fn word(i: u32) -> &'static str { match i { 0 => "zero", 1 => "one", 2 => "two", 3 => "three", 4 => "four", _ => "many" } }
pub static TABLE: [fn(&[Box<dyn Shape>]) -> f64; 1] = [total];
`

// noStdSource is for targets without an operating system.
const noStdSource = `
#![no_std]
#![crate_type = "lib"]
#[unsafe(no_mangle)] pub static WORDS: [&str; 3] = ["one", "two", "three"];
#[unsafe(no_mangle)] pub fn choose(i: usize) -> &'static str { WORDS[i] }
#[unsafe(no_mangle)] pub extern "C" fn sum(v: *const u32, n: usize) -> u32 { (0..n).map(|i| unsafe { *v.add(i) }).fold(0, |a, b| a.wrapping_mul(31).wrapping_add(b)) }
#[unsafe(no_mangle)] pub fn word(i: u32) -> &'static str { match i { 0 => "zero", 1 => "one", 2 => "two", 3 => "three", 4 => "four", _ => "many" } }
`

// realObjects compiles objects with every compiler that is there, and adds
// the members of Rust's own libraries.
var realObjects = sync.OnceValues(func() ([]object, error) {
	dir, err := os.MkdirTemp("", "objfile-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var all []object
	for name, source := range map[string]string{"c.c": cSource, "cxx.cc": cxxSource, "lib.rs": rustSource, "nostd.rs": noStdSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(source), 0o600); err != nil {
			return nil, err
		}
	}
	for _, args := range []string{
		"gcc -c c.c",
		"gcc -c -O2 -g -ffunction-sections -fdata-sections c.c",
		"gcc -c -O2 -fPIC -g -gz c.c",
		"gcc -r -nostdlib c.c",
		"gcc -c -m32 -O2 -g c.c",
		"g++ -c -O2 -g -ffunction-sections cxx.cc",
		"g++ -c -m32 -O1 cxx.cc",
		"clang-19 -c -O2 -g -ffunction-sections c.c",
		"clang++-19 -c -O2 cxx.cc",
		"aarch64-linux-gnu-gcc -c -O2 -g -ffunction-sections c.c",
		"arm-none-eabi-gcc -c -O2 -g -mthumb -mcpu=cortex-m3 -ffunction-sections c.c",
		"riscv64-unknown-elf-gcc -c -O2 -g -ffunction-sections c.c",
		"riscv64-unknown-elf-gcc -march=rv32imac -mabi=ilp32 -c -O2 c.c",
		"rustc --emit=obj lib.rs",
		"rustc --emit=obj -O -g lib.rs",
		"rustc --emit=obj -Copt-level=s -Cpanic=abort lib.rs",
		"rustc --emit=obj -O -g --target=thumbv7m-none-eabi nostd.rs",
		"rustc --emit=obj -O -g --target=riscv32imac-unknown-none-elf nostd.rs",
		"rustc --emit=obj -O -g --target=aarch64-unknown-none nostd.rs",
	} {
		fields := strings.Fields(args)
		out := filepath.Join(dir, "out.o")
		cmd := exec.Command(fields[0], append(fields[1:], "-o", out)...)
		cmd.Dir = dir
		if cmd.Run() != nil {
			continue // that compiler, or its target, is not here
		}
		b, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		all = append(all, object{args, b})
	}
	return all, nil
})

// sysroot is the folder of the Rust compiler's libraries.
func sysroot() (string, error) {
	out, err := exec.Command("rustc", "--print", "sysroot").Output()
	return strings.TrimSpace(string(out)), err
}

// libraryMembers are the members of Rust's libraries for one target.
func libraryMembers(t testing.TB, sysroot, target string) []object {
	t.Helper()
	libs, err := filepath.Glob(filepath.Join(sysroot, "lib/rustlib", target, "lib/*.rlib"))
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for _, lib := range libs {
		a, err := objfile.ParseArchive(filepath.Base(lib), read(t, lib))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range a.Members {
			if objfile.FileType(m.Data) == objfile.ET_REL {
				all = append(all, object{a.Name + "(" + m.Name + ")", m.Data})
			}
		}
	}
	return all
}

// targets are those whose libraries the tests read, where they are here.
var targets = []string{
	"x86_64-unknown-linux-gnu", "aarch64-unknown-none", "thumbv7m-none-eabi", "thumbv6m-none-eabi", "riscv32imac-unknown-none-elf",
}

// eachObject runs f for every real object, those of testdata first; with -short, for every tenth of
// Rust's libraries.
func eachObject(t *testing.T, f func(t *testing.T, o object)) {
	compiled, err := realObjects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range append(seeds(t, ".o"), compiled...) {
		t.Run(o.name, func(t *testing.T) { f(t, o) })
	}
	root, err := sysroot()
	if err != nil {
		t.Log("no rustc")
		return
	}
	for _, target := range targets {
		t.Run(target, func(t *testing.T) {
			all := libraryMembers(t, root, target)
			if len(all) == 0 {
				t.Skipf("no libraries for %s", target)
			}
			for i, o := range all {
				if !testing.Short() || i%10 == 0 {
					f(t, o)
				}
			}
		})
	}
}

// TestAgainstDebugELF compares every section, symbol and relocation with
// what debug/elf reads.
func TestAgainstDebugELF(t *testing.T) {
	objects, relocations, symbols := 0, 0, 0
	eachObject(t, func(t *testing.T, o object) {
		f := parse(t, o.name, o.data)
		oracle, err := elf.NewFile(bytes.NewReader(o.data))
		if err != nil {
			t.Fatalf("%s: debug/elf: %v", o.name, err)
		}
		objects++
		if uint16(oracle.Machine) != f.Machine || (oracle.Class == elf.ELFCLASS64) != f.Is64() {
			t.Errorf("%s: machine %d", o.name, f.Machine)
		}
		if len(f.Sections) != len(oracle.Sections) {
			t.Fatalf("%s: %d sections, debug/elf %d", o.name, len(f.Sections), len(oracle.Sections))
		}
		for i, want := range oracle.Sections {
			got := f.Sections[i]
			got.Rel, got.MultiRel = 0, false
			if w := (objfile.Section{Name: want.Name, Type: uint32(want.Type), Flags: uint64(want.Flags), Offset: want.Offset, Size: want.FileSize,
				Link: want.Link, Info: want.Info, Align: want.Addralign, EntSize: want.Entsize}); got != w && want.Flags&elf.SHF_COMPRESSED == 0 {
				t.Errorf("%s: section %d: %+v, debug/elf %+v", o.name, i, got, w)
			}
		}
		symbols += compareSymbols(t, o, f, oracle)
		for i, s := range oracle.Sections {
			if s.Type == elf.SHT_REL || s.Type == elf.SHT_RELA {
				relocations += compareRelocs(t, o, f, oracle, uint32(i))
			}
		}
	})
	t.Logf("%d objects, %d symbols, %d relocations", objects, symbols, relocations)
}

func compareSymbols(t *testing.T, o object, f *objfile.File, oracle *elf.File) int {
	t.Helper()
	want, err := oracle.Symbols()
	if err != nil && f.Symtab != 0 {
		t.Fatalf("%s: debug/elf: %v", o.name, err)
	}
	if int(f.NumSymbols) != len(want)+min(1, int(f.NumSymbols)) {
		t.Fatalf("%s: %d symbols, debug/elf %d", o.name, f.NumSymbols, len(want))
	}
	for k, w := range want {
		i := uint32(k) + 1 // debug/elf leaves out the null symbol
		s := f.Symbol(i)
		section := uint32(w.Section)
		if w.Section >= elf.SHN_LORESERVE {
			section |= 0xffff0000
		}
		if w.Section == elf.SHN_XINDEX {
			section = s.Section // debug/elf does not read extended indices
		}
		if uint8(s.Bind)<<4|uint8(s.Type) != w.Info || s.Other != w.Other || s.Section != section || s.Value != w.Value || s.Size != w.Size ||
			f.NameOf(&s) != w.Name || f.SymbolName(i) != w.Name {
			t.Errorf("%s: symbol %d: %s %+v, debug/elf %+v", o.name, i, f.NameOf(&s), s, w)
		}
	}
	return len(want)
}

// compareRelocs decodes one relocation section with debug/elf's own record
// types and compares it with what Relocs gives for the section it is of.
func compareRelocs(t *testing.T, o object, f *objfile.File, oracle *elf.File, section uint32) int {
	t.Helper()
	s := oracle.Sections[section]
	if got := f.Sections[s.Info].Rel; got != section {
		t.Fatalf("%s: section %d has relocations in %d, debug/elf says %d", o.name, s.Info, got, section)
	}
	raw, err := s.Data()
	if err != nil {
		t.Fatalf("%s: debug/elf: %v", o.name, err)
	}
	var want []objfile.Reloc
	read := func(rs any) {
		if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, rs); err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
	}
	n := len(raw) / int(s.Entsize)
	switch rela := s.Type == elf.SHT_RELA; {
	case f.Is64() && rela:
		rs := make([]elf.Rela64, n)
		read(rs)
		for _, r := range rs {
			want = append(want, objfile.Reloc{Offset: r.Off, Type: elf.R_TYPE64(r.Info), Sym: elf.R_SYM64(r.Info), Addend: r.Addend})
		}
	case rela:
		rs := make([]elf.Rela32, n)
		read(rs)
		for _, r := range rs {
			want = append(want, objfile.Reloc{Offset: uint64(r.Off), Type: elf.R_TYPE32(r.Info), Sym: elf.R_SYM32(r.Info), Addend: int64(r.Addend)})
		}
	default:
		rs := make([]elf.Rel32, n)
		read(rs)
		for _, r := range rs {
			want = append(want, objfile.Reloc{Offset: uint64(r.Off), Type: elf.R_TYPE32(r.Info), Sym: elf.R_SYM32(r.Info)})
		}
	}
	rs := f.Relocs(s.Info)
	if rs.Len() != len(want) || rs.Rela != (s.Type == elf.SHT_RELA) {
		t.Fatalf("%s: section %d has %d relocations, debug/elf %d", o.name, s.Info, rs.Len(), len(want))
	}
	for i, w := range want {
		if r := rs.At(i); r != w {
			t.Fatalf("%s: section %d: relocation %d is %+v, debug/elf %+v", o.name, s.Info, i, r, w)
		}
	}
	// The relocations of a compressed section count in what it expands to.
	if arch := objfile.ArchOf(f.Machine); arch != nil && f.Sections[s.Info].Flags&objfile.SHF_COMPRESSED == 0 {
		if err := f.CheckRelocs(s.Info, arch); err != nil {
			t.Error(err)
		}
	}
	return len(want)
}

// frame is what readelf says of an entry of .eh_frame.
type frame struct {
	offset, length uint64
	cie            bool
	cieOffset      uint64 // of an FDE
	begin, end     uint64 // of an FDE: relocated addresses
	version        string
	augmentation   string // of a CIE, as a string
	code, data, ra string
	augData        int // bytes of augmentation data
}

var (
	cieLine = regexp.MustCompile(`^([0-9a-f]{8}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) CIE$`)
	fdeLine = regexp.MustCompile(`^([0-9a-f]{8}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) FDE cie=([0-9a-f]{8}) pc=([0-9a-f]+)\.\.([0-9a-f]+)$`)
)

// readelfFrames parses readelf --debug-dump=frames by section. A section of
// many objects is called .eh_frame; it is listed in order.
func readelfFrames(out string) (sections [][]frame) {
	hex := func(s string) uint64 { v, _ := strconv.ParseUint(s, 16, 64); return v }
	var now *frame
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "Contents of the ") {
			sections = append(sections, nil)
			continue
		}
		last := len(sections) - 1
		if m := cieLine.FindStringSubmatch(line); m != nil {
			sections[last] = append(sections[last], frame{offset: hex(m[1]), length: hex(m[2]), cie: true})
		} else if m := fdeLine.FindStringSubmatch(line); m != nil {
			sections[last] = append(sections[last], frame{offset: hex(m[1]), length: hex(m[2]), cieOffset: hex(m[4]), begin: hex(m[5]), end: hex(m[6])})
		} else if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && last >= 0 && len(sections[last]) > 0 {
			now = &sections[last][len(sections[last])-1]
			switch value = strings.TrimSpace(value); key {
			case "Version":
				now.version = value
			case "Augmentation":
				now.augmentation = strings.Trim(value, `"`)
			case "Code alignment factor":
				now.code = value
			case "Data alignment factor":
				now.data = value
			case "Return address column":
				now.ra = value
			case "Augmentation data":
				now.augData = len(strings.Fields(value))
			}
		}
	}
	return sections
}

// TestEhFrameAgainstReadelf compares every entry of every .eh_frame with
// what readelf says.
func TestEhFrameAgainstReadelf(t *testing.T) {
	dir := t.TempDir()
	entries, relocations := 0, 0
	eachObject(t, func(t *testing.T, o object) {
		f := parse(t, o.name, o.data)
		var sections []uint32
		for i := range f.Sections {
			if f.Sections[i].Name == ".eh_frame" && f.Sections[i].Size > 0 {
				sections = append(sections, uint32(i))
			}
		}
		if len(sections) == 0 {
			return
		}
		path := write(t, dir, "frames.o", o.data)
		dump := readelfFrames(command(t, dir, "readelf", "--debug-dump=frames", "--wide", path))
		if len(dump) < len(sections) {
			t.Fatalf("%s: readelf dumps %d sections of %d", o.name, len(dump), len(sections))
		}
		for k, section := range sections {
			eh, err := f.ReadEhFrame(section)
			if err != nil {
				t.Error(err)
				continue
			}
			if got := framesOf(f, eh); !slices.Equal(got, dump[k]) {
				t.Errorf("%s: section %d: frames differ from readelf's:\n%s", o.name, section, firstDifference(got, dump[k]))
			}
			entries += len(dump[k])
			checkFrames(t, f, eh)
			if f.Machine != objfile.EM_RISCV { // whose relaxation needs more of them
				relocations += checkFrameRelocs(t, f, eh)
			}
		}
	})
	t.Logf("%d entries, %d relocations", entries, relocations)
}

func firstDifference(got, want []frame) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) {
			return fmt.Sprintf("%d entries, readelf %d", len(got), len(want))
		}
		if got[i] != want[i] {
			return fmt.Sprintf("entry %d: %+v\nreadelf  %+v", i, got[i], want[i])
		}
	}
	return ""
}

// framesOf brings a decoded section into the form of readelf's dump.
func framesOf(f *objfile.File, eh *objfile.EhFrame) []frame {
	b := f.Bytes(eh.Section)
	var frames []frame
	for _, c := range eh.CIEs {
		version := b[c.Offset+8]
		aug := string(b[c.Offset+9:][:bytes.IndexByte(b[c.Offset+9:], 0)])
		n := 0
		if c.Augmented {
			n = augmentationSize(b[c.Offset:c.End])
		}
		frames = append(frames, frame{offset: c.Offset, length: c.End - c.Offset - 4, cie: true, version: strconv.Itoa(int(version)), augmentation: aug,
			code: strconv.FormatUint(c.CodeAlign, 10), data: strconv.FormatInt(c.DataAlign, 10), ra: strconv.FormatUint(c.ReturnReg, 10), augData: n})
	}
	rs := f.Relocs(eh.Section)
	at := map[uint64]objfile.Reloc{}
	for i := range rs.Len() {
		r := rs.At(i)
		if _, ok := at[r.Offset]; !ok {
			at[r.Offset] = r
		}
	}
	for _, d := range eh.FDEs {
		cie := eh.CIEs[d.CIE]
		fr := frame{offset: d.Offset(), length: d.End() - d.Offset() - 4, cieOffset: cie.Offset}
		if r, ok := at[d.PCBegin()]; ok {
			s := f.Symbol(r.Sym)
			fr.begin = s.Value + uint64(r.Addend)
			if !rs.Rela {
				fr.begin += fieldValue(b, d.PCBegin(), d.FieldSize)
			}
		}
		if !f.Is64() {
			fr.begin = uint64(uint32(fr.begin))
		}
		fr.end = fr.begin + d.Range
		if cie.Augmented {
			fr.augData = int(d.InstrOff() - (d.PCRange() + uint64(d.FieldSize)) - 1)
		}
		frames = append(frames, fr)
	}
	slices.SortFunc(frames, func(a, b frame) int { return int(a.offset) - int(b.offset) })
	return frames
}

// augmentationSize reads the size of a CIE's augmentation data in a way of
// its own: length, identifier, version, augmentation string, two factors,
// return address column, size.
func augmentationSize(cie []byte) int {
	b := cie[9+bytes.IndexByte(cie[9:], 0)+1:]
	skip := func() {
		for b[0]&0x80 != 0 {
			b = b[1:]
		}
		b = b[1:]
	}
	skip()
	skip()
	skip()
	return int(b[0])
}

func fieldValue(b []byte, at uint64, size uint8) (v uint64) {
	for i := range uint64(size) {
		v |= uint64(b[at+i]) << (8 * i)
	}
	return v
}

// checkFrames checks what a real table must satisfy, and that every place
// that a later pass reads or patches lies within its entry.
func checkFrames(t *testing.T, f *objfile.File, eh *objfile.EhFrame) {
	t.Helper()
	size := uint64(len(f.Bytes(eh.Section)))
	inside := func(what string, lo, at, n, hi uint64) {
		t.Helper()
		if at < lo || n > hi || at > hi-n || hi > size {
			t.Errorf("%s: %s at %#x+%#x is not within its entry, %#x to %#x of %#x", f.Name, what, at, n, lo, hi, size)
		}
	}
	for _, c := range eh.CIEs {
		inside("CIE", c.Offset, c.Offset, 8, c.End)
		inside("initial instructions", c.Offset+8, c.InstrOff, 0, c.End)
		if c.Personality != 0 {
			inside("personality", c.Offset+8, c.Personality, 1, c.InstrOff)
		}
	}
	for _, d := range eh.FDEs {
		inside("FDE", d.Offset(), d.Offset(), 8, d.End())
		inside("address", d.Offset()+8, d.PCBegin(), uint64(d.FieldSize), d.End())
		inside("range", d.Offset()+8, d.PCRange(), uint64(d.FieldSize), d.End())
		inside("instructions", d.PCRange(), d.InstrOff(), 0, d.End())
		if d.LSDA() != 0 {
			inside("LSDA", d.PCRange()+uint64(d.FieldSize), d.LSDA(), uint64(d.LSDASize), d.InstrOff())
		}
		if d.FieldSize == 0 || int(d.CIE) >= len(eh.CIEs) || (d.LSDA() == 0) != (d.LSDASize == 0) {
			t.Errorf("%s: frame entry %+v", f.Name, d)
		}
	}
}

// checkFrameRelocs checks that each relocation of the section is one of the
// three kinds that an entry has a place for, at just that place, and that
// what an LSDA pointer refers to is an exception table.
func checkFrameRelocs(t *testing.T, f *objfile.File, eh *objfile.EhFrame) int {
	t.Helper()
	kind := map[uint64]string{}
	for _, c := range eh.CIEs {
		if c.Personality != 0 {
			kind[c.Personality] = "personality"
		}
	}
	for _, d := range eh.FDEs {
		kind[d.PCBegin()] = "address"
		if d.LSDA() != 0 {
			kind[d.LSDA()] = "LSDA"
		}
	}
	rs := f.Relocs(eh.Section)
	for i := range rs.Len() {
		r := rs.At(i)
		s := f.Symbol(r.Sym)
		table := s.Defined() && strings.HasPrefix(f.Sections[s.Section].Name, ".gcc_except_table")
		if k := kind[r.Offset]; k == "" || (k == "LSDA") != table {
			t.Errorf("%s: relocation of .eh_frame at %#x is %q, exception table %v", f.Name, r.Offset, k, table)
		}
	}
	return rs.Len()
}
