package verify

import (
	"debug/elf"
	"encoding/binary"
)

// riscvForms are those of 32 bits (The RISC-V Instruction Set Manual I, chapters 2, 12 and 34). The stack pointer is x2;
// what changes x0, x3 or x4 is for others.
var riscvForms = []codeForm{
	{0xfff, 0x037, strideLoud, 0}, {0xfff, 0x1b7, strideLoud, 0}, {0xfff, 0x137, strideLoud, 0}, {0xfff, 0x237, strideLoud, 0},
	{0x7f, 0x37, strideQuiet, 0}, // LUI
	{0xfff, 0x6f, strideJump, uint32(elf.R_RISCV_JAL)},
	{0xfff, 0x67, strideLeave, 0}, {0x7f, 0x67, strideLoud, 0}, // JALR
	{0x7f, 0x63, strideFork, uint32(elf.R_RISCV_BRANCH)},
	{0xf8fff, 0x10003, strideLoud, 0}, {0xf8fff, 0x10103, strideLoud, 0}, {0xf8fff, 0x10183, strideLoud, 0}, {0xf8fff, 0x10203, strideLoud, 0},
	{0x705f, 0x0007, strideLoud, 0}, {0x705f, 0x5007, strideLoud, 0}, {0x605f, 0x6007, strideLoud, 0}, // vectors, which may be strewn
	{0xf807b, 0x10003, strideQuiet, 0}, {0x7b, 0x03, strideLoud, 0}, // loads, by SP and others
	{0xf807b, 0x10023, strideQuiet, 0}, {0x7b, 0x23, strideLoud, 0}, // stores
	{0xffffffff, 0x13, strideQuiet, 0}, {0xfffff, 0x10113, strideQuiet, 0}, // NOP, ADDI of SP
}

// riscvAnywhere are the registers that code changes for nobody else.
func riscvAnywhere(rd uint32) bool { return rd == 1 || rd > 4 }

// riscvStride reads a RISC-V instruction.
func riscvStride(s *section, off uint64) strideAt {
	b := slice(s.data, off, 2)
	if state, _ := mappedAt(s, off); b == nil || off&1 != 0 || state == 'd' {
		return strideAt{}
	}
	h := uint32(binary.LittleEndian.Uint16(b))
	if h&3 != 3 {
		return riscvShortStride(s, off, h)
	}
	if b = slice(s.data, off, 4); b == nil {
		return strideAt{}
	}
	w := binary.LittleEndian.Uint32(b)
	at := strideAt{size: 4}
	relocs := relocsWithin(s, off, off+4)
	if len(relocs) > 1 || len(relocs) == 1 && relocs[0].off != off {
		return strideAt{}
	}
	typ := elf.R_RISCV_NONE
	if len(relocs) == 1 {
		typ = elf.R_RISCV(relocs[0].typ)
	}
	rd := w >> 7 & 31
	opcode := w & 0x7f
	quiet := func(is bool) strideAt {
		if at.kind = strideLoud; is {
			at.kind = strideQuiet
		}
		return at
	}
	if typ == elf.R_RISCV_CALL || typ == rRISCVCallPLT {
		// AUIPC, and the JALR that jumps by it.
		next := slice(s.data, off+4, 4)
		if opcode != 0x17 || next == nil || len(relocsWithin(s, off+4, off+8)) > 0 {
			return at
		}
		j := binary.LittleEndian.Uint32(next)
		if j&0x7f != 0x67 || j>>15&31 != rd || j>>12&7 != 0 {
			return at
		}
		at.size, at.external, at.kind = 8, true, strideCall
		if j>>7&31 == 0 {
			at.kind = strideLeave
		}
		return at
	}
	switch typ {
	case elf.R_RISCV_NONE:
		if len(relocs) > 0 {
			return at
		}
	case elf.R_RISCV_HI20:
		if opcode != 0x37 {
			return at
		}
	case elf.R_RISCV_LO12_I, elf.R_RISCV_LO12_S:
	default:
		return at
	}
	switch opcode {
	case 0x33, 0x1b, 0x3b: // registers; words
		return quiet(riscvAnywhere(rd))
	case 0x13: // immediates
		if f := formOf(riscvForms, w); f.kind == strideQuiet {
			return quiet(true)
		}
		return quiet(riscvAnywhere(rd))
	case 0x0f, 0x2f, 0x43, 0x47, 0x4b, 0x4f, 0x53, 0x57: // fences, atomics, floats, vectors
		return quiet(false)
	case 0x73:
		switch {
		case w>>12&7 != 0, w>>20 == 0, w>>20 == 1, w>>20 == 0x105: // control registers, ECALL, EBREAK, WFI
			return quiet(false)
		case w == 0x30200073 || w == 0x10200073: // MRET, SRET
			at.kind = strideLeave
		}
		return at
	}
	f := formOf(riscvForms, w)
	at.kind = f.kind
	if f.field != 0 {
		imm, _, _ := riscvField(f.field, b)
		at.to = off + uint64(imm)
	}
	return at
}

// riscvShortStride reads a compressed one.
func riscvShortStride(s *section, off uint64, h uint32) strideAt {
	at := strideAt{size: 2}
	if len(relocsWithin(s, off, off+2)) > 0 {
		return at
	}
	b := slice(s.data, off, 2)
	jump := func(kind stride, typ elf.R_RISCV) strideAt {
		imm, _, _ := riscvField(uint32(typ), b)
		at.kind, at.to = kind, off+uint64(imm)
		return at
	}
	rd := h >> 7 & 31
	quiet := false
	switch h & 0xe003 {
	case 0x0000:
		if h == 0 {
			at.kind = strideLeave // not defined
			return at
		}
		quiet = true
	case 0x4000, 0x6000, 0xc000, 0xe000: // loads and stores
	case 0x0001, 0x6001: // C.ADDI, C.NOP; C.LUI, C.ADDI16SP
		quiet = riscvAnywhere(rd) || rd == 2 || h == 1
	case 0x2001: // C.ADDIW, but C.JAL for words of 32 bits
		if s.obj.class == elf.ELFCLASS32 {
			return at
		}
		quiet = riscvAnywhere(rd)
	case 0x4001, 0x0002, 0x4002, 0x6002: // C.LI, C.SLLI, loads by SP
		quiet = riscvAnywhere(rd)
	case 0x8001, 0xc002, 0xe002: // arithmetic, stores by SP
		quiet = true
	case 0xa001:
		return jump(strideJump, elf.R_RISCV_RVC_JUMP)
	case 0xc001, 0xe001:
		return jump(strideFork, elf.R_RISCV_RVC_BRANCH)
	case 0x8002:
		switch {
		case h&0x7c != 0: // C.MV, C.ADD
			quiet = riscvAnywhere(rd)
		case h&0x1000 == 0: // C.JR
			at.kind = strideLeave
			return at
		} // C.JALR, C.EBREAK
	default:
		return at
	}
	if at.kind = strideLoud; quiet {
		at.kind = strideQuiet
	}
	return at
}

// riscvBranchForm is what of a jump or branch does not say where it leads.
func riscvBranchForm(b []byte) uint64 {
	typ := uint32(elf.R_RISCV_RVC_BRANCH)
	if len(b) == 4 {
		typ = formOf(riscvForms, binary.LittleEndian.Uint32(b)).field
	} else if b[1]>>5 == 5 {
		typ = uint32(elf.R_RISCV_RVC_JUMP)
	}
	_, _, rest := riscvField(typ, b)
	return rest
}
