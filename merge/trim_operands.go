package merge

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// What a panic says is put together where it begins: a function that panics
// loads the addresses of texts, of vtables and of places in the source into
// the registers that the entry point takes. If that entry point has become a
// trap, or one that no longer looks at a register, the addresses are loaded
// for nothing, but their relocations keep alive all that they name.
//
// A relocation can be cut where code goes from it straight to such a call:
// every instruction between only changes registers, so nothing that is loaded
// can be stored, tested or returned, and nothing can come between. Jumps are
// followed, branches end the search. Where the callee is no trap, the loaded
// register must be one that it does not look at, that a call does not preserve
// and that no instruction between reads.
//
// What the instruction loads then is some address of its own code.

// registers is a set of x86-64's general registers, by their numbers.
type registers uint16

const (
	// allRegisters: to a trap, none matters.
	allRegisters registers = 1<<16 - 1
	// callerSaved are those that a call may change: rax, rcx, rdx, rsi, rdi,
	// r8 to r11.
	callerSaved registers = 1<<0 | 1<<1 | 1<<2 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11
)

// maxSteps bounds the way from an operand to its call, in instructions.
const maxSteps = 64

// operands cuts what only fed panics that say nothing any more. It comes after
// all that gives functions other bodies.
func (x *trimmer) operands() {
	if x.l.Arch.Machine != objfile.EM_X86_64 || len(x.ignored) == 0 {
		return
	}
	for _, o := range x.l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			if s.Flags&objfile.SHF_EXECINSTR == 0 || s.Type != objfile.SHT_PROGBITS || s.MultiRel || s.Rel == 0 {
				continue
			}
			if c := x.out.Cuts[o.index]; c != nil && c[i] != CutNone {
				continue
			}
			w := walk{x: x, o: o, code: o.File.Bytes(uint32(i)), relocs: o.File.Relocs(uint32(i))}
			w.fields = relocIndex(w.relocs)
			for k := range w.relocs.Len() {
				if r := w.relocs.At(k); w.wasted(r) {
					x.edit(o).SetReloc(uint32(i), k, objfile.Reloc{Offset: r.Offset, Type: x.l.Arch.None})
					x.edit(o).Patch(uint32(i), r.Offset, make([]byte, 4))
					x.out.Cuts[o.index][i] = CutOperands
					x.out.Operands++
				}
			}
		}
	}
}

// walk follows the code of one section.
type walk struct {
	x      *trimmer
	o      *Object
	code   []byte
	relocs objfile.Relocs
	fields relocsByOffset
}

// wasted reports whether the address that a relocation puts into code is
// loaded for nothing.
func (w *walk) wasted(r objfile.Reloc) bool {
	to, loaded, read, ok := w.straightCall(r)
	set := w.x.ignored[to]
	return ok && (set == allRegisters || !read && set&callerSaved>>loaded&1 != 0)
}

// straightCall follows code from the load of an address, by a relocation, to a
// call or jump: to is the section that it names. read says whether an
// instruction between may read the register that was loaded. ok is false if
// something else comes first, or there is no such load.
func (w *walk) straightCall(r objfile.Reloc) (to SecID, loaded uint, read, ok bool) {
	loaded, ok = addressLoad(w.x.l.Arch, w.code, r)
	if !ok {
		return NoSec, loaded, false, false
	}
	at := r.Offset + 4
	for range maxSteps {
		if at >= uint64(len(w.code)) {
			return NoSec, loaded, read, false
		}
		inst, err := x86asm.Decode(w.code[at:], 64)
		if err != nil {
			return NoSec, loaded, read, false
		}
		end := at + uint64(inst.Len)
		switch inst.Op {
		case x86asm.JMP, x86asm.CALL:
			if to, relocated := w.callee(at, end); relocated {
				return to, loaded, read, to != NoSec
			}
			rel, ok := inst.Args[0].(x86asm.Rel)
			if inst.Op == x86asm.CALL || !ok {
				return NoSec, loaded, read, false
			}
			at = uint64(int64(end) + int64(rel))
			continue
		}
		if !onlyRegisters(&inst) {
			return NoSec, loaded, read, false
		}
		read = read || mentions(&inst, loaded)
		at = end
	}
	return NoSec, loaded, read, false
}

// callee is the section that an instruction calls or jumps to by the
// relocation at its end.
func (w *walk) callee(at, end uint64) (SecID, bool) {
	if end < at+5 {
		return NoSec, false
	}
	k, ok := w.fields.find(end - 4)
	if !ok {
		return NoSec, false
	}
	r := w.relocs.At(k)
	t := w.x.l.resolveRef(w.o, r.Sym)
	if !w.x.l.Arch.IsCall(w.code, r) || t.kind != toSection || t.value != 0 || r.Addend != w.x.l.Arch.Bias(r) {
		return NoSec, true
	}
	return t.sec, true
}

// addressLoad returns the register into which LEA, or MOV from the global
// offset table, puts the address of a relocation.
func addressLoad(arch *objfile.Arch, code []byte, r objfile.Reloc) (register uint, ok bool) {
	off := r.Offset
	if off < 3 || off+4 > uint64(len(code)) {
		return 0, false
	}
	rex, op, modrm := code[off-3], code[off-2], code[off-1]
	if rex&0xfb != 0x48 || modrm&0xc7 != 0x05 {
		return 0, false
	}
	register = uint(modrm>>3&7 | rex<<1&8)
	kind := arch.Reloc(r.Type).Kind
	load := kind == objfile.RelPC && op == 0x8d || kind == objfile.RelGOT && op == 0x8b
	return register, load && register != 4 && register != 5
}

// onlyRegisters reports whether an instruction does nothing but change
// registers: it reads memory, if at all, by the stack pointer or the frame
// pointer, where nothing can fault.
func onlyRegisters(inst *x86asm.Inst) bool {
	switch inst.Op {
	case x86asm.NOP:
		return true
	case x86asm.LEA: // reads no memory
		d, ok := inst.Args[0].(x86asm.Reg)
		return ok && number(d) != 4 && number(d) != 5
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.XOR, x86asm.ADD, x86asm.SUB, x86asm.AND, x86asm.OR, x86asm.SHL, x86asm.SHR,
		x86asm.INC, x86asm.DEC, x86asm.MOVUPS, x86asm.MOVAPS, x86asm.MOVQ, x86asm.MOVD, x86asm.XORPS:
	default:
		return false
	}
	if hasPrefix(inst, x86asm.PrefixFS, x86asm.PrefixGS, x86asm.PrefixLOCK) {
		return false
	}
	for i, arg := range inst.Args {
		switch a := arg.(type) {
		case nil, x86asm.Imm:
		case x86asm.Reg:
			if i == 0 && (number(a) == 4 || number(a) == 5 || number(a) < 0 && !vector(a)) {
				return false // the stack pointer or the frame pointer changes, or a segment
			}
		case x86asm.Mem:
			if i == 0 || a.Base != x86asm.RSP && a.Base != x86asm.RBP || a.Index != 0 || a.Segment != 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// hasPrefix reports whether an instruction has one of some prefixes.
func hasPrefix(inst *x86asm.Inst, any ...x86asm.Prefix) bool {
	return slices.ContainsFunc(inst.Prefix[:], func(p x86asm.Prefix) bool { return slices.Contains(any, p&^0xff00) })
}

func vector(r x86asm.Reg) bool { return r >= x86asm.X0 && r <= x86asm.X15 }

// number is that of the general register that r is or is a part of, −1 if it
// is none.
func number(r x86asm.Reg) int {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return int(r - x86asm.AL)
	case r >= x86asm.AH && r <= x86asm.BH:
		return int(r - x86asm.AH)
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return int(r-x86asm.SPB) + 4
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX)
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX)
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX)
	}
	return -1
}

// mentions reports whether an instruction may read a register.
func mentions(inst *x86asm.Inst, register uint) bool {
	for _, arg := range inst.Args {
		switch a := arg.(type) {
		case x86asm.Reg:
			if number(a) == int(register) {
				return true
			}
		case x86asm.Mem:
			if number(a.Base) == int(register) || number(a.Index) == int(register) {
				return true
			}
		}
	}
	return false
}
