package merge

import (
	"encoding/binary"
	"slices"
	"strings"

	"leanlink/objfile"
)

// Thumb code, by what it does to the flow of control and to memory (Arm
// Architecture Reference Manual for ARMv7-M, A5 and A7; ARMv8-M's additions are
// not understood where they branch). Mapping symbols say where constants lie
// between the instructions.

var thumbEnds = endMachine{
	decode:   thumbDecode,
	retarget: thumbRetarget,
	retable: func(bytes []byte, b *body, e tableEntry, to uint32) bool {
		k := slices.IndexFunc(b.code, func(in instruction) bool {
			return in.flow == flowTable && e.at >= in.reads && e.at-in.reads < in.width
		})
		n := (to - b.code[k].reads) / 2
		if e.width == 1 {
			bytes[e.at] = byte(n)
			return n < 1<<8
		}
		binary.LittleEndian.PutUint16(bytes[e.at:], uint16(n))
		return n < 1<<16
	},
	trap: func(*objfile.File) string { return "\xfe\xde" }, // udf #254
}

// The registers that have a part of their own in code.
const (
	thumbSP = 13
	thumbLR = 14
	thumbPC = 15
)

// thumbDecode decodes a section of Thumb code and constants.
func thumbDecode(b *body) bool {
	spans, ok := b.thumbSpans()
	if !ok {
		return false
	}
	for k, span := range spans {
		if !span.code {
			continue
		}
		inside := 0 // instructions left that an IT makes conditional
		for at := span.lo; at < span.hi; {
			if at+2 > span.hi {
				return false
			}
			h := uint32(binary.LittleEndian.Uint16(b.bytes[at:]))
			in := instruction{at: at, size: 2, callee: NoSec}
			understood := false
			if h>>11 < 0x1d {
				understood = b.thumb16(&in, h)
			} else if at+4 <= span.hi {
				in.size = 4
				understood = b.thumb32(&in, h, uint32(binary.LittleEndian.Uint16(b.bytes[at+2:])))
			}
			if !understood {
				return false
			}
			if inside > 0 {
				inside--
				in.inside = true
				in.perhaps = in.flow != flowNext
			}
			if h&0xff00 == 0xbf00 && h&15 != 0 && in.size == 2 {
				if in.inside {
					return false
				}
				for inside = 4; h&1 == 0; h >>= 1 {
					inside--
				}
			}
			if in.flow == flowTable {
				if k+1 >= len(spans) || spans[k+1].lo != at+4 || spans[k+1].code || !b.thumbTable(&in, spans[k+1].hi) {
					return false
				}
			}
			b.add(in)
			at += in.size
		}
		if inside > 0 {
			return false
		}
	}
	return true
}

// span is a part of a section that is code, or is not.
type span struct {
	lo, hi uint32
	code   bool
}

// thumbSpans are the parts of the section that mapping symbols tell apart.
func (b *body) thumbSpans() ([]span, bool) {
	var spans []span
	for _, k := range b.o.Symbols(b.section) {
		s := b.o.File.Symbol(k)
		name := b.o.File.NameOf(&s)
		if s.Type != objfile.STT_NOTYPE || len(name) < 2 || name[0] != '$' || len(name) > 2 && name[2] != '.' || s.Value >= uint64(len(b.bytes)) {
			continue
		}
		if !strings.Contains("td", name[1:2]) {
			return nil, false
		}
		spans = append(spans, span{lo: uint32(s.Value), code: name[1] == 't'})
	}
	slices.SortStableFunc(spans, func(a, c span) int { return int(a.lo) - int(c.lo) })
	if len(spans) == 0 || spans[0].lo != 0 {
		return nil, false
	}
	for k := range spans {
		spans[k].hi = uint32(len(b.bytes))
		if k+1 < len(spans) {
			spans[k].hi = spans[k+1].lo
		}
	}
	return spans, true
}

// thumb16 decodes a 16-bit instruction.
func (b *body) thumb16(in *instruction, h uint32) bool {
	pc := in.at + 4
	switch {
	case h < 0x4400: // shifts, additions, comparisons, moves, logic
		in.quiet = true
	case h < 0x4700: // ADD, CMP, MOV with high registers
		d, m := h&7|h>>4&8, h>>3&15
		compares := h>>8&3 == 1
		in.quiet = compares || d != thumbSP
		return m != thumbPC && (d != thumbPC || compares)
	case h < 0x4800: // BX, BLX
		in.flow = flowEnd
		if h&0x80 != 0 {
			in.flow = flowCall
		}
		return h>>3&15 != thumbPC
	case h < 0x5000: // LDR (literal)
		in.quiet = true
		in.reads, in.width = pc&^3+h&0xff<<2, 4
		return b.constant(in)
	case h < 0x9000: // loads and stores by other registers
	case h < 0xa000: // STR, LDR by the stack pointer
		in.quiet = true
	case h < 0xa800: // ADR
		return false
	case h < 0xb000: // ADD from the stack pointer
		in.quiet = true
	case h>>8 == 0xb0: // ADD, SUB of the stack pointer
		in.quiet = true
	case h&0xf500 == 0xb100: // CBZ, CBNZ
		in.flow, in.to = flowBranch, pc+h>>9&1<<6+h>>3&0x1f<<1
		return b.unrelocated(in)
	case h>>8 == 0xb2, h>>9 == 0xb4>>1, h>>8 == 0xba && h>>6&3 != 2: // extensions, PUSH, REV
		in.quiet = true
	case h>>9 == 0xbc>>1: // POP
		if h&0x100 != 0 {
			in.flow = flowEnd
		}
	case h>>8 == 0xbf: // IT, NOP; hints are seen
		in.quiet = h&15 != 0 || h == 0xbf00
	case h>>8 == 0xb6, h>>8 == 0xbe, h>>6 == 0xba80>>6: // CPS, BKPT, HLT
	case h < 0xc000:
		return false
	case h < 0xd000: // STM, LDM
	case h>>8 == 0xde: // UDF
		in.flow = flowEnd
	case h>>8 == 0xdf: // SVC
	case h < 0xe000: // Bcc
		if b.fieldAt(in) {
			return false
		}
		in.flow, in.to = flowBranch, pc+signed(h, 8)<<1
	default: // B
		if b.fieldAt(in) {
			return false
		}
		in.flow, in.to = flowJump, pc+signed(h, 11)<<1
	}
	return b.unrelocated(in)
}

// thumb32 decodes a 32-bit instruction of two halfwords.
func (b *body) thumb32(in *instruction, h, l uint32) bool {
	pc := in.at + 4
	n, d := h&15, l>>8&15
	switch {
	case h>>9 == 0xe8>>1 && h&0x40 == 0: // STM, LDM
		loads := h&0x10 != 0
		switch {
		case h>>7&3 == 0 || h>>7&3 == 3 || n == thumbPC:
			return false // RFE, SRS
		case loads && l&0x8000 != 0:
			in.flow = flowEnd
		case !loads:
			in.quiet = h == 0xe92d || h == 0xe88d // PUSH; STM to what SP points to
		}
	case h&0xfff0 == 0xe8d0 && l&0xffe0 == 0xf000: // TBB, TBH
		in.flow, in.reads, in.width = flowTable, pc, 1+l>>4&1
		return n == thumbPC
	case h>>9 == 0xe8>>1: // LDRD, STRD, exclusives
		dual := h&0x120 != 0
		if n == thumbPC {
			if !dual || h&0x130 != 0x110 {
				return false
			}
			in.quiet = true
			in.reads, in.width = offset(pc&^3, l&0xff<<2, h&0x80 != 0), 8
			return b.constant(in)
		}
		in.quiet = n == thumbSP && h&0x120 == 0x100
	case h>>9 == 0xea>>1: // data processing, shifted registers
		in.quiet = d != thumbSP
		return l&15 != thumbPC && b.unrelocated(in)
	case h>>8 == 0xed && h&0x30 == 0x10 && l>>9&7 == 5: // VLDR
		if n == thumbPC {
			in.quiet = true
			width := uint32(4)
			if l&0x100 != 0 {
				width = 8
			}
			in.reads, in.width = offset(pc&^3, l&0xff<<2, h&0x80 != 0), width
			return b.constant(in)
		}
		in.quiet = n == thumbSP
	case h>>8 == 0xed && h&0x30 == 0 && l>>9&7 == 5: // VSTR
		in.quiet = n == thumbSP
		return n != thumbPC && b.unrelocated(in)
	case h>>10 == 0xec>>2, h>>10 == 0xfc>>2: // coprocessors, vectors
		memory := h&0xe00 == 0xc00
		return !(memory && n == thumbPC) && b.unrelocated(in)
	case h>>11 == 0xf0>>3 && l&0x8000 == 0 && h&0x200 == 0: // data processing, immediates
		in.quiet = d != thumbSP || n == thumbSP && (h>>5&15 == 8 || h>>5&15 == 13) // ADD, SUB of SP
	case h>>11 == 0xf0>>3 && l&0x8000 == 0: // plain immediates
		adds := h&0x1f0 == 0 || h&0x1f0 == 0xa0 // ADDW, SUBW: of the PC they are ADR
		moves := h>>4&0x1f == 4 || h>>4&0x1f == 0xc
		in.quiet = d != thumbSP || adds && n == thumbSP
		if adds && n == thumbPC {
			return false
		}
		return moves && b.addressed(in) || b.unrelocated(in) // MOVW and MOVT take addresses
	case h>>11 == 0xf0>>3:
		return b.thumbBranch(in, h, l, pc)
	case h>>8 == 0xf8 || h>>8 == 0xf9:
		return b.thumbSingle(in, h, l, pc)
	case (h>>8 == 0xfa || h>>8 == 0xfb) && d == thumbPC: // not defined, or a return that checks its address (BXAUT)
		return false
	case h>>8 == 0xfa: // shifts, extensions, bits
		in.quiet = d != thumbSP
	case h>>8 == 0xfb: // multiplications; divisions may trap
		in.quiet = h>>4&0xd != 9 && d != thumbSP
	default:
		return false
	}
	return b.unrelocated(in)
}

// thumbBranch decodes branches and what shares their encoding.
func (b *body) thumbBranch(in *instruction, h, l, pc uint32) bool {
	s, j1, j2 := h>>10&1, l>>13&1, l>>11&1
	to, relocated := b.callee(in.at)
	switch l & 0x5000 {
	case 0x0000:
		if h&0x380 != 0x380 { // Bcc
			in.flow, in.to = flowBranch, pc+signed(s<<19|j2<<18|j1<<17|h&0x3f<<11|l&0x7ff, 20)<<1
			return b.unrelocated(in)
		}
		switch {
		case h == 0xf3af && l == 0x8000: // NOP
			in.quiet = true
		case h == 0xf3de, h>>4 == 0xf3c, h>>4 == 0xf7f: // exception returns, BXJ, HVC, SMC, UDF
			return false
		}
		return b.unrelocated(in) // MSR, MRS, barriers, hints
	case 0x1000: // B
		if relocated {
			in.flow, in.callee = flowEnd, to
			return true
		}
		in.flow, in.to = flowJump, pc+thumbDistance(h, l)
		return true
	case 0x5000: // BL; of the function itself, without a relocation
		in.flow, in.callee = flowCall, to
		return relocated || pc+thumbDistance(h, l) == 0
	}
	return false // BLX, and ARMv8.1-M's loops
}

// thumbDistance is that of B and BL.
func thumbDistance(h, l uint32) uint32 {
	s, j1, j2 := h>>10&1, l>>13&1, l>>11&1
	return signed(s<<23|(j1^s^1)<<22|(j2^s^1)<<21|h&0x3ff<<11|l&0x7ff, 24) << 1
}

// thumbSingle decodes loads and stores of one register.
func (b *body) thumbSingle(in *instruction, h, l, pc uint32) bool {
	n, t := h&15, l>>12
	loads := h&0x10 != 0
	bySP := n == thumbSP && (h&0x80 != 0 || l&0xf00 == 0xc00) // by a distance that does not change it
	switch {
	case !loads && h>>8 == 0xf9, h&0x60 == 0x60: // vectors; not defined
		return false
	case !loads:
		in.quiet = bySP || h == 0xf84d && l&0xfff == 0xd04 // PUSH
		return n != thumbPC && b.unrelocated(in)
	case t == thumbPC && h&0x60 == 0x40: // LDR to the PC
		in.flow = flowEnd
		return h == 0xf85d && l&0xfff == 0xb04 // POP; any other could be a jump by a table
	case t == thumbPC: // preloads
		return n != thumbPC && b.unrelocated(in)
	case n == thumbPC: // literal
		if t == thumbSP {
			return false // another stack
		}
		in.quiet = true
		in.reads, in.width = offset(pc&^3, l&0xfff, h&0x80 != 0), 1<<(h>>5&3)
		return b.constant(in)
	}
	in.quiet = bySP && t != thumbSP
	return b.unrelocated(in)
}

// fieldAt reports whether a relocation changes an instruction.
func (b *body) fieldAt(in *instruction) bool { return b.relocated(in.at, in.size) }

// unrelocated reports whether none does: one that is not expected where it is
// may do anything.
func (b *body) unrelocated(in *instruction) bool { return !b.fieldAt(in) }

// constant reports whether what an instruction reads lies amid the code, and
// the instruction itself is not relocated.
func (b *body) constant(in *instruction) bool {
	return uint64(in.reads)+uint64(in.width) <= uint64(len(b.bytes)) && b.unrelocated(in)
}

// thumbTable reads the table of TBB and TBH, which ends at hi at the latest:
// halves of distances from the table. What fills the last halfword may be none.
func (b *body) thumbTable(in *instruction, hi uint32) bool {
	width := in.width
	in.width = hi - in.reads
	if b.relocated(in.reads, in.width) || in.width%width != 0 {
		return false
	}
	for at := in.reads; at < hi; at += width {
		n := uint32(b.bytes[at])
		if width == 2 {
			n = uint32(binary.LittleEndian.Uint16(b.bytes[at:]))
		}
		if to := in.reads + 2*n; at+1 < hi || to >= hi && to < uint32(len(b.bytes)) {
			b.table = append(b.table, tableEntry{at, width, to})
		}
	}
	return true
}

// thumbRetarget makes a branch one to another place.
func thumbRetarget(bytes []byte, in *instruction, to uint32) bool {
	h := uint32(binary.LittleEndian.Uint16(bytes[in.at:]))
	distance := int64(to) - int64(in.at) - 4
	put := func(at uint32, h uint32) { binary.LittleEndian.PutUint16(bytes[at:], uint16(h)) }
	n := uint32(distance >> 1)
	fits := func(bits uint) bool { return distance >= -1<<bits && distance < 1<<bits }
	switch {
	case in.size == 2 && h&0xf500 == 0xb100:
		put(in.at, h&^0x2f8|n>>5&1<<9|n&0x1f<<3)
		return distance >= 0 && distance < 128
	case in.size == 2 && h>>12 == 0xd:
		put(in.at, h&0xff00|n&0xff)
		return fits(8)
	case in.size == 2:
		put(in.at, h&0xf800|n&0x7ff)
		return fits(11)
	}
	l := uint32(binary.LittleEndian.Uint16(bytes[in.at+2:]))
	if l&0x1000 == 0 { // Bcc
		put(in.at, h&0xfbc0|n>>19&1<<10|n>>11&0x3f)
		put(in.at+2, l&0xd000|n>>17&1<<13|n>>18&1<<11|n&0x7ff)
		return fits(20)
	}
	s := n >> 23 & 1
	put(in.at, h&0xf800|s<<10|n>>11&0x3ff)
	put(in.at+2, l&0xd000|(n>>22&1^s^1)<<13|(n>>21&1^s^1)<<11|n&0x7ff)
	return fits(24)
}

// signed extends the sign of the low bits of v.
func signed(v uint32, bits uint) uint32 { return uint32(int32(v<<(32-bits)) >> (32 - bits)) }

// offset is a place before or behind another.
func offset(from, by uint32, up bool) uint32 {
	if up {
		return from + by
	}
	return from - by
}
