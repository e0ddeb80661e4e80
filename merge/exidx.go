package merge

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
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
	sections := o.File.Sections
	n := 0
	for i := range sections {
		if s := &sections[i]; s.Flags&objfile.SHF_LINK_ORDER != 0 && o.isTied(s) {
			n++
		}
	}
	if n == 0 {
		return
	}
	o.tied, o.tiedStart = make([]uint32, n), make([]uint32, len(sections)+1)
	for i := range sections {
		if s := &sections[i]; s.Flags&objfile.SHF_LINK_ORDER != 0 && o.isTied(s) {
			o.tiedStart[s.Link]++
		}
	}
	end := uint32(0)
	for i, n := range o.tiedStart {
		end += n
		o.tiedStart[i] = end
	}
	// Filled from the back, a section's end becomes its start.
	for i := len(sections) - 1; i >= 0; i-- {
		if s := &sections[i]; s.Flags&objfile.SHF_LINK_ORDER != 0 && o.isTied(s) {
			o.tiedStart[s.Link]--
			o.tied[o.tiedStart[s.Link]] = uint32(i)
		}
	}
}

// isTied reports whether what has SHF_LINK_ORDER is tied to a section and
// loaded.
func (o *Object) isTied(s *objfile.Section) bool {
	return s.Flags&objfile.SHF_ALLOC != 0 && s.Link != 0 && s.Link < uint32(len(o.File.Sections))
}

// tiedTo lists what is tied to a section.
func (o *Object) tiedTo(i uint32) []uint32 {
	if o.tied == nil {
		return nil
	}
	return o.tied[o.tiedStart[i]:o.tiedStart[i+1]]
}

// metadata is what is tied to a function and will be in the output.
func (l *Link) metadata(o *Object, i uint32) []uint32 {
	tied := o.tiedTo(i)
	gone := func(x uint32) bool { return l.is(o.Base+SecID(x), isDiscarded) }
	if !slices.ContainsFunc(tied, gone) {
		return tied
	}
	return slices.DeleteFunc(slices.Clone(tied), gone)
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
	var space [8]mark
	marks := space[:0]
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
	slices.SortFunc(marks, func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name))
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
