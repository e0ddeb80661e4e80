package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// Panics without messages: core's function that all of them go through puts an empty text into what it hands on; those
// before it only hand their Location on; and callers load nothing for those any more, nor for traps.

// panicFmtName is what the manglings have in common of the function that panics with a message go through.
var panicFmtName = pattern(`^(_R\S*4core9panicking9panic_fmt|_ZN4core9panicking9panic_fmt17h[0-9a-f]{16}E)$`)

// The code of that function as rustc makes it, around what the trim changes, up to the last call; and what it
// changes. It stores rdi and rsi, the message, at −16 and −8 of the frame and rdx, the Location, at −32; the message's
// address at −40. Changed, it pushes to −8 and −16 what stands for an empty text: 1 and an address.
var (
	panicFmtHead   = []byte("\x55\x48\x89\xe5")
	panicFmtWas    = []byte("\x48\x83\xec\x30\x48\x89\x7d\xf0\x48\x89\x75\xf8")
	panicFmtIs     = []byte("\x6a\x01\x54\x48\x83\xec\x20\x0f\x1f\x44\x00\x00")
	panicFmtTail   = []byte("\x48\x8d\x45\xf0\x48\x89\x45\xd8\x48\x89\x55\xe0\x66\xc7\x45\xe8\x01\x00\x48\x8d\x7d\xd8")
	panicFmtRegRDX = 2
)

// unlikeMessage says what makes a section none in which that function hands on an empty message; "" if it is.
func (v *checker) unlikeMessage(was, is *section) string {
	n := len(panicFmtHead) + len(panicFmtWas) + len(panicFmtTail)
	switch {
	case v.arch.machine != x8664.machine:
		return "the panic entry points of this machine are not known so well"
	case was.size != uint64(n)+5 && was.size != uint64(n)+6 || x86StepAt(was.data[n:]).kind != stepCall || was.size != is.size || was.align != is.align || !sameRelocs(was, is):
		return "should differ in a few bytes only"
	}
	for _, k := range was.syms {
		if y := &was.obj.symbols[k]; y.kind() == elf.STT_FUNC && (y.value != 0 || !panicFmtName().MatchString(y.name)) {
			return "an empty message in " + y.name
		}
	}
	code := func(middle []byte) []byte { return bytes.Join([][]byte{panicFmtHead, middle, panicFmtTail}, nil) }
	if !bytes.Equal(was.data[:n], code(panicFmtWas)) {
		return fmt.Sprintf("the original's code should be %x, but is %x", code(panicFmtWas), was.data[:n])
	}
	if !bytes.Equal(is.data[:n], code(panicFmtIs)) || !bytes.Equal(is.data[n:], was.data[n:]) {
		return fmt.Sprintf("the code should be %x, but is %x", code(panicFmtIs), is.data[:n])
	}
	return ""
}

func sameRelocs(was, is *section) bool {
	if len(was.relocs) != len(is.relocs) {
		return false
	}
	for i := range was.relocs {
		if was.relocs[i] != is.relocs[i] {
			return false
		}
	}
	return true
}

// cutOf is the cut that is claimed of a section.
func (v *checker) cutOf(s *section) CutKind {
	if cuts := v.claim.Objects[s.obj.index].Cuts; s.index < len(cuts) {
		return cuts[s.index] &^ CutAligned
	}
	return CutNone
}

// callee is the section whose start the last four bytes of the instruction from at up to end call; relocated says that
// they are relocated at all.
func callee(code, targets *section, at, end uint64) (to *section, relocated bool) {
	if end < at+5 {
		return nil, false
	}
	r := relocAt(code, end-4)
	if r == nil {
		return nil, false
	}
	op := code.data[end-5]
	direct := (op == 0xe8 || op == 0xe9) && (r.typ == 4 || r.typ == 2)                  // R_X86_64_PLT32, PC32
	byTable := (op == 0x15 || op == 0x25) && (r.typ == 9 || r.typ == 41 || r.typ == 42) // GOTPCREL and its kin
	if t := &targets.obj.targets[r.sym]; (direct || byTable) && t.kind == toSection && t.value == 0 && r.addend == -4 {
		return t.sec, true
	}
	return nil, true
}

// locationRegister is the register in which a function without a message expects its Location.
func (v *checker) locationRegister(s *section, depth int) (int, bool) {
	switch v.cutOf(s) {
	case CutMessage:
		return panicFmtRegRDX, true
	case CutHandOn:
		if depth > 8 {
			return 0, false
		}
		if from, jump := movedBy(s.data); jump == 0 {
			to, _ := callee(s, s, 0, uint64(len(s.data)))
			if to == nil {
				return 0, false
			}
			return v.locationRegister(to, depth+1)
		} else {
			return from, true
		}
	}
	return 0, false
}

// movedBy reads a move between registers at the start of code: the register that is copied, and where the jump begins, 0
// without a move.
func movedBy(code []byte) (from, jump int) {
	if s := x86StepAt(code); s.src >= 0 {
		return s.src, s.size
	}
	return -1, 0
}

// unlikeHandOn says what makes a function none that hands on the Location that the original hands on; "" if it does.
func (v *checker) unlikeHandOn(was, is *section) string {
	functions := 0
	for _, k := range was.syms {
		if y := &was.obj.symbols[k]; y.kind() == elf.STT_FUNC {
			if functions++; y.value != 0 || !panicName().MatchString(y.name) {
				return "a panic in the place of " + y.name
			}
		}
	}
	if functions == 0 || !was.code() || v.arch.machine != x8664.machine {
		return "a panic in the place of no function"
	}
	// The new body is a jump, or a move and a jump.
	from, jump := movedBy(is.data)
	end := uint64(len(is.data))
	last := x86StepAt(is.data[jump:])
	to, _ := callee(is, is, uint64(jump), end)
	if to == nil || jump+last.size != len(is.data) || len(is.relocs) != 1 || is.data[end-5] != 0xe9 && is.data[end-5] != 0x25 {
		return fmt.Sprintf("should be a jump, but holds %x", is.data)
	}
	register, ok := v.locationRegister(to, 0)
	if !ok {
		return "jumps to what is no panic without a message"
	}
	if jump == 0 {
		from = register
	} else if s := x86StepAt(is.data); s.dst != register {
		return "moves the Location to another register than is looked at"
	}
	// The original calls the same with the same Location.
	holds := make([]int, 16)
	for i := range holds {
		holds[i] = i
	}
	for at := uint64(0); at < was.size; {
		s := x86StepAt(was.data[at:])
		next := at + uint64(s.size)
		switch s.kind {
		case stepNext:
			switch {
			case s.dst >= 0 && s.src >= 0:
				holds[s.dst] = holds[s.src]
			case s.dst >= 0:
				holds[s.dst] = -1
			}
			at = next
			continue
		case stepCall, stepJump:
			if called, _ := callee(was, is, at, next); called != to {
				return "the original calls another function first"
			}
			if holds[register] != from {
				return "hands on another Location than the original"
			}
			return ""
		}
		return fmt.Sprintf("the original is no straight way to a panic: offset 0x%x", at)
	}
	return "the original calls no panic"
}

// unlikeOperands says what makes a section differ in more than addresses that are loaded for nothing; "" if nothing.
func (v *checker) unlikeOperands(was, is *section) string {
	if !was.code() || v.arch.machine != x8664.machine || was.size != is.size || was.align != is.align || len(was.relocs) != len(is.relocs) {
		return "should be code that differs in operands only"
	}
	pos, cuts := uint64(0), 0
	for i := range was.relocs {
		r, q := was.relocs[i], is.relocs[i]
		if r == q {
			continue
		}
		if q != (reloc{off: r.off}) || r.off+4 > was.size || binary.LittleEndian.Uint32(is.data[r.off:]) != 0 || r.off < pos ||
			!bytes.Equal(was.data[pos:r.off], is.data[pos:r.off]) {
			return fmt.Sprintf("should only lose the relocation at 0x%x", r.off)
		}
		pos = r.off + 4
		cuts++
		if what := v.neededOperand(was, is, r); what != "" {
			return fmt.Sprintf("the operand at 0x%x %s", r.off, what)
		}
	}
	if !bytes.Equal(was.data[pos:], is.data[pos:]) || cuts == 0 {
		return "should differ in operands, but differs in code"
	}
	return ""
}

// neededOperand says why an address may be needed; "" if it is loaded for nothing: the instruction puts it into a
// register, and from there code goes straight to a call of a function that does not look at that register, by
// instructions that change registers only.
func (v *checker) neededOperand(was, is *section, r reloc) string {
	if r.off < 3 || was.data[r.off-3]&^4 != 0x48 {
		return "is none of a load"
	}
	op, m := was.data[r.off-2], was.data[r.off-1]
	load := op == 0x8d && r.typ == 2 || op == 0x8b && (r.typ == 9 || r.typ == 41 || r.typ == 42)
	if !load || m>>6 != 0 || m&7 != 5 {
		return "is none of a load"
	}
	register := int(m>>3&7) | int(was.data[r.off-3]&4)<<1
	if register == 4 || register == 5 {
		return "goes to the stack pointer or the frame pointer"
	}
	read := false
	at := r.off + 4
	for range 100 {
		if at >= was.size {
			break
		}
		s := x86StepAt(was.data[at:])
		next := at + uint64(s.size)
		switch s.kind {
		case stepCall, stepJump:
			to, relocated := callee(was, is, at, next)
			if s.kind == stepJump && !relocated {
				at = uint64(int64(next) + s.rel)
				continue
			}
			if to == nil {
				return "is for another call"
			}
			if v.cutOf(to) == CutTrap || v.startOfTrap(striders[elf.EM_X86_64], is, relocAt(was, next-4)) {
				return ""
			}
			location, ok := v.locationRegister(to, 0)
			switch {
			case !ok:
				return "is for another call"
			case register == location:
				return "is the Location"
			case read || register == 3 || register >= 12:
				return "is read, or outlives the call"
			}
			return ""
		case stepNext:
			if !s.quiet() {
				return fmt.Sprintf("may be needed at 0x%x", at)
			}
			read = read || s.mentions>>register&1 != 0
			at = next
			continue
		}
		return fmt.Sprintf("may be needed at 0x%x", at)
	}
	return "is not followed by a call"
}
