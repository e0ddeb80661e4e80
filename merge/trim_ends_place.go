package merge

import (
	"slices"

	"leanlink/objfile"
)

// Dead ends are cut in place where the rest must stay where it is: each doomed
// instruction becomes traps, and the section ends behind the last that is not.

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
