package merge

import (
	"bytes"
	"strings"

	"leanlink/objfile"
)

// Strings that nothing uses. GNU ld and gold keep or drop a section of
// mergeable strings as a whole, though they take it apart afterwards to keep
// one copy of each: one file name in use brings all of an object's. Where they
// do, the strings that nothing refers to are overwritten with zeros. That makes
// them empty strings, of which one copy is kept, and moves no other.
//
// A linker lays strings out anew, so that nothing can know of two of them how
// they lie to each other, and a reference means one string alone: that at the
// symbol, or for a section symbol that at the addend (see piece).

// strings empties the strings of this object that are no longer used.
func (e *editor) strings() error {
	if !e.l.opt.WholeStrings {
		return nil
	}
	var used map[uint32][]bool // by section, then by byte: the first of a string in use
	for i := range e.o.File.Sections {
		if e.p.Fate[e.o.Base+SecID(i)] == FateKept && e.l.hasLooseStrings(e.o, uint32(i)) {
			if used == nil {
				used = map[uint32][]bool{}
			}
			used[uint32(i)] = make([]bool, e.o.File.Sections[i].Size)
		}
	}
	if used == nil {
		return nil
	}
	// Relocations of debug information are many, and few name strings.
	local := make([]bool, e.o.File.FirstGlobal) // by symbol: it is in such a section
	for k := range local {
		if s := e.o.File.Symbol(uint32(k)); s.Defined() && used[s.Section] != nil {
			local[k] = true
		}
	}
	for i := range e.o.File.Sections {
		e.useStrings(uint32(i), local, used)
	}
	for i := range e.o.File.Sections { // in order, so that the same object comes out each time
		if starts, ok := used[uint32(i)]; ok {
			e.emptyStrings(uint32(i), starts)
		}
	}
	return nil
}

// hasLooseStrings reports whether a section holds strings of bytes that the
// linker may merge, none of which has a name outside the object.
func (l *Link) hasLooseStrings(o *Object, i uint32) bool {
	s := &o.File.Sections[i]
	if !l.hasPieces(o, s) || s.Flags&objfile.SHF_STRINGS == 0 || s.EntSize != 1 || s.Type != objfile.SHT_PROGBITS {
		return false
	}
	if _, grouped := o.groups[i]; grouped || !strings.HasPrefix(s.Name, ".rodata") || l.opt.KeepSection != nil && l.opt.KeepSection(s.Name) {
		return false
	}
	for _, k := range o.Symbols(i) {
		if k >= o.File.FirstGlobal {
			return false
		}
	}
	b := o.File.Bytes(i)
	return uint64(len(b)) == s.Size && len(b) > 0 && b[len(b)-1] == 0
}

// useStrings marks what a section that stays refers to; debug information
// counts, too. local says which symbols are of sections in used. A section of
// strings that is referred to in a way that is not understood is left out of
// used.
func (e *editor) useStrings(section uint32, local []bool, used map[uint32][]bool) {
	f := e.o.File
	s := &f.Sections[section]
	if s.Rel == 0 || s.Flags&objfile.SHF_ALLOC != 0 && !e.p.remains(e.o, section) {
		return
	}
	rs := f.Relocs(section)
	for k := range rs.Len() {
		if sym := rs.Sym(k); sym >= f.FirstGlobal || !local[sym] {
			continue
		}
		r := rs.At(k)
		sym := f.Symbol(r.Sym)
		starts, ok := used[sym.Section]
		if !ok {
			continue
		}
		addend, ok := e.l.addend(e.o, section, rs, r)
		at := int64(sym.Value)
		if sym.Type == objfile.STT_SECTION {
			at += addend
		}
		if !ok || at < 0 || at >= int64(len(starts)) || e.l.Arch.Reloc(r.Type).Kind == objfile.RelUnknown {
			delete(used, sym.Section)
			continue
		}
		b := f.Bytes(sym.Section)
		starts[bytes.LastIndexByte(b[:at], 0)+1] = true
		// What the instruction adds may have been meant to be left out.
		if at -= e.l.Arch.Bias(r); at >= 0 && at < int64(len(b)) {
			starts[bytes.LastIndexByte(b[:at], 0)+1] = true
		}
	}
}

// emptyStrings overwrites the strings of a section that are not in use.
func (e *editor) emptyStrings(section uint32, starts []bool) {
	b := e.o.File.Bytes(section)
	for at := 0; at < len(b); {
		end := at + bytes.IndexByte(b[at:], 0)
		if !starts[at] && end > at {
			e.edit.Patch(section, uint64(at), make([]byte, end-at))
		}
		at = end + 1
	}
}
