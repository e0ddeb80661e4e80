package merge

import (
	"bytes"

	"leanlink/objfile"
)

// operand is what one relocation contributes to the identity of the section
// that it lies in. Two operands that are equal as values refer to the same
// thing; where follows is a candidate's index, the candidate's class decides
// instead of the section itself.
type operand struct {
	kind    operandKind
	follows int32  // index of the candidate referred to, −1 if none
	id      uint64 // identity of what is referred to, by kind
	off     int64  // the place within it, or what is left of the addend
	// form is what else tells it apart: of a piece, what its section says of
	// its pieces; of a slot of the GOT, the place within that; an IFUNC.
	form  uint64
	class uint32 // operandPiece: Link.class of the section
	piece []byte // operandPiece: contents
	// operandPiece: the section it lies in, and that section's alignment,
	// where the leader's can be raised to it. Not compared.
	sec   SecID
	align uint64
}

type operandKind uint8

const (
	operandNone    operandKind = iota
	operandNode                // a place in a candidate section
	operandSection             // a place in any other section
	operandSymbol              // a global name that is not in the link, or can be replaced
	operandLocal               // a local symbol that is not in a section
	operandNumber              // an absolute value
	operandPiece               // the contents of a mergeable string or constant
	operandPlace               // a place in the section itself
	operandBad                 // an addend that can't be read: equal to nothing else
)

// operandOf resolves a relocation of section i of o.
//
// Whether the reference needs the target itself or only its class depends
// on what it can observe: calls, entries of the target's own jump table and
// references to constants see the class; an address that is computed sees
// the function itself where its address is significant.
func (f *folder) operandOf(o *Object, i uint32, rs objfile.Relocs, r objfile.Reloc) operand {
	l := f.l
	src := o.Base + SecID(i)
	addend, ok := l.addend(o, i, rs, r)
	if !ok {
		return operand{kind: operandBad, follows: -1, id: uint64(src), off: int64(r.Offset)}
	}
	t := o.target(r.Sym)
	kind := l.Arch.Reloc(r.Type).Kind
	if kind == objfile.RelLow {
		// Its symbol marks the instruction that it belongs to, and stands
		// for what that one refers to.
		if t.kind != toSection || t.sec != src {
			return operand{kind: operandBad, follows: -1, id: uint64(src), off: int64(r.Offset)}
		}
		return operand{kind: operandPlace, follows: -1, off: int64(t.value) + addend}
	}
	if kind == objfile.RelSize {
		// Two symbols of one place can have different sizes.
		if t.global {
			return operand{kind: operandSymbol, follows: -1, id: uint64(t.sym), off: addend}
		}
		return operand{kind: operandLocal, follows: -1, id: uint64(o.index)<<32 | uint64(r.Sym), off: addend}
	}
	var form uint64
	if kind == objfile.RelGOT || kind == objfile.RelTLS {
		// The addend counts from the slot, not from the symbol.
		form, addend = uint64(addend), 0
	}
	if t.typ == objfile.STT_GNU_IFUNC {
		form ^= 1 << 63 // what its resolver returns, not the resolver itself
	}
	switch t.kind {
	case toNothing:
		return operand{kind: operandNone, follows: -1, off: addend, form: form}
	case toAbsolute:
		return operand{kind: operandNumber, follows: -1, off: int64(t.value) + addend, form: form}
	case toSymbol:
		if t.global {
			return operand{kind: operandSymbol, follows: -1, id: uint64(t.sym), off: addend, form: form}
		}
		return operand{kind: operandLocal, follows: -1, id: uint64(o.index)<<32 | uint64(r.Sym), off: addend, form: form}
	case toDiscarded:
		return operand{kind: operandSection, follows: -1, id: uint64(t.sec), off: int64(t.value) + addend, form: form}
	}
	if l.is(t.sec, hasPieces) && form == 0 && l.class[t.sec] != 0 {
		to, ti := l.Of(t.sec)
		if p, ok := piece(to.File, ti, *t, addend); ok {
			p.class = l.class[t.sec]
			return p
		}
	}
	c := f.index[t.sec]
	if c < 0 || f.identity[t.sec] && (!l.is(t.sec, isCode) || l.seesAddress(src, o, i, r, *t)) {
		return operand{kind: operandSection, follows: -1, id: uint64(t.sec), off: int64(t.value) + addend, form: form}
	}
	return operand{kind: operandNode, follows: c, off: int64(t.value) + addend, form: form}
}

// hasPieces reports whether a section's strings or constants are merged by
// the linker, so that contents are all that tells them apart. In an object
// that is left alone they could not be aligned for others. An entry that is
// larger than the section is none.
func (l *Link) hasPieces(o *Object, s *objfile.Section) bool {
	const plain = objfile.SHF_ALLOC | objfile.SHF_MERGE | objfile.SHF_STRINGS | objfile.SHF_GROUP
	return s.Flags&objfile.SHF_MERGE != 0 && s.Flags&^plain == 0 && s.Rel == 0 && s.EntSize > 0 && s.EntSize <= s.Size && o.Reason == ""
}

// seesAddress reports whether a reference to code lets the program have the
// address. A vtable slot counts: see inVtable.
func (l *Link) seesAddress(src SecID, o *Object, i uint32, r objfile.Reloc, t target) bool {
	return l.use(src, o, i, r, t) != called
}

// piece finds the string or constant of a mergeable section that a
// reference means. A section symbol leaves the choice to the addend; a
// named symbol chooses by its value alone, and the addend (−4 in a
// PC-relative field) is counted from there. Linkers read it the same way.
func piece(f *objfile.File, section uint32, t target, addend int64) (operand, bool) {
	s := &f.Sections[section]
	b := f.Bytes(section)
	at, rest := int64(t.value), addend
	if t.section {
		at, rest = at+addend, 0
	}
	if at < 0 || at >= int64(len(b)) {
		return operand{}, false
	}
	ent := int64(s.EntSize)
	p := operand{kind: operandPiece, follows: -1, off: rest, form: uint64(ent) << 1, sec: t.sec}
	if s.Flags&objfile.SHF_STRINGS != 0 {
		if at%ent != 0 {
			return operand{}, false
		}
		end := at
		for ; ; end += ent {
			if end+ent > int64(len(b)) {
				return operand{}, false
			}
			if allZero(b[end : end+ent]) {
				break
			}
		}
		// Where in a string a reference points decides how it is aligned.
		if s.Align > 1 {
			p.id = uint64(at)&(s.Align-1) | 1<<63
		}
		p.form |= 1 | s.Align<<32
		p.piece = b[at : end+ent]
		return p, true
	}
	// Constants of one size come in sections of different alignments. An
	// entry lies at a multiple of its size, so the section of the one that
	// stays can be raised to that, but not beyond.
	if p.align = s.Align; s.Align > s.EntSize {
		p.form |= s.Align << 32
	}
	start := at - at%ent
	if start+ent > int64(len(b)) {
		return operand{}, false
	}
	p.id = uint64(at - start)
	p.piece = b[start : start+ent]
	return p, true
}

// sameOperand compares two operands; classes decides for candidates.
func (f *folder) sameOperand(a, b operand) bool {
	if a.kind != b.kind || a.off != b.off || a.id != b.id || a.form != b.form || a.class != b.class || a.kind == operandBad {
		return false
	}
	if a.kind == operandNode {
		return f.class[a.follows] == f.class[b.follows]
	}
	return bytes.Equal(a.piece, b.piece)
}

// same compares two candidates directly: contents, relocations, frame
// entries; targets by class. It is what the partition was computed to say,
// without the hashes.
func (f *folder) same(a, b SecID) bool {
	l := f.l
	oa, ia := l.Of(a)
	ob, ib := l.Of(b)
	sa, sb := &oa.File.Sections[ia], &ob.File.Sections[ib]
	if sa.Type != sb.Type || sa.Flags != sb.Flags || sa.Size != sb.Size || l.class[a] != l.class[b] {
		return false
	}
	if !bytes.Equal(oa.File.Bytes(ia), ob.File.Bytes(ib)) || !f.sameRelocs(oa, ia, ob, ib) ||
		l.source[a] != l.source[b] || !l.sameMapping(oa, ia, ob, ib) || !f.sameTied(oa, ia, ob, ib) {
		return false
	}
	fa, fb := oa.framesOf(ia), ob.framesOf(ib)
	if len(fa) != len(fb) {
		return false
	}
	for k := range fa {
		if !f.sameFrame(oa, fa[k], ob, fb[k]) {
			return false
		}
	}
	return true
}

func (f *folder) sameRelocs(oa *Object, ia uint32, ob *Object, ib uint32) bool {
	ra, rb := oa.File.Relocs(ia), ob.File.Relocs(ib)
	if ra.Len() != rb.Len() || ra.Len() > 0 && ra.Rela != rb.Rela {
		return false
	}
	for k := range ra.Len() {
		x, y := ra.At(k), rb.At(k)
		if x.Offset != y.Offset || x.Type != y.Type || !f.sameOperand(f.operandOf(oa, ia, ra, x), f.operandOf(ob, ib, rb, y)) {
			return false
		}
	}
	return true
}

// sameFrame compares two frame entries and their common information, the
// addresses of the functions left out.
func (f *folder) sameFrame(oa *Object, a fdeRef, ob *Object, b fdeRef) bool {
	ea, eb := oa.frames[a.frame], ob.frames[b.frame]
	da, db := &ea.FDEs[a.fde], &eb.FDEs[b.fde]
	ba, bb := oa.File.Bytes(ea.Section), ob.File.Bytes(eb.Section)
	ca, cb := &ea.CIEs[da.CIE], &eb.CIEs[db.CIE]
	if da.Range != db.Range || (a.lsda < 0) != (b.lsda < 0) || (ca.Personality == 0) != (cb.Personality == 0) ||
		!bytes.Equal(ba[ca.Offset+4:ca.End], bb[cb.Offset+4:cb.End]) ||
		!bytes.Equal(trimNops(ba[da.InstrOff():da.End()]), trimNops(bb[db.InstrOff():db.End()])) {
		return false
	}
	ra, rb := oa.File.Relocs(ea.Section), ob.File.Relocs(eb.Section)
	xa, xb := oa.innerRelocs(a), ob.innerRelocs(b)
	if len(xa) != len(xb) {
		return false
	}
	for k := range xa {
		x, y := ra.At(xa[k]), rb.At(xb[k])
		if x.Offset-da.Offset() != y.Offset-db.Offset() || x.Type != y.Type || f.placeOf(oa, x) != f.placeOf(ob, y) {
			return false
		}
	}
	if a.lsda >= 0 {
		x, y := ra.At(int(a.lsda)), rb.At(int(b.lsda))
		if x.Type != y.Type || !f.sameOperand(f.operandOf(oa, ea.Section, ra, x), f.operandOf(ob, eb.Section, rb, y)) {
			return false
		}
	}
	if ca.Personality != 0 {
		x, y := oa.commonOf(a).personality, ob.commonOf(b).personality
		if (x < 0) != (y < 0) {
			return false
		}
		if x >= 0 {
			p, q := ra.At(int(x)), rb.At(int(y))
			if p.Type != q.Type || !f.sameOperand(f.operandOf(oa, ea.Section, ra, p), f.operandOf(ob, eb.Section, rb, q)) {
				return false
			}
		}
	}
	return true
}

// placeOf is the place in its own function that an inner relocation of a
// frame entry names; whyNotFrames has seen that it names no other.
func (f *folder) placeOf(o *Object, r objfile.Reloc) int64 {
	return int64(f.l.resolveRef(o, r.Sym).value) + r.Addend
}

// trimNops leaves out the DW_CFA_nop (0) that only pad an entry. A zero can
// also end an operand, and then another entry's padding is compared with it:
// the entries differ in length and are taken for unequal, or are equal.
func trimNops(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}
