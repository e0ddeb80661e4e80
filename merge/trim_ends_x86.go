package merge

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// x86-64 code, by what it does to the flow of control and to memory. It can be
// taken apart (trim_ends_move.go) where nothing but its own instructions and
// jump tables knows what lies where in it.

var x86Ends = endMachine{decode: x86Decode, whole: x86Whole, moves: true}

// x86Whole reports whether a section is one function, and stays.
func x86Whole(x *trimmer, o *Object, i uint32, frames bool) bool {
	if _, grouped := o.groups[i]; grouped || len(o.tiedTo(i)) > 0 || o.File.Sections[i].Flags&objfile.SHF_LINK_ORDER != 0 {
		return false
	}
	for _, k := range o.Symbols(i) {
		if o.File.Symbol(k).Value != 0 {
			return false
		}
	}
	return !o.unwinds(i) || x.canDropFrames(o, i, frames)
}

// x86Decode decodes a section of instructions. It gives up where something may
// be none, or knows where the code lies.
func x86Decode(b *body) bool {
	w := walk{x: b.x, o: b.o, code: b.bytes, relocs: b.relocs, fields: b.fields}
	next := 0 // the first relocation, in order of offsets, that no instruction had yet
	for at := uint64(0); at < uint64(len(w.code)); {
		inst, err := x86asm.Decode(w.code[at:], 64)
		if err != nil || inst.Op == 0 || isVEX(&inst) {
			return false
		}
		end := at + uint64(inst.Len)
		relocated := false
		for ; next < w.relocs.Len(); next++ {
			r := w.relocs.At(w.fields.nth(next))
			kind := b.x.l.Arch.Reloc(r.Type)
			if r.Offset >= end {
				break
			}
			if r.Offset <= at || r.Offset+uint64(kind.Size) > end || kind.Size == 8 && kind.Kind != objfile.RelAbs {
				return false // not a field of the instruction
			}
			relocated = relocated || kind.Kind != objfile.RelNone
		}
		in, ok := w.instruction(&inst, uint32(at), relocated)
		if !ok {
			return false
		}
		b.add(in)
		at = end
	}
	return next == w.relocs.Len()
}

// instruction says where an instruction goes on and what it changes; ok is
// false if that is not known, or it reads the place of its own code.
func (w *walk) instruction(inst *x86asm.Inst, at uint32, relocated bool) (in instruction, ok bool) {
	end := at + uint32(inst.Len)
	in = instruction{at: at, size: uint32(inst.Len), callee: NoSec}
	for i, arg := range inst.Args {
		switch a := arg.(type) {
		case x86asm.Mem:
			if (a.Base == x86asm.RIP || a.Base == x86asm.EIP) && !relocated {
				return in, false
			}
		case x86asm.Rel:
			if i != 0 || inst.PCRel != 1 && inst.PCRel != 4 || inst.PCRelOff+inst.PCRel != inst.Len || halved(inst) {
				return in, false
			}
			if !relocated {
				in.field, in.to = uint8(inst.PCRel), end+uint32(a)
			}
		}
	}
	if to, known := w.callee(uint64(at), uint64(end)); known {
		in.callee = to
	}
	switch {
	case inst.Op == x86asm.CALL:
		in.flow = flowCall
		return in, in.field == 0 || in.to == 0 // anything else looks at its return address
	case inst.Op == x86asm.JMP && in.field != 0:
		in.flow = flowJump
	case inst.Op == x86asm.JMP, inst.Op == x86asm.RET:
		in.flow = flowEnd // or to where a table says
	case isBranch(inst.Op) && in.field != 0:
		in.flow = flowBranch
	case isBranch(inst.Op):
		in.flow, in.perhaps = flowEnd, true
	case in.field != 0, inst.Op == x86asm.LJMP, inst.Op == x86asm.LCALL, inst.Op == x86asm.LRET,
		inst.Op == x86asm.IRET, inst.Op == x86asm.IRETD, inst.Op == x86asm.IRETQ, inst.Op == x86asm.SYSRET, inst.Op == x86asm.SYSEXIT:
		return in, false
	case inst.Op == x86asm.UD2:
		in.flow = flowCall // of a handler, which may come back
	default:
		in.nop = inst.Op == x86asm.NOP
		in.quiet = dying(inst) && (inst.Op == x86asm.LEA || w.readsConstant(inst, at))
	}
	return in, true
}

// readsConstant reports whether what an instruction reads by its own place, if
// it does, is sure to be there and does not change: a slot of the global offset
// table, or data that nobody writes.
func (w *walk) readsConstant(inst *x86asm.Inst, at uint32) bool {
	for _, arg := range inst.Args {
		if a, memory := arg.(x86asm.Mem); !memory || a.Base != x86asm.RIP {
			continue
		}
		k := w.fields.first(uint64(at))
		if k == w.relocs.Len() || w.relocs.At(w.fields.nth(k)).Offset >= uint64(at)+uint64(inst.Len) {
			return false
		}
		r := w.relocs.At(w.fields.nth(k))
		if kind := w.x.l.Arch.Reloc(r.Type).Kind; kind != objfile.RelPC {
			return kind == objfile.RelGOT || kind == objfile.RelTLS
		}
		t := w.o.target(r.Sym)
		if t.kind != toSection {
			return false
		}
		s := w.x.l.Section(t.sec)
		return s.Type == objfile.SHT_PROGBITS && s.Flags&objfile.SHF_ALLOC != 0 && s.Flags&objfile.SHF_WRITE == 0
	}
	return true
}

// halved reports whether an instruction has the prefix that halves operands. It
// makes the distance of a jump two bytes on some processors, and not on others.
func halved(inst *x86asm.Inst) bool {
	return slices.ContainsFunc(inst.Prefix[:], func(p x86asm.Prefix) bool { return byte(p) == 0x66 })
}

// isVEX reports whether an instruction has one of the prefixes of AVX, some of
// which the decoder takes for longer than they are (vzeroupper).
func isVEX(inst *x86asm.Inst) bool {
	for _, p := range inst.Prefix {
		if b := byte(p); b == 0xc4 || b == 0xc5 || b == 0x62 {
			return true
		}
	}
	return false
}

func isBranch(op x86asm.Op) bool {
	switch op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE, x86asm.JNE,
		x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JRCXZ, x86asm.JS, x86asm.LOOP, x86asm.LOOPE, x86asm.LOOPNE:
		return true
	}
	return false
}

// dying reports whether an instruction is for nothing if a trap is sure to
// follow: it changes registers and the stack of the function that traps. It
// reads memory, if at all, by the stack pointer or the frame pointer or at a
// fixed place, where nothing can fault.
func dying(inst *x86asm.Inst) bool {
	writes := true // its first argument
	switch inst.Op {
	case x86asm.NOP:
		return true
	case x86asm.BT:
		// Of memory, the register says which bit, and it may lie anywhere.
		if _, memory := inst.Args[0].(x86asm.Mem); memory {
			return false
		}
		writes = false
	case x86asm.CMP, x86asm.TEST, x86asm.UCOMISD, x86asm.UCOMISS, x86asm.CDQ, x86asm.CQO:
		writes = false
	case x86asm.PUSH:
		writes = false // what it writes is the stack
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.ADD, x86asm.SUB, x86asm.AND, x86asm.OR, x86asm.NOT, x86asm.NEG,
		x86asm.ADC, x86asm.SBB, x86asm.INC, x86asm.DEC, x86asm.SHL, x86asm.SHR, x86asm.SAR, x86asm.ROL, x86asm.ROR, x86asm.SHLD, x86asm.SHRD, x86asm.IMUL,
		x86asm.BSWAP, x86asm.BSF, x86asm.BSR,
		x86asm.CMOVA, x86asm.CMOVAE, x86asm.CMOVB, x86asm.CMOVBE, x86asm.CMOVE, x86asm.CMOVG, x86asm.CMOVGE, x86asm.CMOVL, x86asm.CMOVLE, x86asm.CMOVNE,
		x86asm.CMOVNO, x86asm.CMOVNP, x86asm.CMOVNS, x86asm.CMOVO, x86asm.CMOVP, x86asm.CMOVS,
		x86asm.SETA, x86asm.SETAE, x86asm.SETB, x86asm.SETBE, x86asm.SETE, x86asm.SETG, x86asm.SETGE, x86asm.SETL, x86asm.SETLE, x86asm.SETNE,
		x86asm.SETNO, x86asm.SETNP, x86asm.SETNS, x86asm.SETO, x86asm.SETP, x86asm.SETS,
		x86asm.MOVUPS, x86asm.MOVAPS, x86asm.MOVUPD, x86asm.MOVAPD, x86asm.MOVDQA, x86asm.MOVDQU, x86asm.MOVQ, x86asm.MOVD, x86asm.MOVSS, x86asm.MOVSD_XMM,
		x86asm.XORPS, x86asm.XORPD, x86asm.PXOR, x86asm.POR, x86asm.PAND, x86asm.PSHUFD, x86asm.PUNPCKLQDQ:
	default:
		return false
	}
	if hasPrefix(inst, x86asm.PrefixFS, x86asm.PrefixGS, x86asm.PrefixLOCK) ||
		hasPrefix(inst, x86asm.PrefixREP, x86asm.PrefixREPN) && !vectorMove(inst.Op) {
		return false
	}
	for i, arg := range inst.Args {
		switch a := arg.(type) {
		case nil, x86asm.Imm:
		case x86asm.Reg:
			n := number(a)
			switch {
			case n < 0 && !vector(a):
				return false // a segment, say
			case n == 4 && writes && i == 0:
				// Wherever the stack pointer goes, it must stay in the stack.
				_, fixed := inst.Args[1].(x86asm.Imm)
				if inst.Op != x86asm.ADD && inst.Op != x86asm.SUB || !fixed {
					return false
				}
			}
		case x86asm.Mem:
			switch {
			case a.Segment != 0:
				return false
			case inst.Op == x86asm.LEA:
			case i == 0 && writes && a.Base != x86asm.RSP:
				return false
			case a.Index != 0 || a.Base != x86asm.RSP && a.Base != x86asm.RIP:
				return false
			}
		default:
			return false
		}
	}
	return true
}

// vectorMove: a prefix that repeats others is a part of its opcode.
func vectorMove(op x86asm.Op) bool {
	switch op {
	case x86asm.MOVSS, x86asm.MOVSD_XMM, x86asm.MOVQ, x86asm.MOVDQU:
		return true
	}
	return false
}
