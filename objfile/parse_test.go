package objfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"leanlink/objfile"
)

// classes runs a test for ELF32 and ELF64.
func classes(t *testing.T, f func(t *testing.T, is64 bool)) {
	for _, is64 := range []bool{false, true} {
		t.Run(map[bool]string{false: "ELF32", true: "ELF64"}[is64], func(t *testing.T) { f(t, is64) })
	}
}

// TestMalformed changes one thing of a valid object and compares the whole
// error. {rel}, {sym} and {shdr N} stand for what differs between the ELF
// classes: the name of the relocation section, the size of a symbol (times a
// number) and the place of a section header.
func TestMalformed(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(im *image)
		want  string // "" if the object is still valid
	}{
		// The ELF header.
		{"empty", func(im *image) { im.b = nil }, "bad.o: offset 0x0: not an ELF file"},
		{"magic only", func(im *image) { im.b = im.b[:19] }, "bad.o: offset 0x0: not an ELF file"},
		{"header truncated", func(im *image) { im.b = im.b[:51] }, "bad.o: offset 0x0: ELF header is truncated"},
		{"unknown class", func(im *image) { im.head("class", 3) }, "bad.o: offset 0x4: unknown ELF class"},
		{"class 0", func(im *image) { im.head("class", 0) }, "bad.o: offset 0x4: unknown ELF class"},
		{"big-endian", func(im *image) { im.head("data", 2) }, "bad.o: offset 0x5: not little-endian"},

		// The section header table.
		{"no section headers", func(im *image) { im.head("shoff", 0) }, "bad.o: offset 0x0: no section headers"},
		{"e_shentsize 0", func(im *image) { im.head("shentsize", 0) }, "bad.o: offset {shentsize}: section headers have an unknown size"},
		{"e_shentsize other", func(im *image) { im.head("shentsize", 56) }, "bad.o: offset {shentsize}: section headers have an unknown size"},
		{"e_shoff at the end", func(im *image) { im.head("shoff", uint64(len(im.b))) }, "bad.o: offset {end}: section headers lie outside the file"},
		{"e_shoff beyond", func(im *image) { im.head("shoff", uint64(len(im.b))+1) }, "bad.o: offset {end+1}: section headers lie outside the file"},
		{"e_shoff overflows", func(im *image) { im.head("shoff", im.max()) }, "bad.o: offset {max}: section headers lie outside the file"},
		{"headers truncated", func(im *image) { im.b = im.b[:len(im.b)-1] }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"e_shnum too large", func(im *image) { im.head("shnum", 9) }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"e_shnum lies", func(im *image) { im.head("shnum", 0xfeff) }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"extended count 0", func(im *image) { im.head("shnum", 0) }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"extended count lies", func(im *image) { im.head("shnum", 0); im.section(0, "size", im.max()) }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"extended count overflows", func(im *image) { im.head("shnum", 0); im.section(0, "size", im.max()/im.shentsize()+2) }, "bad.o: offset {shdr 0}: section headers lie outside the file"},
		{"extended count right", func(im *image) { im.head("shnum", 0); im.section(0, "size", 8) }, ""},
		{"section 0 in use", func(im *image) { im.section(0, "type", 1); im.section(0, "offset", im.max()); im.section(0, "size", 8) }, "bad.o: offset {shdr 0}: section 0 is not a null section"},

		// Sections.
		{"sh_offset beyond", func(im *image) { im.section(secText, "offset", uint64(len(im.b))+1) }, "bad.o: offset {shdr 1}: a section lies outside the file"},
		{"sh_size beyond", func(im *image) { im.section(secText, "size", uint64(len(im.b))) }, "bad.o: offset {shdr 1}: a section lies outside the file"},
		{"sh_size overflows", func(im *image) { im.section(secText, "size", im.max()) }, "bad.o: offset {shdr 1}: a section lies outside the file"},
		{"sh_offset + sh_size overflows", func(im *image) {
			im.section(secText, "offset", im.max()-3)
			im.section(secText, "size", 8)
		}, "bad.o: offset {shdr 1}: a section lies outside the file"},
		{"empty at the end", func(im *image) { im.section(secText, "offset", uint64(len(im.b))); im.section(secText, "size", 0) }, ""},
		{"NOBITS anywhere", func(im *image) { im.section(secBSS, "offset", im.max()); im.section(secBSS, "size", im.max()) }, ""},
		{"alignment 3", func(im *image) { im.section(secBSS, "align", 3) }, "bad.o: offset {shdr 7}: a section's alignment is not a power of two"},
		{"alignment 0", func(im *image) { im.section(secText, "align", 0) }, ""},

		// Section names.
		{"e_shstrndx beyond", func(im *image) { im.head("shstrndx", 8) }, "bad.o: offset {shstrndx}: the section name table is missing"},
		{"e_shstrndx extended, beyond", func(im *image) { im.head("shstrndx", 0xffff); im.section(0, "link", 0xffffffff) }, "bad.o: offset {shstrndx}: the section name table is missing"},
		{"e_shstrndx extended", func(im *image) { im.head("shstrndx", 0xffff); im.section(0, "link", secShstrtab) }, ""},
		{"e_shstrndx NOBITS", func(im *image) { im.head("shstrndx", secBSS) }, "bad.o: offset {shstrndx}: the section name table is missing"},
		{"e_shstrndx of another kind", func(im *image) { im.head("shstrndx", secText) }, "bad.o: offset {shstrndx}: the section name table is missing"},
		{"e_shstrndx 0", func(im *image) { im.head("shstrndx", 0) }, "bad.o: offset {shdr 1}: a section's name lies outside the name table"},
		{"sh_name beyond", func(im *image) { im.section(secBSS, "name", 0xffffffff) }, "bad.o: offset {shdr 7}: a section's name lies outside the name table"},
		{"name table not terminated", func(im *image) {
			im.section(secShstrtab, "size", uint64(len("\x00.text\x00.re")))
			im.section(secRel, "name", 7)
		}, "bad.o: offset {shdr 2}: a section's name lies outside the name table"},
		{"section without a name", func(im *image) { im.section(secText, "name", 0) }, ""},

		// The symbol table.
		{"symbol entsize 0", func(im *image) { im.section(secSymtab, "entsize", 0) }, "bad.o: section .symtab: offset 0x0: symbols have an unknown size"},
		{"symbol entsize", func(im *image) { im.section(secSymtab, "entsize", 23) }, "bad.o: section .symtab: offset 0x0: symbols have an unknown size"},
		{"half a symbol", func(im *image) { im.section(secSymtab, "size", 40) }, "bad.o: section .symtab: offset 0x0: symbols have an unknown size"},
		{"symbols' sh_size huge", func(im *image) { im.section(secSymtab, "size", im.max()) }, "bad.o: offset {shdr 3}: a section lies outside the file"},
		{"two symbol tables", func(im *image) { im.section(secShndx, "type", objfile.SHT_SYMTAB) }, "bad.o: section .symtab_shndx: offset 0x0: a second symbol table"},
		{"sh_link beyond", func(im *image) { im.section(secSymtab, "link", 8) }, "bad.o: section .symtab: offset 0x0: the symbols' string table is missing"},
		{"sh_link 0xffffffff", func(im *image) { im.section(secSymtab, "link", 0xffffffff) }, "bad.o: section .symtab: offset 0x0: the symbols' string table is missing"},
		{"sh_link to itself", func(im *image) { im.section(secSymtab, "link", secSymtab) }, "bad.o: section .symtab: offset 0x0: the symbols' string table is missing"},
		{"sh_link to .text", func(im *image) { im.section(secSymtab, "link", secText) }, "bad.o: section .symtab: offset 0x0: the symbols' string table is missing"},
		{"sh_info beyond", func(im *image) { im.section(secSymtab, "info", 5) }, "bad.o: section .symtab: offset 0x0: the first global symbol lies outside the table"},
		{"sh_info 0", func(im *image) { im.section(secSymtab, "info", 0) }, "bad.o: section .symtab: offset 0x0: a local symbol lies behind the first global one"},
		{"sh_info too small", func(im *image) { im.section(secSymtab, "info", 2) }, "bad.o: section .symtab: offset {sym 2}: a local symbol lies behind the first global one"},
		{"sh_info too large", func(im *image) { im.section(secSymtab, "info", 4) }, "bad.o: section .symtab: offset {sym 3}: a global symbol lies before the first global one"},
		{"st_name beyond", func(im *image) { im.symbol(3, "name", 5) }, "bad.o: section .symtab: offset {sym 3}: a symbol's name lies outside its string table"},
		{"st_name 0xffffffff", func(im *image) { im.symbol(2, "name", 0xffffffff) }, "bad.o: section .symtab: offset {sym 2}: a symbol's name lies outside its string table"},
		{"null symbol's name", func(im *image) { im.symbol(0, "name", 5) }, "bad.o: section .symtab: offset 0x0: a symbol's name lies outside its string table"},
		{"string table not terminated", func(im *image) { im.section(secStrtab, "size", 4) }, "bad.o: section .strtab: offset 0x4: the string table does not end with a NUL"},
		{"string table empty", func(im *image) { im.section(secStrtab, "size", 0) }, "bad.o: section .symtab: offset {sym 2}: a symbol's name lies outside its string table"},
		{"st_shndx beyond", func(im *image) { im.symbol(3, "shndx", 8) }, "bad.o: section .symtab: offset {sym 3}: a symbol's section does not exist"},
		{"null symbol's section", func(im *image) { im.symbol(0, "shndx", 8) }, "bad.o: section .symtab: offset 0x0: a symbol's section does not exist"},
		{"st_shndx SHN_ABS", func(im *image) { im.symbol(3, "shndx", 0xfff1) }, ""},
		{"st_shndx processor-specific", func(im *image) { im.symbol(3, "shndx", 0xff02) }, ""},

		// Extended section indices.
		{"SHN_XINDEX", func(im *image) { im.symbol(3, "shndx", 0xffff); im.put(im.offs[secShndx]+12, field{0, 4}, 7) }, ""},
		{"SHN_XINDEX beyond", func(im *image) { im.symbol(3, "shndx", 0xffff); im.put(im.offs[secShndx]+12, field{0, 4}, 8) }, "bad.o: section .symtab: offset {sym 3}: a symbol's section does not exist"},
		{"SHN_XINDEX reserved", func(im *image) { im.symbol(3, "shndx", 0xffff); im.put(im.offs[secShndx]+12, field{0, 4}, 0xfffffff1) }, "bad.o: section .symtab: offset {sym 3}: a symbol's section does not exist"},
		{"SHN_XINDEX without a table", func(im *image) { im.symbol(3, "shndx", 0xffff); im.section(secShndx, "type", 1) }, "bad.o: section .symtab: offset {sym 3}: a symbol's section needs a table of extended indices"},
		{"SHN_XINDEX, another's table", func(im *image) { im.symbol(3, "shndx", 0xffff); im.section(secShndx, "link", 0) }, "bad.o: section .symtab: offset {sym 3}: a symbol's section needs a table of extended indices"},
		{"too few indices", func(im *image) { im.section(secShndx, "size", 12) }, "bad.o: section .symtab_shndx: offset 0xc: extended section indices are not as many as symbols"},
		{"half an index", func(im *image) { im.section(secShndx, "size", 15) }, "bad.o: section .symtab_shndx: offset 0xf: extended section indices are not as many as symbols"},
		{"no indices", func(im *image) { im.section(secShndx, "size", 0) }, "bad.o: section .symtab_shndx: offset 0x0: extended section indices are not as many as symbols"},
		{"two tables of indices", func(im *image) {
			im.section(secText, "type", objfile.SHT_SYMTAB_SHNDX)
			im.section(secText, "link", secSymtab)
			im.section(secText, "offset", im.offs[secShndx])
			im.section(secText, "size", 16)
		}, "bad.o: section .symtab_shndx: offset 0x0: a second table of extended section indices"},

		// Relocations.
		{"relocation entsize 0", func(im *image) { im.section(secRel, "entsize", 0) }, "bad.o: section {rel}: offset 0x0: relocations have an unknown size"},
		{"REL for RELA", func(im *image) {
			im.section(secRel, "type", map[bool]uint64{true: objfile.SHT_REL, false: objfile.SHT_RELA}[im.is64])
		}, "bad.o: section {rel}: offset 0x0: relocations have an unknown size"},
		{"half a relocation", func(im *image) { im.section(secRel, "size", 7) }, "bad.o: section {rel}: offset 0x0: relocations have an unknown size"},
		{"relocations of section 0", func(im *image) { im.section(secRel, "info", 0) }, "bad.o: section {rel}: offset 0x0: relocations of a section that does not exist"},
		{"relocations of section 8", func(im *image) { im.section(secRel, "info", 8) }, "bad.o: section {rel}: offset 0x0: relocations of a section that does not exist"},
		{"relocations of section 0xffffffff", func(im *image) { im.section(secRel, "info", 0xffffffff) }, "bad.o: section {rel}: offset 0x0: relocations of a section that does not exist"},
		{"relocations of themselves", func(im *image) { im.section(secRel, "info", secRel) }, "bad.o: section {rel}: offset 0x0: relocations of a section that does not exist"},
		{"relocations by .text", func(im *image) { im.section(secRel, "link", secText) }, "bad.o: section {rel}: offset 0x0: relocations name another symbol table"},
		{"relocations by no symbol table", func(im *image) { im.section(secRel, "link", 0) }, "bad.o: section {rel}: offset 0x0: relocations name another symbol table"},
		{"no symbol table, relocations by it", func(im *image) { im.section(secSymtab, "type", 1) }, "bad.o: section {rel}: offset 0x0: relocations name another symbol table"},
		{"no symbol table", func(im *image) {
			im.section(secSymtab, "type", 1)
			im.section(secRel, "link", 0)
		}, ""},
	}
	classes(t, func(t *testing.T, is64 bool) {
		for _, test := range tests {
			im := newImage(is64)
			end := uint64(len(im.b))
			test.spoil(im)
			want := expand(test.want, im, end)
			_, err := objfile.Parse("bad.o", im.b)
			got := ""
			if err != nil {
				got = err.Error()
				var fe *objfile.FormatError
				if !errors.As(err, &fe) {
					t.Errorf("%s: a %T is not a *FormatError", test.name, err)
				}
			}
			if got != want {
				t.Errorf("%s:\n got %q\nwant %q", test.name, got, want)
			}
		}
	})
}

// expand fills in what differs between the ELF classes.
func expand(want string, im *image, end uint64) string {
	hex := func(v uint64) string { return fmt.Sprintf("%#x", v) }
	pairs := []string{"{end}", hex(end), "{end+1}", hex(end + 1), "{max}", hex(im.max()),
		"{shentsize}", hex(headFields[im.is64]["shentsize"].at), "{shstrndx}", hex(headFields[im.is64]["shstrndx"].at),
		"{rel}", map[bool]string{true: ".rela.text", false: ".rel.text"}[im.is64]}
	for i := range uint64(8) {
		pairs = append(pairs, fmt.Sprintf("{shdr %d}", i), hex(im.shat+i*im.shentsize()))
		pairs = append(pairs, fmt.Sprintf("{sym %d}", i), hex(i*map[bool]uint64{true: 24, false: 16}[im.is64]))
	}
	return strings.NewReplacer(pairs...).Replace(want)
}

// TestTruncated cuts a valid object at every length: an error each time,
// since the section headers come last.
func TestTruncated(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		b := newImage(is64).b
		for n := range b {
			if _, err := objfile.Parse("cut.o", b[:n:n]); err == nil {
				t.Errorf("cut to %d of %d bytes: no error", n, len(b))
			}
		}
	})
}

// TestCheckRelocs checks the errors about single relocations.
func TestCheckRelocs(t *testing.T) {
	const past = "bad.o: section .text: offset %#x: a relocation lies outside its section"
	tests := []struct {
		name        string
		offset, sym uint64
		want        string
	}{
		{"good", 4, 3, ""},
		{"at the very start", 0, 3, ""},
		{"no symbol", 4, 0, ""},
		{"symbol beyond", 4, 4, "bad.o: section .text: offset 0x4: a relocation names a symbol that does not exist"},
		{"symbol far beyond", 4, 0xffffff, "bad.o: section .text: offset 0x4: a relocation names a symbol that does not exist"},
		{"one byte too far", 5, 3, fmt.Sprintf(past, 5)},
		{"at the end", 8, 3, fmt.Sprintf(past, 8)},
		{"beyond the end", 9, 3, fmt.Sprintf(past, 9)},
		{"offset overflows", 1<<64 - 2, 3, fmt.Sprintf(past, uint64(1<<64-2))},
	}
	arch := objfile.ArchOf(objfile.EM_X86_64)
	for _, test := range tests {
		im := newImage(true)
		im.reloc(test.offset, test.sym)
		err := parse(t, "bad.o", im.b).CheckRelocs(secText, arch)
		if got := errString(err); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}

	// A section without contents has nothing to relocate, whatever its size.
	im := newImage(true)
	im.section(secRel, "info", secBSS)
	err := parse(t, "bad.o", im.b).CheckRelocs(secBSS, arch)
	if got, want := errString(err), "bad.o: section .bss: offset 0x4: a relocation lies outside its section"; got != want {
		t.Errorf("relocations of .bss:\n got %q\nwant %q", got, want)
	}
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSeveralRelocationSections: the first is Rel, and MultiRel says so.
func TestSeveralRelocationSections(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		// .symtab_shndx becomes a second, empty relocation section of .text.
		im.section(secShndx, "type", map[bool]uint64{true: objfile.SHT_RELA, false: objfile.SHT_REL}[is64])
		im.section(secShndx, "entsize", map[bool]uint64{true: 24, false: 8}[is64])
		im.section(secShndx, "size", 0)
		im.section(secShndx, "info", secText)
		f := parse(t, "two.o", im.b)
		if s := f.Sections[secText]; s.Rel != secRel || !s.MultiRel {
			t.Errorf("Rel %d, MultiRel %v", s.Rel, s.MultiRel)
		}
	})
}

// TestCyclicRelocations: two sections that hold each other's relocations are
// odd and harm nobody.
func TestCyclicRelocations(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		width := map[bool]uint64{true: 24, false: 8}[is64]
		im.section(secShndx, "type", map[bool]uint64{true: objfile.SHT_RELA, false: objfile.SHT_REL}[is64])
		im.section(secShndx, "entsize", width)
		im.section(secShndx, "offset", im.offs[secShndx]-width)
		im.section(secShndx, "size", width)
		im.section(secShndx, "info", secRel)
		im.section(secRel, "info", secShndx)
		im.section(secShstrtab, "size", im.offs[secShndx]-width-im.offs[secShstrtab])
		for i := secText; i <= secBSS; i++ {
			im.section(i, "name", 0)
		}
		im.b[im.offs[secShndx]-width-1] = 0
		f := parse(t, "cycle.o", im.b)
		if f.Sections[secRel].Rel != secShndx || f.Sections[secShndx].Rel != secRel {
			t.Fatalf("relocations in %d and %d", f.Sections[secRel].Rel, f.Sections[secShndx].Rel)
		}
		e := objfile.NewEdit(f)
		e.SetReloc(secRel, 0, objfile.Reloc{Sym: 1})
		e.SetReloc(secShndx, 0, objfile.Reloc{Sym: 2})
		g := parse(t, "cycle.o", written(t, e))
		if g.Relocs(secRel).At(0).Sym != 1 || g.Relocs(secShndx).At(0).Sym != 2 {
			t.Error("the changes are not there")
		}
	})
}

// TestSharedObject: in a shared object the dynamic symbols count, and their
// sections are not looked at (BOLT leaves stale ones).
func TestSharedObject(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		im.head("type", objfile.ET_DYN)
		im.symbol(3, "shndx", 0x1234)
		im.section(secShndx, "link", 0)
		if f := parse(t, "lib.so", im.b); f.Symtab != 0 {
			t.Errorf(".symtab of a shared object is read (section %d)", f.Symtab)
		}
		im.section(secSymtab, "type", objfile.SHT_DYNSYM)
		f := parse(t, "lib.so", im.b)
		if f.Symtab != secSymtab || f.SymbolName(3) != "f" {
			t.Errorf("dynamic symbols: section %d", f.Symtab)
		}
		im.symbol(3, "name", 99)
		_, err := objfile.Parse("lib.so", im.b)
		want := expand("lib.so: section .symtab: offset {sym 3}: a symbol's name lies outside its string table", im, 0)
		if errString(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestFileKinds(t *testing.T) {
	obj := newImage(true).b
	big := newImage(true)
	big.head("data", 2)
	tests := []struct {
		name                  string
		b                     []byte
		elf, bitcode, archive bool
		typ                   uint16
	}{
		{"nothing", nil, false, false, false, 0},
		{"short", []byte("\x7fELF"), false, false, false, 0},
		{"object", obj, true, false, false, objfile.ET_REL},
		{"big-endian", big.b, true, false, false, 0},
		{"bitcode", []byte("BC\xc0\xde"), false, true, false, 0},
		{"wrapped bitcode", []byte("\xde\xc0\x17\x0b\x00"), false, true, false, 0},
		{"archive", []byte("!<arch>\n"), false, false, true, 0},
		{"thin archive", []byte("!<thin>\nx"), false, false, true, 0},
		{"short archive", []byte("!<arch>"), false, false, false, 0},
	}
	for _, test := range tests {
		if got := objfile.IsELF(test.b); got != test.elf {
			t.Errorf("%s: IsELF %v", test.name, got)
		}
		if got := objfile.IsBitcode(test.b); got != test.bitcode {
			t.Errorf("%s: IsBitcode %v", test.name, got)
		}
		if got := objfile.IsArchive(test.b); got != test.archive {
			t.Errorf("%s: IsArchive %v", test.name, got)
		}
		if got := objfile.FileType(test.b); got != test.typ {
			t.Errorf("%s: FileType %d, want %d", test.name, got, test.typ)
		}
	}
}

// TestNamesBounded: names that all take up their whole table are an error,
// found in good time; some that do are not.
func TestNamesBounded(t *testing.T) {
	const size = 8 << 20
	long := append(bytes.Repeat([]byte("n"), size), 0)
	classes(t, func(t *testing.T, is64 bool) {
		sections := func(named int) *image {
			im := newImage(is64)
			im.section(secShstrtab, "offset", uint64(len(im.b)))
			im.section(secShstrtab, "size", uint64(len(long)))
			im.b = append(im.b, long...)
			old := im.b[im.shat : im.shat+8*im.shentsize()]
			const count = 100000
			im.head("shoff", uint64(len(im.b)))
			im.shat = uint64(len(im.b))
			im.b = append(append(im.b, old...), make([]byte, (count-8)*im.shentsize())...)
			im.head("shnum", 0)
			im.section(0, "size", count)
			for i := range count {
				name := uint64(size) // the end: no name
				if i < named {
					name = uint64(i)
				}
				im.section(i, "name", name)
			}
			return im
		}
		symbols := func(named int) *image {
			im := newImage(is64)
			im.section(secStrtab, "offset", uint64(len(im.b)))
			im.section(secStrtab, "size", uint64(len(long)))
			im.b = append(im.b, long...)
			const count = 100000
			im.offs[secSymtab] = uint64(len(im.b))
			width := map[bool]uint64{true: 24, false: 16}[is64]
			im.section(secSymtab, "offset", uint64(len(im.b)))
			im.section(secSymtab, "size", count*width)
			im.section(secSymtab, "info", 1)
			im.section(secShndx, "type", 1)
			im.b = append(im.b, make([]byte, count*width)...)
			for i := range count {
				name := uint64(size)
				if i < named {
					name = uint64(i)
				}
				im.symbol(i, "name", name)
				if i > 0 {
					im.symbol(i, "info", 0x10)
				}
			}
			return im
		}
		for _, test := range []struct {
			name string
			im   *image
			want string
		}{
			{"some long section names", sections(50), ""},
			{"long section names", sections(100000), "sections' names are too long for so many"},
			{"some long symbol names", symbols(50), ""},
			{"long symbol names", symbols(100000), "symbols' names are too long for so many"},
		} {
			start := time.Now()
			_, err := objfile.Parse("long.o", test.im.b)
			var fe *objfile.FormatError
			if errors.As(err, &fe) && fe.What != test.want || (err == nil) != (test.want == "") {
				t.Errorf("%s: error %v", test.name, fe.What)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%s: %v", test.name, d)
			}
		}
	})
}

// allocated measures the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemoryBounded: headers that lie about counts and sizes cost no more
// memory than a few times the file.
func TestMemoryBounded(t *testing.T) {
	lies := map[string]func(im *image){
		"section count":    func(im *image) { im.head("shnum", 0); im.section(0, "size", 1<<31) },
		"all sections":     func(im *image) {},
		"symbol table":     func(im *image) { im.section(secSymtab, "size", im.max()&^0xff) },
		"extended indices": func(im *image) { im.section(secShndx, "size", im.max()&^3) },
		"relocations":      func(im *image) { im.section(secRel, "size", im.max()&^0xff) },
		"NOBITS":           func(im *image) { im.section(secBSS, "size", im.max()) },
	}
	classes(t, func(t *testing.T, is64 bool) {
		for name, lie := range lies {
			im := newImage(is64)
			lie(im)
			limit := 16*uint64(len(im.b)) + 16<<10
			if n := allocated(func() { objfile.Parse("lie.o", im.b) }); n > limit {
				t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(im.b))
			}
		}
	})
}
