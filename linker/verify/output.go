package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// output is the linked file: its memory as it will be loaded, its symbols and its dynamic relocations.
type output struct {
	name    string
	class   elf.Class
	machine elf.Machine
	pic     bool // loaded anywhere: a pointer needs a dynamic relocation
	entry   uint64
	word    uint64 // bytes in a pointer
	file    *elf.File
	data    []byte

	sections []outSection // the allocated ones that have an address range of their own, by address
	symbols  []symbol     // .symtab
	dynsyms  []symbol
	byName   map[string][]uint32 // indices into symbols of what is defined
	dynamic  map[string]uint32   // index into dynsyms by name
	relocs   map[uint64]dynReloc // by the address they apply to
	relocAt  []uint64            // those addresses, ascending

	aside []string // the names of sections with contents that are not loaded

	tlsStart, tlsEnd, tlsAlign uint64 // of PT_TLS; all zero without one
}

type outSection struct {
	name      string
	typ       elf.SectionType
	flags     elf.SectionFlag
	addr, end uint64
	data      []byte // nil for SHT_NOBITS
}

// dynKind says what the dynamic linker will put into a word.
type dynKind uint8

const (
	dynOther    dynKind = iota
	dynRelative         // the load address and the addend
	dynSymbol           // a symbol's address and the addend
	dynTPOff            // a thread-local symbol's offset from the thread pointer
	dynDTPMod           // a module's number
	dynDTPOff           // a thread-local symbol's offset in its module
	dynTLSDesc          // a descriptor of two words
	dynCopy             // a copy of a shared object's variable
)

type dynReloc struct {
	kind   dynKind
	sym    uint32 // index into dynsyms
	addend uint64
}

func readOutput(name string, data []byte) (*output, error) {
	f, err := openELF(name, data)
	if err != nil {
		return nil, err
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, errAt(name, "neither an executable nor a shared object")
	}
	o := &output{
		name: name, class: f.Class, machine: f.Machine, pic: f.Type == elf.ET_DYN, entry: f.Entry, word: 8, file: f, data: data,
		byName: map[string][]uint32{}, dynamic: map[string]uint32{}, relocs: map[uint64]dynReloc{},
	}
	if f.Class == elf.ELFCLASS32 {
		o.word = 4
	}
	for _, h := range f.Sections {
		if h.Flags&elf.SHF_ALLOC == 0 && h.Type == elf.SHT_PROGBITS && len(h.Name) > 1 {
			o.aside = append(o.aside, h.Name)
		}
		if h.Flags&elf.SHF_ALLOC == 0 || h.Size == 0 {
			continue
		}
		s := outSection{name: h.Name, typ: h.Type, flags: h.Flags, addr: h.Addr, end: h.Addr + h.Size}
		if s.end < s.addr {
			return nil, errAt(name, "section %s: wraps around the address space", h.Name)
		}
		if h.Type == elf.SHT_NOBITS {
			if h.Flags&elf.SHF_TLS != 0 || strings.HasSuffix(h.Name, "_padding") {
				continue // .tbss has no addresses of its own, and padding is nobody's
			}
		} else if s.data = slice(data, h.Offset, h.Size); s.data == nil {
			return nil, errAt(name, "section %s: reaches beyond the end of the file", h.Name)
		}
		o.sections = append(o.sections, s)
	}
	sort.SliceStable(o.sections, func(i, j int) bool { return o.sections[i].addr < o.sections[j].addr })
	for _, p := range f.Progs {
		if p.Type == elf.PT_TLS {
			o.tlsStart, o.tlsEnd, o.tlsAlign = p.Vaddr, p.Vaddr+p.Memsz, max(p.Align, 1)
		}
	}
	for i, h := range f.Sections {
		if h.Type != elf.SHT_SYMTAB && h.Type != elf.SHT_DYNSYM || int(h.Link) >= len(f.Sections) {
			continue
		}
		strs := f.Sections[h.Link]
		var xindex []byte
		for _, x := range f.Sections {
			if x.Type == shtXindex && int(x.Link) == i {
				xindex = slice(data, x.Offset, x.Size)
			}
		}
		list := parseSymbols(slice(data, h.Offset, h.Size), slice(data, strs.Offset, strs.Size), xindex, f.Class)
		if h.Type == elf.SHT_SYMTAB {
			o.symbols = list
		} else {
			o.dynsyms = list
		}
	}
	for i := range o.symbols {
		if y := &o.symbols[i]; y.shndx != 0 && y.name != "" && y.kind() != elf.STT_SECTION && y.kind() != elf.STT_FILE {
			o.byName[plain(y.name)] = append(o.byName[plain(y.name)], uint32(i))
		}
	}
	for i := range o.dynsyms {
		y := &o.dynsyms[i]
		if _, ok := o.dynamic[y.name]; y.name != "" && (!ok || y.shndx != 0) {
			o.dynamic[y.name] = uint32(i)
		}
	}
	return o, nil
}

// readDynamic decodes the dynamic relocations, packed relative ones (SHT_RELR) too.
func (o *output) readDynamic(a *arch) {
	for _, h := range o.file.Sections {
		if h.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data := slice(o.data, h.Offset, h.FileSize)
		switch h.Type {
		case elf.SHT_RELA, elf.SHT_REL:
			list, err := parseRelocs(data, h.Type == elf.SHT_RELA, o.class)
			if err != nil {
				continue
			}
			for _, r := range list {
				d := dynReloc{kind: a.dynamic[r.typ], sym: r.sym, addend: uint64(r.addend)}
				if h.Type == elf.SHT_REL {
					d.addend, _ = o.load(r.off)
				}
				if r.typ != 0 {
					o.relocs[r.off] = d
				}
			}
		case shtRelr:
			o.readRelr(data)
		}
	}
	o.relocAt = make([]uint64, 0, len(o.relocs))
	for at := range o.relocs {
		o.relocAt = append(o.relocAt, at)
	}
	sort.Slice(o.relocAt, func(i, j int) bool { return o.relocAt[i] < o.relocAt[j] })
}

// readRelr: an even word is an address, an odd one a bitmap of the words after the last address (gABI, SHT_RELR).
func (o *output) readRelr(data []byte) {
	var where uint64
	for ; uint64(len(data)) >= o.word; data = data[o.word:] {
		w := uint64(binary.LittleEndian.Uint32(data))
		if o.word == 8 {
			w = binary.LittleEndian.Uint64(data)
		}
		if w&1 == 0 {
			o.relative(w)
			where = w + o.word
			continue
		}
		for i, bits := uint64(0), w>>1; bits != 0; i, bits = i+1, bits>>1 {
			if bits&1 != 0 {
				o.relative(where + i*o.word)
			}
		}
		where += (8*o.word - 1) * o.word
	}
}

func (o *output) relative(at uint64) {
	addend, _ := o.load(at)
	o.relocs[at] = dynReloc{kind: dynRelative, addend: addend}
}

// unloaded says that a linker script puts input sections of that name into an output section that is not loaded, as it
// does with log messages that only a debugger needs.
func (o *output) unloaded(name string) bool {
	for _, n := range o.aside {
		if rest, ok := strings.CutPrefix(name, n); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	return false
}

// mask is the bits that an address has.
func (o *output) mask() uint64 {
	if o.word == 4 {
		return 1<<32 - 1
	}
	return ^uint64(0)
}

// section is the allocated section that holds addr, or nil.
func (o *output) section(addr uint64) *outSection {
	i := sort.Search(len(o.sections), func(i int) bool { return o.sections[i].addr > addr })
	if i == 0 || addr >= o.sections[i-1].end {
		return nil
	}
	return &o.sections[i-1]
}

// at is the n bytes at addr; zero says that they are there but all zero, as in .bss.
func (o *output) at(addr, n uint64) (data []byte, zero, ok bool) {
	s := o.section(addr)
	if s == nil || n > s.end-addr {
		return nil, false, false
	}
	if s.data == nil {
		return nil, true, true
	}
	return slice(s.data, addr-s.addr, n), false, true
}

// tail is what follows addr in its section.
func (o *output) tail(addr uint64) []byte {
	if s := o.section(addr); s != nil && s.data != nil {
		return s.data[addr-s.addr:]
	}
	return nil
}

// load is the word at addr.
func (o *output) load(addr uint64) (uint64, bool) {
	b, zero, ok := o.at(addr, o.word)
	if zero || !ok {
		return 0, ok
	}
	if o.word == 8 {
		return binary.LittleEndian.Uint64(b), true
	}
	return uint64(binary.LittleEndian.Uint32(b)), true
}

// threadPointer is the address, as the link sees it, that thread pointer offsets are relative to where the block lies
// below the thread pointer (variant II of the TLS ABI).
func (o *output) threadPointer() uint64 {
	if o.tlsAlign == 0 {
		return o.tlsEnd
	}
	return (o.tlsEnd + o.tlsAlign - 1) &^ (o.tlsAlign - 1)
}

// place is what a word or field of the output leads to: an address, or a symbol that the dynamic linker binds.
type place struct {
	addr   uint64
	name   string // of a dynamic symbol, else ""
	addend uint64 // with a name
}

// word says what the word at addr will hold once loaded.
func (o *output) wordAt(addr uint64) (place, error) {
	d, ok := o.relocs[addr]
	if !ok {
		w, ok := o.load(addr)
		if !ok {
			return place{}, fmt.Errorf("0x%x is not in the output", addr)
		}
		if o.pic && w != 0 {
			if s := o.section(w); s != nil {
				return place{addr: w}, fmt.Errorf("the word at 0x%x lacks its dynamic relocation", addr)
			}
		}
		return place{addr: w}, nil
	}
	switch d.kind {
	case dynRelative:
		return place{addr: d.addend}, nil
	case dynSymbol:
		if int(d.sym) >= len(o.dynsyms) {
			return place{}, fmt.Errorf("the dynamic relocation at 0x%x names symbol %d of %d", addr, d.sym, len(o.dynsyms))
		}
		y := &o.dynsyms[d.sym]
		if d.sym == 0 || y.bind() == elf.STB_LOCAL && y.defined() {
			return place{addr: y.value + d.addend}, nil // nobody else can define it
		}
		return place{addr: y.value + d.addend, name: y.name, addend: d.addend}, nil
	}
	return place{}, fmt.Errorf("the dynamic relocation at 0x%x is of an unexpected type", addr)
}
