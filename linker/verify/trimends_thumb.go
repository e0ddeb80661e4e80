package verify

import (
	"encoding/binary"
)

// thumbForm says what the instructions are that have value in the bits of mask: the first form that fits counts. Those
// of 32 bits have their first halfword in the upper half (Arm Architecture Reference Manual, ARMv7-M, A5 and A7).
type thumbForm struct {
	mask, value uint32
	kind        thumbKind
}

type thumbKind uint8

const (
	thumbBad     thumbKind = iota // knows or changes the place of the code, or is not known
	thumbQuiet                    // changes registers and the stack
	thumbLoud                     // may do more
	thumbLeave                    // leaves the function
	thumbCall                     // BL
	thumbJump24                   // B.W, perhaps out of the function
	thumbFork20                   // Bcc.W
	thumbFork8                    // Bcc
	thumbFork6                    // CBZ, CBNZ
	thumbJump11                   // B
	thumbTable                    // TBB, TBH
	thumbIT                       // makes others depend on a condition
	thumbWord                     // loads a constant: 8 bits, counted in words
	thumbWord2                    // two words
	thumbFloat                    // one or two words, by bit 8
	thumbLiteral                  // 12 bits, of the size that is encoded
)

var thumbForms16 = []thumbForm{
	{0xc000, 0x0000, thumbQuiet},                           // shifts, ADD, SUB, MOV, CMP
	{0xfc00, 0x4000, thumbQuiet},                           // data processing
	{0xff78, 0x4478, thumbBad}, {0xff87, 0x4487, thumbBad}, // ADD of or to PC
	{0xff87, 0x4485, thumbLoud},                            // ADD to SP
	{0xfe00, 0x4400, thumbQuiet},                           // ADD, CMP
	{0xff78, 0x4678, thumbBad}, {0xff87, 0x4687, thumbBad}, // MOV from or to PC
	{0xff87, 0x4685, thumbLoud}, {0xff00, 0x4600, thumbQuiet}, // MOV to SP, MOV
	{0xff78, 0x4778, thumbBad},                                // BX PC
	{0xff80, 0x4700, thumbLeave}, {0xff80, 0x4780, thumbLoud}, // BX, BLX
	{0xf800, 0x4800, thumbWord},                              // LDR (literal)
	{0xf000, 0x5000, thumbLoud}, {0xe000, 0x6000, thumbLoud}, // loads and stores
	{0xf000, 0x8000, thumbLoud}, {0xf000, 0x9000, thumbQuiet}, // the same; by SP
	{0xf800, 0xa000, thumbBad}, {0xf800, 0xa800, thumbQuiet}, // ADR; ADD from SP
	{0xff00, 0xb000, thumbQuiet}, {0xf500, 0xb100, thumbFork6}, // ADD, SUB SP
	{0xff00, 0xb200, thumbQuiet}, {0xfe00, 0xb400, thumbQuiet}, // extensions, PUSH
	{0xff00, 0xb600, thumbLoud}, {0xffc0, 0xba80, thumbLoud}, // CPS, HLT
	{0xff00, 0xba00, thumbQuiet},                              // REV
	{0xff00, 0xbc00, thumbLoud}, {0xff00, 0xbd00, thumbLeave}, // POP
	{0xff00, 0xbe00, thumbLoud},                               // BKPT
	{0xffff, 0xbf00, thumbQuiet}, {0xff0f, 0xbf00, thumbLoud}, // NOP, hints
	{0xff00, 0xbf00, thumbIT}, {0xf000, 0xc000, thumbLoud}, // STM, LDM
	{0xff00, 0xde00, thumbLeave}, {0xff00, 0xdf00, thumbLoud}, // UDF, SVC
	{0xf000, 0xd000, thumbFork8}, {0xf800, 0xe000, thumbJump11},
}

var thumbForms32 = []thumbForm{
	{0xfe4f0000, 0xe80f0000, thumbBad},                                         // LDM, STM by PC
	{0xffff0000, 0xe92d0000, thumbQuiet}, {0xffff0000, 0xe88d0000, thumbQuiet}, // PUSH, STM to SP
	{0xffc00000, 0xe8000000, thumbBad}, {0xffc00000, 0xe9800000, thumbBad}, // RFE, SRS
	{0xfe508000, 0xe8108000, thumbLeave}, {0xfe400000, 0xe8000000, thumbLoud}, // LDM of PC; LDM, STM
	{0xffffffe0, 0xe8dff000, thumbTable}, {0xfff0ffe0, 0xe8d0f000, thumbBad}, // TBB, TBH
	{0xff7f0000, 0xe95f0000, thumbWord2}, {0xfe4f0000, 0xe84f0000, thumbBad}, // LDRD (literal)
	{0xff6f0000, 0xe94d0000, thumbQuiet}, {0xfe400000, 0xe8400000, thumbLoud}, // LDRD, STRD by SP; others, exclusives
	{0xfe00000f, 0xea00000f, thumbBad}, {0xfe000f00, 0xea000d00, thumbLoud}, // of PC; to SP
	{0xfe000000, 0xea000000, thumbQuiet},                                       // data processing
	{0xff3f0e00, 0xed1f0a00, thumbFloat}, {0xff2f0e00, 0xed0d0a00, thumbQuiet}, // VLDR (literal); VLDR, VSTR by SP
	{0xee0f0000, 0xec0f0000, thumbBad}, {0xec000000, 0xec000000, thumbLoud}, // coprocessors
	{0xfbef8f00, 0xf10d0d00, thumbQuiet}, {0xfbef8f00, 0xf1ad0d00, thumbQuiet}, // ADD, SUB SP
	{0xfa008f00, 0xf0000d00, thumbLoud}, {0xfa008000, 0xf0000000, thumbQuiet}, // data processing, immediates
	{0xfbff8000, 0xf20f0000, thumbBad}, {0xfbff8000, 0xf2af0000, thumbBad}, // ADR
	{0xfbff8f00, 0xf20d0d00, thumbQuiet}, {0xfbff8f00, 0xf2ad0d00, thumbQuiet}, // ADDW, SUBW SP
	{0xfa008f00, 0xf2000d00, thumbLoud}, {0xfa008000, 0xf2000000, thumbQuiet}, // MOVW, MOVT, bit fields
	{0xf800d000, 0xf000d000, thumbCall}, {0xf800d000, 0xf000c000, thumbBad}, // BL; BLX, loops
	{0xf800d000, 0xf0009000, thumbJump24}, {0xffffffff, 0xf3af8000, thumbQuiet}, // B.W, NOP.W
	{0xffffd000, 0xf3de8000, thumbBad}, {0xfff0d000, 0xf3c08000, thumbBad}, // exception returns, BXJ
	{0xfff0d000, 0xf7f08000, thumbBad}, {0xfb80d000, 0xf3808000, thumbLoud}, // HVC, SMC, UDF.W; MSR, MRS, barriers
	{0xf800d000, 0xf0008000, thumbFork20},
	{0xfe600000, 0xf8600000, thumbBad}, {0xff100000, 0xf9000000, thumbBad}, // not defined; vectors
	{0xffff0fff, 0xf84d0d04, thumbQuiet}, {0xff9f0000, 0xf88d0000, thumbQuiet}, // PUSH; stores by SP
	{0xff9f0f00, 0xf80d0c00, thumbQuiet}, {0xff1f0000, 0xf80f0000, thumbBad},
	{0xff100000, 0xf8000000, thumbLoud},                                      // stores
	{0xffffffff, 0xf85dfb04, thumbLeave}, {0xfe70f000, 0xf850f000, thumbBad}, // POP PC, LDR PC
	{0xfe1ff000, 0xf81ff000, thumbBad}, {0xfe10f000, 0xf810f000, thumbLoud}, // preloads
	{0xfe1ff000, 0xf81fd000, thumbBad}, {0xfe1f0000, 0xf81f0000, thumbLiteral}, // to SP
	{0xfe1ff000, 0xf81dd000, thumbLoud},
	{0xfe9f0000, 0xf89d0000, thumbQuiet}, {0xfe9f0f00, 0xf81d0c00, thumbQuiet}, // loads by SP
	{0xfe100000, 0xf8100000, thumbLoud},                                       // loads
	{0xfe000f00, 0xfa000f00, thumbBad},                                        // to PC: not defined, or BXAUT
	{0xff000f00, 0xfa000d00, thumbLoud}, {0xff000000, 0xfa000000, thumbQuiet}, // shifts, extensions
	{0xffd00000, 0xfb900000, thumbLoud}, {0xff000f00, 0xfb000d00, thumbLoud}, // divisions
	{0xff000000, 0xfb000000, thumbQuiet}, // multiplications
}

// thumbStride reads a Thumb instruction.
func thumbStride(s *section, off uint64) strideAt {
	bad := strideAt{}
	if state, _ := mappedAt(s, off); state != 't' || off&1 != 0 {
		return bad
	}
	b := slice(s.data, off, 2)
	if b == nil {
		return bad
	}
	w, size, forms := uint32(binary.LittleEndian.Uint16(b)), uint64(2), thumbForms16
	if w >= 0xe800 {
		if b = slice(s.data, off, 4); b == nil {
			return bad
		}
		w, size, forms = w<<16|uint32(binary.LittleEndian.Uint16(b[2:])), 4, thumbForms32
	}
	kind := thumbBad
	for _, f := range forms {
		if w&f.mask == f.value {
			kind = f.kind
			break
		}
	}
	at := strideAt{size: size}
	relocs := relocsWithin(s, off, off+size)
	pc := off + 4
	near := func(typ uint32) uint64 {
		imm, _, _ := armField(typ, b)
		return uint64(int64(pc) + imm)
	}
	literal := func(n, distance uint32) {
		at.kind, at.n = strideQuiet, uint64(n)
		at.from = pc&^3 + uint64(distance)
		if size == 4 && w>>23&1 == 0 {
			at.from = pc&^3 - uint64(distance)
		}
		if at.from > uint64(len(s.data)) {
			at.kind = strideBad
		}
	}
	switch kind {
	case thumbQuiet:
		at.kind = strideQuiet
		moves := w&0xfb708000 == 0xf2400000 // MOVW, MOVT
		if len(relocs) > 0 && !moves {
			at.kind = strideBad
		}
		return at
	case thumbLeave:
		at.kind = strideLeave
	case thumbLoud:
		at.kind = strideLoud
	case thumbCall, thumbJump24:
		if len(relocs) == 1 && relocs[0].off == off {
			at.external, at.kind = true, strideCall
			if kind == thumbJump24 {
				at.kind = strideLeave
			}
			return at
		}
		if to := near(rARMThmJump24); kind == thumbJump24 {
			at.kind, at.to = strideJump, to
		} else if to == 0 {
			at.kind = strideLoud // a call of the function itself
		}
	case thumbFork20:
		at.kind, at.to = strideFork, near(rARMThmJump19)
	case thumbFork8:
		at.kind, at.to = strideFork, near(rARMThmJump8)
	case thumbJump11:
		at.kind, at.to = strideJump, near(rARMThmJump11)
	case thumbFork6:
		at.kind, at.to = strideFork, pc+uint64(w>>9&1<<6|w>>3&31<<1)
	case thumbTable:
		at.kind, at.from, at.each = strideTable, pc, 1+uint64(w>>4&1)
		state, until := mappedAt(s, pc)
		at.n = until - pc
		if state != 'd' || at.n%at.each != 0 {
			return bad
		}
	case thumbIT:
		at.kind, at.prefix = strideQuiet, 4
		for k := w; k&1 == 0; k >>= 1 {
			at.prefix--
		}
	case thumbWord:
		literal(4, w&0xff<<2)
	case thumbWord2:
		literal(8, w&0xff<<2)
	case thumbFloat:
		literal(4+w>>6&4, w&0xff<<2)
	case thumbLiteral:
		literal(1<<(w>>21&3), w&0xfff)
	}
	if len(relocs) > 0 {
		return bad
	}
	return at
}

// thumbEntry is where an entry of a table of TBB or TBH leads.
func thumbEntry(s *section, at *strideAt, off uint64) uint64 {
	b := append(slice(s.data, off, at.each), 0)
	return at.from + 2*uint64(binary.LittleEndian.Uint16(b))
}

// thumbBranchForm is what of a branch does not say where it leads.
func thumbBranchForm(b []byte) uint64 {
	if len(b) == 4 {
		w := uint32(binary.LittleEndian.Uint16(b))<<16 | uint32(binary.LittleEndian.Uint16(b[2:]))
		if w&0xf800d000 == 0xf0009000 {
			return uint64(w & 0xf800d000)
		}
		return uint64(w & 0xfbc0d000)
	}
	h := uint32(binary.LittleEndian.Uint16(b))
	switch {
	case h&0xf500 == 0xb100:
		return uint64(h & 0xfd07)
	case h>>12 == 0xd:
		return uint64(h & 0xff00)
	}
	return uint64(h & 0xf800)
}
