package verify

import (
	"debug/elf"
	"encoding/binary"
	"slices"
)

// possibleCalls lists, by machine, for each place of a function's n bytes of code at which a call could begin, the offset
// of the call's last byte. The place may lie within an instruction; one too many makes the check stricter.
var possibleCalls = map[elf.Machine]func(s *section, start, n uint64) []uint64{
	elf.EM_X86_64:  x86PossibleCalls,
	elf.EM_AARCH64: aarch64PossibleCalls,
	elf.EM_RISCV:   riscvPossibleCalls,
}

// x86PossibleCalls looks at each byte. A field relative to the instruction is relocated unless it leads to another place
// in the section.
func x86PossibleCalls(s *section, start, n uint64) []uint64 {
	var last []uint64
	body := slice(s.data, start, n)
	inside := func(at int) bool {
		if relocAt(s, start+uint64(at)) != nil {
			return true
		}
		to := int64(start) + int64(at) + 4 + int64(int32(binary.LittleEndian.Uint32(body[at:])))
		return to >= 0 && uint64(to) < s.size
	}
	for i := range body {
		size := 0
		if body[i] == 0xe8 && i+5 <= len(body) && inside(i+1) {
			size = 1 + 4
		}
		if body[i] == 0xff && i+6 <= len(body) && body[i+1] == 0x15 && !inside(i+2) {
			continue
		}
		if body[i] == 0xff && i+1 < len(body) && body[i+1]&0x38 == 0x10 {
			// Operand forms of ModRM (Intel SDM 2A, table 2-2).
			mode, rm := body[i+1]&0xc0, body[i+1]&7
			size = 2
			if rm == 4 && mode != 0xc0 {
				size++
			}
			noBase := rm == 4 && i+2 < len(body) && body[i+2]&7 == 5
			if mode == 0x40 {
				size++
			} else if mode == 0x80 || mode == 0 && (rm == 5 || noBase) {
				size += 4
			}
		}
		if size > 0 && i+size <= len(body) {
			last = append(last, uint64(i+size-1))
		}
	}
	slices.Sort(last)
	return last
}

// aarch64PossibleCalls are the branches with link: BL, and BLR in all its forms (Arm ARM, C4.1.91).
func aarch64PossibleCalls(s *section, start, n uint64) []uint64 {
	var last []uint64
	body := slice(s.data, start, n)
	for i := 0; i+4 <= len(body); i += 4 {
		direct := body[i+3]>>2 == 0x25 // 100101
		register := body[i+2]&0xff == 0x3f && body[i+3]&0xfe == 0xd6
		if direct || register {
			last = append(last, uint64(i+3))
		}
	}
	return last
}

// riscvPossibleCalls are the jumps that write a return address to a register other than x0 (RISC-V ISA, chapters 2 and
// 27: JAL, JALR, C.JAL, C.JALR).
func riscvPossibleCalls(s *section, start, n uint64) []uint64 {
	var last []uint64
	body := slice(s.data, start, n)
	for i := 0; i+2 <= len(body); i += 2 {
		half := binary.LittleEndian.Uint16(body[i:])
		quadrant, funct3 := half&3, half>>13
		rd := half >> 7 & 31
		if quadrant == 1 && funct3 == 1 || quadrant == 2 && funct3 == 4 && half>>12&1 == 1 && rd != 0 && half>>2&31 == 0 {
			last = append(last, uint64(i+1))
		}
		if opcode := half & 0x7f; (opcode == 0b1101111 || opcode == 0b1100111) && rd != 0 && i+4 <= len(body) {
			last = append(last, uint64(i+3))
		}
	}
	slices.Sort(last)
	return last
}
