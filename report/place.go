package report

import (
	"debug/elf"
	"math"
	"path"
	"slices"
	"strings"
	"unsafe"
)

// symbolPlaces finds the addresses of sections by the output's symbols. A name
// that both the report and the output have once is a match. Names of local
// symbols can occur in several objects; then the output's STT_FILE symbols tell
// them apart.
//
// A name is known by its key here, so that none has to be looked at again.
type symbolPlaces struct {
	inputs   []Input
	skeleton *skeleton
	wanted   []wanted // by section
	// slots is a hash table of the names: the upper half of a key in the upper
	// half, and in the lower the index + 1 in wanted of the first symbol of that
	// name, 0 for none. There are a power of two, a quarter of them free at the
	// least.
	slots []uint64
}

// wanted is a symbol of a section that is in the output.
type wanted struct {
	key          uint64 // of its name
	section      SectionIndex
	input        InputIndex // of the section
	offset, size uint32
	next         uint32 // another of the same name, as index + 1; 0 for none
	first        uint32 // the first of the same name, as index + 1; 0 for this one
}

// placed is a symbol of the output.
type placed struct {
	addr, size uint64
	file       uint32 // of a local symbol: the STT_FILE symbol before it, as index + 1
	next       uint32 // another of the same name, as index + 1; 0 for none
}

// add takes the symbols of section i, s, with the keys of their names.
func (p *symbolPlaces) add(i SectionIndex, s *Section, keys []uint64) {
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
		p.wanted = append(p.wanted, wanted{key: keys[n], section: i, input: s.Input, offset: uint32(y.Offset), size: uint32(size)})
	}
}

// end is called when all symbols have been added.
func (p *symbolPlaces) end() {
	size := 1 << 4
	for 3*size < 4*len(p.wanted) {
		size *= 2
	}
	p.slots = make([]uint64, size)
	for n := range p.wanted {
		w := &p.wanted[n]
		slot, first := p.find(w.key)
		if first < 0 {
			p.slots[slot] = w.key>>32<<32 | uint64(n+1)
			continue
		}
		f := &p.wanted[first]
		w.first, w.next = uint32(first)+1, f.next
		f.next = uint32(n) + 1
	}
}

// find returns the index of the first symbol of a name, −1 if there is none, and
// where in the table it is or would be.
func (p *symbolPlaces) find(key uint64) (slot, first int) {
	mask := len(p.slots) - 1
	for slot = int(key>>32) & mask; p.slots[slot] != 0; slot = (slot + 1) & mask {
		if e := p.slots[slot]; e>>32 == key>>32 {
			if n := int(uint32(e)) - 1; p.wanted[n].key == key {
				return slot, n
			}
		}
	}
	return slot, -1
}

// bySymbols sets the addresses of the sections in the output. It says whether
// the output has symbols.
func (p *symbolPlaces) bySymbols(e *elf.File, in *mappedFile, addr []uint64) bool {
	clear(addr)
	have := make([]uint32, len(p.wanted)) // by the first symbol of a name: that of the output, as index + 1
	all := make([]placed, 0, len(p.wanted))
	var files [][]InputIndex // of each STT_FILE symbol: the inputs that were compiled from it
	inputs := p.inputsByFile()
	next := 0 // index of the symbol that is expected
	some := eachSymbol(e, in, func(name string, info byte, section elf.SectionIndex, value, size uint64) {
		t := elf.ST_TYPE(info)
		if t == elf.STT_FILE {
			files = append(files, inputs.of(name))
			return
		}
		if section == elf.SHN_UNDEF || section >= elf.SHN_LORESERVE && section != elf.SHN_XINDEX || t == elf.STT_TLS || t == elf.STT_SECTION || value == 0 {
			return
		}
		key := keyOf(name)
		// Linkers keep an object's symbols together and mostly in order.
		n := next
		if n >= len(p.wanted) || p.wanted[n].key != key || p.wanted[n].first != 0 {
			if _, n = p.find(key); n < 0 {
				return
			}
		}
		next = n + 1
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
		head := uint32(n)
		if w.first != 0 {
			head = w.first - 1
		}
		if s := p.match(w, head, have, all, files); s != nil && (p.skeleton.fate[w.section] == FateThunk || sameSize(s.size, uint64(w.size))) {
			addr[w.section] = s.addr - uint64(w.offset)
		}
	}
	return some
}

// sameSize compares sizes of a symbol before and after; 0 is unknown.
func sameSize(a, b uint64) bool { return a == b || a == 0 || b == 0 }

// match returns the output's symbol that stands for w, nil for none.
func (p *symbolPlaces) match(w *wanted, head uint32, have []uint32, all []placed, files [][]InputIndex) *placed {
	first := have[head]
	if first == 0 {
		return nil
	}
	if all[first-1].next == 0 && p.wanted[head].next == 0 {
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
	for n := head + 1; n != 0; n = p.wanted[n-1].next {
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
func eachSymbol(e *elf.File, in *mappedFile, f func(name string, info byte, section elf.SectionIndex, value, size uint64)) bool {
	table := e.SectionByType(elf.SHT_SYMTAB)
	if table == nil || table.Link >= uint32(len(e.Sections)) {
		return false
	}
	data, err := in.data(table)
	if err != nil {
		return false
	}
	names, err := in.data(e.Sections[table.Link])
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
	text := unsafe.String(unsafe.SliceData(names), len(names)) // nobody changes it
	for b := data[entry:]; len(b) > 0; b = b[entry:] {
		name := ""
		if at := e.ByteOrder.Uint32(b); uint64(at) < uint64(len(text)) {
			name = text[at:]
			if end := strings.IndexByte(name, 0); end >= 0 {
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
