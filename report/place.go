package report

import (
	"bytes"
	"debug/elf"
	"math"
	"path"
	"strings"
)

// symbolPlaces finds the addresses of sections by the output's symbols. A name
// that both the report and the output have once is a match. Names of local
// symbols can occur in several objects; then the output's STT_FILE symbols tell
// them apart.
type symbolPlaces struct {
	inputs   []Input
	skeleton *skeleton
	names    stringTable
	wanted   []wanted // by section
}

// wanted is a symbol of a section that is in the output.
type wanted struct {
	section      SectionIndex
	name         uint32 // number in names
	offset, size uint32
	next         uint32 // another of the same name, as index + 1; 0 for none
}

// placed is a symbol of the output.
type placed struct {
	addr, size uint64
	file       uint32 // of a local symbol: the STT_FILE symbol before it, as index + 1
	next       uint32 // another of the same name, as index + 1; 0 for none
}

// add takes the symbols of the next section, with the numbers of their names.
func (p *symbolPlaces) add(i SectionIndex, symbols []Symbol, names []uint32) {
	if !p.skeleton.inOutput(i) {
		return
	}
	for n := range symbols {
		y := &symbols[n]
		if y.Offset > math.MaxUint32 {
			continue
		}
		size := y.Size
		if size > math.MaxUint32 {
			size = 0 // as good as unknown
		}
		p.wanted = append(p.wanted, wanted{section: i, name: names[n], offset: uint32(y.Offset), size: uint32(size)})
	}
}

// bySymbols sets the addresses of the sections in the output. It says whether
// the output has symbols.
func (p *symbolPlaces) bySymbols(e *elf.File, addr []uint64) bool {
	clear(addr)
	// By number of a name: its first symbol, as index + 1.
	want, have := make([]uint32, len(p.names.strings)), make([]uint32, len(p.names.strings))
	for n := range p.wanted {
		w := &p.wanted[n]
		w.next, want[w.name] = want[w.name], uint32(n)+1
	}
	var all []placed
	var files []string
	some := eachSymbol(e, func(name []byte, info byte, section elf.SectionIndex, value, size uint64) {
		t := elf.ST_TYPE(info)
		if t == elf.STT_FILE {
			files = append(files, string(name))
			return
		}
		if section == elf.SHN_UNDEF || section >= elf.SHN_LORESERVE && section != elf.SHN_XINDEX || t == elf.STT_TLS || t == elf.STT_SECTION || value == 0 {
			return
		}
		n, ok := p.names.lookUp(name)
		if !ok || want[n] == 0 {
			return
		}
		s := placed{addr: value, size: size, next: have[n]}
		if e.Machine == elf.EM_ARM && t == elf.STT_FUNC {
			s.addr &^= 1 // bit 0 says Thumb
		}
		if elf.ST_BIND(info) == elf.STB_LOCAL {
			s.file = uint32(len(files))
		}
		all = append(all, s)
		have[n] = uint32(len(all))
	})
	for n := range p.wanted {
		w := &p.wanted[n]
		if addr[w.section] != 0 {
			continue
		}
		if s := p.match(w, want, have, all, files); s != nil && (p.skeleton.fate[w.section] == FateThunk || sameSize(s.size, uint64(w.size))) {
			addr[w.section] = s.addr - uint64(w.offset)
		}
	}
	return some
}

// sameSize compares sizes of a symbol before and after; 0 is unknown.
func sameSize(a, b uint64) bool { return a == b || a == 0 || b == 0 }

// match returns the output's symbol that stands for w, nil for none.
func (p *symbolPlaces) match(w *wanted, want, have []uint32, all []placed, files []string) *placed {
	first := have[w.name]
	if first == 0 {
		return nil
	}
	if all[first-1].next == 0 && p.wanted[want[w.name]-1].next == 0 {
		return &all[first-1]
	}
	var found *placed
	for n := first; n != 0; n = all[n-1].next {
		if s := &all[n-1]; s.file != 0 && p.fromFile(w.section, files[s.file-1]) {
			if found != nil {
				return nil
			}
			found = s
		}
	}
	if found == nil {
		return nil
	}
	for n := want[w.name]; n != 0; n = p.wanted[n-1].next {
		if o := &p.wanted[n-1]; o.section != w.section && p.fromFile(o.section, files[found.file-1]) {
			return nil
		}
	}
	return found
}

// fromFile says whether a section's input was compiled from what an STT_FILE
// symbol names: "rg.4c4f285ca0232937-cgu.03" is in
// "rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o", "zstd.c" in "zstd.o".
func (p *symbolPlaces) fromFile(i SectionIndex, file string) bool {
	in := &p.inputs[p.skeleton.input(i)]
	name := in.Member
	if name == "" {
		name = in.Path
	}
	name = path.Base(name)
	if stem, ok := strings.CutSuffix(name, ".rcgu.o"); ok {
		return stem == file || strings.HasSuffix(stem, "."+file)
	}
	file = path.Base(file)
	return strings.TrimSuffix(file, path.Ext(file)) == strings.TrimSuffix(name, path.Ext(name))
}

// eachSymbol calls f for the symbols of a file but for the first. It says
// whether there are any. (elf.File.Symbols makes a string of each name.)
func eachSymbol(e *elf.File, f func(name []byte, info byte, section elf.SectionIndex, value, size uint64)) bool {
	table := e.SectionByType(elf.SHT_SYMTAB)
	if table == nil || table.Link >= uint32(len(e.Sections)) {
		return false
	}
	data, err := table.Data()
	if err != nil {
		return false
	}
	names, err := e.Sections[table.Link].Data()
	if err != nil {
		return false
	}
	entry := elf.Sym64Size
	if e.Class == elf.ELFCLASS32 {
		entry = elf.Sym32Size
	}
	if len(data)%entry != 0 || len(data) < 2*entry {
		return false
	}
	for b := data[entry:]; len(b) > 0; b = b[entry:] {
		var name []byte
		if at := e.ByteOrder.Uint32(b); uint64(at) < uint64(len(names)) {
			name = names[at:]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
		}
		if entry == elf.Sym64Size {
			f(name, b[4], elf.SectionIndex(e.ByteOrder.Uint16(b[6:])), e.ByteOrder.Uint64(b[8:]), e.ByteOrder.Uint64(b[16:]))
		} else {
			f(name, b[12], elf.SectionIndex(e.ByteOrder.Uint16(b[14:])), uint64(e.ByteOrder.Uint32(b[4:])), uint64(e.ByteOrder.Uint32(b[8:])))
		}
	}
	return true
}
