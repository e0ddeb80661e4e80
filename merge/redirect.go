package merge

import "leanlink/objfile"

// addend is what a relocation of section i of o adds to its symbol: the
// record's, or with SHT_REL what its field holds. ok is false where the
// field has no form that is known.
func (l *Link) addend(o *Object, i uint32, rs objfile.Relocs, r objfile.Reloc) (addend int64, ok bool) {
	if rs.Rela {
		return r.Addend, true
	}
	b := o.File.Bytes(i)
	if r.Offset > uint64(len(b)) {
		return 0, false
	}
	return l.Arch.Addend(b[r.Offset:], r.Type)
}

// markSymbol is the symbol that stands for the start of a leader, without
// its section: of no type, but on ARM a function where the leader is one,
// for linkers take the state of the processor from a function's symbol.
func (l *Link) markSymbol(leader SecID) objfile.Symbol {
	s := objfile.Symbol{Bind: objfile.STB_GLOBAL, Type: objfile.STT_NOTYPE, Other: objfile.STV_HIDDEN}
	if l.Arch.Machine != objfile.EM_ARM {
		return s
	}
	o, i := l.Of(leader)
	for _, k := range o.Symbols(i) {
		if f := o.File.Symbol(k); f.Type == objfile.STT_FUNC {
			s.Type, s.Value = objfile.STT_FUNC, f.Value&1
		}
	}
	return s
}

// redirectable reports whether a relocation of section i of o, which names a
// folded section by the local symbol s, can name the mark of its leader.
func (p *Plan) redirectable(o *Object, i uint32, rs objfile.Relocs, r objfile.Reloc, s *objfile.Symbol) bool {
	l := p.Link
	victim := o.Base + SecID(s.Section)
	switch l.Arch.Reloc(r.Type).Kind {
	case objfile.RelUnknown, objfile.RelSize:
		return false // the mark has another size
	case objfile.RelGOT, objfile.RelTLS:
		if s.Value != 0 {
			return false // the addend counts from the slot, not from the symbol
		}
	}
	code := o.File.Sections[s.Section].Flags&objfile.SHF_EXECINSTR != 0
	if s.Value&^l.thumbBit(s) != 0 {
		// The value would have to go to the addend: which with SHT_REL lies
		// in an instruction that may have no room for it, and of which
		// nothing is known in code that the linker still shortens.
		if !rs.Rela || code && l.shrinks(o, s.Section) {
			return false
		}
	}
	if l.Arch.Machine == objfile.EM_ARM && code {
		// A reference gets bit 0 of a Thumb function's address from its
		// symbol, or from its addend.
		mark := l.markSymbol(p.Leader[victim])
		if thumb := s.Type == objfile.STT_FUNC && s.Value&1 != 0; thumb != (mark.Value != 0) {
			addend, ok := l.addend(o, i, rs, r)
			kind := l.Arch.Reloc(r.Type).Kind
			return !thumb && ok && addend&1 != 0 && (kind == objfile.RelAbs || kind == objfile.RelPC)
		}
	}
	return true
}

// shrinks reports whether linkers may shorten the code of a section: some
// instruction has a hint that says so.
func (l *Link) shrinks(o *Object, section uint32) bool {
	rs := o.File.Relocs(section)
	for k := range rs.Len() {
		if l.Arch.Relaxes && l.Arch.Reloc(rs.At(k).Type).Kind == objfile.RelHint {
			return true
		}
	}
	return false
}

// preferTable moves the jump table of a function that stays, if there is
// one among equal constants, to the front: the first becomes their leader. A
// table names places within the function that uses it, and that function
// must have them.
func (p *Plan) preferTable(ids []SecID) {
	l := p.Link
	for k, id := range ids {
		u := l.user[id]
		if u == NoSec || u == manySecs || p.Fate[u] != FateKept || l.Section(u).Flags&objfile.SHF_EXECINSTR == 0 {
			continue
		}
		o, i := l.Of(id)
		rs := o.File.Relocs(i)
		for n := range rs.Len() {
			if t := l.resolveRef(o, rs.Sym(n)); t.kind == toSection && t.sec == u {
				copy(ids[1:k+1], ids[:k])
				ids[0] = id
				return
			}
		}
	}
}

// settle takes back the folding of sections that something kept names in a
// way that can't be made to name their leaders, and jumps in place of bodies
// of which something kept names the inside. What is kept then has references
// of its own, so it goes on until all can be carried out.
func (p *Plan) settle() {
	l := p.Link
	back := make([][]SecID, len(l.Objects)) // by object that names them
	for {
		inParallel(len(l.Objects), func(n int) {
			back[n] = p.notCarriedOut(l.Objects[n])
		})
		changed := false
		for _, list := range back {
			for _, id := range list {
				delete(p.Thunks, id)
				p.Fate[id], p.Leader[id], p.Reason[id] = FateKept, NoSec, NotRedirected
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// notCarriedOut lists the sections that must stay for the sake of an object.
func (p *Plan) notCarriedOut(o *Object) (list []SecID) {
	if o.Reason != "" {
		return nil // nothing of it folds
	}
	l := p.Link
	look := func(i uint32, rs objfile.Relocs, k int) {
		t := o.target(rs.Sym(k))
		if t.kind != toSection {
			return
		}
		switch p.Fate[t.sec] {
		case FateFolded:
			// A global name moves to the leader, and needs no redirection.
			r := rs.At(k)
			if s := o.File.Symbol(r.Sym); t.global || p.redirectable(o, i, rs, r, &s) {
				return
			}
		case FateThunk:
			if l.atStart(o, i, rs.At(k), *t) {
				return
			}
		default:
			return
		}
		list = append(list, t.sec)
	}
	for i := range o.File.Sections {
		if !p.remains(o, uint32(i)) || isEhFrame(&o.File.Sections[i]) || p.goesWith(o, uint32(i)) {
			continue
		}
		rs := o.File.Relocs(uint32(i))
		for k := range rs.Len() {
			look(uint32(i), rs, k)
		}
	}
	for _, ref := range o.fdes {
		if ref.lsda >= 0 && p.remains(o, ref.section) {
			eh := o.frames[ref.frame].Section
			look(eh, o.File.Relocs(eh), int(ref.lsda))
		}
	}
	return list
}

// goesWith reports whether a section is metadata of one that folds
// (SHF_LINK_ORDER), and goes with it.
func (p *Plan) goesWith(o *Object, i uint32) bool {
	s := &o.File.Sections[i]
	return s.Flags&objfile.SHF_LINK_ORDER != 0 && s.Link != 0 && s.Link < uint32(len(o.File.Sections)) &&
		p.Fate[o.Base+SecID(s.Link)] == FateFolded
}

// dropMetadata drops the metadata of what folds.
func (p *Plan) dropMetadata() {
	for _, o := range p.Link.Objects {
		for i := range o.File.Sections {
			if id := o.Base + SecID(i); p.Fate[id] == FateKept && p.goesWith(o, uint32(i)) {
				p.Fate[id] = FateDropped
			}
		}
	}
}

// endsInLabel reports whether the sizes that a function's frame entries give
// by labels end in a label behind its code, which moves with the end.
func (l *Link) endsInLabel(o *Object, i uint32) bool {
	for _, ref := range o.framesOf(i) {
		eh := o.frames[ref.frame]
		rs, at := o.File.Relocs(eh.Section), eh.FDEs[ref.fde].PCRange()
		for _, k := range o.innerRelocs(ref) {
			r := rs.At(k)
			if s := o.File.Symbol(r.Sym); r.Offset == at && (r.Addend != 0 || s.Size != 0 || s.Value != 0 && s.Value != o.File.Sections[i].Size) {
				return false
			}
		}
	}
	return true
}

// allocated is the size of all that is live, paddings included, and so more
// than lies between two functions that end up in one output section.
func (l *Link) allocated() (n uint64) {
	for id, live := range l.live {
		if s := l.Section(SecID(id)); live && s.Type != objfile.SHT_NOBITS {
			n += s.Size + max(s.Align, 1)
		}
	}
	return n
}
