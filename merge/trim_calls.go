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
// What is left is mostly where registers were saved, and compilers push them in
// one order: a few sets of places serve nearly all functions. A set that many
// entries have is said once, in common information of its own, of which the
// linker keeps one copy (frameSets).
//
// Calls are not found by disassembly: every place that could hold the opcode of
// one counts (trim_callsites.go). That keeps a row too many here and there,
// never one too few.

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
	cfaArgsSize     = 0x2e // GNU: bytes of arguments on the stack, which a landing pad takes off
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
	args    uint64 // bytes of arguments on the stack
	offsets map[uint64]uint64
}

func (r *frameRow) clone() frameRow {
	c := *r
	c.offsets = maps.Clone(r.offsets)
	return c
}

func (r *frameRow) same(s *frameRow) bool {
	return r.reg == s.reg && r.offset == s.offset && r.args == s.args && maps.Equal(r.offsets, s.offsets)
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
			at, args := row.at, row.args
			row, stack = stack[len(stack)-1], stack[:len(stack)-1]
			if row.args != args {
				return nil, false // unwinders differ in whether that is restored
			}
			row.at = at
		case op == cfaDefCFA:
			row.reg = uleb()
			row.offset = uleb()
		case op == cfaDefCFAReg:
			row.reg = uleb()
		case op == cfaDefCFAOffset:
			row.offset = uleb()
		case op == cfaArgsSize:
			row.args = uleb()
		default:
			return nil, false
		}
		if bad {
			return nil, false
		}
	}
	return append(rows, row), true
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
	if from.args != to.args {
		b = binary.AppendUvarint(append(b, cfaArgsSize), to.args)
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

// callRows lists the rows of a frame entry in which calls end, after the row
// that holds at the start by its common information. calls are offsets from
// the function's start. ok is false where the entry must stay as it is.
func callRows(cie, fde []byte, codeAlign uint64, calls []uint64) (rows []frameRow, initial frameRow, ok bool) {
	empty := frameRow{offsets: map[uint64]uint64{}}
	if codeAlign == 0 {
		return nil, empty, false
	}
	first, ok := frameRows(cie, empty, empty, codeAlign)
	if !ok || len(first) != 1 || first[0].args != 0 {
		return nil, empty, false
	}
	initial = first[0]
	all, ok := frameRows(fde, initial, initial, codeAlign)
	if !ok {
		return nil, empty, false
	}
	last := &initial
	for i := range all {
		n, _ := slices.BinarySearch(calls, all[i].at)
		if n == len(calls) || i+1 < len(all) && calls[n] >= all[i+1].at {
			continue // no call ends here
		}
		if len(rows) > 0 && all[i].same(last) {
			continue
		}
		next := all[i].clone()
		if n == 0 {
			next.at = 0 // no call ends before
		}
		// A register with a rule at first and none now can't be said.
		for reg := range initial.offsets {
			if _, has := next.offsets[reg]; !has {
				return nil, empty, false
			}
		}
		rows = append(rows, next)
		last = &rows[len(rows)-1]
	}
	return rows, initial, true
}

// rowsCode makes the instructions of a frame entry that has these rows, where
// its common information says initial.
func rowsCode(rows []frameRow, initial *frameRow, codeAlign uint64) (code []byte) {
	at := initial
	for i := range rows {
		if !rows[i].same(at) {
			code = rowCode(code, at, &rows[i], initial, codeAlign)
			at = &rows[i]
		}
	}
	return code
}

// callFrames rewrites the frame tables of Rust objects.
func (x *trimmer) callFrames() error {
	l := x.l
	if callsOf[l.Arch.Machine] == nil {
		return &TrimError{"trim.unwind-tables", "the calls of " + l.Arch.Name + " code are not known, or it has no .eh_frame"}
	}
	var tables []callTable
	sets := frameSets{}
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue // other compilers may unwind from any instruction
		}
		for k, eh := range o.frames {
			if s := &o.File.Sections[eh.Section]; s.MultiRel || s.Rel == 0 || eh.Terminator {
				continue
			}
			t := x.readCallTable(o, uint32(k))
			sets.count(&t)
			tables = append(tables, t)
		}
	}
	for i := range tables {
		t := &tables[i]
		section := t.eh.Section
		b, relocs := t.write(sets)
		if was := t.o.File.Sections[section].Size; uint64(len(b)) < was {
			x.edit(t.o).SetContents(section, b, relocs)
			x.out.Cuts[t.o.index][section] = CutRows
			x.out.Frames += was - uint64(len(b))
		}
	}
	if x.out.Frames == 0 {
		x.out.Missing["trim.unwind-tables"] = []string{".eh_frame"}
	}
	return nil
}

// callTable is a frame table of which the rows for calls are known.
type callTable struct {
	o       *Object
	frame   uint32 // index into o.frames
	eh      *objfile.EhFrame
	entries []callEntry // indexed as eh.FDEs
}

// callEntry is a frame entry by the rows in which calls end.
type callEntry struct {
	stays     bool // as it is
	rows      []frameRow
	initial   frameRow // what its common information says
	codeAlign uint64
	set       string // of saved registers, see savedBy
}

// readCallTable finds the rows that calls need of a frame table's entries.
func (x *trimmer) readCallTable(o *Object, frame uint32) callTable {
	t := callTable{o: o, frame: frame, eh: o.frames[frame]}
	function := map[uint32]uint32{} // section, by index into eh.FDEs
	for _, ref := range o.fdes {
		if ref.frame == frame {
			function[ref.fde] = ref.section
		}
	}
	t.entries = make([]callEntry, len(t.eh.FDEs))
	for i := range t.entries {
		e := &t.entries[i]
		var ok bool
		e.codeAlign = t.eh.CIEs[t.eh.FDEs[i].CIE].CodeAlign
		e.rows, e.initial, ok = x.rowsOf(o, frame, uint32(i), function)
		e.stays = !ok
		if ok && len(e.rows) > 0 && t.derivable(t.eh.FDEs[i].CIE) {
			e.set = savedBy(e.rows, &e.initial)
		}
	}
	return t
}

// rowsOf lists the rows that calls need of one entry, none if there is no
// call; ok is false if the entry must stay.
func (x *trimmer) rowsOf(o *Object, frame, i uint32, function map[uint32]uint32) (rows []frameRow, initial frameRow, ok bool) {
	eh := o.frames[frame]
	fde := &eh.FDEs[i]
	cie := &eh.CIEs[fde.CIE]
	section, attached := function[i]
	if !attached || cie.Signal {
		return nil, initial, false
	}
	if x.out.Cuts[o.index] != nil && x.out.Cuts[o.index][section].body() {
		return nil, initial, true
	}
	s := &o.File.Sections[section]
	if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS {
		return nil, initial, false
	}
	at := o.frameRelocs[frame]
	n := at.first(fde.PCBegin())
	if !at.isAt(n, fde.PCBegin()) || len(o.innerRelocs(fdeRef{section: section, frame: frame, fde: i, begin: uint32(n)})) > 0 {
		return nil, initial, false
	}
	r := at.rs.At(at.nth(n))
	sym := o.File.Symbol(r.Sym)
	start := sym.Value + uint64(r.Addend)
	body := o.File.Bytes(section)
	if start > uint64(len(body)) || fde.Range > uint64(len(body))-start {
		return nil, initial, false
	}
	b := o.File.Bytes(eh.Section)
	fields := relocIndex(o.File.Relocs(section))
	calls := callsOf[o.File.Machine](body, start, start+fde.Range, func(off uint64) bool { _, ok := fields.find(off); return ok })
	return callRows(b[cie.InstrOff:cie.End], b[fde.InstrOff():fde.End()], cie.CodeAlign, calls)
}

// derivable reports whether common information with other instructions can be
// made of a table's: they are its last bytes, and nothing else is in them.
func (t *callTable) derivable(cie uint32) bool {
	c := &t.eh.CIEs[cie]
	at := t.o.frameRelocs[t.frame]
	n := at.first(c.InstrOff)
	return n == at.rs.Len() || at.rs.At(at.nth(n)).Offset >= c.End
}

// write makes the table with what calls need.
func (t *callTable) write(sets frameSets) (b []byte, relocs []objfile.Reloc) {
	eh, f := t.eh, t.o.File
	was := f.Bytes(eh.Section)
	at := t.o.frameRelocs[t.frame]
	// put copies old bytes with their relocations, adds others, and pads as
	// LLVM does.
	put := func(lo, hi uint64, more []byte) (here uint64) {
		here = uint64(len(b))
		for n := at.first(lo); n < at.rs.Len(); n++ {
			r := at.rs.At(at.nth(n))
			if r.Offset >= hi {
				break
			}
			r.Offset = r.Offset - lo + here
			relocs = append(relocs, r)
		}
		b = append(append(b, was[lo:hi]...), more...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		binary.LittleEndian.PutUint32(b[here:], uint32(uint64(len(b))-here-4))
		return here
	}
	type common struct {
		cie uint32
		set string
	}
	commons := map[common]uint64{} // where they are now
	for i := range eh.FDEs {
		fde, e := &eh.FDEs[i], &t.entries[i]
		if !e.stays && len(e.rows) == 0 {
			continue // no call, no entry
		}
		cie, key := &eh.CIEs[fde.CIE], common{cie: fde.CIE}
		if sets.use(t, i) {
			key.set = e.set
		}
		place, there := commons[key]
		switch {
		case there:
		case key.set == "":
			place = put(cie.Offset, cie.End, nil)
		default:
			place = put(cie.Offset, cie.InstrOff, []byte(key.set))
		}
		commons[key] = place
		var here uint64
		if e.stays {
			here = put(fde.Offset(), fde.End(), nil)
		} else {
			here = put(fde.Offset(), fde.InstrOff(), e.code(key.set))
		}
		binary.LittleEndian.PutUint32(b[here+4:], uint32(here+4-place))
	}
	return b, relocs
}
