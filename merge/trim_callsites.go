package merge

import (
	"encoding/binary"
	"slices"

	"leanlink/objfile"
)

// callsOf lists, by machine, the places, each one less than a return address,
// of what could be the calls of code from lo up to hi of a section, from lo on
// and in ascending order. What only looks like one is listed too.
var callsOf = map[uint16]func(section []byte, lo, hi uint64, relocated func(off uint64) bool) []uint64{
	objfile.EM_X86_64:  x86Calls,
	objfile.EM_AARCH64: aarch64Calls,
	objfile.EM_RISCV:   riscvCalls,
}

// x86Calls are E8 with a displacement that is relocated or that an assembler
// could have resolved, which leads into the same section, and FF /2 with any
// operand, of which one relative to the instruction is relocated.
func x86Calls(section []byte, lo, hi uint64, relocated func(off uint64) bool) []uint64 {
	var at []uint64
	code := section[lo:hi]
	for i, op := range code {
		n := 0
		switch {
		case op == 0xe8 && i+5 <= len(code):
			to := int64(lo) + int64(i) + 5 + int64(int32(binary.LittleEndian.Uint32(code[i+1:])))
			if relocated(lo+uint64(i)+1) || to >= 0 && to < int64(len(section)) {
				n = 5
			}
		case op == 0xff && i+1 < len(code) && code[i+1] == 0x15:
			if relocated(lo + uint64(i) + 2) {
				n = 6
			}
		case op == 0xff && i+1 < len(code) && code[i+1]>>3&7 == 2:
			n = 2
			mod, rm := code[i+1]>>6, code[i+1]&7
			if mod != 3 && rm == 4 && i+2 < len(code) {
				n++
				if mod == 0 && code[i+2]&7 == 5 {
					n += 4
				}
			}
			switch {
			case mod == 1:
				n++
			case mod == 2 || mod == 0 && rm == 5:
				n += 4
			}
		}
		if n > 0 && i+n <= len(code) {
			at = append(at, uint64(i+n-1))
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// aarch64Calls are BL, and BLR with and without authentication.
func aarch64Calls(section []byte, lo, hi uint64, _ func(uint64) bool) (at []uint64) {
	for i := lo; i+4 <= hi; i += 4 {
		if w := binary.LittleEndian.Uint32(section[i:]); w&0xfc000000 == 0x94000000 || w&0xfeff0000 == 0xd63f0000 {
			at = append(at, i-lo+3)
		}
	}
	return at
}

// riscvCalls are JAL and JALR that keep a return address, in whichever
// register, and their compressed forms; C.JAL of 32-bit code is C.ADDIW of
// 64-bit code.
func riscvCalls(section []byte, lo, hi uint64, _ func(uint64) bool) (at []uint64) {
	for i := lo; i+2 <= hi; i += 2 {
		h := binary.LittleEndian.Uint16(section[i:])
		if h&0xf07f == 0x9002 && h != 0x9002 || h&0xe003 == 0x2001 {
			at = append(at, i-lo+1)
		}
		if op := h & 0x7f; i+4 <= hi && (op == 0x6f || op == 0x67) && h>>7&31 != 0 {
			at = append(at, i-lo+3)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}
