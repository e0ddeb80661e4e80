package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// Dead ends: a function lost code that could only lead to a trap, or that nothing enters. It is proved by following the
// original and what was left of it side by side, from the start and from each entry of a jump table: both run the same
// instructions, but for the forms of jumps, padding, and the places that distances lead to, until what is left traps.
// There the original must trap, too, on every way, and do nothing before that any one could see.

// moved is one function that is followed.
type moved struct {
	v       *checker
	was, is *section
	seen    map[[2]uint64]bool
	next    [][2]uint64
}

// proveInside proves that nothing knows the inside of a function from which code was taken but its own jump tables.
func (v *checker) proveInside() {
	if len(v.moved) == 0 {
		return
	}
	isDebug := func(s *section) bool { return strings.HasPrefix(s.name, ".debug_") }
	debug := slices.ContainsFunc(v.out.aside, func(name string) bool { return strings.HasPrefix(name, ".debug_") })
	for _, o := range v.objects {
		told := debug && slices.ContainsFunc(o.sections, isDebug)
		for _, s := range o.sections {
			if told && v.moved[s] {
				v.fail(s, 0, "lost code, but the debug information that tells of it stays")
			}
			for i := range s.relocs {
				r := &s.relocs[i]
				t := &o.targets[r.sym]
				if t.kind != toSection || v.tableEntries[entry{s, i}] || isDebug(s) {
					continue
				}
				if v.cutOf(t.sec) == CutTable && t.sec.obj != o {
					v.fail(s, int64(r.off), "refers to the jump table %s of another object", t.sec.name)
				}
				at := t.value + uint64(r.addend)
				if bias, ok := x86Bias(r.typ); ok && s.code() {
					at += uint64(bias)
				}
				if moved, changed := v.moved[t.sec]; changed && at != 0 || moved && s.name == ".eh_frame" {
					v.fail(s, int64(r.off), "knows the inside of %s, from which code was taken", t.sec.name)
				}
			}
		}
	}
}

// entry is a relocation by its index.
type entry struct {
	s *section
	i int
}

// isTrapCode reports whether code begins with ud2.
func isTrapCode(code []byte) bool { return bytes.HasPrefix(code, []byte("\x0f\x0b")) }

// unlikeMoved says what makes a function do something else than the original did, up to a trap; "" if nothing.
func (v *checker) unlikeMoved(was, is *section) string {
	switch {
	case v.arch.machine != elf.EM_X86_64 || !was.code() || !strings.HasPrefix(was.name, ".text."):
		return "code was taken out of what is no function"
	case is.size > was.size:
		return "should have lost code"
	case was.align != is.align && (is.align != 1 || is.size != 2):
		return "the alignment changed"
	}
	for _, k := range was.syms {
		if x, y := &was.obj.symbols[k], &is.obj.symbols[k]; x.value != 0 || is.size < was.size && x.size != 0 && y.size != is.size {
			return "code was taken from under " + x.name
		}
	}
	is = is.obj.sections[is.index] // not what proveCut made of it
	e := &moved{v: v, was: was, is: is, seen: map[[2]uint64]bool{}}
	if v.moved == nil {
		v.moved, v.tableEntries = map[*section]bool{}, map[entry]bool{}
	}
	v.moved[is] = is.size < was.size
	if is.size == was.size && hasLandingPads(is) {
		return "lost code, but unwinding may enter it"
	}
	e.push(0, 0)
	if what := e.tables(); what != "" {
		return what
	}
	for len(e.next) > 0 {
		at := e.next[len(e.next)-1]
		e.next = e.next[:len(e.next)-1]
		if what := e.compare(at[0], at[1]); what != "" {
			return fmt.Sprintf("at 0x%x, which was 0x%x: %s", at[1], at[0], what)
		}
	}
	return ""
}

// hasLandingPads reports whether a frame entry of a function names an exception table: it refers to more than the
// function.
func hasLandingPads(s *section) bool {
	for _, eh := range s.obj.sections {
		if eh.name != ".eh_frame" {
			continue
		}
		list, err := walkFrames(eh.data)
		if err != nil {
			return true
		}
		for _, f := range list {
			if f.isCIE {
				continue
			}
			r := relocAt(eh, f.body)
			if t := toOf(s.obj, r); t != s {
				continue
			}
			for _, q := range relocsWithin(eh, f.body+4, f.end) {
				if toOf(s.obj, &q) != s && q.typ != uint32(elf.R_X86_64_NONE) {
					return true
				}
			}
		}
	}
	return false
}

// toOf is the section that a relocation of an object leads to, nil if none.
func toOf(o *object, r *reloc) *section {
	if r == nil {
		return nil
	}
	if t := &o.targets[r.sym]; t.kind == toSection {
		return t.sec
	}
	return nil
}

func (e *moved) push(was, is uint64) {
	if at := [2]uint64{was, is}; !e.seen[at] {
		e.seen[at] = true
		e.next = append(e.next, at)
	}
}

// tables pairs the entries of the function's jump tables. A table is data of the same object that only this function
// loads the address of; an entry holds an address, or the distance of one from the last such address before it.
func (e *moved) tables() string {
	is := e.is
	o := is.obj
	starts := map[*section][]uint64{}
	for _, r := range is.relocs {
		if t := &o.targets[r.sym]; t.kind == toSection && t.sec.obj == o && !t.sec.code() {
			starts[t.sec] = append(starts[t.sec], t.value+uint64(r.addend)+4)
		}
	}
	for _, table := range e.v.tablesOf(o)[is] {
		original := e.original(table)
		if len(original.relocs) != len(table.relocs) {
			return "its jump table " + table.name + " has other entries"
		}
		for i := range table.relocs {
			x, y := &original.relocs[i], &table.relocs[i]
			t := &o.targets[y.sym]
			if t.kind != toSection || t.sec != is {
				continue
			}
			before := uint64(0) // of the entry, from what its distance counts from
			switch elf.R_X86_64(y.typ) {
			case elf.R_X86_64_64:
			case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
				if !t.whole && t.value == 0 && x.addend == 0 && y.addend == 0 {
					continue // its own distance from the start
				}
				if name := strings.TrimPrefix(strings.TrimPrefix(table.name, ".rodata."), "unlikely."); !slices.ContainsFunc(is.syms, func(k uint32) bool { return o.symbols[k].name == name }) {
					return "its jump table " + table.name + " is none that a compiler made"
				}
				users := e.v.usersOf(o)[table]
				if len(users) != 1 || users[0] != is || len(starts[table]) == 0 {
					return "its jump table " + table.name + " is not its own"
				}
				start, found := uint64(0), false
				for _, s := range starts[table] {
					if s <= y.off && (!found || s > start) {
						start, found = s, true
					}
				}
				if !found {
					return fmt.Sprintf("the start of the jump table %s before 0x%x is not known", table.name, y.off)
				}
				before = y.off - start
			default:
				return "its jump table " + table.name + " has entries of a kind that is not known"
			}
			p, q := t.value+uint64(x.addend)-before, t.value+uint64(y.addend)-before
			if *x != (reloc{off: y.off, typ: y.typ, sym: y.sym, addend: x.addend}) || p >= e.was.size || q >= is.size {
				return fmt.Sprintf("the entry at 0x%x of the jump table %s leads elsewhere", y.off, table.name)
			}
			e.push(p, q)
			e.v.tableEntries[entry{table, i}] = true
		}
	}
	return ""
}

// original is the section that a trimmed object's was.
func (e *moved) original(s *section) *section { return e.was.obj.sections[s.index] }

// tablesOf lists, by function, the data of an object that refers to it.
func (v *checker) tablesOf(o *object) map[*section][]*section {
	v.relate(o)
	return v.tables
}

// usersOf lists, by section of data, the functions of an object that refer to it.
func (v *checker) usersOf(o *object) map[*section][]*section {
	v.relate(o)
	return v.users
}

func (v *checker) relate(o *object) {
	if v.related == o {
		return
	}
	v.related, v.tables, v.users = o, map[*section][]*section{}, map[*section][]*section{}
	for _, s := range o.sections {
		if !s.alloc() || s.name == ".eh_frame" {
			continue
		}
		for _, r := range s.relocs {
			t := &o.targets[r.sym]
			if t.kind != toSection || t.sec.code() == s.code() {
				continue
			}
			by, of, who := v.users, t.sec, s
			if t.sec.code() {
				by = v.tables
			}
			if list := by[of]; len(list) == 0 || list[len(list)-1] != who {
				by[of] = append(list, who)
			}
		}
	}
}

// compare follows both codes by one instruction.
func (e *moved) compare(p, q uint64) string {
	// Padding does nothing.
	for p < e.was.size && isPadding(e.was.data[p:]) > 0 {
		p += isPadding(e.was.data[p:])
	}
	for q < e.is.size && isPadding(e.is.data[q:]) > 0 {
		q += isPadding(e.is.data[q:])
	}
	if q < e.is.size && isTrapCode(e.is.data[q:]) {
		if !isTrapCode(e.was.data[min(p, e.was.size):]) { // one of the program's own is compared like all else
			return e.v.notDoomed(striders[elf.EM_X86_64], e.was, e.is, p)
		}
	}
	i, what := decodeAt(e.was, p)
	if what != "" {
		return what
	}
	j, what := decodeAt(e.is, q)
	if what != "" {
		return what
	}
	endP, endQ := p+uint64(i.Len), q+uint64(j.Len)
	toP, insideP := distance(e.was, &i, p)
	toQ, insideQ := distance(e.is, &j, q)
	switch {
	case i.Op != j.Op || insideP != insideQ:
		return "does something else"
	case insideP:
		if toP >= e.was.size || toQ >= e.is.size {
			return "leads out of the function"
		}
		if i.Op == x86asm.CALL && (toP != 0 || toQ != 0) {
			return "calls itself amid"
		}
		e.push(toP, toQ)
		if i.Op == x86asm.JMP {
			return ""
		}
	case !bytes.Equal(e.was.data[p:endP], e.is.data[q:endQ]):
		return "does something else"
	default:
		x, y := fieldsWithin(e.was, p, endP), fieldsWithin(e.is, q, endQ)
		if len(x) != len(y) {
			return "refers to something else"
		}
		for k := range x {
			if x[k].off-p != y[k].off-q || x[k].typ != y[k].typ || x[k].sym != y[k].sym || x[k].addend != y[k].addend {
				return "refers to something else"
			}
		}
		if i.Op == x86asm.RET || i.Op == x86asm.JMP {
			return ""
		}
	}
	// Behind a function's end is only what no call returns to.
	if endP == e.was.size {
		if i.Op != x86asm.CALL && i.Op != x86asm.UD2 {
			return "goes on behind the function's end"
		}
		return ""
	}
	if endQ >= e.is.size {
		return "goes on behind the function's end"
	}
	e.push(endP, endQ)
	return ""
}

// distance is the place in its function that an instruction holds the distance to; ok is false if it holds none.
func distance(s *section, i *x86asm.Inst, at uint64) (to uint64, ok bool) {
	rel, ok := i.Args[0].(x86asm.Rel)
	end := at + uint64(i.Len)
	if !ok || len(fieldsWithin(s, at, end)) > 0 {
		return 0, false
	}
	return end + uint64(int64(rel)), true
}

// fieldsWithin lists the relocations of a section from lo up to hi that change something.
func fieldsWithin(s *section, lo, hi uint64) []reloc {
	return slices.DeleteFunc(relocsWithin(s, lo, hi), func(r reloc) bool { return r.typ == uint32(elf.R_X86_64_NONE) })
}

// decodeAt decodes an instruction; what says why it is not understood.
func decodeAt(s *section, at uint64) (i x86asm.Inst, what string) {
	if at >= s.size {
		return i, "goes on behind the function's end"
	}
	i, err := x86asm.Decode(s.data[at:], 64)
	if err != nil || i.Op == 0 {
		return i, fmt.Sprintf("no instruction begins with %x", s.data[at:min(at+4, s.size)])
	}
	for _, b := range s.data[at : at+uint64(i.Len)] {
		if b == 0xc4 || b == 0xc5 || b == 0x62 {
			return i, "AVX is not understood here" // and the decoder does not know its lengths
		}
		if !slices.Contains([]byte{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3}, b) {
			break
		}
	}
	switch i.Op {
	case x86asm.XBEGIN, x86asm.LJMP, x86asm.LCALL, x86asm.LRET, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ, x86asm.SYSRET, x86asm.SYSEXIT:
		return i, "goes on in a way that is not understood"
	}
	for _, a := range i.Args {
		if readsByPlace(a) && len(fieldsWithin(s, at, at+uint64(i.Len))) == 0 {
			return i, "reads its own code"
		}
		if _, ok := a.(x86asm.Rel); ok && slices.ContainsFunc(i.Prefix[:], func(p x86asm.Prefix) bool { return byte(p) == 0x66 }) {
			return i, "has another length on another processor"
		}
	}
	return i, ""
}

// readsByPlace reports whether an operand lies at a distance from its instruction.
func readsByPlace(a x86asm.Arg) bool {
	m, ok := a.(x86asm.Mem)
	return ok && (m.Base == x86asm.RIP || m.Base == x86asm.EIP)
}

// isPadding returns the length of a no-operation as assemblers pad with at the start of code, 0 if there is none: 90, or
// 0F 1F with its operand, behind 66 and 2E.
func isPadding(code []byte) uint64 {
	k := 0
	for k < len(code) && k < 12 && (code[k] == 0x66 || code[k] == 0x2e) {
		k++
	}
	switch rest := code[k:]; {
	case len(rest) > 0 && rest[0] == 0x90:
		return uint64(k + 1)
	case len(rest) > 2 && rest[0] == 0x0f && rest[1] == 0x1f:
		if s := x86StepAt(code[k:]); s.kind == stepNext {
			return uint64(k + s.size)
		}
	}
	return 0
}

// x86Stride reads an instruction of x86-64.
func x86Stride(s *section, at uint64) strideAt {
	i, what := decodeAt(s, at)
	if what != "" {
		return strideAt{}
	}
	out := strideAt{kind: strideLoud, size: uint64(i.Len), field: uint64(i.Len) - 4}
	to, inside := distance(s, &i, at)
	_, rel := i.Args[0].(x86asm.Rel)
	switch {
	case i.Op == x86asm.JMP && inside:
		out.kind, out.to = strideJump, to
	case i.Op == x86asm.CALL && !inside:
		out.kind, out.external = strideCall, true
	case i.Op == x86asm.JMP:
		out.kind, out.external = strideLeave, true
	case rel && inside && i.Op != x86asm.CALL:
		out.kind, out.to = strideFork, to
	case rel && i.Op != x86asm.CALL:
		out.kind, out.external = strideAway, true
	case unseen(&i):
		out.kind = strideQuiet
		out.loads = i.Op != x86asm.LEA && slices.ContainsFunc(i.Args[:], readsByPlace)
	}
	return out
}

// changes are the instructions whose effects are known, with the number of operands that they change: those at the front.
var changes = map[x86asm.Op]int{
	x86asm.NOP: 0, x86asm.CMP: 0, x86asm.TEST: 0, x86asm.BT: 0, x86asm.UCOMISS: 0, x86asm.UCOMISD: 0, x86asm.CDQ: 0, x86asm.CQO: 0,
	x86asm.PUSH: 0, // what it changes is the stack
	x86asm.LEA:  1, x86asm.MOV: 1, x86asm.MOVZX: 1, x86asm.MOVSX: 1, x86asm.MOVSXD: 1, x86asm.BSWAP: 1, x86asm.BSF: 1, x86asm.BSR: 1,
	x86asm.ADD: 1, x86asm.ADC: 1, x86asm.SUB: 1, x86asm.SBB: 1, x86asm.AND: 1, x86asm.OR: 1, x86asm.XOR: 1, x86asm.NOT: 1, x86asm.NEG: 1,
	x86asm.INC: 1, x86asm.DEC: 1, x86asm.IMUL: 1, x86asm.SHL: 1, x86asm.SHR: 1, x86asm.SAR: 1, x86asm.ROL: 1, x86asm.ROR: 1, x86asm.SHLD: 1, x86asm.SHRD: 1,
	x86asm.MOVSS: 1, x86asm.MOVSD_XMM: 1, x86asm.MOVD: 1, x86asm.MOVQ: 1, x86asm.MOVAPS: 1, x86asm.MOVAPD: 1, x86asm.MOVUPS: 1, x86asm.MOVUPD: 1,
	x86asm.MOVDQA: 1, x86asm.MOVDQU: 1, x86asm.XORPS: 1, x86asm.XORPD: 1, x86asm.PXOR: 1, x86asm.POR: 1, x86asm.PAND: 1, x86asm.PSHUFD: 1, x86asm.PUNPCKLQDQ: 1,
	x86asm.CMOVA: 1, x86asm.CMOVAE: 1, x86asm.CMOVB: 1, x86asm.CMOVBE: 1, x86asm.CMOVE: 1, x86asm.CMOVG: 1, x86asm.CMOVGE: 1, x86asm.CMOVL: 1,
	x86asm.CMOVLE: 1, x86asm.CMOVNE: 1, x86asm.CMOVNO: 1, x86asm.CMOVNP: 1, x86asm.CMOVNS: 1, x86asm.CMOVO: 1, x86asm.CMOVP: 1, x86asm.CMOVS: 1,
	x86asm.SETA: 1, x86asm.SETAE: 1, x86asm.SETB: 1, x86asm.SETBE: 1, x86asm.SETE: 1, x86asm.SETG: 1, x86asm.SETGE: 1, x86asm.SETL: 1,
	x86asm.SETLE: 1, x86asm.SETNE: 1, x86asm.SETNO: 1, x86asm.SETNP: 1, x86asm.SETNS: 1, x86asm.SETO: 1, x86asm.SETP: 1, x86asm.SETS: 1,
}

// unseen reports whether nobody sees what an instruction does in a function that traps then: it changes registers, and
// memory by the stack pointer only; it reads memory by that, and what has a fixed address.
func unseen(i *x86asm.Inst) bool {
	changed, known := changes[i.Op]
	if !known {
		return false
	}
	if i.Op == x86asm.NOP {
		return true
	}
	for _, prefix := range i.Prefix {
		switch byte(prefix) {
		case 0xf0, 0x64, 0x65:
			return false // lock, and what is a thread's
		case 0xf2, 0xf3:
			if i.Op != x86asm.MOVSS && i.Op != x86asm.MOVSD_XMM && i.Op != x86asm.MOVQ && i.Op != x86asm.MOVDQU {
				return false
			}
		}
	}
	if _, memory := i.Args[0].(x86asm.Mem); memory && i.Op == x86asm.BT {
		return false // the other operand may choose a bit far away
	}
	for k, a := range i.Args {
		switch a := a.(type) {
		case x86asm.Reg:
			if a > x86asm.X15 || a >= x86asm.IP && a < x86asm.X0 {
				return false
			}
			if k < changed && (a == x86asm.RSP || a == x86asm.ESP || a == x86asm.SP || a == x86asm.SPB) {
				if _, by := i.Args[1].(x86asm.Imm); !by || i.Op != x86asm.ADD && i.Op != x86asm.SUB {
					return false // the stack may be another
				}
			}
		case x86asm.Mem:
			plain := a.Index == 0 && a.Segment == 0
			switch {
			case i.Op == x86asm.LEA:
			case plain && a.Base == x86asm.RSP:
			case plain && k >= changed && a.Base == x86asm.RIP: // what lies there is looked at where the way is followed
			default:
				return false
			}
		case x86asm.Rel:
			return false
		}
	}
	return true
}

// unlikeTable says what makes a jump table differ in more than where it leads inside functions from which code was
// taken; "" if nothing. That it leads to the right places is a part of the proof for those functions.
func (v *checker) unlikeTable(was, is *section) string {
	if was.code() || was.align != is.align || !bytes.Equal(was.data, is.data) || len(was.relocs) != len(is.relocs) {
		return "should be a table that differs in relocations only"
	}
	cuts := 0
	for i := range was.relocs {
		x, y := was.relocs[i], is.relocs[i]
		if x == y {
			continue
		}
		cuts++
		t := &is.obj.targets[y.sym]
		if x.addend = y.addend; x != y || t.kind != toSection || v.cutOf(t.sec) != CutEnds {
			return fmt.Sprintf("the entry at 0x%x changed", y.off)
		}
	}
	if cuts == 0 {
		return "should differ in its entries"
	}
	return ""
}
