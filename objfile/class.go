package objfile

import "encoding/binary"

// class is the ELF class of a file: the widths and orders of the records'
// fields. No other file depends on it.
type class uint8

const (
	class32 class = 1 // ELFCLASS32
	class64 class = 2 // ELFCLASS64
)

var le = binary.LittleEndian

// header holds the fields of Elf32_Ehdr and Elf64_Ehdr that a relocatable
// file uses.
type header struct {
	typ, machine                 uint16
	flags                        uint32
	phoff, shoff                 uint64
	phentsize, phnum             uint16
	shentsize, shnum, shstrndx   uint16
	shoffAt, shnumAt, shstrndxAt int // where those fields are in the file
}

func (c class) headerSize() uint64 {
	if c == class64 {
		return 64
	}
	return 52
}

func (c class) sectionSize() uint64 {
	if c == class64 {
		return 64
	}
	return 40
}

func (c class) symbolSize() uint64 {
	if c == class64 {
		return 24
	}
	return 16
}

func (c class) relocSize(rela bool) uint64 {
	switch {
	case c == class64 && rela:
		return 24
	case c == class64:
		return 16
	case rela:
		return 12
	}
	return 8
}

// WordSize is the size of an address in bytes.
func (c class) wordSize() int {
	if c == class64 {
		return 8
	}
	return 4
}

// header decodes the ELF header; b holds at least headerSize bytes.
func (c class) header(b []byte) header {
	h := header{typ: le.Uint16(b[16:]), machine: le.Uint16(b[18:])}
	if c == class64 {
		h.phoff, h.shoff, h.flags = le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint32(b[48:])
		h.shoffAt, h.shnumAt, h.shstrndxAt = 40, 60, 62
	} else {
		h.phoff, h.shoff, h.flags = uint64(le.Uint32(b[28:])), uint64(le.Uint32(b[32:])), le.Uint32(b[36:])
		h.shoffAt, h.shnumAt, h.shstrndxAt = 32, 48, 50
	}
	h.phentsize, h.phnum = le.Uint16(b[h.shnumAt-6:]), le.Uint16(b[h.shnumAt-4:])
	h.shentsize = le.Uint16(b[h.shnumAt-2:])
	h.shnum = le.Uint16(b[h.shnumAt:])
	h.shstrndx = le.Uint16(b[h.shstrndxAt:])
	return h
}

// section decodes a section header; b holds at least sectionSize bytes. The
// name is left as its offset.
func (c class) section(b []byte) (s Section, name uint32) {
	name, s.Type = le.Uint32(b), le.Uint32(b[4:])
	if c == class64 {
		s.Flags, s.Offset, s.Size = le.Uint64(b[8:]), le.Uint64(b[24:]), le.Uint64(b[32:])
		s.Link, s.Info = le.Uint32(b[40:]), le.Uint32(b[44:])
		s.Align, s.EntSize = le.Uint64(b[48:]), le.Uint64(b[56:])
	} else {
		s.Flags = uint64(le.Uint32(b[8:]))
		s.Offset, s.Size = uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:]))
		s.Link, s.Info = le.Uint32(b[24:]), le.Uint32(b[28:])
		s.Align, s.EntSize = uint64(le.Uint32(b[32:])), uint64(le.Uint32(b[36:]))
	}
	return s, name
}

// segmentSize is the size of a program header.
func (c class) segmentSize() uint64 {
	if c == class64 {
		return 56
	}
	return 32
}

// segment decodes a program header as far as the file is concerned: where a
// segment's contents lie.
func (c class) segment(b []byte) (offset, size uint64) {
	if c == class64 {
		return le.Uint64(b[8:]), le.Uint64(b[32:])
	}
	return uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[16:]))
}

// putTable says in an ELF header where the section headers are, and how many.
func (c class) putTable(b []byte, shoff uint64, shnum uint16) {
	if c == class64 {
		le.PutUint64(b[40:], shoff)
		le.PutUint16(b[60:], shnum)
	} else {
		le.PutUint32(b[32:], uint32(shoff))
		le.PutUint16(b[48:], shnum)
	}
}

// putSection encodes a section header but for the name.
func (c class) putSection(b []byte, s *Section) {
	clear(b)
	le.PutUint32(b[4:], s.Type)
	c.putFlags(b, s.Flags)
	c.putExtent(b, s.Offset, s.Size)
	c.putAlign(b, s.Align)
	if c == class64 {
		le.PutUint32(b[40:], s.Link)
		le.PutUint32(b[44:], s.Info)
		le.PutUint64(b[56:], s.EntSize)
	} else {
		le.PutUint32(b[24:], s.Link)
		le.PutUint32(b[28:], s.Info)
		le.PutUint32(b[36:], uint32(s.EntSize))
	}
}

// address is where a section is when it is loaded.
func (c class) address(b []byte) uint64 {
	if c == class64 {
		return le.Uint64(b[16:])
	}
	return uint64(le.Uint32(b[12:]))
}

// What an Edit changes of a section header.

func (c class) flags(b []byte) uint64 {
	if c == class64 {
		return le.Uint64(b[8:])
	}
	return uint64(le.Uint32(b[8:]))
}

func (c class) putFlags(b []byte, flags uint64) {
	if c == class64 {
		le.PutUint64(b[8:], flags)
	} else {
		le.PutUint32(b[8:], uint32(flags))
	}
}

func (c class) putExtent(b []byte, offset, size uint64) {
	if c == class64 {
		le.PutUint64(b[24:], offset)
		le.PutUint64(b[32:], size)
	} else {
		le.PutUint32(b[16:], uint32(offset))
		le.PutUint32(b[20:], uint32(size))
	}
}

func (c class) putAlign(b []byte, align uint64) {
	if c == class64 {
		le.PutUint64(b[48:], align)
	} else {
		le.PutUint32(b[32:], uint32(align))
	}
}

// Symbol decodes symbol i, which must be below NumSymbols. Each class has a literal
// of its own, which is returned at once: otherwise the compiler makes it in memory
// first, and symbols are asked for many times.
func (f *File) Symbol(i uint32) Symbol {
	if f.class != class64 {
		b := f.syms[uint64(i)*class32.symbolSize():][:class32.symbolSize()]
		return Symbol{
			Bind: Bind(b[12] >> 4), Type: SymType(b[12] & 15), Other: b[13], Section: f.sectionOf(i, class32.shndx(b)),
			Value: uint64(le.Uint32(b[4:])), Size: uint64(le.Uint32(b[8:])), nameOff: le.Uint32(b),
		}
	}
	b := f.syms[uint64(i)*class64.symbolSize():][:class64.symbolSize()]
	section := uint32(class64.shndx(b))
	if section >= shnLoReserve {
		section = f.sectionOf(i, uint16(section))
	}
	return Symbol{
		Bind: Bind(b[4] >> 4), Type: SymType(b[4] & 15), Other: b[5], Section: section,
		Value: le.Uint64(b[8:]), Size: le.Uint64(b[16:]), nameOff: le.Uint32(b),
	}
}

// sectionOf is a symbol's section index of 32 bits, of the field in the symbol.
func (f *File) sectionOf(i uint32, shndx uint16) uint32 {
	switch {
	case shndx == shnXIndex && f.xindex != nil:
		return le.Uint32(f.xindex[uint64(i)*4:])
	case shndx >= shnLoReserve:
		return 0xffff0000 | uint32(shndx)
	}
	return uint32(shndx)
}

// shndx is the field of 16 bits in a symbol that says which section it is in.
func (c class) shndx(b []byte) uint16 {
	if c == class64 {
		return le.Uint16(b[6:])
	}
	return le.Uint16(b[14:])
}

// putSymbol encodes a symbol with the given raw section index.
func (c class) putSymbol(b []byte, s *Symbol, shndx uint16) {
	le.PutUint32(b, s.nameOff)
	info := uint8(s.Bind)<<4 | uint8(s.Type)
	if c == class64 {
		b[4], b[5] = info, s.Other
		le.PutUint16(b[6:], shndx)
		le.PutUint64(b[8:], s.Value)
		le.PutUint64(b[16:], s.Size)
	} else {
		le.PutUint32(b[4:], uint32(s.Value))
		le.PutUint32(b[8:], uint32(s.Size))
		b[12], b[13] = info, s.Other
		le.PutUint16(b[14:], shndx)
	}
}

// reloc decodes one relocation record.
func (c class) reloc(b []byte, rela bool) (r Reloc) {
	if c == class64 {
		r.Offset = le.Uint64(b)
		info := le.Uint64(b[8:])
		r.Type, r.Sym = uint32(info), uint32(info>>32)
		if rela {
			r.Addend = int64(le.Uint64(b[16:]))
		}
		return r
	}
	r.Offset = uint64(le.Uint32(b))
	info := le.Uint32(b[4:])
	r.Type, r.Sym = info&0xff, info>>8
	if rela {
		r.Addend = int64(int32(le.Uint32(b[8:])))
	}
	return r
}

// putReloc encodes one relocation record.
func (c class) putReloc(b []byte, rela bool, r Reloc) {
	if c == class64 {
		le.PutUint64(b, r.Offset)
		le.PutUint64(b[8:], uint64(r.Sym)<<32|uint64(r.Type))
		if rela {
			le.PutUint64(b[16:], uint64(r.Addend))
		}
		return
	}
	le.PutUint32(b, uint32(r.Offset))
	le.PutUint32(b[4:], r.Sym<<8|r.Type&0xff)
	if rela {
		le.PutUint32(b[8:], uint32(int32(r.Addend)))
	}
}

// maxRelocSym is the largest symbol index that a relocation can hold.
func (c class) maxRelocSym() uint32 {
	if c == class64 {
		return 1<<32 - 1
	}
	return 1<<24 - 1
}
