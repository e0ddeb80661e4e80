package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sort"
	"strings"
	"sync"
)

// Section types that debug/elf has no names for.
const (
	shtGroup    = 17
	shtXindex   = 18
	shtRelr     = 19
	shtAddrsig  = 0x6fff4c03 // SHT_LLVM_ADDRSIG
	shtUnwind64 = 0x70000001 // SHT_X86_64_UNWIND; SHT_ARM_EXIDX has the same number
	shtCrel     = 0x40000014

	shfMerge     = 0x10
	shfStrings   = 0x20
	shfLinkOrder = 0x80
	shfGroup     = 0x200
	shfTLS       = 0x400
	shfRetain    = 0x200000
	shfExclude   = 0x80000000
)

// object is an original input as it was read.
type object struct {
	index    int
	name     string
	opaque   bool
	class    elf.Class
	sections []*section // indexed by ELF section index; entry 0 is an empty section
	symbols  []symbol   // indexed by ELF symbol index
	targets  []target   // parallel to symbols, filled by resolve
	order    binary.ByteOrder
	rust     bool            // rustc made it
	addrsig  map[uint32]bool // symbols whose address is significant; nil where the object does not say
}

// section is one section of an object, and what is found out about it.
type section struct {
	id     int // index into checker.sections
	obj    *object
	index  int
	name   string
	typ    uint32
	flags  uint64
	data   []byte // nil for SHT_NOBITS
	size   uint64
	align  uint64
	demand uint64 // the alignment that it needs besides, because another's references lead here
	ent    uint64
	link   uint32
	info   uint32
	relocs []reloc  // by offset
	syms   []uint32 // the symbols defined in it, but for its section symbol
	fdes   []*fde   // the frame descriptions of code in it
	exidx  *section // its .ARM.exidx section, or nil

	outside bool // a linker script puts it into a section that is not loaded, so its address is only a number
	elastic bool // the linker may have shortened it: its bytes are not compared

	discarded bool // it lost to another COMDAT group, or is excluded from the output
	fate      FateKind
	leader    *section // for Folded and Thunk

	located  bool
	doubtful bool // only references whose target does not look like it say where it is
	addr     uint64
	why      string // what said where it is
	named    bool   // a symbol of the output says where it is
	done     bool   // compared

	// How the live sections refer to the start of this one's functions (legal.go).
	called, slot, taken bool
	exported            string
	takenBy             string
	notedBy             string // what is not loaded but read beside the program, and names a place here
}

// reloc is one relocation; the addend of a SHT_REL one was read out of the field.
type reloc struct {
	off    uint64
	addend int64
	typ    uint32
	sym    uint32
}

// symbol is one entry of a symbol table.
type symbol struct {
	name        string
	value, size uint64
	shndx       uint32 // SHN_XINDEX followed; the reserved ones from shnReserved up
	info, other uint8
}

func (s *symbol) bind() elf.SymBind { return elf.ST_BIND(s.info) }
func (s *symbol) kind() elf.SymType { return elf.ST_TYPE(s.info) }
func (s *symbol) vis() elf.SymVis   { return elf.ST_VISIBILITY(s.other) }
func (s *symbol) defined() bool     { return s.shndx != 0 && s.shndx < shnReserved }

// Reserved section indices are moved up here when a symbol is read, out of the way of real sections of such numbers,
// which a file of more than 65,279 sections has.
const (
	shnReserved = 0xffff0000
	shnAbs      = shnReserved | uint32(elf.SHN_ABS)
	shnCommon   = shnReserved | uint32(elf.SHN_COMMON)
)

func (s *section) code() bool  { return s.flags&uint64(elf.SHF_EXECINSTR) != 0 }
func (s *section) alloc() bool { return s.flags&uint64(elf.SHF_ALLOC) != 0 }
func (s *section) tls() bool   { return s.flags&shfTLS != 0 }

// merged says that the linker may take the section apart into pieces that have an address each.
func (s *section) merged() bool {
	return s.flags&shfMerge != 0 && s.ent > 0 && s.ent <= s.size && len(s.relocs) == 0 && s.flags&uint64(elf.SHF_WRITE) == 0 && s.alloc()
}

// table says that the linker takes the section apart and makes one table of all: it has no place of its own.
func (s *section) table() bool {
	return s.name == ".eh_frame" || strings.HasPrefix(s.name, ".ARM.exidx")
}

// rep is the section that stands for s in the output: its leader's where it was folded.
func (s *section) rep() *section {
	if s.fate == Folded {
		return s.leader
	}
	return s
}

func (s *section) where() string { return fmt.Sprintf("%s: section %s", s.obj.name, s.name) }

func errAt(name, format string, args ...any) error {
	return fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
}

// slice is data[off:off+n] or nil where that does not lie inside.
func slice(data []byte, off, n uint64) []byte {
	if off > uint64(len(data)) || n > uint64(len(data))-off {
		return nil
	}
	return data[off : off+n : off+n]
}

// cstring is the NUL-terminated string at off, "" where there is none.
func cstring(data []byte, off uint64) string {
	if off >= uint64(len(data)) {
		return ""
	}
	data = data[off:]
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return string(data[:i])
	}
	return ""
}

// openELF reads the headers with debug/elf, which is no part of leanlink, and turns its panics into errors.
func openELF(name string, data []byte) (f *elf.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errAt(name, "not a readable ELF file: %v", p)
		}
	}()
	f, err = elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.ByteOrder != binary.LittleEndian {
		return nil, errAt(name, "not little-endian")
	}
	return f, nil
}

func (v *checker) readObjects() error {
	v.objects = make([]*object, len(v.claim.Objects))
	errs := make([]error, len(v.claim.Objects))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				v.objects[i], errs[i] = readObject(&v.claim.Objects[i], i, v.arch)
			}
		})
	}
	for i := range v.objects {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, o := range v.objects {
		for _, s := range o.sections {
			s.id = len(v.sections)
			v.sections = append(v.sections, s)
		}
	}
	return nil
}

// readObject reads one input. What cannot be read is an error, except in an object that leanlink left alone: there it
// is an object without sections.
func readObject(in *Object, index int, a *arch) (*object, error) {
	o := &object{index: index, name: in.Name, opaque: in.Opaque, order: binary.LittleEndian}
	if err := o.read(in.Data, a); err != nil {
		if !in.Opaque {
			return nil, err
		}
		o.sections, o.symbols = nil, nil
	}
	return o, nil
}

func (o *object) read(data []byte, a *arch) error {
	f, err := openELF(o.name, data)
	if err != nil {
		return err
	}
	if f.Type != elf.ET_REL {
		return errAt(o.name, "not a relocatable file")
	}
	if f.Machine != a.machine || f.Class != a.class {
		return errAt(o.name, "for %v %v, the output is for %v %v", f.Machine, f.Class, a.machine, a.class)
	}
	o.class = f.Class
	for i, h := range f.Sections {
		s := &section{
			obj: o, index: i, name: h.Name, typ: uint32(h.Type), flags: uint64(h.Flags), size: h.Size,
			align: max(h.Addralign, 1), ent: h.Entsize, link: h.Link, info: h.Info,
		}
		if h.Flags&elf.SHF_COMPRESSED != 0 {
			s.size = h.FileSize
		}
		if h.Type != elf.SHT_NOBITS && h.Type != elf.SHT_NULL {
			if s.data = slice(data, h.Offset, s.size); s.data == nil && s.size > 0 {
				return errAt(o.name, "section %s: reaches beyond the end of the file", h.Name)
			}
		}
		s.discarded = h.Flags&shfExclude != 0
		o.sections = append(o.sections, s)
	}
	if err := o.readSymbols(f.Class); err != nil {
		return err
	}
	for _, s := range o.sections {
		switch s.typ {
		case uint32(elf.SHT_RELA), uint32(elf.SHT_REL):
			if int(s.info) >= len(o.sections) {
				return errAt(o.name, "section %s: applies to section %d of %d", s.name, s.info, len(o.sections))
			}
			to := o.sections[s.info]
			// Of the debug information only the line table is compared, and it is large.
			if to.alloc() || to.name == ".debug_line" || to.notes() {
				if err := o.readRelocs(s, to, f.Class, a); err != nil {
					return err
				}
			}
		case shtCrel:
			return errAt(o.name, "section %s: CREL relocations are not understood", s.name)
		case shtAddrsig:
			o.addrsig = map[uint32]bool{}
			for d := s.data; len(d) > 0; {
				n, size := binary.Uvarint(d)
				if size <= 0 {
					return errAt(o.name, "section %s: bad LEB128", s.name)
				}
				o.addrsig[uint32(n)] = true
				d = d[size:]
			}
		case uint32(elf.SHT_PROGBITS):
			if s.name == ".comment" && bytes.Contains(s.data, []byte("rustc version")) {
				o.rust = true
			}
		}
	}
	return nil
}

func (o *object) readSymbols(class elf.Class) error {
	for _, s := range o.sections {
		if s.typ != uint32(elf.SHT_SYMTAB) {
			continue
		}
		if int(s.link) >= len(o.sections) {
			return errAt(o.name, "section %s: string table %d of %d sections", s.name, s.link, len(o.sections))
		}
		var xindex []byte
		for _, x := range o.sections {
			if x.typ == shtXindex && int(x.link) == s.index {
				xindex = x.data
			}
		}
		o.symbols = parseSymbols(s.data, o.sections[s.link].data, xindex, class)
		for i := range o.symbols {
			y := &o.symbols[i]
			if y.defined() && int(y.shndx) >= len(o.sections) {
				return errAt(o.name, "symbol %d: section %d of %d", i, y.shndx, len(o.sections))
			}
			if y.defined() && y.kind() != elf.STT_SECTION && y.kind() != elf.STT_FILE {
				t := o.sections[y.shndx]
				t.syms = append(t.syms, uint32(i))
			}
		}
	}
	return nil
}

// parseSymbols decodes a symbol table of either class; what does not fit a whole entry is ignored.
func parseSymbols(data, strings, xindex []byte, class elf.Class) []symbol {
	le := binary.LittleEndian
	size := 24
	if class == elf.ELFCLASS32 {
		size = 16
	}
	out := make([]symbol, len(data)/size)
	for i := range out {
		b := data[i*size:]
		y := &out[i]
		y.name = cstring(strings, uint64(le.Uint32(b)))
		var shndx uint16
		if class == elf.ELFCLASS32 {
			y.value, y.size = uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
			y.info, y.other, shndx = b[12], b[13], le.Uint16(b[14:])
		} else {
			y.info, y.other, shndx = b[4], b[5], le.Uint16(b[6:])
			y.value, y.size = le.Uint64(b[8:]), le.Uint64(b[16:])
		}
		switch y.shndx = uint32(shndx); {
		case shndx == 0xffff && len(xindex) >= 4*i+4:
			y.shndx = le.Uint32(xindex[4*i:])
		case shndx >= 0xff00:
			y.shndx |= shnReserved
		}
	}
	return out
}

func (o *object) readRelocs(rs, to *section, class elf.Class, a *arch) error {
	if to.flags&uint64(elf.SHF_COMPRESSED) != 0 {
		return nil // debug information whose offsets are of what is compressed
	}
	list, err := parseRelocs(rs.data, rs.typ == uint32(elf.SHT_RELA), class)
	if err != nil {
		return errAt(o.name, "section %s: %v", rs.name, err)
	}
	for i := range list {
		r := &list[i]
		if int(r.sym) >= max(len(o.symbols), 1) {
			return errAt(o.name, "section %s: offset 0x%x: symbol %d of %d", to.name, r.off, r.sym, len(o.symbols))
		}
		if r.off > to.size {
			return errAt(o.name, "section %s: offset 0x%x: relocation beyond the end of the section", to.name, r.off)
		}
		if a.elastic != nil && a.elastic(r.typ) {
			to.elastic = true
		}
		if rs.typ == uint32(elf.SHT_REL) && to.data != nil {
			r.addend = a.implicit(r.typ, to.data[r.off:])
		}
	}
	to.relocs = append(to.relocs, list...)
	sort.SliceStable(to.relocs, func(i, j int) bool { return to.relocs[i].off < to.relocs[j].off })
	return nil
}

func parseRelocs(data []byte, rela bool, class elf.Class) ([]reloc, error) {
	le := binary.LittleEndian
	size := 8
	if class == elf.ELFCLASS64 {
		size = 16
	}
	if rela {
		size += size / 2
	}
	if len(data)%size != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of relocations", len(data))
	}
	out := make([]reloc, len(data)/size)
	for i := range out {
		b := data[i*size:]
		r := &out[i]
		if class == elf.ELFCLASS64 {
			info := le.Uint64(b[8:])
			r.off, r.typ, r.sym = le.Uint64(b), uint32(info), uint32(info>>32)
			if rela {
				r.addend = int64(le.Uint64(b[16:]))
			}
		} else {
			info := le.Uint32(b[4:])
			r.off, r.typ, r.sym = uint64(le.Uint32(b)), info&0xff, info>>8
			if rela {
				r.addend = int64(int32(le.Uint32(b[8:])))
			}
		}
	}
	return out, nil
}

// uncompressed is the section's content whether or not it is compressed.
func uncompressed(s *elf.Section) ([]byte, error) {
	return io.ReadAll(s.Open())
}

// plain is a symbol's name without its version.
func plain(name string) string {
	if i := strings.IndexByte(name, '@'); i > 0 {
		return name[:i]
	}
	return name
}
