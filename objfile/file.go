package objfile

import (
	"bytes"
	"strings"
	"unsafe"
)

// ELF constants, named as in the specification (gABI chapters 4 and 5, and
// the processor supplements for machine numbers).
const (
	ET_REL = 1
	ET_DYN = 3

	EM_386     = 3
	EM_ARM     = 40
	EM_X86_64  = 62
	EM_AARCH64 = 183
	EM_RISCV   = 243

	SHT_NULL           = 0
	SHT_PROGBITS       = 1
	SHT_SYMTAB         = 2
	SHT_STRTAB         = 3
	SHT_RELA           = 4
	SHT_NOTE           = 7
	SHT_NOBITS         = 8
	SHT_REL            = 9
	SHT_DYNSYM         = 11
	SHT_INIT_ARRAY     = 14
	SHT_FINI_ARRAY     = 15
	SHT_PREINIT        = 16
	SHT_GROUP          = 17
	SHT_SYMTAB_SHNDX   = 18
	SHT_RELR           = 19
	SHT_CREL           = 0x40000014
	SHT_LLVM_ADDRSIG   = 0x6fff4c03
	SHT_GNU_VERSYM     = 0x6fffffff
	SHT_X86_UNWIND     = 0x70000001
	SHT_ARM_EXIDX      = 0x70000001
	SHT_ARM_ATTRIBUTES = 0x70000003

	SHF_WRITE      = 1
	SHF_ALLOC      = 2
	SHF_EXECINSTR  = 4
	SHF_MERGE      = 0x10
	SHF_STRINGS    = 0x20
	SHF_INFO_LINK  = 0x40
	SHF_LINK_ORDER = 0x80
	SHF_GROUP      = 0x200
	SHF_TLS        = 0x400
	SHF_COMPRESSED = 0x800
	SHF_RETAIN     = 0x200000 // SHF_GNU_RETAIN
	SHF_EXCLUDE    = 0x80000000

	GRP_COMDAT = 1

	shnLoReserve = 0xff00
	shnXIndex    = 0xffff
)

// Section indices of symbols that are not sections, as Symbol.Section gives
// them. Real indices can exceed 0xff00 (SHN_XINDEX), so the reserved ones
// are moved to the top of the range.
const (
	SecUndef    = 0
	SecReserved = 0xffffff00 // first reserved value
	SecAbs      = 0xfffffff1 // SHN_ABS
	SecCommon   = 0xfffffff2 // SHN_COMMON
)

// File is a parsed ELF relocatable object. It borrows Data and is not
// changed after Parse.
type File struct {
	Name     string // path, or path(member)
	Data     []byte
	Machine  uint16
	Flags    uint32    // e_flags
	Sections []Section // indexed by ELF section index
	Symtab   uint32    // index of the symbol table's section, 0 if none
	// FirstGlobal is the index of the first non-local symbol (sh_info).
	FirstGlobal uint32
	NumSymbols  uint32 // including the null symbol

	class  class
	head   header
	names  uint32 // index of the section names' table
	strs   []byte // the symbol table's string table
	syms   []byte
	xindex []byte // SHT_SYMTAB_SHNDX contents, nil if none
	// versions has the version of each symbol of a shared object, two bytes
	// each, nil if there are none.
	versions []byte
}

// Section is a decoded section header.
type Section struct {
	Name    string
	Type    uint32 // SHT_…
	Flags   uint64 // SHF_…
	Offset  uint64 // of the contents in the file, bytes
	Size    uint64 // bytes
	Link    uint32
	Info    uint32
	Align   uint64 // bytes; 0 and 1 mean none
	EntSize uint64 // bytes
	// Rel is the index of the section that holds this section's
	// relocations, 0 if none. MultiRel says that there are several: Rel is
	// then the first, and the section is not understood.
	Rel      uint32
	MultiRel bool
}

// IsDebug reports whether a section is debug information (DWARF): that is not
// loaded.
func (s *Section) IsDebug() bool {
	return s.Flags&SHF_ALLOC == 0 && strings.HasPrefix(s.Name, ".debug_")
}

// Is64 reports the ELF class.
func (f *File) Is64() bool { return f.class == class64 }

// IsShared reports whether it is a shared object.
func (f *File) IsShared() bool { return f.head.typ == ET_DYN }

// WordSize is the size of an address in bytes: 4 or 8.
func (f *File) WordSize() int { return f.class.wordSize() }

// IsELF reports whether b begins like an ELF file of any kind.
func IsELF(b []byte) bool { return len(b) >= 20 && string(b[:4]) == "\x7fELF" }

// FileType returns e_type (ET_REL, ET_DYN, …) of a little-endian ELF file, 0 otherwise.
func FileType(b []byte) uint16 {
	if !IsELF(b) || b[5] != 1 {
		return 0
	}
	return le.Uint16(b[16:])
}

// IsBitcode reports whether b is LLVM bitcode (raw or wrapped).
func IsBitcode(b []byte) bool {
	return len(b) >= 4 && (string(b[:4]) == "BC\xc0\xde" || string(b[:4]) == "\xde\xc0\x17\x0b")
}

// Parse reads the headers of an ELF file and checks every range that the
// accessors rely on. Of a symbol of a shared object, Section says no more
// than whether it is defined. The errors it returns are *FormatError.
func Parse(name string, data []byte) (*File, error) {
	f := &File{Name: name, Data: data[:len(data):len(data)]}
	fail := func(off uint64, what string) (*File, error) {
		return nil, &FormatError{File: name, Offset: off, What: what}
	}
	if !IsELF(data) {
		return fail(0, "not an ELF file")
	}
	f.class = class(data[4])
	if f.class != class32 && f.class != class64 {
		return fail(4, "unknown ELF class")
	}
	if data[5] != 1 {
		return fail(5, "not little-endian")
	}
	if uint64(len(data)) < f.class.headerSize() {
		return fail(0, "ELF header is truncated")
	}
	f.head = f.class.header(data)
	f.Machine, f.Flags = f.head.machine, f.head.flags
	if f.head.shoff == 0 {
		return fail(0, "no section headers")
	}
	if uint64(f.head.shentsize) != f.class.sectionSize() {
		return fail(uint64(f.head.shnumAt-2), "section headers have an unknown size")
	}
	size := f.class.sectionSize()
	if f.head.shoff > uint64(len(data)) || size > uint64(len(data))-f.head.shoff {
		return fail(f.head.shoff, "section headers lie outside the file")
	}
	null, _ := f.class.section(data[f.head.shoff:])
	if null.Type != SHT_NULL {
		return fail(f.head.shoff, "section 0 is not a null section")
	}
	count, names := uint64(f.head.shnum), uint32(f.head.shstrndx)
	if count == 0 {
		count = null.Size // gABI: e_shnum is 0 where the count does not fit
	}
	if names == shnXIndex {
		names = null.Link
	}
	if count == 0 || count > (uint64(len(data))-f.head.shoff)/size {
		return fail(f.head.shoff, "section headers lie outside the file")
	}
	f.Sections = make([]Section, count)
	for i := range f.Sections {
		s, _ := f.class.section(data[f.head.shoff+uint64(i)*size:])
		if i > 0 && s.Type != SHT_NOBITS && s.Type != SHT_NULL &&
			(s.Offset > uint64(len(data)) || s.Size > uint64(len(data))-s.Offset) {
			return fail(f.head.shoff+uint64(i)*size, "a section lies outside the file")
		}
		if s.Align&(s.Align-1) != 0 {
			return fail(f.head.shoff+uint64(i)*size, "a section's alignment is not a power of two")
		}
		f.Sections[i] = s
	}
	if uint64(names) >= count || names != 0 && f.Sections[names].Type != SHT_STRTAB {
		return fail(uint64(f.head.shstrndxAt), "the section name table is missing")
	}
	f.names = names
	table, left := f.Bytes(names), maxSharing*uint64(len(data))
	for i := range f.Sections {
		_, name := f.class.section(data[f.head.shoff+uint64(i)*size:])
		s, ok := cString(table, name)
		if !ok {
			return fail(f.head.shoff+uint64(i)*size, "a section's name lies outside the name table")
		}
		if uint64(len(s)) > left {
			return fail(f.head.shoff+uint64(i)*size, "sections' names are too long for so many")
		}
		left -= uint64(len(s))
		f.Sections[i].Name = s
	}
	if err := f.findTables(); err != nil {
		return nil, err
	}
	return f, nil
}

// maxSharing is how many times the size of a file the names in it may have
// together. Names share the bytes of equal names and of longer names' ends,
// a few times over; a hostile file could make each as long as its table, and
// reading them all would cost the square of its size.
const maxSharing = 64

// findTables finds the symbol table and each section's relocations.
func (f *File) findTables() error {
	count := uint32(len(f.Sections))
	for i := uint32(1); i < count; i++ {
		s := &f.Sections[i]
		switch s.Type {
		case SHT_SYMTAB, SHT_DYNSYM:
			// What other files can see of a shared object is in .dynsym.
			if (s.Type == SHT_DYNSYM) != (f.head.typ == ET_DYN) {
				continue
			}
			if f.Symtab != 0 {
				return f.fail(i, 0, "a second symbol table")
			}
			if s.EntSize != f.class.symbolSize() || s.Size%s.EntSize != 0 {
				return f.fail(i, 0, "symbols have an unknown size")
			}
			if s.Link >= count || f.Sections[s.Link].Type != SHT_STRTAB {
				return f.fail(i, 0, "the symbols' string table is missing")
			}
			f.Symtab, f.syms, f.strs = i, f.Bytes(i), f.Bytes(s.Link)
			if s.Size/s.EntSize > 1<<31 {
				return f.fail(i, 0, "too many symbols")
			}
			f.NumSymbols = uint32(s.Size / s.EntSize)
			f.FirstGlobal = s.Info
			if f.FirstGlobal > f.NumSymbols {
				return f.fail(i, 0, "the first global symbol lies outside the table")
			}
		case SHT_REL, SHT_RELA:
			if f.head.typ != ET_REL {
				continue
			}
			if s.EntSize != f.class.relocSize(s.Type == SHT_RELA) || s.Size%s.EntSize != 0 {
				return f.fail(i, 0, "relocations have an unknown size")
			}
			if s.Info == 0 || s.Info >= count || s.Info == i {
				return f.fail(i, 0, "relocations of a section that does not exist")
			}
			t := &f.Sections[s.Info]
			if t.Rel != 0 {
				t.MultiRel = true
				continue
			}
			t.Rel = i
		}
	}
	for i := uint32(1); i < count; i++ {
		switch s := &f.Sections[i]; s.Type {
		case SHT_SYMTAB_SHNDX:
			if s.Link != f.Symtab || f.Symtab == 0 {
				continue
			}
			if f.xindex != nil {
				return f.fail(i, 0, "a second table of extended section indices")
			}
			if s.Size != 4*uint64(f.NumSymbols) {
				return f.fail(i, s.Size, "extended section indices are not as many as symbols")
			}
			f.xindex = f.Bytes(i)
		case SHT_GNU_VERSYM:
			if f.head.typ == ET_DYN && s.Link == f.Symtab && s.Size == 2*uint64(f.NumSymbols) {
				f.versions = f.Bytes(i)
			}
		case SHT_REL, SHT_RELA:
			if f.head.typ == ET_REL && s.Link != f.Symtab {
				return f.fail(i, 0, "relocations name another symbol table")
			}
		}
	}
	return f.checkSymbols()
}

// checkSymbols checks that symbols name sections and strings that exist, and
// that local symbols come first: some linkers tell a local symbol by its
// binding and some by its place. In a shared object only names are checked,
// as linkers do: BOLT leaves sections there that do not exist.
func (f *File) checkSymbols() error {
	size := f.class.symbolSize()
	for i := range f.NumSymbols {
		at := uint64(i) * size
		s, shndx := f.Symbol(i), f.class.shndx(f.syms[at:])
		if uint64(s.nameOff) >= uint64(len(f.strs)) && s.nameOff != 0 {
			return f.fail(f.Symtab, at, "a symbol's name lies outside its string table")
		}
		if f.head.typ != ET_REL {
			continue
		}
		section := uint64(shndx)
		if shndx == shnXIndex {
			if f.xindex == nil {
				return f.fail(f.Symtab, at, "a symbol's section needs a table of extended indices")
			}
			section = uint64(le.Uint32(f.xindex[uint64(i)*4:]))
		}
		if (shndx < shnLoReserve || shndx == shnXIndex) && section >= uint64(len(f.Sections)) {
			return f.fail(f.Symtab, at, "a symbol's section does not exist")
		}
		if s.Bind == STB_LOCAL && i >= f.FirstGlobal {
			return f.fail(f.Symtab, at, "a local symbol lies behind the first global one")
		}
		if s.Bind != STB_LOCAL && i < f.FirstGlobal {
			return f.fail(f.Symtab, at, "a global symbol lies before the first global one")
		}
	}
	if n := len(f.strs); n > 0 && f.strs[n-1] != 0 {
		return f.fail(f.Sections[f.Symtab].Link, uint64(n), "the string table does not end with a NUL")
	}
	return f.checkNames()
}

// checkNames checks that the symbols' names are not too long for their
// number. As a rule even the longest name for every symbol is not.
func (f *File) checkNames() error {
	left := maxSharing * uint64(len(f.Data))
	if f.NumSymbols == 0 || noLonger(f.strs, left/uint64(f.NumSymbols)) {
		return nil
	}
	for i := range f.NumSymbols {
		n := uint64(len(f.SymbolName(i)))
		if n > left {
			return f.fail(f.Symtab, uint64(i)*f.class.symbolSize(), "symbols' names are too long for so many")
		}
		left -= n
	}
	return nil
}

// noLonger reports whether no string of a table, which ends with a NUL, is
// longer than n. It looks at few of them: where there is a NUL in every n+1
// bytes, none is.
func noLonger(table []byte, n uint64) bool {
	for uint64(len(table)) > n {
		k := bytes.LastIndexByte(table[:n+1], 0)
		if k < 0 {
			return false
		}
		table = table[k+1:]
	}
	return true
}

func (f *File) fail(section uint32, off uint64, what string) error {
	return &FormatError{File: f.Name, Section: f.Sections[section].Name, Offset: off, What: what}
}

// ErrorAt makes a *FormatError at an offset of a section.
func (f *File) ErrorAt(section uint32, off uint64, what string) error {
	return f.fail(section, off, what)
}

// Address is where a section of a linked file is when it is loaded.
func (f *File) Address(section uint32) uint64 {
	return f.class.address(f.Data[f.head.shoff+uint64(section)*f.class.sectionSize():])
}

// Bytes returns the contents of a section, nil for SHT_NOBITS. The slice
// must not be changed.
func (f *File) Bytes(section uint32) []byte {
	s := &f.Sections[section]
	if s.Type == SHT_NOBITS || s.Type == SHT_NULL {
		return nil
	}
	end := s.Offset + s.Size
	return f.Data[s.Offset:end:end]
}

// cString returns the NUL-terminated string at off without copying it.
func cString(table []byte, off uint32) (string, bool) {
	if uint64(off) >= uint64(len(table)) {
		return "", off == 0
	}
	b := table[off:]
	n := bytes.IndexByte(b, 0)
	if n < 0 {
		return "", false
	}
	return borrow(b[:n]), true
}

// borrow makes a string of bytes that nobody changes.
func borrow(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
