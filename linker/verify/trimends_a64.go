package verify

import "debug/elf"

// codeForm says what the instructions are that have value in the bits of mask: the first form that fits counts. A jump's
// or branch's distance is in the field of a relocation type.
type codeForm struct {
	mask, value uint32
	kind        stride
	field       uint32
}

func formOf(forms []codeForm, w uint32) *codeForm {
	for i := range forms {
		if f := &forms[i]; w&f.mask == f.value {
			return f
		}
	}
	return &codeForm{}
}

// a64Forms are those of AArch64 (Arm Architecture Reference Manual for A-profile, C4.1).
var a64Forms = []codeForm{
	{0xffff0000, 0x00000000, strideLeave, 0},                                           // UDF
	{0xfc000000, 0x14000000, strideJump, uint32(elf.R_AARCH64_JUMP26)},                 // B
	{0xfc000000, 0x94000000, strideCall, 0},                                            // BL
	{0xff000000, 0x54000000, strideFork, uint32(elf.R_AARCH64_CONDBR19)},               // B.cond
	{0x7e000000, 0x34000000, strideFork, uint32(elf.R_AARCH64_CONDBR19)},               // CBZ, CBNZ
	{0x7e000000, 0x36000000, strideFork, uint32(elf.R_AARCH64_TSTBR14)},                // TBZ, TBNZ
	{0xffe00000, 0xd6000000, strideLeave, 0}, {0xffe00000, 0xd6400000, strideLeave, 0}, // BR, RET
	{0xffe00000, 0xd6200000, strideLoud, 0},                                           // BLR
	{0xff000000, 0xd4000000, strideLoud, 0},                                           // SVC, BRK, HLT
	{0xffffffff, 0xd503201f, strideQuiet, 0}, {0xff000000, 0xd5000000, strideLoud, 0}, // NOP; system registers, barriers
	{0x9f000000, 0x90000000, strideQuiet, 0},                                          // ADRP
	{0x3f8003ff, 0x110003ff, strideQuiet, 0}, {0x3f80001f, 0x1100001f, strideLoud, 0}, // ADD, SUB of SP; to SP
	{0x1f800000, 0x11000000, strideQuiet, 0},                                                                                  // ADD, SUB
	{0x7f80001f, 0x1200001f, strideLoud, 0}, {0x7f80001f, 0x3200001f, strideLoud, 0}, {0x7f80001f, 0x5200001f, strideLoud, 0}, // to SP
	{0x1f800000, 0x12000000, strideQuiet, 0}, {0x1f800000, 0x12800000, strideQuiet, 0}, // logic, moves
	{0x1f000000, 0x13000000, strideQuiet, 0},                                          // bit fields
	{0xffe0fc1f, 0x9ac0101f, strideLoud, 0},                                           // IRG to SP
	{0x3fe0001f, 0x0b20001f, strideLoud, 0}, {0x0e000000, 0x0a000000, strideQuiet, 0}, // ADD to SP; data processing, registers
	{0x3b000000, 0x18000000, strideBad, 0},                                             // literals
	{0x3b0003e0, 0x390003e0, strideQuiet, 0},                                           // loads and stores by SP
	{0x3b200fe0, 0x380003e0, strideQuiet, 0}, {0x3be00fe0, 0x38000fe0, strideQuiet, 0}, // the same; STR before which SP moves
	{0x3b8003e0, 0x290003e0, strideQuiet, 0}, {0x3bc003e0, 0x298003e0, strideQuiet, 0}, // LDP, STP
	{0x0a000000, 0x08000000, strideLoud, 0}, // loads and stores
	{0x0e000000, 0x0e000000, strideLoud, 0}, // floats, vectors
}

// a64Addresses are instructions that a relocation may put a part of an address into.
var a64Addresses = []codeForm{
	{mask: 0x9f000000, value: 0x90000000, kind: strideQuiet}, {mask: 0x1f000000, value: 0x11000000, kind: strideQuiet},
	{mask: 0x1f800000, value: 0x12800000, kind: strideQuiet}, {mask: 0x0a000000, value: 0x08000000, kind: strideQuiet},
}

// a64Stride reads an AArch64 instruction.
func a64Stride(s *section, off uint64) strideAt {
	b := slice(s.data, off, 4)
	if state, _ := mappedAt(s, off); b == nil || off&3 != 0 || state == 'd' {
		return strideAt{}
	}
	w := a64Word(b)
	f := formOf(a64Forms, w)
	at := strideAt{kind: f.kind, size: 4}
	relocated := len(relocsWithin(s, off, off+4)) > 0
	switch {
	case f.kind == strideCall, f.kind == strideJump && relocated:
		if at.external = relocated; f.kind == strideJump {
			at.kind = strideLeave
		} else if !relocated {
			at.kind = strideBad
			if imm, _, _ := a64Field(uint32(elf.R_AARCH64_CALL26), b); off+uint64(imm) == 0 {
				at.kind = strideLoud // a call of the function itself
			}
		}
		return at
	case a64IsAdrp(w) && !relocated, relocated && formOf(a64Addresses, w).kind != strideQuiet:
		at.kind = strideBad
	case f.field != 0:
		imm, _, _ := a64Field(f.field, b)
		at.to = off + uint64(imm)
	}
	return at
}

// a64BranchForm is what of a branch does not say where it leads.
func a64BranchForm(b []byte) uint64 {
	_, _, rest := a64Field(formOf(a64Forms, a64Word(b)).field, b)
	return rest
}
