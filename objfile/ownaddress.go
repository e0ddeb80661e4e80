package objfile

import "bytes"

// How a function takes its own address without a relocation: where its symbol
// is local, the assembler works out the distance. Each architecture has one
// instruction for it that matters.

// x86_64OwnAddress looks for lea disp32(%rip) to the start: 8D, ModRM with mod
// 00 and rm 101, and the distance from the next instruction. Where there is a
// relocation, the field holds 0 and matches nothing. Bytes that only look like
// it, amid another instruction, do no harm.
func x86_64OwnAddress(f *File, section uint32) bool {
	b := f.Bytes(section)
	for k := 0; k+6 <= len(b); k++ {
		n := bytes.IndexByte(b[k:len(b)-5], 0x8D)
		if n < 0 {
			return false
		}
		k += n
		if b[k+1]&0xC7 == 0x05 && int32(le.Uint32(b[k+2:])) == -int32(k+6) {
			return true
		}
	}
	return false
}

// aarch64OwnAddress looks for ADR to the start.
func aarch64OwnAddress(f *File, section uint32) bool {
	b := f.Bytes(section)
	for k := 0; k+4 <= len(b); k += 4 {
		w := le.Uint32(b[k:])
		if w&0x9F000000 != 0x10000000 {
			continue
		}
		distance := int32(w<<8)>>11&^3 | int32(w>>29&3) // immhi:immlo, 21 bits
		if int(distance)+k == 0 {
			return true
		}
	}
	return false
}

// armOwnAddress looks for the Thumb-2 form of ADR that counts backwards from
// the aligned PC, and the ARM form. Thumb-1 can't.
func armOwnAddress(f *File, section uint32) bool {
	b := f.Bytes(section)
	for k := 0; k+4 <= len(b); k += 2 {
		h, l := le.Uint16(b[k:]), le.Uint16(b[k+2:])
		if h&0xFBFF == 0xF2AF && l&0x8000 == 0 {
			distance := int(h>>10&1)<<11 | int(l>>12&7)<<8 | int(l&0xFF)
			if (k+4)&^3 == distance {
				return true
			}
		}
		if w := le.Uint32(b[k:]); k%4 == 0 && w&0x0FFF0000 == 0x024F0000 { // SUB Rd, PC, #imm
			rotation := w >> 8 & 15 * 2
			imm := w & 0xFF
			if int(imm>>rotation|imm<<((32-rotation)&31)) == k+8 {
				return true
			}
		}
	}
	return false
}

// riscvOwnAddress looks for AUIPC that has no relocation: what it and the
// instruction behind it compute is a place in the section. If that is JALR,
// it is a call or jump to the place.
func riscvOwnAddress(f *File, section uint32) bool {
	b := f.Bytes(section)
	relocated := map[uint64]bool{}
	rs := f.Relocs(section)
	for i := range rs.Len() {
		relocated[rs.At(i).Offset] = true
	}
	for k := 0; k+4 <= len(b); {
		if b[k]&3 != 3 { // a compressed instruction
			k += 2
			continue
		}
		if w := le.Uint32(b[k:]); w&0x7F == 0x17 && !relocated[uint64(k)] {
			call := false
			if k+8 <= len(b) {
				next := le.Uint32(b[k+4:])
				call = next&0x707F == 0x67 && next>>15&31 == w>>7&31
			}
			if !call {
				return true
			}
		}
		k += 4
	}
	return false
}
