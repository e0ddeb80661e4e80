package objfile

import (
	"fmt"
	"io"
	"sort"
)

// Edit collects changes to one object and writes the result. The original
// is not changed and not laid out again: sections stay where they are,
// relocations are changed in place, and what grows (the symbol table and
// its strings, replaced contents, the section headers) is appended.
//
// New symbols are global, so they go behind all others and no index moves.
type Edit struct {
	f       *File
	heads   map[uint32]Section // changed headers, by section index
	places  map[uint32][]byte  // contents changed in place (same size), by section index
	moved   map[uint32][]byte  // contents replaced, written behind the original
	symbols []byte             // the new symbol table, nil if unchanged
	xindex  []byte             // the new SHT_SYMTAB_SHNDX, nil if the file has none
	strings []byte             // strings appended to the symbol table's
}

// NewEdit begins an edit of f, which must have a symbol table.
func NewEdit(f *File) *Edit {
	return &Edit{f: f, heads: map[uint32]Section{}, places: map[uint32][]byte{}, moved: map[uint32][]byte{}}
}

// Changed reports whether anything was edited.
func (e *Edit) Changed() bool {
	return len(e.heads) > 0 || len(e.places) > 0 || len(e.moved) > 0 || e.symbols != nil
}

func (e *Edit) ownSymbols() {
	if e.symbols == nil {
		e.symbols = append(make([]byte, 0, len(e.f.syms)+1024), e.f.syms...)
		if e.f.xindex != nil {
			e.xindex = append([]byte(nil), e.f.xindex...)
		}
	}
}

// AddSymbol appends a symbol and returns its index. It must not be local. It
// fails where a relocation of this class could not name it.
func (e *Edit) AddSymbol(name string, s Symbol) (uint32, error) {
	e.ownSymbols()
	size := int(e.f.class.symbolSize())
	index := uint32(len(e.symbols) / size)
	if s.Bind == STB_LOCAL {
		return 0, fmt.Errorf("%s: a new symbol must not be local", e.f.Name)
	}
	if index > e.f.class.maxRelocSym() {
		return 0, e.f.fail(e.f.Symtab, uint64(index), "too many symbols for this ELF class")
	}
	s.nameOff = uint32(len(e.f.strs) + len(e.strings))
	e.strings = append(append(e.strings, name...), 0)
	e.symbols = append(e.symbols, make([]byte, size)...)
	if e.xindex != nil {
		e.xindex = append(e.xindex, 0, 0, 0, 0)
	}
	return index, e.putSymbol(index, &s)
}

// SetSymbol replaces a symbol, whose name stays.
func (e *Edit) SetSymbol(i uint32, s Symbol) error {
	e.ownSymbols()
	s.nameOff = le.Uint32(e.symbols[uint64(i)*e.f.class.symbolSize():])
	return e.putSymbol(i, &s)
}

func (e *Edit) putSymbol(i uint32, s *Symbol) error {
	raw := uint16(s.Section)
	if s.Section < SecReserved && s.Section >= shnLoReserve {
		if e.xindex == nil {
			return e.f.fail(e.f.Symtab, uint64(i), "a section index needs a table that the file does not have")
		}
		raw = shnXIndex
		le.PutUint32(e.xindex[uint64(i)*4:], s.Section)
	}
	e.f.class.putSymbol(e.symbols[uint64(i)*e.f.class.symbolSize():], s, raw)
	return nil
}

// own returns the writable contents of a section, changed in place.
func (e *Edit) own(section uint32) []byte {
	if b, ok := e.moved[section]; ok {
		return b
	}
	b, ok := e.places[section]
	if !ok {
		b = append([]byte(nil), e.f.Bytes(section)...)
		e.places[section] = b
	}
	return b
}

// SetReloc replaces relocation i of a section.
func (e *Edit) SetReloc(section uint32, i int, r Reloc) {
	at := e.f.Sections[section].Rel
	rela := e.f.Sections[at].Type == SHT_RELA
	b := e.own(at)
	e.f.class.putReloc(b[uint64(i)*e.f.class.relocSize(rela):], rela, r)
}

// Patch overwrites bytes of a section's contents in place.
func (e *Edit) Patch(section uint32, off uint64, b []byte) {
	copy(e.own(section)[off:], b)
}

// head returns the header of a section as edited so far.
func (e *Edit) head(section uint32) Section {
	if s, ok := e.heads[section]; ok {
		return s
	}
	return e.f.Sections[section]
}

// SetAlign sets a section's alignment, bytes.
func (e *Edit) SetAlign(section uint32, align uint64) {
	if s := e.head(section); s.Align != align {
		s.Align = align
		e.heads[section] = s
	}
}

// Exclude makes a section one that a linker leaves out whatever refers to it
// (SHF_EXCLUDE; it is no longer allocated).
func (e *Edit) Exclude(section uint32) {
	s := e.head(section)
	s.Flags = s.Flags&^SHF_ALLOC | SHF_EXCLUDE
	e.heads[section] = s
}

// SetContents replaces a section's contents and all its relocations.
func (e *Edit) SetContents(section uint32, b []byte, relocs []Reloc) {
	e.moved[section] = b
	delete(e.places, section)
	if at := e.f.Sections[section].Rel; at != 0 {
		rela := e.f.Sections[at].Type == SHT_RELA
		size := int(e.f.class.relocSize(rela))
		out := make([]byte, len(relocs)*size)
		for i, r := range relocs {
			e.f.class.putReloc(out[i*size:], rela, r)
		}
		e.moved[at] = out
		delete(e.places, at)
	}
}

// Write writes the edited object. It returns the number of bytes written.
func (e *Edit) Write(w io.Writer) (int64, error) {
	f := e.f
	type piece struct {
		at uint64
		b  []byte
	}
	var pieces []piece
	for i, b := range e.places {
		if len(b) > 0 {
			pieces = append(pieces, piece{f.Sections[i].Offset, b})
		}
	}
	heads := make(map[uint32]Section, len(e.heads)+4)
	for i, s := range e.heads {
		heads[i] = s
	}
	end := uint64(len(f.Data))
	var tail []byte
	grow := func(section uint32, b []byte) {
		for (end+uint64(len(tail)))%16 != 0 {
			tail = append(tail, 0)
		}
		s, ok := heads[section]
		if !ok {
			s = f.Sections[section]
		}
		s.Offset, s.Size = end+uint64(len(tail)), uint64(len(b))
		heads[section] = s
		tail = append(tail, b...)
	}
	movedOrder := make([]uint32, 0, len(e.moved))
	for i := range e.moved {
		movedOrder = append(movedOrder, i)
	}
	sort.Slice(movedOrder, func(a, b int) bool { return movedOrder[a] < movedOrder[b] })
	for _, i := range movedOrder {
		grow(i, e.moved[i])
	}
	if e.symbols != nil {
		grow(f.Symtab, e.symbols)
		if len(e.strings) > 0 {
			grow(f.Sections[f.Symtab].Link, append(append(make([]byte, 0, len(f.strs)+len(e.strings)), f.strs...), e.strings...))
		}
		if e.xindex != nil {
			for i := range f.Sections {
				if s := &f.Sections[i]; s.Type == SHT_SYMTAB_SHNDX && s.Link == f.Symtab {
					grow(uint32(i), e.xindex)
				}
			}
		}
	}
	size := f.class.sectionSize()
	for i, s := range heads {
		b := make([]byte, size)
		copy(b, f.Data[f.head.shoff+uint64(i)*size:])
		f.class.putSection(b, &s)
		pieces = append(pieces, piece{f.head.shoff + uint64(i)*size, b})
	}
	sort.Slice(pieces, func(a, b int) bool { return pieces[a].at < pieces[b].at })
	var at, written uint64
	put := func(b []byte) error {
		n, err := w.Write(b)
		written += uint64(n)
		return err
	}
	for _, p := range pieces {
		if p.at < at {
			return int64(written), &FormatError{File: f.Name, Offset: p.at, What: "sections overlap"}
		}
		if err := put(f.Data[at:p.at]); err != nil {
			return int64(written), err
		}
		if err := put(p.b); err != nil {
			return int64(written), err
		}
		at = p.at + uint64(len(p.b))
	}
	if err := put(f.Data[at:]); err != nil {
		return int64(written), err
	}
	err := put(tail)
	return int64(written), err
}
