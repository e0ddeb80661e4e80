package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// Dead ends: code from which every way leads to a trap, and does nothing on it that could be seen, may be a trap itself;
// what is left at the end of the section may be gone. The code that was and the code that is are walked side by side,
// from wherever something enters: they must be the same, up to a trap in the place of such code.

// stride is what an instruction does to the flow of control.
type stride uint8

const (
	strideBad   stride = iota // not known: nothing is proved of what leads there
	strideQuiet               // on, after a change of registers and of the function's own stack
	strideLoud                // on
	strideJump                // to another place of the function
	strideFork                // there, or on
	strideTable               // to a place that a table names
	strideCall                // to another function, and on
	strideLeave               // out of the function
	strideAway                // out of the function, or on
)

// strideAt is one instruction. Its constant is at [from, from+n) of the section; with a table, that is the table.
type strideAt struct {
	kind     stride
	size     uint64
	to       uint64
	from, n  uint64
	each     uint64 // the size of a table's entry
	prefix   int    // how many instructions behind it depend on a condition
	external bool   // a relocation says where it goes
	field    uint64 // that changes the instruction from there on
	loads    bool   // reads what a relocation names
}

// strider reads code, by machine.
type strider struct {
	at    func(s *section, off uint64) strideAt
	entry func(s *section, at *strideAt, off uint64) uint64 // where an entry of a table leads; nil without tables in code
	form  func(branch []byte) uint64                        // what of a jump or branch does not say where it leads
	traps []string                                          // what may be in the place of any instruction
}

var striders = map[elf.Machine]*strider{
	elf.EM_X86_64:  {at: x86Stride, traps: []string{"\x0f\x0b"}}, // what is moved is compared by trimends_x86.go
	elf.EM_ARM:     {at: thumbStride, entry: thumbEntry, form: thumbBranchForm, traps: []string{"\xfe\xde"}},
	elf.EM_RISCV:   {at: riscvStride, form: riscvBranchForm, traps: []string{"\x02\x90", "\x73\x00\x10\x00"}},
	elf.EM_AARCH64: {at: a64Stride, form: a64BranchForm, traps: []string{"\x20\x00\x20\xd4"}},
}

// trapAt is the size of a trap at a place, 0 if none is there.
func (m *strider) trapAt(s *section, at uint64) uint64 {
	for _, trap := range m.traps {
		if n := uint64(len(trap)); string(slice(s.data, at, n)) == trap {
			return n
		}
	}
	return 0
}

// mappedAt is what mapping symbols say that lies at a place: d for data, t for Thumb code, a for ARM code, x for any
// other; and up to where, at least.
func mappedAt(s *section, off uint64) (state byte, until uint64) {
	at := uint64(0)
	until = uint64(len(s.data))
	for _, k := range s.syms {
		y := &s.obj.symbols[k]
		if y.kind() != elf.STT_NOTYPE || y.bind() != elf.STB_LOCAL || !strings.HasPrefix(y.name, "$") || len(y.name) < 2 {
			continue
		}
		if y.value <= off && (state == 0 || y.value >= at) {
			at, state = y.value, y.name[1]
		}
		if y.value > off {
			until = min(until, y.value)
		}
	}
	return state, until
}

// unlikeEnds says what makes code other than the original but for dead ends; "" if nothing.
func (v *checker) unlikeEnds(was, is *section) string {
	m := striders[v.arch.machine]
	switch {
	case m == nil:
		return "the code of this machine is not known so well"
	case v.arch.machine == elf.EM_X86_64:
		return v.unlikeMoved(was, is)
	case !was.code() || was.align != is.align || is.size > was.size || was.typ != uint32(elf.SHT_PROGBITS):
		return "should be code, and no more than there was"
	}
	functions := 0
	for _, k := range was.syms {
		if y := &was.obj.symbols[k]; y.kind() == elf.STT_FUNC {
			functions++
			if y.value&v.arch.codeMask != 0 {
				return "has a function behind its start: " + y.name
			}
		}
	}
	if functions == 0 {
		return "a dead end in no function"
	}
	w := &sideBySide{v: v, m: m, was: was, is: is, same: make([]bool, is.size), begins: make([]bool, is.size), depends: make([]bool, is.size), todo: []uint64{0}}
	for _, e := range v.enteredAt(is) {
		// A label of the section's own may have gone to the trap.
		if from := e.place; e.label != 0 {
			from += was.obj.symbols[e.label].value - is.obj.symbols[e.label].value
			if from != e.place {
				if !w.trap(e.place) {
					return fmt.Sprintf("0x%x: is entered, and should be a trap", e.place)
				}
				if what := v.notDoomed(m, was, is, from); what != "" {
					return what
				}
				continue
			}
		}
		w.todo = append(w.todo, e.place)
	}
	for len(w.todo) > 0 {
		at := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if what := w.step(at, 0); what != "" {
			return fmt.Sprintf("0x%x: %s", at, what)
		}
	}
	return w.rest()
}

// sideBySide is the state of one comparison.
type sideBySide struct {
	v       *checker
	m       *strider
	was, is *section
	same    []bool // by place: it must be as it was
	begins  []bool // by place: an instruction begins there
	depends []bool // by place: that depends on a condition that another names
	todo    []uint64
}

// step compares the instruction at a place; depends is how many instructions, this one included, depend on a condition
// that one before them names.
func (w *sideBySide) step(at uint64, depends int) string {
	switch {
	case at == w.was.size && at == w.is.size:
		return "" // behind a call that does not come back, say
	case at >= w.is.size:
		return "goes on behind the end"
	case w.begins[at] && w.depends[at] == (depends > 0):
		return ""
	case w.begins[at]:
		return "is entered amid what depends on a condition"
	}
	w.begins[at], w.depends[at] = true, depends > 0
	if depends == 0 && w.trap(at) && w.m.trapAt(w.was, at) == 0 {
		return w.v.notDoomed(w.m, w.was, w.is, at)
	}
	s := w.m.at(w.was, at)
	if s.kind == strideBad {
		return "is not understood"
	}
	if at+s.size > w.is.size {
		return "goes on behind the end"
	}
	for k := range s.size {
		if w.same[at+k] {
			return "is read in two ways"
		}
		w.same[at+k] = true
	}
	if what := w.unlike(at, at+s.size); what == "" {
		if s.kind == strideJump || s.kind == strideFork {
			w.todo = append(w.todo, s.to)
		}
	} else if !w.shortened(at, &s) {
		return what
	} else if what := w.v.notDoomed(w.m, w.was, w.is, s.to); what != "" {
		return what
	}
	if what := w.constant(&s); what != "" {
		return what
	}
	behind := at + s.size
	state, until := mappedAt(w.was, behind)
	switch {
	case depends > 1 || s.prefix > 0:
		return w.step(behind, max(depends-1, s.prefix))
	case (s.kind == strideCall || s.kind == strideQuiet) && state == 'd':
		// A call before it does not come back, or reads what is behind it.
		until = min(until, w.is.size)
		for k := behind; k < until; k++ {
			w.same[k] = true
		}
		if behind < until {
			return w.unlike(behind, until)
		}
	case depends == 1, s.kind == strideQuiet, s.kind == strideLoud, s.kind == strideFork, s.kind == strideCall:
		w.todo = append(w.todo, behind)
	}
	return ""
}

// shortened says that a jump or branch differs in where it leads alone, and that this is a trap now.
func (w *sideBySide) shortened(at uint64, s *strideAt) bool {
	if s.kind != strideJump && s.kind != strideFork || len(relocsWithin(w.was, at, at+s.size)) > 0 {
		return false
	}
	t := w.m.at(w.is, at)
	x, y := window(w.was.data, int64(at), s.size), window(w.is.data, int64(at), s.size)
	return t.kind == s.kind && t.size == s.size && w.m.form(x) == w.m.form(y) && w.trap(t.to)
}

// constant compares what an instruction reads amid the code.
func (w *sideBySide) constant(s *strideAt) string {
	if s.n == 0 {
		return ""
	}
	if s.from+s.n > w.is.size {
		return "reads a constant behind the end"
	}
	for k := range s.n {
		w.same[s.from+k] = true
	}
	if s.kind == strideTable {
		return w.table(s)
	}
	if what := w.unlike(s.from, s.from+s.n); what != "" {
		return "reads what " + what
	}
	return ""
}

// table compares the entries of a table: each leads where it led, or to a trap in that place's stead.
func (w *sideBySide) table(s *strideAt) string {
	if len(relocsWithin(w.was, s.from, s.from+s.n)) > 0 {
		return "jumps by a table with relocations"
	}
	for off := s.from; off < s.from+s.n; off += s.each {
		was, is := w.m.entry(w.was, s, off), w.m.entry(w.is, s, off)
		if was == is {
			if off+s.each == s.from+s.n && s.each == 1 && (was < s.from+s.n || was >= w.was.size) {
				continue // fills the table up
			}
			w.todo = append(w.todo, is)
			continue
		}
		if !w.trap(is) {
			return fmt.Sprintf("jumps by a table to 0x%x instead of 0x%x", is, was)
		}
		if what := w.v.notDoomed(w.m, w.was, w.is, was); what != "" {
			return what
		}
	}
	return ""
}

// trap says that a trap is at a place now.
func (w *sideBySide) trap(at uint64) bool { return w.m.trapAt(w.is, at) > 0 }

// unlike says how the bytes and relocations from lo up to hi differ from the original's.
func (w *sideBySide) unlike(lo, hi uint64) string {
	x, y := window(w.was.data, int64(lo), hi-lo), window(w.is.data, int64(lo), hi-lo)
	if !bytes.Equal(x, y) {
		return fmt.Sprintf("is %x, was %x", y, x)
	}
	a, b := relocsWithin(w.was, lo, hi), relocsWithin(w.is, lo, hi)
	if len(a) != len(b) {
		return "lost a relocation"
	}
	for i := range a {
		if a[i] != b[i] {
			return "has another relocation"
		}
	}
	return ""
}

// rest says what else differs than code that nothing reaches any more, which may be traps, and constants that nothing
// reads, which may be zero.
func (w *sideBySide) rest() string {
	for at := uint64(0); at < w.is.size; at++ {
		if w.same[at] || w.is.data[at] == w.was.data[at] || w.is.data[at] == 0 {
			continue
		}
		if w.trap(at&^1) || w.m.trapAt(w.is, at&^3) == 4 {
			continue
		}
		return fmt.Sprintf("0x%x: is %02x, which is no trap", at, w.is.data[at])
	}
	k := 0
	for _, r := range w.is.relocs {
		for k < len(w.was.relocs) && w.was.relocs[k] != r {
			k++
		}
		if k == len(w.was.relocs) {
			return fmt.Sprintf("0x%x: a relocation that was not there", r.off)
		}
		k++
	}
	return ""
}

// shortenedSymbol says that a symbol, x of the original and y now, differs as one of a section does whose end is gone: a
// function ends where the section does, what was behind is at the trap or at the end, and what said of what kind the rest
// was is gone.
func (v *checker) shortenedSymbol(x, y *symbol, was, is *section) bool {
	m := striders[v.arch.machine]
	if m == nil || is.size >= was.size {
		return false
	}
	end := is.size
	for _, n := range []uint64{2, 4} {
		if n <= is.size && m.trapAt(is, is.size-n) == n {
			end = is.size - n
		}
	}
	if x.kind() == elf.STT_FUNC {
		return x.size != 0 && *y == symbol{name: x.name, value: x.value, size: is.size, shndx: x.shndx, info: x.info, other: x.other}
	}
	if x.kind() != elf.STT_NOTYPE || x.bind() != elf.STB_LOCAL || x.value < end {
		return false
	}
	moved := *x
	moved.value = y.value
	return *y == symbol{name: x.name} || *y == moved && (y.value == end || y.value == is.size)
}

// entered is a place that something refers to; label is the symbol of the section's own that says so, 0 if it is another
// reference.
type entered struct {
	place uint64
	label uint32
}

// enteredAt lists the places behind a section's start that something else than its own jumps refers to.
func (v *checker) enteredAt(is *section) []entered {
	if v.entered == nil {
		v.entered = map[*section][]entered{}
		for _, o := range v.objects {
			for _, s := range o.sections {
				if !s.alloc() || s.name == ".eh_frame" {
					continue
				}
				for i := range s.relocs {
					v.noteEntered(s, &s.relocs[i])
				}
			}
		}
	}
	return v.entered[is]
}

func (v *checker) noteEntered(s *section, r *reloc) {
	t := &s.obj.targets[r.sym]
	if t.kind != toSection || !t.sec.code() || t.sec == s && v.arch.call(s, r) {
		return
	}
	e := entered{place: t.value + uint64(r.addend)}
	if bias, known := v.arch.bias(r.typ); known {
		e.place += uint64(bias)
	}
	if e.place &= v.arch.codeMask; v.arch.relative(r.typ) && !s.code() && e.place != 0 {
		e.place = ^uint64(0) // what counts from the start of a table may lead anywhere
	} else if t.local && !t.whole && t.sec.obj == s.obj {
		e.label = r.sym
	}
	if e.place != 0 || e.label != 0 {
		v.entered[t.sec] = append(v.entered[t.sec], e)
	}
}

// codeSpot is a place in the original code of a section.
type codeSpot struct {
	was *section
	at  uint64
}

// notDoomed says why code, from a place on, may do something that can be seen, or not end in a trap; "" if it does.
// Whatever way it takes is followed, into functions that are nothing but a dead end, too.
func (v *checker) notDoomed(m *strider, was, is *section, at uint64) string {
	spot := codeSpot{was, at}
	switch done, seen := v.doomed[spot]; {
	case done:
		return ""
	case seen:
		return "is a loop, and no dead end" // or leads to what is being looked at
	}
	if v.doomed == nil {
		v.doomed = map[codeSpot]bool{}
	}
	v.doomed[spot] = false
	what := v.followDoomed(m, was, is, at, 0)
	if what != "" {
		delete(v.doomed, spot)
		return what
	}
	v.doomed[spot] = true
	return ""
}

func (v *checker) followDoomed(m *strider, was, is *section, at uint64, depends int) string {
	no := func(why string) string { return fmt.Sprintf("is no dead end: 0x%x %s", at, why) }
	if at >= was.size {
		return no("is behind the end")
	}
	s := m.at(was, at)
	behind := at + s.size
	on := func() string {
		if n := max(depends-1, s.prefix); n > 0 {
			return v.followDoomed(m, was, is, behind, n)
		}
		return v.notDoomed(m, was, is, behind)
	}
	switch s.kind {
	case strideQuiet:
		if s.loads && !readsConstant(was, is, at, behind) {
			return no("reads what may be a device's")
		}
		return on()
	case strideJump:
		if what := v.notDoomed(m, was, is, s.to); what != "" || depends == 0 {
			return what
		}
		return on()
	case strideFork:
		if what := v.notDoomed(m, was, is, s.to); what != "" {
			return what
		}
		return on()
	case strideCall, strideLeave, strideAway:
		r := relocAt(was, at+s.field)
		if r == nil || !s.external || !v.arch.call(was, r) {
			return no("goes where it is not known")
		}
		if !v.startOfTrap(m, is, r) {
			return no("goes on elsewhere")
		}
		if depends > 0 || s.kind == strideAway {
			return on()
		}
		return ""
	}
	return no("may be seen, or is not understood")
}

// readsConstant says that an instruction of x86-64, of an original, reads data that nobody writes, or a slot of the global
// offset table.
func readsConstant(was, is *section, lo, hi uint64) bool {
	fields := fieldsWithin(was, lo, hi)
	if len(fields) != 1 {
		return false
	}
	switch elf.R_X86_64(fields[0].typ) {
	case elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX, elf.R_X86_64_GOTTPOFF:
		return true
	case elf.R_X86_64_PC32:
		t := &is.obj.targets[fields[0].sym]
		return t.kind == toSection && t.sec.alloc() && t.sec.typ == uint32(elf.SHT_PROGBITS) && t.sec.flags&uint64(elf.SHF_WRITE) == 0
	}
	return false
}

// startOfTrap says that a call leads to the start of a trap.
func (v *checker) startOfTrap(m *strider, is *section, r *reloc) bool {
	t := &is.obj.targets[r.sym]
	bias, known := v.arch.bias(r.typ)
	if t.kind != toSection || !known || t.value&v.arch.codeMask != 0 || r.addend != -bias || v.preemptible(t) {
		return false
	}
	if v.cutOf(t.sec) == CutTrap {
		return true
	}
	// One that does nothing else than to call a trap is as good as one.
	to := v.originals[t.sec]
	if to == nil {
		to = t.sec // of an object that was not trimmed
	}
	return to.code() && v.notDoomed(m, to, t.sec, 0) == ""
}
