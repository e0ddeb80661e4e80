package objfile_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"leanlink/objfile"
)

// image is a small ELF object whose every header field can be set to
// anything, to see what the reader makes of it. Its sections are
//
//	1 .text          8 bytes
//	2 .rel[a].text   one relocation against symbol 3
//	3 .symtab        null, section symbol of .text, local "l", global "f"
//	4 .strtab
//	5 .shstrtab
//	6 .symtab_shndx
//	7 .bss           NOBITS, 0x1000 bytes
//
// in that order in the file, each on 8 bytes, and the section headers last.
type image struct {
	b    []byte
	is64 bool
	offs [8]uint64 // of the sections' contents
	shat uint64    // of the section headers
}

// The sections of an image.
const (
	secText = 1 + iota
	secRel
	secSymtab
	secStrtab
	secShstrtab
	secShndx
	secBSS
)

// newImage makes a valid object. ELF64 uses SHT_RELA and ELF32 SHT_REL.
func newImage(is64 bool) *image {
	le := binary.LittleEndian
	im := &image{is64: is64, b: make([]byte, 52)}
	machine := uint16(objfile.EM_386)
	if is64 {
		im.b = make([]byte, 64)
		machine = objfile.EM_X86_64
	}
	copy(im.b, "\x7fELF\x01\x01\x01")
	if is64 {
		im.b[4] = 2
	}
	le.PutUint16(im.b[16:], objfile.ET_REL)
	le.PutUint16(im.b[18:], machine)
	le.PutUint32(im.b[20:], 1)

	type row struct {
		name            string
		typ, link, info uint32
		align, entsize  uint64
		content         []byte
		nobits          uint64
	}
	sym := func(name uint32, info byte, shndx uint16) []byte {
		if is64 {
			b := make([]byte, 24)
			le.PutUint32(b, name)
			b[4] = info
			le.PutUint16(b[6:], shndx)
			return b
		}
		b := make([]byte, 16)
		le.PutUint32(b, name)
		b[12] = info
		le.PutUint16(b[14:], shndx)
		return b
	}
	symtab := bytes.Join([][]byte{sym(0, 0, 0), sym(0, 3, 1), sym(1, 1, 1), sym(3, 0x12, 1)}, nil)
	rel := make([]byte, 8)
	rel[0] = 4
	le.PutUint32(rel[4:], 3<<8|1) // R_386_32
	relName, relType, symSize := ".rel.text", uint32(objfile.SHT_REL), uint64(16)
	if is64 {
		rel = make([]byte, 24)
		rel[0] = 4
		le.PutUint64(rel[8:], 3<<32|2) // R_X86_64_PC32
		le.PutUint64(rel[16:], ^uint64(3))
		relName, relType, symSize = ".rela.text", objfile.SHT_RELA, 24
	}
	rows := []row{
		{},
		{name: ".text", typ: objfile.SHT_PROGBITS, align: 16, content: []byte("\x90\x90\x90\xe8\x00\x00\x00\x00")},
		{name: relName, typ: relType, link: secSymtab, info: secText, align: 8, entsize: uint64(len(rel)), content: rel},
		{name: ".symtab", typ: objfile.SHT_SYMTAB, link: secStrtab, info: 3, align: 8, entsize: symSize, content: symtab},
		{name: ".strtab", typ: objfile.SHT_STRTAB, align: 1, content: []byte("\x00l\x00f\x00")},
		{name: ".shstrtab", typ: objfile.SHT_STRTAB, align: 1},
		{name: ".symtab_shndx", typ: objfile.SHT_SYMTAB_SHNDX, link: secSymtab, align: 4, entsize: 4, content: make([]byte, 16)},
		{name: ".bss", typ: objfile.SHT_NOBITS, align: 32, nobits: 0x1000},
	}
	names := []byte{0}
	nameOff := make([]uint64, len(rows))
	for i, r := range rows[1:] {
		nameOff[i+1] = uint64(len(names))
		names = append(append(names, r.name...), 0)
	}
	rows[secShstrtab].content = names
	for i, r := range rows {
		for len(im.b)%8 != 0 {
			im.b = append(im.b, 0)
		}
		if i > 0 {
			im.offs[i] = uint64(len(im.b))
		}
		im.b = append(im.b, r.content...)
	}
	for len(im.b)%8 != 0 {
		im.b = append(im.b, 0)
	}
	im.shat = uint64(len(im.b))
	im.b = append(im.b, make([]byte, len(rows)*int(im.shentsize()))...)
	im.head("shoff", im.shat)
	im.head("shentsize", im.shentsize())
	im.head("shnum", uint64(len(rows)))
	im.head("shstrndx", secShstrtab)
	for i, r := range rows[1:] {
		i++
		im.section(i, "name", nameOff[i])
		im.section(i, "type", uint64(r.typ))
		im.section(i, "offset", im.offs[i])
		im.section(i, "size", uint64(len(r.content))+r.nobits)
		im.section(i, "link", uint64(r.link))
		im.section(i, "info", uint64(r.info))
		im.section(i, "align", r.align)
		im.section(i, "entsize", r.entsize)
	}
	im.section(secText, "flags", objfile.SHF_ALLOC|objfile.SHF_EXECINSTR)
	im.section(secBSS, "flags", objfile.SHF_ALLOC|objfile.SHF_WRITE)
	return im
}

func (im *image) shentsize() uint64 {
	if im.is64 {
		return 64
	}
	return 40
}

// field is where a header field lies and how wide it is.
type field struct{ at, width uint64 }

var (
	headFields = map[bool]map[string]field{
		false: {"class": {4, 1}, "data": {5, 1}, "type": {16, 2}, "machine": {18, 2}, "shoff": {32, 4}, "shentsize": {46, 2}, "shnum": {48, 2}, "shstrndx": {50, 2}},
		true:  {"class": {4, 1}, "data": {5, 1}, "type": {16, 2}, "machine": {18, 2}, "shoff": {40, 8}, "shentsize": {58, 2}, "shnum": {60, 2}, "shstrndx": {62, 2}},
	}
	sectionFields = map[bool]map[string]field{
		false: {"name": {0, 4}, "type": {4, 4}, "flags": {8, 4}, "offset": {16, 4}, "size": {20, 4}, "link": {24, 4}, "info": {28, 4}, "align": {32, 4}, "entsize": {36, 4}},
		true:  {"name": {0, 4}, "type": {4, 4}, "flags": {8, 8}, "offset": {24, 8}, "size": {32, 8}, "link": {40, 4}, "info": {44, 4}, "align": {48, 8}, "entsize": {56, 8}},
	}
	symbolFields = map[bool]map[string]field{
		false: {"name": {0, 4}, "value": {4, 4}, "size": {8, 4}, "info": {12, 1}, "other": {13, 1}, "shndx": {14, 2}},
		true:  {"name": {0, 4}, "info": {4, 1}, "other": {5, 1}, "shndx": {6, 2}, "value": {8, 8}, "size": {16, 8}},
	}
)

func (im *image) put(base uint64, f field, v uint64) {
	if f.width == 0 {
		panic("no such field")
	}
	for i := range f.width {
		im.b[base+f.at+i] = byte(v >> (8 * i))
	}
}

// head sets a field of the ELF header.
func (im *image) head(name string, v uint64) { im.put(0, headFields[im.is64][name], v) }

// section sets a field of a section's header.
func (im *image) section(i int, name string, v uint64) {
	im.put(im.shat+uint64(i)*im.shentsize(), sectionFields[im.is64][name], v)
}

// symbol sets a field of a symbol.
func (im *image) symbol(i int, name string, v uint64) {
	size := uint64(16)
	if im.is64 {
		size = 24
	}
	im.put(im.offs[secSymtab]+uint64(i)*size, symbolFields[im.is64][name], v)
}

// reloc sets the relocation's offset and symbol.
func (im *image) reloc(offset, sym uint64) {
	at := im.offs[secRel]
	if im.is64 {
		im.put(at, field{0, 8}, offset)
		im.put(at, field{12, 4}, sym)
	} else {
		im.put(at, field{0, 4}, offset)
		im.put(at, field{5, 3}, sym)
	}
}

// max is the largest value of an address-sized field.
func (im *image) max() uint64 {
	if im.is64 {
		return 1<<64 - 1
	}
	return 1<<32 - 1
}

// parse parses an object that must be valid.
func parse(t testing.TB, name string, b []byte) *objfile.File {
	t.Helper()
	f, err := objfile.Parse(name, b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestImageIsValid(t *testing.T) {
	for _, is64 := range []bool{false, true} {
		f := parse(t, "ok.o", newImage(is64).b)
		var names []string
		for _, s := range f.Sections {
			names = append(names, s.Name)
		}
		if len(names) != 8 || names[secText] != ".text" || names[secShndx] != ".symtab_shndx" {
			t.Errorf("sections %q", names)
		}
		if f.NumSymbols != 4 || f.FirstGlobal != 3 || f.SymbolName(3) != "f" || f.Symbol(3).Section != secText || f.Is64() != is64 {
			t.Errorf("symbols: %d, first global %d, %q %+v", f.NumSymbols, f.FirstGlobal, f.SymbolName(3), f.Symbol(3))
		}
		rs := f.Relocs(secText)
		if rs.Len() != 1 || rs.At(0).Sym != 3 || rs.At(0).Offset != 4 || rs.Rela != is64 {
			t.Errorf("relocations: %d", rs.Len())
		}
	}
}
