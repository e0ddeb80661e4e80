package merge

import (
	"math/bits"
	"sync"

	"github.com/zeebo/xxh3"

	"leanlink/objfile"
)

// What a report wants to know of a plan.

// Forget lets go of what the edits were made of; what a report wants to know of
// the plan stays.
func (p *Plan) Forget() {
	l := p.Link
	l.names = linkNames{}
	l.losers, l.traits, l.weight, l.vtable, l.user, l.interior, l.noted, l.doubt, l.class, l.source = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
	p.Align, p.leads, p.aliases, p.localAliases = nil, nil, nil, nil
	p.names = sync.Pool{}
	for _, o := range l.Objects {
		o.significant, o.tied, o.tiedStart, o.cies = nil, nil, nil, nil
	}
}

// RootReason says why a section is live without being referred to; "" if it
// is not a root.
func (l *Link) RootReason(id SecID) string {
	if l.via[id] != NoSec || !l.live[id] {
		return ""
	}
	o, i := l.Of(id)
	for _, k := range o.Symbols(i) {
		if k < o.File.FirstGlobal {
			continue
		}
		g := o.globals[k-o.File.FirstGlobal]
		switch d := &l.defs[g]; {
		case d.pinned:
			return "named by an option or script: " + l.symName[g]
		case d.exported && l.opt.Wanted[l.symName[g]]:
			return "wanted from outside: " + l.symName[g]
		case d.exported:
			return "exported: " + l.symName[g]
		}
	}
	switch s := &o.File.Sections[i]; {
	case s.Flags&objfile.SHF_RETAIN != 0:
		return "retained"
	case isCIdentifier(s.Name):
		return "collected by __start_ and __stop_ symbols"
	case isEhFrame(s):
		return "unwind table"
	case l.opt.KeepAll:
		return "the linker keeps all sections"
	}
	return "kept by its name or type"
}

// Marks is the number of leaders that have no name of their own, so that the new
// objects have one more for each.
func (p *Plan) Marks() (n int) {
	for id, lead := range p.leads {
		if lead != 0 {
			if _, own := p.Link.ownName(SecID(id)); !own {
				n++
			}
		}
	}
	return n
}

// Aliases lists the names that objects refer to and did not before: those
// that move to other objects, and those of leaders.
func (p *Plan) Aliases() map[string]bool {
	names := map[string]bool{}
	for i, n := range p.leads {
		id := SecID(i)
		if n == 0 {
			continue
		}
		if k, ok := p.Link.ownName(id); ok {
			o, _ := p.Link.Of(id)
			names[o.File.SymbolName(k)] = true
		}
	}
	for _, list := range p.aliases {
		for _, id := range list {
			names[p.Link.symName[id]] = true
		}
	}
	return names
}

// FrameBytes is the number of bytes of a section's frame entries.
func (o *Object) FrameBytes(section uint32) (n uint64) {
	for _, ref := range o.framesOf(section) {
		fde := &o.frames[ref.frame].FDEs[ref.fde]
		n += fde.End() - fde.Offset()
	}
	return n
}

// CommonFrameBytes is the number of bytes of an .eh_frame section that
// belong to no function: common information and terminators, and entries
// whose function is not in the object.
func (o *Object) CommonFrameBytes(section uint32) uint64 {
	n := o.File.Sections[section].Size
	for _, ref := range o.fdes {
		eh := o.frames[ref.frame]
		if eh.Section == section {
			fde := &eh.FDEs[ref.fde]
			n -= fde.End() - fde.Offset()
		}
	}
	return n
}

// ExceptionTable is the section of a function's landing-pad table, NoSec if
// it has none.
func (l *Link) ExceptionTable(id SecID) SecID {
	o, i := l.Of(id)
	for _, ref := range o.framesOf(i) {
		if ref.lsda < 0 {
			continue
		}
		rs := o.File.Relocs(o.frames[ref.frame].Section)
		if t := l.resolveRef(o, rs.At(int(ref.lsda)).Sym); t.kind == toSection {
			return t.sec
		}
	}
	return NoSec
}

// Symbols lists the symbols that a section defines, by index, section
// symbols left out.
func (o *Object) Symbols(section uint32) []uint32 {
	return o.syms[o.symStart[section]:o.symStart[section+1]]
}

// Discarded reports whether another object's copy of a section's group was
// chosen.
func (o *Object) Discarded(section uint32) bool { return o.dropped(section) }

// Targets calls f for the section of every reference of a section, its
// landing-pad table included, in no particular order and with repetitions.
func (l *Link) Targets(id SecID, f func(SecID)) {
	var few [16]SecID
	for _, t := range l.AppendReferences(few[:0], id) {
		f(t)
	}
	if t := l.ExceptionTable(id); t != NoSec {
		f(t)
	}
}

// AppendReferences appends the section of every reference of a section but for
// that to its landing-pad table, in the order of its relocations and with
// repetitions.
func (l *Link) AppendReferences(to []SecID, id SecID) []SecID {
	o, i := l.Of(id)
	if isEhFrame(&o.File.Sections[i]) {
		return to
	}
	rs := o.File.Relocs(i)
	for k := range rs.Len() {
		switch t := o.target(rs.Sym(k)); t.kind {
		case toSection:
			to = append(to, t.sec)
		case toSymbol:
			if sec, ok := l.place(t.sym); ok && t.global {
				to = append(to, sec)
			}
		}
	}
	return to
}

// Exports lists the names that the plan took for exported and that sections
// of the objects define, in order of first appearance.
func (l *Link) Exports() []string {
	var names []string
	for id := range l.defs {
		d := &l.defs[id]
		if _, ok := l.place(SymID(id)); !d.exported || !ok {
			continue
		}
		if d.hidden {
			continue
		}
		names = append(names, l.symName[id])
	}
	return names
}

// Live is the number of live sections.
func (p *Plan) Live() (n int) {
	for _, live := range p.Link.live {
		if live {
			n++
		}
	}
	return n
}

// ObjectIndex is the place in Link.Objects of a section's object.
func (l *Link) ObjectIndex(id SecID) int { return int(l.objOf[id]) }

// Shapes numbers the contents of live code with the relocated fields left out:
// functions of one shape differ by a constant, a callee or a target at most. The
// result is indexed as ids, 0 for all else and for what folds, which has its
// leader's shape.
func (p *Plan) Shapes(ids []SecID) []uint32 {
	l := p.Link
	shapes := make([]uint32, len(ids))
	// Most of the bytes are in functions of sizes that no other has: a few bits
	// of the size and the number of relocations spare looking at them.
	alike := make([]uint8, 1<<bits.Len(uint(4*len(ids))))
	slot := func(f *objfile.File, s *objfile.Section) *uint8 {
		h := s.Size*0x9e3779b97f4a7c15 + f.Sections[s.Rel].Size*0xc2b2ae3d27d4eb4f
		return &alike[h>>32&uint64(len(alike)-1)]
	}
	for k, id := range ids {
		if s := l.Section(id); p.Fate[id] != FateDropped && p.Fate[id] != FateFolded && s.Flags&objfile.SHF_EXECINSTR != 0 && s.Type == objfile.SHT_PROGBITS {
			o, _ := l.Of(id)
			n := slot(o.File, s)
			*n = min(*n+1, 2)
			shapes[k] = 1 // to be seen below
		}
	}
	number, last := make(map[uint64]uint32, len(ids)/16), uint32(0)
	var masked []byte
	for k, id := range ids {
		if shapes[k] == 0 {
			continue
		}
		o, i := l.Of(id)
		if s := &o.File.Sections[i]; *slot(o.File, s) < 2 {
			last++
			shapes[k] = last
			continue
		}
		masked = append(masked[:0], o.File.Bytes(i)...)
		rs := o.File.Relocs(i)
		for n := range rs.Len() {
			r := rs.At(n)
			if size := uint64(l.Arch.Reloc(r.Type).Size); r.Offset+size <= uint64(len(masked)) {
				clear(masked[r.Offset : r.Offset+size])
			}
		}
		hash := xxh3.Hash(masked)
		if shapes[k] = number[hash]; shapes[k] == 0 {
			last++
			shapes[k], number[hash] = last, last
		}
	}
	return shapes
}

// HasPieces reports whether a section is one of strings or constants of which
// the linker keeps one copy of each that is used: see PieceBytes. It can be
// asked after Forget.
func (l *Link) HasPieces(id SecID) bool {
	o, i := l.Of(id)
	return l.hasPieces(o, &o.File.Sections[i])
}

// PieceBytes is the number of bytes of the strings and constants that what is
// left refers to, each counted once.
func (p *Plan) PieceBytes() uint64 {
	l := p.Link
	parts := make([]map[string]bool, len(l.Objects)) // indexed by object
	inParallel(len(l.Objects), func(k int) {
		o, used := l.Objects[k], map[string]bool{}
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			if s.Rel == 0 || s.Flags&objfile.SHF_ALLOC == 0 || p.Fate[o.Base+SecID(i)] != FateKept {
				continue
			}
			rs := o.File.Relocs(uint32(i))
			for n := range rs.Len() {
				t := o.target(rs.Sym(n))
				if t.kind != toSection {
					continue
				}
				to, ti := l.Of(t.sec)
				if !l.hasPieces(to, &to.File.Sections[ti]) {
					continue
				}
				r := rs.At(n)
				addend, _ := l.addend(o, uint32(i), rs, r)
				if t.section {
					addend -= l.Arch.Bias(r)
				}
				if q, ok := piece(to.File, ti, *t, addend); ok {
					used[string(q.piece)] = true
				}
			}
		}
		parts[k] = used
	})
	all, sum := map[string]bool{}, uint64(0)
	for _, used := range parts {
		for piece := range used {
			if !all[piece] {
				all[piece] = true
				sum += uint64(len(piece))
			}
		}
	}
	return sum
}
