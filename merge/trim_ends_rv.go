package merge

import (
	"encoding/binary"

	"leanlink/objfile"
)

// RISC-V code, of either size, by what it does to the flow of control and to
// memory (The RISC-V Instruction Set Manual I, chapters 2, 5, 12, 27 and 34).
// Only code that no linker shortens is decoded: there the distances of jumps
// are in the code.

var riscvEnds = endMachine{
	decode:   riscvDecode,
	retarget: riscvRetarget,
	retable:  func([]byte, *body, tableEntry, uint32) bool { return false }, // tables are data here
	trap: func(f *objfile.File) string {
		if f.Flags&1 != 0 { // EF_RISCV_RVC
			return "\x02\x90" // c.ebreak
		}
		return "\x73\x00\x10\x00" // ebreak
	},
}

// Relocation types that code may have beside those of calls.
const (
	riscvCall    = 18
	riscvCallPLT = 19
	riscvHi20    = 26
	riscvLo12I   = 27
	riscvLo12S   = 28
)

// riscvDecode decodes a section of nothing but code.
func riscvDecode(b *body) bool {
	if !b.onlyCode() {
		return false
	}
	for k := range b.relocs.Len() {
		switch b.relocs.At(k).Type {
		case riscvCall, riscvCallPLT, riscvHi20, riscvLo12I, riscvLo12S:
		default:
			return false
		}
	}
	for at := uint32(0); at < uint32(len(b.bytes)); {
		in := instruction{at: at, size: 2, callee: NoSec}
		rest := b.bytes[at:]
		if len(rest) < 2 {
			return false
		}
		understood := false
		h := uint32(binary.LittleEndian.Uint16(rest))
		switch {
		case h&3 != 3:
			understood = b.riscv16(&in, h)
		case h&0x1f != 0x1f && len(rest) >= 4:
			in.size = 4
			understood = b.riscv32(&in, binary.LittleEndian.Uint32(rest))
		}
		if !understood {
			return false
		}
		b.add(in)
		at += in.size
	}
	return true
}

// ordinary reports whether an instruction may change a register and no more be
// said: not the stack pointer, nor what a trap handler may count on. One that
// changes nothing, as those around a call of the host are, is a sign for
// someone.
func ordinary(rd uint32) bool { return rd != 0 && rd != 2 && rd != 3 && rd != 4 }

// scalar reports whether a load or store of floats is of one: of a vector, each
// element may lie anywhere.
func scalar(width uint32) bool { return width >= 1 && width <= 4 }

// riscv32 decodes an instruction of 32 bits.
func (b *body) riscv32(in *instruction, w uint32) bool {
	rd, f3, rs1 := w>>7&31, w>>12&7, w>>15&31
	switch w & 0x7f {
	case 0x37: // LUI
		in.quiet = ordinary(rd)
		return b.addressed(in)
	case 0x17: // AUIPC, of a call
		return b.riscvCall(in)
	case 0x6f: // JAL
		in.flow = flowJump
		in.to = in.at + signed(w>>31<<20|w>>12&0xff<<12|w>>20&1<<11|w>>21&0x3ff<<1, 21)
		return rd == 0 && b.unrelocated(in)
	case 0x67: // JALR
		in.flow = flowEnd
		if rd != 0 {
			in.flow = flowCall
		}
	case 0x63: // branches
		in.flow = flowBranch
		in.to = in.at + signed(w>>31<<12|w>>7&1<<11|w>>25&0x3f<<5|w>>8&15<<1, 13)
	case 0x03, 0x07: // loads
		in.quiet = rs1 == 2 && (w&4 == 0 && ordinary(rd) || w&4 != 0 && scalar(f3))
		return b.addressed(in)
	case 0x23, 0x27: // stores
		in.quiet = rs1 == 2 && (w&4 == 0 || scalar(f3))
		return b.addressed(in)
	case 0x13: // with immediates
		in.quiet = ordinary(rd) || w == 0x13 || rd == 2 && rs1 == 2 && f3 == 0
		return b.addressed(in)
	case 0x33, 0x1b, 0x3b:
		in.quiet = ordinary(rd)
	case 0x0f, 0x2f, 0x43, 0x47, 0x4b, 0x4f, 0x53, 0x57: // fences, atomics, floats, vectors
	case 0x73: // calls of the system, of the host; control registers
		if f3 == 0 && w>>20 != 0 && w>>20 != 1 && w>>20 != 0x105 {
			in.flow = flowEnd
			return w == 0x30200073 || w == 0x10200073 // MRET, SRET
		}
	default:
		return false
	}
	return b.unrelocated(in)
}

// riscvCall decodes AUIPC and JALR of a call or jump that a relocation aims.
func (b *body) riscvCall(in *instruction) bool {
	to, relocated := b.callee(in.at)
	if !relocated || uint64(in.at)+8 > uint64(len(b.bytes)) {
		return false
	}
	w, jalr := binary.LittleEndian.Uint32(b.bytes[in.at:]), binary.LittleEndian.Uint32(b.bytes[in.at+4:])
	if jalr&0x707f != 0x67 || jalr>>15&31 != w>>7&31 || b.relocated(in.at+1, 7) {
		return false
	}
	in.size, in.callee, in.flow = 8, to, flowCall
	if jalr>>7&31 == 0 {
		in.flow = flowEnd
	}
	return true
}

// riscv16 decodes a compressed instruction.
func (b *body) riscv16(in *instruction, h uint32) bool {
	rd := h >> 7 & 31
	switch h>>13<<2 | h&3 {
	case 0x00: // C.ADDI4SPN; 0 is not defined
		in.quiet = h != 0
		if h == 0 {
			in.flow = flowEnd
		}
	case 2 << 2, 3 << 2, 6 << 2, 7 << 2: // loads and stores
	case 0<<2 | 1: // C.ADDI, C.NOP
		in.quiet = ordinary(rd) || rd == 2 || h == 1
	case 1<<2 | 1: // C.ADDIW; C.JAL where words are 32 bits
		in.quiet = ordinary(rd)
		return b.o.File.WordSize() == 8
	case 2<<2 | 1: // C.LI
		in.quiet = ordinary(rd)
	case 3<<2 | 1: // C.ADDI16SP, C.LUI
		in.quiet = ordinary(rd) || rd == 2
	case 4<<2 | 1: // C.SRLI, C.SRAI, C.ANDI, C.SUB, C.XOR, C.OR, C.AND
		in.quiet = true
	case 5<<2 | 1: // C.J
		in.flow = flowJump
		in.to = in.at + signed(h>>12&1<<11|h>>8&1<<10|h>>9&3<<8|h>>6&1<<7|h>>7&1<<6|h>>2&1<<5|h>>11&1<<4|h>>3&7<<1, 12)
	case 6<<2 | 1, 7<<2 | 1: // C.BEQZ, C.BNEZ
		in.flow = flowBranch
		in.to = in.at + signed(h>>12&1<<8|h>>5&3<<6|h>>2&1<<5|h>>10&3<<3|h>>3&3<<1, 9)
	case 0<<2 | 2: // C.SLLI
		in.quiet = ordinary(rd)
	case 2<<2 | 2, 3<<2 | 2: // C.LWSP, C.LDSP
		in.quiet = ordinary(rd)
	case 4<<2 | 2:
		rs2 := h >> 2 & 31
		switch {
		case rs2 != 0: // C.MV, C.ADD
			in.quiet = ordinary(rd)
		case h>>12&1 == 0: // C.JR
			in.flow = flowEnd
		case rd != 0: // C.JALR
			in.flow = flowCall
		} // C.EBREAK: the host may be asked
	case 6<<2 | 2, 7<<2 | 2: // C.SWSP, C.SDSP
		in.quiet = true
	default:
		return false
	}
	return b.unrelocated(in)
}

// riscvRetarget makes a jump or branch one to another place.
func riscvRetarget(bytes []byte, in *instruction, to uint32) bool {
	n := to - in.at
	distance := int64(int32(n))
	fits := func(bits uint) bool { return distance >= -1<<bits && distance < 1<<bits }
	if in.size == 2 {
		h := binary.LittleEndian.Uint16(bytes[in.at:])
		if in.flow == flowJump {
			binary.LittleEndian.PutUint16(bytes[in.at:], h&0xe003|uint16(n>>11&1<<12|n>>4&1<<11|n>>8&3<<9|n>>10&1<<8|n>>6&1<<7|n>>7&1<<6|n>>1&7<<3|n>>5&1<<2))
			return fits(11)
		}
		binary.LittleEndian.PutUint16(bytes[in.at:], h&0xe383|uint16(n>>8&1<<12|n>>3&3<<10|n>>6&3<<5|n>>1&3<<3|n>>5&1<<2))
		return fits(8)
	}
	w := binary.LittleEndian.Uint32(bytes[in.at:])
	if in.flow == flowJump {
		binary.LittleEndian.PutUint32(bytes[in.at:], w&0xfff|n>>20&1<<31|n>>1&0x3ff<<21|n>>11&1<<20|n>>12&0xff<<12)
		return fits(20)
	}
	binary.LittleEndian.PutUint32(bytes[in.at:], w&0x1fff07f|n>>12&1<<31|n>>5&0x3f<<25|n>>1&15<<8|n>>11&1<<7)
	return fits(12)
}
