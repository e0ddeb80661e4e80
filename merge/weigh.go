package merge

import (
	"math/bits"
	"strings"
	"sync/atomic"

	"leanlink/objfile"
)

// weight is how much of a function's address a program can observe. The
// order matters: a heavier use hides a lighter one.
type weight uint8

const (
	// called: only called or jumped to. The address is nobody's business.
	called weight = iota
	// inVtable: also in a Rust vtable, from which a program can call but
	// not read. Code compiled with profiles may compare a loaded slot with
	// a function that it names, so such a function never shares an address
	// with a materialised one (llvm-project 221121).
	inVtable
	// materialised: its address is computed, stored in data, or compared.
	materialised
	// exported: other modules, or options of the link, can name it.
	exported
)

// weigh finds what the live references say of each function, and which
// constants are vtables.
func (l *Link) weigh() {
	n := l.Sections()
	l.weight = make([]weight, n)
	l.vtable = make([]bool, n)
	l.user = make([]SecID, n)
	l.interior = make([]bool, n)
	for i := range l.user {
		l.user[i] = NoSec
	}
	for id := range l.defs {
		if d := &l.defs[id]; d.exported || d.pinned {
			if sec, ok := l.place(SymID(id)); ok {
				l.weight[sec] = exported
			}
		}
	}
	for _, o := range l.Objects {
		if o.Reason == "" {
			continue
		}
		for _, id := range o.globals {
			if sec, ok := l.place(id); ok {
				l.weight[sec], l.interior[sec] = max(l.weight[sec], materialised), true
			}
		}
	}
	l.findUsers()
	inParallel(len(l.Objects), func(k int) {
		o := l.Objects[k]
		if o.Reason != "" {
			return // its relocations may lead anywhere; all that it refers to is materialised
		}
		for i := range o.File.Sections {
			id := o.Base + SecID(i)
			if !l.live[id] {
				continue
			}
			if l.isVtable(o, uint32(i)) {
				l.vtable[id] = true
			}
			// An assembler resolves what a local symbol says of its own section:
			// a function can take its own address without a relocation.
			if s := &o.File.Sections[i]; s.Flags&objfile.SHF_EXECINSTR != 0 && l.Arch.OwnAddress(o.File, uint32(i)) {
				l.weight[id] = max(l.weight[id], materialised)
			}
		}
	})
	l.findUses()
}

// findUsers finds the only section that refers to each.
func (l *Link) findUsers() {
	l.eachReference(func(src SecID, o *Object, i uint32, rs objfile.Relocs, k int) {
		t := o.target(rs.Sym(k))
		if t.kind != toSection || t.sec == src {
			return
		}
		// Whoever comes first, the last word is the same.
		user := (*uint32)(&l.user[t.sec])
		if !atomic.CompareAndSwapUint32(user, uint32(NoSec), uint32(src)) && atomic.LoadUint32(user) != uint32(src) {
			atomic.StoreUint32(user, uint32(manySecs))
		}
	})
}

// findUses finds the heaviest use of each function's address, and whose inside
// is referred to.
func (l *Link) findUses() {
	// What one reference says is one bit for each weight, and one for the inside.
	const inside = 1 << 7
	said := make([]uint32, l.Sections())
	l.eachReference(func(src SecID, o *Object, i uint32, rs objfile.Relocs, k int) {
		t := *o.target(rs.Sym(k))
		sec := t.sec
		switch t.kind {
		case toSection:
		case toSymbol:
			var ok bool
			if sec, ok = l.place(t.sym); !t.global || !ok {
				return
			}
		default:
			return
		}
		if !l.is(sec, isCode) {
			return
		}
		r := rs.At(k)
		kind := l.Arch.Reloc(r.Type).Kind
		if kind == objfile.RelLow {
			return
		}
		use := l.use(src, o, i, r, t)
		word := uint32(1) << use
		if kind == objfile.RelSize {
			word |= inside // a jump has another size
		}
		if sec != src && !(use == called && l.isOwnTable(src, o, i, r, t)) && !l.atStart(o, i, r, t) {
			word |= inside
		}
		if atomic.LoadUint32(&said[sec])|word != atomic.LoadUint32(&said[sec]) {
			atomic.OrUint32(&said[sec], word)
		}
	})
	for sec, word := range said {
		if word == 0 {
			continue
		}
		l.weight[sec] = max(l.weight[sec], weight(bits.Len32(word&^inside)-1))
		l.interior[sec] = l.interior[sec] || word&inside != 0
	}
}

// use says what one reference to code does with its target's address.
func (l *Link) use(src SecID, o *Object, i uint32, r objfile.Reloc, t target) weight {
	s := &o.File.Sections[i]
	switch {
	case o.Reason != "":
		return materialised
	case s.Flags&objfile.SHF_EXECINSTR != 0:
		if l.Arch.IsCall(o.File.Bytes(i), r) {
			return called
		}
		return materialised
	case l.vtable[src]:
		return inVtable
	case l.isExidx(s) || l.isExtab(s) || strings.HasPrefix(s.Name, ".gcc_except_table") && l.Arch.Reloc(r.Type).Kind == objfile.RelDiff:
		return called // how to unwind it: a program does not see that
	case l.isOwnTable(src, o, i, r, t):
		return called
	}
	return materialised
}

// atStart reports whether a reference surely means the start of its target.
func (l *Link) atStart(o *Object, i uint32, r objfile.Reloc, t target) bool {
	addend, ok := l.addend(o, i, o.File.Relocs(i), r)
	if !ok || l.Arch.Reloc(r.Type).Kind == objfile.RelUnknown {
		return false
	}
	if o.File.Sections[i].Flags&objfile.SHF_EXECINSTR != 0 {
		addend -= l.Arch.Bias(r)
	}
	return l.codeStart(t, addend) == 0
}

// isOwnTable reports whether a reference from data is an entry of a jump
// table: it points into the one function that uses the table. A relative
// entry can be nothing else in a Rust object (LLVM makes relative tables of
// labels, and of data, but not of functions); an absolute one must point
// behind the start, which could be a function pointer.
func (l *Link) isOwnTable(src SecID, o *Object, i uint32, r objfile.Reloc, t target) bool {
	s := &o.File.Sections[i]
	if !o.Rust || s.Flags&objfile.SHF_WRITE != 0 || l.user[src] != t.sec || t.global && !l.sameObject(o, t.sec) {
		return false
	}
	switch l.Arch.Reloc(r.Type).Kind {
	case objfile.RelPC, objfile.RelDiff:
		return true
	case objfile.RelAbs:
		addend, ok := l.addend(o, i, o.File.Relocs(i), r)
		return ok && l.codeStart(t, addend) > 0
	}
	return false
}

func (l *Link) sameObject(o *Object, sec SecID) bool { return l.objOf[sec] == o.index }

// eachReference calls f for every relocation of live allocated sections,
// frame tables left out: relocation k of section i of o, which is src. It does
// so for several objects at once.
func (l *Link) eachReference(f func(src SecID, o *Object, i uint32, rs objfile.Relocs, k int)) {
	inParallel(len(l.Objects), func(n int) {
		o := l.Objects[n]
		for i := range o.File.Sections {
			src := o.Base + SecID(i)
			if !l.live[src] || isEhFrame(&o.File.Sections[i]) {
				continue
			}
			rs := o.File.Relocs(uint32(i))
			for k := range rs.Len() {
				f(src, o, uint32(i), rs, k)
			}
		}
	})
}
