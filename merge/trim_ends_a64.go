package merge

import (
	"encoding/binary"

	"leanlink/objfile"
)

// AArch64 code, by what it does to the flow of control and to memory (Arm
// Architecture Reference Manual for A-profile, C4.1).

var aarch64Ends = endMachine{
	decode:   aarch64Decode,
	retarget: aarch64Retarget,
	retable:  func([]byte, *body, tableEntry, uint32) bool { return false }, // tables are data here
	trap:     func(*objfile.File) string { return "\x20\x00\x20\xd4" },      // brk #1
}

// aarch64Decode decodes a section of nothing but code.
func aarch64Decode(b *body) bool {
	if len(b.bytes)%4 != 0 || !b.onlyCode() {
		return false
	}
	for at := uint32(0); at < uint32(len(b.bytes)); at += 4 {
		in := instruction{at: at, size: 4, callee: NoSec}
		if !b.aarch64(&in, binary.LittleEndian.Uint32(b.bytes[at:])) {
			return false
		}
		b.add(in)
	}
	return true
}

// aarch64 decodes an instruction.
func (b *body) aarch64(in *instruction, w uint32) bool {
	const sp = 31
	rd, rn := w&31, w>>5&31
	switch {
	case w>>16 == 0: // UDF
		in.flow = flowEnd
	case w>>26 == 0x05: // B
		to, relocated := b.callee(in.at)
		if relocated {
			in.flow, in.callee = flowEnd, to
			return true
		}
		in.flow, in.to = flowJump, in.at+signed(w, 26)<<2
		return true
	case w>>26 == 0x25: // BL
		to, relocated := b.callee(in.at)
		in.flow, in.callee = flowCall, to
		return relocated || in.at+signed(w, 26)<<2 == 0 // of the function itself
	case w>>24 == 0x54, w>>25&0x3f == 0x1a: // B.cond, CBZ, CBNZ
		in.flow, in.to = flowBranch, in.at+signed(w>>5, 19)<<2
	case w>>25&0x3f == 0x1b: // TBZ, TBNZ
		in.flow, in.to = flowBranch, in.at+signed(w>>5, 14)<<2
	case w>>25 == 0x6b: // BR, BLR, RET; exception returns are left alone
		switch w >> 21 & 15 {
		case 0, 2:
			in.flow = flowEnd
		case 1:
			in.flow = flowCall
		default:
			return false
		}
	case w>>24 == 0xd4: // SVC, HVC, SMC, BRK, HLT: the system's or the host's
	case w>>24 == 0xd5:
		in.quiet = w == 0xd503201f // NOP
	case w>>24&0x1f == 0x10: // ADRP of a relocation; ADR knows its place
		in.quiet = true
		return w>>31 == 1 && b.fieldAt(in) && b.addressed(in)
	case w>>26&7 == 4: // data processing, immediates
		in.quiet = rd != sp
		switch w >> 23 & 7 {
		case 2: // ADD, SUB
			in.quiet = rd != sp || w>>29&1 == 1 || rn == sp
		case 5: // moves
			in.quiet = true
		case 4, 6, 7: // AND, ORR, EOR may be to SP
			in.quiet = rd != sp
			return b.unrelocated(in)
		default:
			return false
		}
		return b.addressed(in)
	case w>>25&7 == 5: // data processing, registers
		extended := w>>24&0x1f == 0x0b && w>>21&1 == 1
		tags := w&0xffe0fc00 == 0x9ac01000 // IRG
		in.quiet = !extended && !tags || rd != sp
	case w>>25&5 == 4: // loads and stores
		store := w>>22&3 == 0
		switch {
		case w>>27&7 == 3 && w>>24&3 == 0: // literals
			return false
		case rn != sp:
		case w>>27&7 == 7 && w>>24&3 == 1: // unsigned offset
			in.quiet = true
		case w>>27&7 == 7 && w>>24&3 == 0 && w>>21&1 == 0: // LDUR, STUR; with STR before which SP moves
			in.quiet = w>>10&3 == 0 || w>>10&3 == 3 && store
		case w>>27&7 == 5 && w>>23&3 == 2: // LDP, STP
			in.quiet = true
		case w>>27&7 == 5 && w>>23&3 == 3: // STP before which SP moves
			in.quiet = w>>22&1 == 0
		}
		return b.addressed(in)
	case w>>25&7 == 7: // floats and vectors
	default:
		return false
	}
	return b.unrelocated(in)
}

// aarch64Retarget makes a branch one to another place.
func aarch64Retarget(bytes []byte, in *instruction, to uint32) bool {
	w := binary.LittleEndian.Uint32(bytes[in.at:])
	distance := int64(int32(to-in.at)) >> 2
	n := uint32(distance)
	fits := func(bits uint) bool { return distance >= -1<<(bits-1) && distance < 1<<(bits-1) }
	ok := false
	switch {
	case w>>26 == 0x05:
		w, ok = w&^0x3ffffff|n&0x3ffffff, fits(26)
	case w>>25&0x3f == 0x1b:
		w, ok = w&^0x7ffe0|n&0x3fff<<5, fits(14)
	default:
		w, ok = w&^0xffffe0|n&0x7ffff<<5, fits(19)
	}
	binary.LittleEndian.PutUint32(bytes[in.at:], w)
	return ok
}
