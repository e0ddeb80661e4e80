package merge

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
	"strings"

	"leanlink/objfile"
)

// Exception index tables of the ARM (Exception Handling ABI for the Arm
// Architecture, sections 4 to 6). Each function has a section .ARM.exidx.*,
// tied to its own by SHF_LINK_ORDER, of one entry of two words: where the
// function is, and how to unwind it, or that it can't be unwound, or where
// in .ARM.extab.* that is said, personality and landing pads included. They
// are to the function what frame entries and exception tables are elsewhere:
// part of what tells it apart, and gone with it.

// isExidx and isExtab recognise the two kinds of sections.
func (l *Link) isExidx(s *objfile.Section) bool {
	return l.Arch.Machine == objfile.EM_ARM && s.Type == objfile.SHT_ARM_EXIDX
}

func (l *Link) isExtab(s *objfile.Section) bool {
	return l.Arch.Machine == objfile.EM_ARM && (s.Name == ".ARM.extab" || strings.HasPrefix(s.Name, ".ARM.extab."))
}

// discards reports whether a linker script throws a section away, as those of
// firmware that never unwinds do with exception tables.
func (l *Link) discards(s *objfile.Section) bool {
	return l.opt.Discards != nil && l.opt.Discards(s.Name)
}

// tieMetadata finds what SHF_LINK_ORDER ties to each section of an object.
func (o *Object) tieMetadata() {
	for i := range o.File.Sections {
		s := &o.File.Sections[i]
		if s.Flags&objfile.SHF_LINK_ORDER != 0 && s.Flags&objfile.SHF_ALLOC != 0 && s.Link != 0 && s.Link < uint32(len(o.File.Sections)) {
			if o.tied == nil {
				o.tied = map[uint32][]uint32{}
			}
			o.tied[s.Link] = append(o.tied[s.Link], uint32(i))
		}
	}
}

// metadata is what is tied to a function and will be in the output.
func (l *Link) metadata(o *Object, i uint32) []uint32 {
	tied := o.tied[i]
	if l.opt.Discards == nil || !slices.ContainsFunc(tied, func(x uint32) bool { return l.discards(&o.File.Sections[x]) }) {
		return tied
	}
	return slices.DeleteFunc(slices.Clone(tied), func(x uint32) bool { return l.discards(&o.File.Sections[x]) })
}

// whyNotTied wants no metadata tied to a function but one entry of an
// exception index, in the form above.
func (l *Link) whyNotTied(o *Object, i uint32) Reason {
	for n, x := range l.metadata(o, i) {
		s := &o.File.Sections[x]
		if !l.isExidx(s) {
			return Special
		}
		if n > 0 || s.Size != 8 || s.Type == objfile.SHT_NOBITS {
			return FrameForm
		}
		rs := o.File.Relocs(x)
		own := false
		for k := range rs.Len() {
			r := rs.At(k)
			t := l.resolveRef(o, r.Sym)
			addend, ok := l.addend(o, x, rs, r)
			switch kind := l.Arch.Reloc(r.Type).Kind; {
			case !ok:
				return FrameForm
			case kind == objfile.RelNone: // only names the personality, so that it is linked
			case r.Offset == 0 && kind == objfile.RelPC && !own && t.kind == toSection && t.sec == o.Base+SecID(i) && l.codeStart(t, addend) == 0:
				own = true
			case r.Offset == 4 && kind == objfile.RelPC && t.kind == toSection && l.isExtab(l.Section(t.sec)):
			default:
				return FrameForm
			}
		}
		if !own {
			return FrameForm
		}
	}
	return Eligible
}

// labelTied appends the metadata of a function to its label.
func (f *labeler) labelTied(buf []byte, o *Object, i uint32) []byte {
	for _, x := range f.l.metadata(o, i) {
		buf = append(append(buf, "tied"...), o.File.Bytes(x)...)
		buf = f.labelRelocs(buf, o, x)
	}
	return buf
}

// sameTied compares the metadata of two functions.
func (f *folder) sameTied(oa *Object, ia uint32, ob *Object, ib uint32) bool {
	a, b := f.l.metadata(oa, ia), f.l.metadata(ob, ib)
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !bytes.Equal(oa.File.Bytes(a[k]), ob.File.Bytes(b[k])) || !f.sameRelocs(oa, a[k], ob, b[k]) {
			return false
		}
	}
	return true
}

// hasExtab reports whether a function's index entry leads to a table.
func (l *Link) hasExtab(o *Object, i uint32) bool {
	for _, x := range l.metadata(o, i) {
		rs := o.File.Relocs(x)
		for k := range rs.Len() {
			if t := l.resolveRef(o, rs.At(k).Sym); t.kind == toSection && l.isExtab(l.Section(t.sec)) {
				return true
			}
		}
	}
	return false
}

// labelMapping appends where in a section code of which kind and data begin,
// as mapping symbols say it: equal bytes can be Thumb code, ARM code or data
// ($t, $a, $d; $x on AArch64 and RISC-V). What follows a dot in such a name
// only numbers it.
func (l *Link) labelMapping(buf []byte, o *Object, i uint32) []byte {
	if !l.Arch.Mapping || o.File.Sections[i].Flags&objfile.SHF_EXECINSTR == 0 {
		return buf
	}
	type mark struct {
		at   uint64
		name string
	}
	var marks []mark
	for _, k := range o.Symbols(i) {
		s := o.File.Symbol(k)
		if s.Bind != objfile.STB_LOCAL || s.Type != objfile.STT_NOTYPE {
			continue
		}
		if name := o.File.NameOf(&s); strings.HasPrefix(name, "$") {
			name, _, _ = strings.Cut(name, ".")
			marks = append(marks, mark{s.Value, name})
		}
	}
	sort.Slice(marks, func(a, b int) bool {
		return marks[a].at < marks[b].at || marks[a].at == marks[b].at && marks[a].name < marks[b].name
	})
	for _, m := range marks {
		buf = binary.LittleEndian.AppendUint64(append(append(buf, m.name...), 0), m.at)
	}
	return buf
}

// sameMapping compares the mapping symbols of two sections.
func (l *Link) sameMapping(oa *Object, ia uint32, ob *Object, ib uint32) bool {
	return !l.Arch.Mapping || bytes.Equal(l.labelMapping(nil, oa, ia), l.labelMapping(nil, ob, ib))
}
