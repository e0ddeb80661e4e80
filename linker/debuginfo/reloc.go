package debuginfo

import (
	"encoding/binary"
	"math"
	"slices"

	"leanlink/objfile"
)

var le = binary.LittleEndian

// target is what a relocation by some symbol refers to.
type target struct {
	kind  targetKind
	k     uint32 // the part, by its place in object.parts, or the word
	value uint64 // the symbol's, offset in the part
}

type targetKind uint8

const (
	toUnseen  targetKind = iota
	toPart               // a place in debug information
	toString             // a place in a section of strings, together with the addend
	toLabel              // a string that a symbol stands for
	toWord               // an address, which is known as soon as the word is
	toExactly            // what only the linker can tell, for each addend by itself
)

// word is a word of the tables: a relocation that the linker applies.
type word struct {
	typ    uint32
	symbol uint32
	addend int64
	exact  bool   // its value is what belongs into the field, else an address and bias
	slot   uint32 // in the table, from 1; 0 for what is dead
	value  uint64 // what the linker says, 0 if it is dead
}

// exactly is what a word stands for that is good for one addend only.
type exactly struct {
	typ, symbol uint32
	addend      int64
}

// bias is added to every address in a table, so that one which is 0 is not
// taken for that of a section that the linker leaves out. It leaves the bit be
// that marks Thumb code.
const bias = 16

// fieldKind is what a relocation does to debug information.
type fieldKind struct {
	size  uint8 // of the field, bytes; 0 for nothing
	other bool  // its value is no address, but some other thing that only the linker knows
	odd   bool  // debug information has none of this kind
}

// maxType is more than the number of any relocation that debug information has.
const maxType = 1 << 11

func kindOf(t objfile.RelocType) fieldKind {
	switch sized := t.Size == 4 || t.Size == 8; {
	case t.Kind == objfile.RelNone:
		return fieldKind{}
	case t.Kind == objfile.RelAbs && sized:
		return fieldKind{size: t.Size}
	case t.Kind == objfile.RelTLS && sized:
		return fieldKind{size: t.Size, other: true}
	}
	return fieldKind{odd: true}
}

// scan finds what a part refers to. The error says why the linker should join it.
func (p *part) scan() error {
	o, f, m := p.object, p.object.file, p.object.machine
	if at := f.Sections[p.from].Rel; at != 0 {
		willRead(f.Bytes(at))
	}
	rs, contents := f.Relocs(p.from), f.Bytes(p.from)
	for k := range rs.Len() {
		r := rs.At(k)
		field := fieldKind{odd: true}
		if r.Type < maxType {
			field = m.fields[r.Type]
		}
		switch size := uint64(field.size); {
		case field.odd:
			return f.ErrorAt(p.from, r.Offset, "a relocation is none that debug information has")
		case r.Sym >= f.NumSymbols:
			return f.ErrorAt(p.from, r.Offset, "a relocation names a symbol that does not exist")
		case uint64(len(contents)) < size || r.Offset > uint64(len(contents))-size:
			return f.ErrorAt(p.from, r.Offset, "a relocation lies outside its section")
		case size == 0:
			continue
		}
		to := &o.targets[r.Sym]
		if to.kind == toUnseen {
			if err := o.find(to, p, r, field.other); err != nil {
				return err
			}
		}
		switch {
		case field.other && to.kind != toExactly && to.kind != toWord:
			return f.ErrorAt(p.from, r.Offset, "a relocation is none that debug information has")
		case field.other || to.kind == toExactly:
			addend, ok := o.addend(rs, r, contents)
			if !ok {
				return f.ErrorAt(p.from, r.Offset, "a relocation has an addend in an unknown form")
			}
			o.want(exactly{r.Type, r.Sym, addend})
		}
	}
	return nil
}

// want adds a word for one addend, unless there is one.
func (o *object) want(x exactly) {
	if _, ok := o.exact[x]; ok {
		return
	}
	if o.exact == nil {
		o.exact = map[exactly]uint32{}
	}
	o.exact[x] = uint32(len(o.words))
	o.words = append(o.words, word{typ: x.typ, symbol: x.symbol, addend: x.addend, exact: true})
}

// find finds out what a symbol stands for that a relocation names.
func (o *object) find(to *target, p *part, r objfile.Reloc, other bool) error {
	f := o.file
	s := f.Symbol(r.Sym)
	if r.Sym == 0 {
		return f.ErrorAt(p.from, r.Offset, "a relocation names no symbol")
	}
	if s.Defined() {
		in := &f.Sections[s.Section]
		if k := slices.IndexFunc(o.parts, func(p *part) bool { return p.from == s.Section }); k >= 0 {
			if s.Bind != objfile.STB_LOCAL {
				return f.ErrorAt(p.from, r.Offset, "debug information has a global name")
			}
			*to = target{kind: toPart, k: uint32(k), value: s.Value}
			if o.parts[k].isStrings() {
				to.kind = toLabel
				if s.Type == objfile.STT_SECTION {
					to.kind = toString
				}
			}
			return nil
		}
		if in.Flags&objfile.SHF_ALLOC == 0 {
			return f.ErrorAt(p.from, r.Offset, "a relocation refers to "+in.Name+", which is neither loaded nor debug information")
		}
		if in.Flags&objfile.SHF_MERGE != 0 && s.Type == objfile.STT_SECTION || in.Flags&objfile.SHF_TLS != 0 {
			to.kind = toExactly
			return nil
		}
	} else if s.Section != objfile.SecUndef && s.Section != objfile.SecAbs && s.Section != objfile.SecCommon {
		return f.ErrorAt(p.from, r.Offset, "a relocation names a symbol of an unknown kind")
	}
	if other || s.Type == objfile.STT_TLS {
		to.kind = toExactly
		return nil
	}
	*to = target{kind: toWord, k: uint32(len(o.words))}
	o.words = append(o.words, word{typ: o.machine.arch.Address, symbol: r.Sym, addend: bias})
	return nil
}

// addend is a relocation's, wherever it is.
func (o *object) addend(rs objfile.Relocs, r objfile.Reloc, contents []byte) (int64, bool) {
	if rs.Rela {
		return r.Addend, true
	}
	return o.machine.arch.Addend(contents[r.Offset:], r.Type)
}

// put writes a field. It is false if the value, signed or not, does not fit.
func put(field []byte, size uint8, v uint64) bool {
	if size == 8 {
		le.PutUint64(field, v)
		return true
	}
	le.PutUint32(field, uint32(v))
	return v <= math.MaxUint32 || int64(v) >= math.MinInt32 && int64(v) < 0
}
