package report

import (
	"bytes"
	"debug/elf"
	"math"
	"path"
	"slices"
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
	input        InputIndex // of the section
	name         uint32     // number in names
	offset, size uint32
	next         uint32 // another of the same name, as index + 1; 0 for none
}

// placed is a symbol of the output.
type placed struct {
	addr, size uint64
	file       uint32 // of a local symbol: the STT_FILE symbol before it, as index + 1
	next       uint32 // another of the same name, as index + 1; 0 for none
}

// add takes the symbols of section i, s, with the numbers of their names.
func (p *symbolPlaces) add(i SectionIndex, s *Section, names []uint32) {
	if !p.skeleton.inOutput(i) {
		return
	}
	for n := range s.Symbols {
		y := &s.Symbols[n]
		if y.Offset > math.MaxUint32 {
			continue
		}
		size := y.Size
		if size > math.MaxUint32 {
			size = 0 // as good as unknown
		}
		p.wanted = append(p.wanted, wanted{section: i, input: s.Input, name: names[n], offset: uint32(y.Offset), size: uint32(size)})
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
	all := make([]placed, 0, len(p.wanted))
	var files [][]InputIndex // of each STT_FILE symbol: the inputs that were compiled from it
	inputs := p.inputsByFile()
	next := uint32(0) // index of the symbol that is expected
	some := eachSymbol(e, func(name []byte, info byte, section elf.SectionIndex, value, size uint64) {
		t := elf.ST_TYPE(info)
		if t == elf.STT_FILE {
			files = append(files, inputs.of(string(name)))
			return
		}
		if section == elf.SHN_UNDEF || section >= elf.SHN_LORESERVE && section != elf.SHN_XINDEX || t == elf.STT_TLS || t == elf.STT_SECTION || value == 0 {
			return
		}
		// Linkers keep an object's symbols together and mostly in order.
		n, ok := uint32(0), false
		if int(next) < len(p.wanted) {
			n = p.wanted[next].name
			ok = p.names.strings[n] == string(name)
		}
		if !ok {
			n, ok = p.names.lookUp(name)
		}
		if !ok || want[n] == 0 {
			return
		}
		next = want[n]
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
func (p *symbolPlaces) match(w *wanted, want, have []uint32, all []placed, files [][]InputIndex) *placed {
	first := have[w.name]
	if first == 0 {
		return nil
	}
	if all[first-1].next == 0 && p.wanted[want[w.name]-1].next == 0 {
		return &all[first-1]
	}
	var found *placed
	for n := first; n != 0; n = all[n-1].next {
		if s := &all[n-1]; s.file != 0 && slices.Contains(files[s.file-1], w.input) {
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
		if o := &p.wanted[n-1]; o.section != w.section && slices.Contains(files[found.file-1], o.input) {
			return nil
		}
	}
	return found
}

// fileInputs finds the inputs that were compiled from what an STT_FILE symbol
// names: "rg.4c4f285ca0232937-cgu.03" is in
// "rg-b78c7a89dbbd9a51.rg.4c4f285ca0232937-cgu.03.rcgu.o", "zstd.c" in "zstd.o".
type fileInputs struct {
	units map[string][]InputIndex // of rustc's objects: each ending of the name that begins behind a dot
	stems map[string][]InputIndex // of others: the name without its last part
}

func (p *symbolPlaces) inputsByFile() fileInputs {
	f := fileInputs{units: map[string][]InputIndex{}, stems: map[string][]InputIndex{}}
	for i := range p.inputs {
		name := p.inputs[i].Member
		if name == "" {
			name = p.inputs[i].Path
		}
		name = path.Base(name)
		unit, ok := strings.CutSuffix(name, ".rcgu.o")
		if !ok {
			stem := strings.TrimSuffix(name, path.Ext(name))
			f.stems[stem] = append(f.stems[stem], InputIndex(i))
		}
		for ; ok; _, unit, ok = strings.Cut(unit, ".") {
			f.units[unit] = append(f.units[unit], InputIndex(i))
		}
	}
	return f
}

// of returns the inputs of an STT_FILE symbol's name.
func (f fileInputs) of(file string) []InputIndex {
	base := path.Base(file)
	of, stems := f.units[file], f.stems[strings.TrimSuffix(base, path.Ext(base))]
	if len(of) == 0 {
		return stems
	}
	return append(slices.Clip(of), stems...)
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
