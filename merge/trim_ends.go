package merge

import (
	"slices"
	"strings"

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

// flow says where control goes from an instruction.
type flow uint8

const (
	flowNext   flow = iota // to the one behind it
	flowJump               // to another of the function
	flowBranch             // to another, or to the one behind
	flowTable              // to one of those that a table lists
	flowCall               // to another function, and to the one behind
	flowEnd                // out of the function
)

// instruction is one of a function, by its effects.
type instruction struct {
	at, size uint32
	flow     flow
	to       uint32 // of a jump or branch
	callee   SecID  // of a call, or jump out of the function; NoSec if not known
	reads    uint32 // the place of a constant amid the code
	width    uint32 // its size, 0 if none is read
	quiet    bool
	perhaps  bool // it depends on a condition whether it does anything
	inside   bool // it belongs to the instruction before it
	// Where code can be moved:
	nop   bool  // it does nothing at all
	field uint8 // the distance to where it goes is in that many last bytes, 0 if a relocation says it
}

// tableEntry is the field of a jump table amid the code.
type tableEntry struct {
	at, width uint32
	to        uint32
}

// body is the code of one function, decoded.
type body struct {
	x       *trimmer
	o       *Object
	section uint32
	bytes   []byte
	relocs  objfile.Relocs
	fields  relocsByOffset
	code    []instruction // by place
	index   []int32       // by place: in code, −1 if none begins there
	table   []tableEntry
	doomed  []bool // parallel to code
	live    []bool // parallel to code: can be reached, and is not doomed
	met     []bool // parallel to code: can be reached, and is doomed
	used    []bool // by place: of a constant or table that live code reads
	fixed   bool   // something refers to its code in a way that is not understood
}

// endMachine is what the search must know of a machine.
type endMachine struct {
	// decode fills in code and table; false if something is not understood.
	decode func(*body) bool
	// retarget makes a jump or branch in bytes one to another place.
	retarget func(bytes []byte, in *instruction, to uint32) bool
	// retable does the same with an entry of a table.
	retable func(bytes []byte, b *body, e tableEntry, to uint32) bool
	// trap is the shortest instruction that traps.
	trap func(f *objfile.File) string
	// moves says that what is left can be moved (trim_ends_move.go). The others
	// of these functions are for those that stay in place.
	moves bool
	// whole reports whether a function can be taken apart; nil for all. frames
	// says that nothing unwinds.
	whole func(x *trimmer, o *Object, i uint32, frames bool) bool
}

// endMachines are those whose code can be decoded.
var endMachines = map[uint16]*endMachine{
	objfile.EM_ARM:     &thumbEnds,
	objfile.EM_RISCV:   &riscvEnds,
	objfile.EM_AARCH64: &aarch64Ends,
	objfile.EM_X86_64:  &x86Ends,
}

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

// decode is the code of a function, nil if it is not understood, or if the
// section holds more than one function.
func (x *trimmer) decode(m *endMachine, o *Object, i uint32) *body {
	function := false
	for _, k := range o.Symbols(i) {
		s := o.File.Symbol(k)
		if s.Type != objfile.STT_FUNC {
			if s.Type != objfile.STT_NOTYPE || s.Bind != objfile.STB_LOCAL {
				return nil
			}
			continue
		}
		if s.Value&^x.l.thumbBit(&s) != 0 {
			return nil
		}
		function = true
	}
	if !function {
		return nil
	}
	b := &body{x: x, o: o, section: i, bytes: o.File.Bytes(i), relocs: o.File.Relocs(i)}
	b.fields = relocIndex(b.relocs)
	b.index = slices.Repeat([]int32{-1}, len(b.bytes)+1)
	if !m.decode(b) || len(b.code) == 0 || b.index[0] != 0 {
		return nil
	}
	for k := range b.code {
		in := &b.code[k]
		if (in.flow == flowJump || in.flow == flowBranch) && !b.enters(in.to) {
			return nil
		}
		for at := range in.width {
			if b.within(in.reads+at) >= 0 {
				return nil // code that is read
			}
		}
	}
	for _, e := range b.table {
		if !b.enters(e.to) {
			return nil
		}
	}
	b.doomed = make([]bool, len(b.code))
	return b
}

// add appends an instruction.
func (b *body) add(in instruction) {
	b.index[in.at] = int32(len(b.code))
	b.code = append(b.code, in)
}

// at is the index of the instruction at a place, −1 if none is there.
func (b *body) at(place uint32) int32 {
	if place >= uint32(len(b.index)) {
		return -1
	}
	return b.index[place]
}

// enters reports whether control may go to a place: an instruction that does
// not belong to the one before it.
func (b *body) enters(place uint32) bool {
	k := b.at(place)
	return k >= 0 && !b.code[k].inside
}

// callee is the function to whose start the relocation at off leads, NoSec if
// that is none that is known; relocated says that there is one.
func (b *body) callee(off uint32) (to SecID, relocated bool) {
	k, ok := b.fields.find(uint64(off))
	if !ok {
		return NoSec, false
	}
	l, r := b.x.l, b.relocs.At(k)
	t := l.resolveRef(b.o, r.Sym)
	addend, ok := l.addend(b.o, b.section, b.relocs, r)
	value := t.value
	if t.typ == objfile.STT_FUNC && l.Arch.Machine == objfile.EM_ARM {
		value &^= 1
	}
	if !ok || !l.Arch.IsCall(b.bytes, r) || t.kind != toSection || value != 0 || addend != l.Arch.Bias(r) {
		return NoSec, true
	}
	return t.sec, true
}

// onlyCode reports whether no mapping symbol says that there is data.
func (b *body) onlyCode() bool {
	for _, k := range b.o.Symbols(b.section) {
		if s := b.o.File.Symbol(k); s.Type == objfile.STT_NOTYPE && strings.HasPrefix(b.o.File.NameOf(&s), "$d") {
			return false
		}
	}
	return true
}

// relocated reports whether a relocation changes some of n bytes.
func (b *body) relocated(off, n uint32) bool {
	for k := range n {
		if _, ok := b.fields.find(uint64(off + k)); ok {
			return true
		}
	}
	return false
}

// addressed reports whether what relocations change of an instruction is all
// of it: an instruction may hold a part of an address.
func (b *body) addressed(in *instruction) bool { return !b.relocated(in.at+1, in.size-1) }

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

// cut makes traps of what is not live, and ends the section behind the last
// that is, if shorten says that it may become shorter.
func (b *body) cut(m *endMachine, entries []entry, shorten bool) {
	x := b.x
	code := slices.Clone(b.bytes)
	trap := m.trap(b.o.File)
	gone := make([]bool, len(code)) // by place
	for k := range b.code {
		in := &b.code[k]
		if !b.live[k] && !in.inside {
			b.fill(trap, code, gone, k)
		}
	}
	// Constants that only such code reads.
	for at := range code {
		if !b.used[at] && b.within(uint32(at)) < 0 {
			code[at], gone[at] = 0, true
		}
	}
	end := uint32(len(code))
	if shorten {
		var trapped bool
		end, trapped = b.end(gone, entries, len(trap))
		if trapped {
			end = b.retarget(m, code, end)
		}
		if end < uint32(len(code)) {
			code = code[:end]
			if trapped {
				code = append(code, trap...)
			}
		}
	}
	var kept []objfile.Reloc
	cuts := 0
	for k := range b.relocs.Len() {
		if r := b.relocs.At(k); r.Offset >= uint64(len(gone)) || !gone[r.Offset] {
			kept = append(kept, r)
		} else {
			cuts++
		}
	}
	x.edit(b.o).SetContents(b.section, code, kept)
	x.out.Cuts[b.o.index][b.section] = CutEnds
	x.out.Operands += cuts
	x.out.DeadEnds++
	x.out.DeadBytes += uint64(len(b.bytes) - len(code))
	if len(code) < len(b.bytes) {
		b.shorten(uint64(end), uint64(len(code)))
	}
}

// fill makes traps of an instruction, and of those that belong to it.
func (b *body) fill(trap string, code []byte, gone []bool, k int) {
	lo, hi := b.code[k].at, b.code[k].at+b.code[k].size
	for k++; k < len(b.code) && b.code[k].inside && b.code[k].at == hi; k++ {
		if b.live[k] {
			return
		}
		hi += b.code[k].size
	}
	for at := lo; at < hi; at++ {
		code[at], gone[at] = trap[(at-lo)%uint32(len(trap))], true
	}
}

// within is the index of the instruction that a byte belongs to, −1 if none.
func (b *body) within(place uint32) int32 {
	for at := int(place); at >= 0 && place-uint32(at) < 16; at-- {
		if k := b.index[at]; k >= 0 {
			if place-uint32(at) < b.code[k].size {
				return k
			}
			return -1
		}
	}
	return -1
}

// end is where the section can end: everything behind it is gone. trapped says
// that something goes there, and must meet a trap. It is the section's size if
// that wins nothing.
func (b *body) end(gone []bool, entries []entry, trap int) (end uint32, trapped bool) {
	size := uint32(len(b.bytes))
	last, enters := uint32(0), uint32(0)
	for _, e := range entries {
		enters = max(enters, e.place)
		if !e.loose {
			last = max(last, e.place)
		}
	}
	end = size
	withTrap := size
	for ; end > last && gone[end-1]; end-- {
		if k := b.index[end-1]; k >= 0 && !b.code[k].inside {
			withTrap = end - 1
		}
	}
	if end > enters && !b.goesTo(end) {
		return end, false
	}
	if withTrap+uint32(trap) >= size {
		return size, false
	}
	return withTrap, true
}

// goesTo reports whether control can go from what is live to a place, or one
// behind it.
func (b *body) goesTo(place uint32) bool {
	for k := range b.code {
		in := &b.code[k]
		if !b.live[k] {
			continue
		}
		if (in.flow == flowJump || in.flow == flowBranch) && in.to >= place {
			return true
		}
		if behind := in.at + in.size; behind >= place && behind < uint32(len(b.bytes)) && (in.perhaps || in.flow == flowNext || in.flow == flowBranch || in.flow == flowCall) {
			return true
		}
	}
	return slices.ContainsFunc(b.table, func(e tableEntry) bool { return b.used[e.at] && e.to >= place })
}

// retarget makes all live jumps that go behind end go there, and returns end;
// the section's size, and code as it was, if one cannot.
func (b *body) retarget(m *endMachine, code []byte, end uint32) uint32 {
	size := uint32(len(b.bytes))
	if end == size {
		return size
	}
	before := slices.Clone(code)
	for k := range b.code {
		in := &b.code[k]
		if b.live[k] && (in.flow == flowJump || in.flow == flowBranch) && in.to > end && !m.retarget(code, in, end) {
			copy(code, before)
			return size
		}
	}
	for _, e := range b.table {
		if b.used[e.at] && e.to > end && !m.retable(code, b, e, end) {
			copy(code, before)
			return size
		}
	}
	return end
}

// shorten takes symbols down with the section, which ends at size with a trap
// at end.
func (b *body) shorten(end, size uint64) {
	x := b.x
	for _, k := range b.o.Symbols(b.section) {
		s := b.o.File.Symbol(k)
		mapping := x.l.Arch.Mapping && s.Type == objfile.STT_NOTYPE && len(b.o.File.SymbolName(k)) > 1 && b.o.File.SymbolName(k)[0] == '$'
		switch {
		case s.Type == objfile.STT_FUNC && s.Size != 0:
			s.Size = size
		case s.Value < end, s.Value == end && !mapping:
			continue
		case mapping:
			s = objfile.Symbol{} // of what is no longer there
		case s.Value >= uint64(len(b.bytes)):
			s.Value = size
		default:
			s.Value = end
		}
		if err := x.edit(b.o).SetSymbol(k, s); err != nil {
			continue // Write tells of it
		}
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
