package merge

import (
	"slices"

	"leanlink/objfile"
)

// Dead ends: a function that panics has, for each panic, a few instructions
// that put together what the panic is to say, and call its entry point. Where
// that has become a trap, the program may as well trap before them: nothing
// that they do can be seen. What they named is then named no more, functions
// that differed only in them fold, and those that lie at a function's end go.
//
// An instruction is doomed if, whichever way is taken from it, a trap follows
// and everything on the way is quiet: it changes registers and the function's
// own frame on the stack, and reads no memory that could be a device's. Doomed
// is the smallest such set, so a loop that ends nowhere is not in it. A
// function whose first instruction is doomed is a trap itself, and its callers
// are looked at again.
//
//	      cmp  r1, #4                     cmp  r1, #4
//	      bhs  1f                         bhs  1f
//	      ...                             ...
//	      bx   lr                         bx   lr
//	1:    movw r2, :lower16:place    1:   udf
//	      movt r2, :upper16:place
//	      movs r0, #4
//	      bl   panic_bounds_check
//
// Each doomed instruction becomes traps. Beyond the last instruction that is
// neither doomed nor out of reach the section ends, with one trap to which all
// jumps go that went further. A trap that the program has of its own accord is
// no reason to call something doomed: a handler may look at the registers, or
// come back.
//
// A function is left alone unless all of its code is understood: an address
// that is computed from the place of an instruction, or a jump to one in a
// register that could lie in the function, is enough to give up.

// entry is a place in a function that something else refers to. One that is
// loose is named by a label of its own, and goes where that goes.
type entry struct {
	place uint32
	loose bool
}

// deadEnds cuts them. It comes after what makes panic entry points traps.
func (x *trimmer) deadEnds(t Trim) {
	m := endMachines[x.l.Arch.Machine]
	if m == nil {
		return
	}
	bodies := x.doom(m, t.Frames)
	if m.moves {
		x.takeApart(bodies, t)
		return
	}
	entered := x.l.enteredWithin()
	for _, b := range bodies {
		entries := entered[b.o.Base+SecID(b.section)]
		if slices.ContainsFunc(entries, func(e entry) bool { return !b.enters(e.place) }) {
			continue
		}
		b.reach(entries)
		b.cut(m, entries, !b.described(t.Frames))
	}
}

// described reports whether a frame entry says how long the function is, which
// one that is to be dropped does no more.
func (b *body) described(drop bool) bool {
	return slices.ContainsFunc(b.o.framesOf(b.section), func(ref fdeRef) bool {
		return !drop || !b.o.canDropFrames(b.o.frames[ref.frame].Section)
	})
}

// doom finds the functions that have doomed code, in link order.
func (x *trimmer) doom(m *endMachine, frames bool) []*body {
	known := map[SecID]*body{}
	var order []SecID
	for again := true; again; {
		again = false
		fresh := x.callTraps(known, m.moves && frames)
		decoded := make([]*body, len(fresh))
		inParallel(len(fresh), func(k int) {
			if o, i := x.l.Of(fresh[k]); m.whole == nil || m.whole(x, o, i, frames) {
				decoded[k] = x.decode(m, o, i)
			}
		})
		for k, id := range fresh {
			known[id] = decoded[k]
		}
		order = append(order, fresh...)
		for _, id := range order {
			if b := known[id]; b != nil && x.ignored[id] != allRegisters && b.spread() && b.doomed[0] {
				x.ignored[id] = allRegisters
				again = true
			}
		}
	}
	slices.Sort(order)
	var bodies []*body
	for _, id := range order {
		if b := known[id]; b != nil && (m.moves || slices.Contains(b.doomed, true)) {
			bodies = append(bodies, b)
		}
	}
	return bodies
}

// callTraps lists functions that refer to a trap, but for those that are known
// already; with pads, those that unwinding could enter as well.
func (x *trimmer) callTraps(known map[SecID]*body, pads bool) []SecID {
	var list []SecID
	for _, o := range x.l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			id := o.Base + SecID(i)
			s := &o.File.Sections[i]
			if !isFunctionSection(s) || s.Rel == 0 || x.ignored[id] == allRegisters {
				continue
			}
			if c := x.out.Cuts[o.index]; c != nil && c[i] != CutNone {
				continue
			}
			if _, seen := known[id]; !seen && (x.callsTrap(o, uint32(i)) || pads && o.unwinds(uint32(i))) {
				list = append(list, id)
			}
		}
	}
	return list
}

// callsTrap reports whether a section refers to a trap.
func (x *trimmer) callsTrap(o *Object, i uint32) bool {
	rs := o.File.Relocs(i)
	for k := range rs.Len() {
		if t := x.l.resolveRef(o, rs.At(k).Sym); t.kind == toSection && x.ignored[t.sec] == allRegisters {
			return true
		}
	}
	return false
}

// spread dooms what leads to what is doomed, until nothing is added, and
// reports whether something was.
func (b *body) spread() bool {
	any := false
	for again := true; again; {
		again = false
		for k := len(b.code) - 1; k >= 0; k-- {
			if !b.doomed[k] && b.leadsToTrap(k) {
				b.doomed[k], again, any = true, true, true
			}
		}
	}
	return any
}

// leadsToTrap reports whether a trap follows an instruction by way of others
// that are known to be doomed.
func (b *body) leadsToTrap(k int) bool {
	in := &b.code[k]
	next := b.at(in.at + in.size)
	behind := next >= 0 && b.doomed[next]
	switch in.flow {
	case flowNext:
		return in.quiet && behind
	case flowJump:
		return b.doomed[b.at(in.to)] && (!in.perhaps || behind)
	case flowBranch:
		return b.doomed[b.at(in.to)] && behind
	case flowCall, flowEnd:
		trap := in.callee != NoSec && b.x.ignored[in.callee] == allRegisters
		return trap && (!in.perhaps || behind)
	}
	return false
}

// reach finds the code that is still needed, and the constants that it reads.
func (b *body) reach(entries []entry) {
	b.live, b.met = make([]bool, len(b.code)), make([]bool, len(b.code))
	b.used = make([]bool, len(b.bytes))
	var todo []int32
	enter := func(place uint32) {
		// What belongs to another instruction stays with it, doomed or not.
		if k := b.at(place); k >= 0 && !b.live[k] && (!b.doomed[k] || b.code[k].inside) {
			b.live[k] = true
			todo = append(todo, k)
		} else if k >= 0 && b.doomed[k] {
			b.met[k] = true
		}
	}
	enter(0)
	for _, e := range entries {
		enter(e.place)
	}
	for len(todo) > 0 {
		in := &b.code[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		behind := in.at + in.size
		b.use(in.reads, in.width)
		switch in.flow {
		case flowNext, flowBranch, flowCall:
			enter(behind)
			if b.at(behind) < 0 {
				// What a call may read behind itself.
				for at := behind; at < uint32(len(b.bytes)) && b.index[at] < 0; at++ {
					b.use(at, 1)
				}
			}
		case flowTable:
			for _, e := range b.table {
				if e.at >= in.reads && e.at-in.reads < in.width {
					enter(e.to)
				}
			}
		}
		if in.perhaps {
			enter(behind)
		}
		if in.flow == flowJump || in.flow == flowBranch {
			enter(in.to)
		}
	}
}

func (b *body) use(at, n uint32) {
	for k := at; k < at+n && k < uint32(len(b.used)); k++ {
		b.used[k] = true
	}
}

// enteredWithin lists, by section, the places behind the start of functions
// that something else than the function's own code refers to.
func (l *Link) enteredWithin() map[SecID][]entry {
	found := map[SecID][]entry{}
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			if s.Flags&objfile.SHF_ALLOC == 0 || s.Rel == 0 || isEhFrame(s) {
				continue
			}
			code, rs := o.File.Bytes(uint32(i)), o.File.Relocs(uint32(i))
			for k := range rs.Len() {
				r := rs.At(k)
				t := l.resolveRef(o, r.Sym)
				call := l.Arch.IsCall(code, r)
				if t.kind != toSection || t.sec == o.Base+SecID(i) && call || l.Section(t.sec).Flags&objfile.SHF_EXECINSTR == 0 {
					continue
				}
				addend, ok := l.addend(o, uint32(i), rs, r)
				loose := addend == 0 && t.typ == objfile.STT_NOTYPE && !t.global
				if call {
					addend -= l.Arch.Bias(r)
				}
				place := t.value + uint64(addend)
				if t.typ == objfile.STT_FUNC && l.Arch.Machine == objfile.EM_ARM {
					place &^= 1
				}
				relative := l.Arch.Reloc(r.Type).Kind == objfile.RelPC && s.Flags&objfile.SHF_EXECINSTR == 0
				if !ok || relative && place != 0 {
					// Anywhere: that of a table counts from the table's start.
					place, loose = 1<<32-1, false
				}
				if place != 0 {
					found[t.sec] = append(found[t.sec], entry{uint32(min(place, 1<<32-1)), loose})
				}
			}
		}
	}
	return found
}
