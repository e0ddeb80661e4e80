package merge

import (
	"encoding/binary"
	"maps"
	"slices"

	"leanlink/objfile"
)

// An unwinder that walks from a call to its caller looks up the frame of a
// return address, or rather of the byte before it (DWARF 5, section 6.4.4).
// Rust unwinds from calls only, and a backtrace begins at one, so rows of a
// frame entry in which no call ends are never used: those between the pushes
// of a prologue and between the pops of an epilogue. They may as well say what
// a row that is used says.
//
// The rows of an entry are computed, those in which a call ends are kept, and
// the shortest instructions that lead from one to the next are written: most
// entries then have one row, from the function's start. A function without a
// call needs no entry.
//
// Calls are not found by disassembly: every byte that could be the opcode of
// one counts. That keeps a row too many here and there, never one too few.

// Call-frame instructions (DWARF 5, section 7.24).
const (
	cfaAdvance1     = 0x02
	cfaAdvance2     = 0x03
	cfaAdvance4     = 0x04
	cfaOffsetExt    = 0x05
	cfaRestoreExt   = 0x06
	cfaRemember     = 0x0a
	cfaRestoreState = 0x0b
	cfaDefCFA       = 0x0c
	cfaDefCFAReg    = 0x0d
	cfaDefCFAOffset = 0x0e
	cfaAdvance      = 0x40 // and up: the high two bits
	cfaOffset       = 0x80
	cfaRestore      = 0xc0
)

// frameRow is what a frame entry says of the code from an offset on: where
// the caller's frame is, and where registers were saved, in units of the
// common information's data alignment. It has no rule for others.
type frameRow struct {
	at      uint64 // of the first byte of code
	reg     uint64
	offset  uint64
	offsets map[uint64]uint64
}

func (r *frameRow) clone() frameRow {
	c := *r
	c.offsets = maps.Clone(r.offsets)
	return c
}

func (r *frameRow) same(s *frameRow) bool {
	return r.reg == s.reg && r.offset == s.offset && maps.Equal(r.offsets, s.offsets)
}

// frameRows runs call-frame instructions from a row on. The last row is the
// one in force at the end. ok is false where an instruction has no place in
// rows of this form.
func frameRows(b []byte, start, initial frameRow, codeAlign uint64) (rows []frameRow, ok bool) {
	row := start.clone()
	var stack []frameRow
	for len(b) > 0 {
		op := b[0]
		b = b[1:]
		bad := false
		uleb := func() uint64 {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				bad = true
				return 0
			}
			b = b[n:]
			return v
		}
		fixed := func(n int) (v uint64) {
			if len(b) < n {
				bad = true
				return 0
			}
			for i := range n {
				v |= uint64(b[i]) << (8 * i)
			}
			b = b[n:]
			return v
		}
		advance := func(n uint64) {
			if n > 0 {
				rows = append(rows, row.clone())
				row.at += n * codeAlign
			}
		}
		restore := func(reg uint64) {
			if v, ok := initial.offsets[reg]; ok {
				row.offsets[reg] = v
			} else {
				delete(row.offsets, reg)
			}
		}
		switch {
		case op&0xc0 == cfaAdvance:
			advance(uint64(op & 0x3f))
		case op&0xc0 == cfaOffset:
			row.offsets[uint64(op&0x3f)] = uleb()
		case op&0xc0 == cfaRestore:
			restore(uint64(op & 0x3f))
		case op == 0: // nop
		case op == cfaAdvance1:
			advance(fixed(1))
		case op == cfaAdvance2:
			advance(fixed(2))
		case op == cfaAdvance4:
			advance(fixed(4))
		case op == cfaOffsetExt:
			reg := uleb()
			row.offsets[reg] = uleb()
		case op == cfaRestoreExt:
			restore(uleb())
		case op == cfaRemember:
			stack = append(stack, row.clone())
		case op == cfaRestoreState:
			if len(stack) == 0 {
				return nil, false
			}
			at := row.at
			row, stack = stack[len(stack)-1], stack[:len(stack)-1]
			row.at = at
		case op == cfaDefCFA:
			row.reg = uleb()
			row.offset = uleb()
		case op == cfaDefCFAReg:
			row.reg = uleb()
		case op == cfaDefCFAOffset:
			row.offset = uleb()
		default:
			return nil, false
		}
		if bad {
			return nil, false
		}
	}
	return append(rows, row), true
}

// x86Calls lists the places, each one less than a return address, of what
// could be the calls of x86-64 code from lo up to hi, in ascending order: E8
// with a displacement that is relocated or that an assembler could have
// resolved, which leads into the same section, and FF /2 with any operand, of
// which one relative to the instruction is relocated.
func x86Calls(section []byte, lo, hi uint64, relocated func(off uint64) bool) []uint64 {
	var at []uint64
	code := section[lo:hi]
	for i, op := range code {
		n := 0
		switch {
		case op == 0xe8 && i+5 <= len(code):
			to := int64(lo) + int64(i) + 5 + int64(int32(binary.LittleEndian.Uint32(code[i+1:])))
			if relocated(lo+uint64(i)+1) || to >= 0 && to < int64(len(section)) {
				n = 5
			}
		case op == 0xff && i+1 < len(code) && code[i+1] == 0x15:
			if relocated(lo + uint64(i) + 2) {
				n = 6
			}
		case op == 0xff && i+1 < len(code) && code[i+1]>>3&7 == 2:
			n = 2
			mod, rm := code[i+1]>>6, code[i+1]&7
			if mod != 3 && rm == 4 && i+2 < len(code) {
				n++
				if mod == 0 && code[i+2]&7 == 5 {
					n += 4
				}
			}
			switch {
			case mod == 1:
				n++
			case mod == 2 || mod == 0 && rm == 5:
				n += 4
			}
		}
		if n > 0 && i+n <= len(code) {
			at = append(at, uint64(i+n-1))
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// rowCode writes the instructions that lead from one row to another.
func rowCode(b []byte, from, to, initial *frameRow, codeAlign uint64) []byte {
	switch n := (to.at - from.at) / codeAlign; {
	case n == 0:
	case n < 0x40:
		b = append(b, cfaAdvance|byte(n))
	case n < 0x100:
		b = append(b, cfaAdvance1, byte(n))
	case n < 0x10000:
		b = binary.LittleEndian.AppendUint16(append(b, cfaAdvance2), uint16(n))
	default:
		b = binary.LittleEndian.AppendUint32(append(b, cfaAdvance4), uint32(n))
	}
	switch {
	case from.reg != to.reg && from.offset != to.offset:
		b = binary.AppendUvarint(append(b, cfaDefCFA), to.reg)
		b = binary.AppendUvarint(b, to.offset)
	case from.reg != to.reg:
		b = binary.AppendUvarint(append(b, cfaDefCFAReg), to.reg)
	case from.offset != to.offset:
		b = binary.AppendUvarint(append(b, cfaDefCFAOffset), to.offset)
	}
	regs := maps.Clone(to.offsets)
	maps.Copy(regs, from.offsets)
	for _, reg := range slices.Sorted(maps.Keys(regs)) {
		was, had := from.offsets[reg]
		is, has := to.offsets[reg]
		switch {
		case had == has && was == is:
		case has && reg < 0x40:
			b = binary.AppendUvarint(append(b, cfaOffset|byte(reg)), is)
		case has:
			b = binary.AppendUvarint(append(b, cfaOffsetExt), reg)
			b = binary.AppendUvarint(b, is)
		case reg < 0x40:
			b = append(b, cfaRestore|byte(reg))
		default:
			b = binary.AppendUvarint(append(b, cfaRestoreExt), reg)
		}
	}
	return b
}

// callRows makes the instructions of a frame entry that has the rows in which
// calls end. calls are offsets from the function's start. ok is false where
// the entry must stay as it is; none says that it need not be there.
func callRows(cie, fde []byte, codeAlign uint64, calls []uint64) (code []byte, none, ok bool) {
	if codeAlign == 0 {
		return nil, false, false
	}
	empty := frameRow{offsets: map[uint64]uint64{}}
	first, ok := frameRows(cie, empty, empty, codeAlign)
	if !ok || len(first) != 1 {
		return nil, false, false
	}
	initial := first[0]
	rows, ok := frameRows(fde, initial, initial, codeAlign)
	if !ok {
		return nil, false, false
	}
	if len(calls) == 0 {
		return nil, true, true
	}
	row := initial.clone()
	for i := range rows {
		n, _ := slices.BinarySearch(calls, rows[i].at)
		if n == len(calls) || i+1 < len(rows) && calls[n] >= rows[i+1].at {
			continue // no call ends here
		}
		if rows[i].same(&row) {
			continue
		}
		next := rows[i].clone()
		if len(code) == 0 && n == 0 {
			next.at = 0 // no call ends before
		}
		// A register with a rule at first and none now can't be said.
		for reg := range initial.offsets {
			if _, has := next.offsets[reg]; !has {
				return nil, false, false
			}
		}
		code = rowCode(code, &row, &next, &initial, codeAlign)
		row = next
	}
	return code, false, true
}

// callFrames rewrites the frame tables of Rust objects.
func (x *trimmer) callFrames() error {
	l := x.l
	if l.Arch.Machine != objfile.EM_X86_64 {
		return &TrimError{"trim.unwind-tables", "the calls of " + l.Arch.Name + " code are not known: only those of x86-64 are"}
	}
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue // other compilers may unwind from any instruction
		}
		for k, eh := range o.frames {
			if s := &o.File.Sections[eh.Section]; s.MultiRel || s.Rel == 0 || eh.Terminator {
				continue
			}
			if b, relocs := x.callTable(o, uint32(k)); uint64(len(b)) < o.File.Sections[eh.Section].Size {
				x.edit(o).SetContents(eh.Section, b, relocs)
				x.out.Cuts[o.index][eh.Section] = CutRows
				x.out.Frames += o.File.Sections[eh.Section].Size - uint64(len(b))
			}
		}
	}
	if x.out.Frames == 0 {
		x.out.Missing["trim.unwind-tables"] = []string{".eh_frame"}
	}
	return nil
}

// callTable is a frame table with what calls need.
func (x *trimmer) callTable(o *Object, frame uint32) (b []byte, relocs []objfile.Reloc) {
	eh := o.frames[frame]
	f := o.File
	was := f.Bytes(eh.Section)
	at := o.frameRelocs[frame]
	// move copies the relocations of old bytes that now stand elsewhere.
	move := func(lo, hi, to uint64) {
		for n := at.first(lo); n < at.rs.Len(); n++ {
			r := at.rs.At(at.nth(n))
			if r.Offset >= hi {
				break
			}
			r.Offset = r.Offset - lo + to
			relocs = append(relocs, r)
		}
	}
	function := map[uint32]uint32{} // section, by index into eh.FDEs
	for _, ref := range o.fdes {
		if ref.frame == frame {
			function[ref.fde] = ref.section
		}
	}
	cies := make([]uint64, len(eh.CIEs)) // new offsets
	put := func(i int) {
		c := &eh.CIEs[i]
		cies[i] = uint64(len(b))
		move(c.Offset, c.End, cies[i])
		b = append(b, was[c.Offset:c.End]...)
	}
	next := 0
	for i := range eh.FDEs {
		fde := &eh.FDEs[i]
		for next < len(eh.CIEs) && eh.CIEs[next].Offset < fde.Offset {
			put(next)
			next++
		}
		code, none, ok := x.entry(o, frame, uint32(i), function)
		if none {
			continue
		}
		here := uint64(len(b))
		if !ok {
			code = was[fde.InstrOff:fde.End]
			move(fde.Offset, fde.End, here)
		} else {
			move(fde.Offset, fde.InstrOff, here)
		}
		b = append(append(b, was[fde.Offset:fde.InstrOff]...), code...)
		for uint64(len(b))%uint64(f.WordSize()) != 0 {
			b = append(b, 0)
		}
		binary.LittleEndian.PutUint32(b[here:], uint32(uint64(len(b))-here-4))
		binary.LittleEndian.PutUint32(b[here+4:], uint32(here+4-cies[fde.CIE]))
	}
	for ; next < len(eh.CIEs); next++ {
		put(next)
	}
	return b, relocs
}

// entry makes the instructions of one entry; ok is false if it must stay.
func (x *trimmer) entry(o *Object, frame, i uint32, function map[uint32]uint32) (code []byte, none, ok bool) {
	eh := o.frames[frame]
	fde := &eh.FDEs[i]
	cie := &eh.CIEs[fde.CIE]
	section, attached := function[i]
	if !attached || cie.Signal {
		return nil, false, false
	}
	if x.out.Cuts[o.index] != nil && x.out.Cuts[o.index][section] != CutNone {
		return nil, true, true // a body of one instruction, which calls nothing
	}
	s := &o.File.Sections[section]
	if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS {
		return nil, false, false
	}
	if len(o.innerRelocs(fdeRef{section: section, frame: frame, fde: i})) > 0 {
		return nil, false, false
	}
	n, found := o.frameRelocs[frame].find(fde.PCBegin)
	if !found {
		return nil, false, false
	}
	r := o.File.Relocs(eh.Section).At(n)
	sym := o.File.Symbol(r.Sym)
	start := sym.Value + uint64(r.Addend)
	body := o.File.Bytes(section)
	if start > uint64(len(body)) || fde.Range > uint64(len(body))-start {
		return nil, false, false
	}
	b := o.File.Bytes(eh.Section)
	fields := relocIndex(o.File.Relocs(section))
	calls := x86Calls(body, start, start+fde.Range, func(off uint64) bool { _, ok := fields.find(off); return ok })
	return callRows(b[cie.InstrOff:cie.End], b[fde.InstrOff:fde.End], cie.CodeAlign, calls)
}
