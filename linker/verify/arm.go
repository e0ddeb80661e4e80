package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

func init() { archs = append(archs, arm32) }

var arm32 = &arch{
	name:    "ARM",
	machine: elf.EM_ARM,
	class:   elf.ELFCLASS32,
	dynamic: map[uint32]dynKind{
		uint32(elf.R_ARM_RELATIVE): dynRelative, rARMIRelative: dynRelative, uint32(elf.R_ARM_ABS32): dynSymbol,
		uint32(elf.R_ARM_GLOB_DAT): dynSymbol, uint32(elf.R_ARM_JUMP_SLOT): dynSymbol, uint32(elf.R_ARM_COPY): dynCopy,
		rARMTLSTPOff32: dynTPOff, rARMTLSDTPMod32: dynDTPMod, rARMTLSDTPOff32: dynDTPOff,
	},
	implicit: func(typ uint32, field []byte) int64 {
		imm, _, _ := armField(typ, field)
		return imm
	},
	form: armForm,
	field: func(typ uint32, b []byte) (int, uint64) {
		_, n, rest := armField(typ, b)
		return n, rest
	},
	bias:     armBias,
	relative: func(typ uint32) bool { return elf.R_ARM(typ) == elf.R_ARM_REL32 || typ == rARMPrel31 },
	decode:   armDecode,
	call:     armCall,
	plt:      armPLT,
	jump:     armJump,
	veneer:   armVeneer,
	exidx:    shtUnwind64,
	codeMask: ^uint64(1),
}

// Relocation types that debug/elf names otherwise or not at all (AAELF32, 5.6.1).
const (
	rARMCall        = 28
	rARMJump24      = 29
	rARMTarget1     = 38
	rARMV4BX        = 40
	rARMTarget2     = 41
	rARMPrel31      = 42
	rARMMovw        = 43
	rARMMovt        = 44
	rARMThmMovw     = 47
	rARMThmMovt     = 48
	rARMThmJump19   = 51
	rARMGOTPrel     = 96
	rARMThmJump11   = 102
	rARMThmJump8    = 103
	rARMTLSGD32     = 104
	rARMTLSIE32     = 107
	rARMTLSLE32     = 108
	rARMThmAluG0    = 132 // to G3, 135
	rARMIRelative   = 160
	rARMTLSDTPMod32 = 17
	rARMTLSDTPOff32 = 18
	rARMTLSTPOff32  = 19
	rARMThmCall     = 10
	rARMThmJump24   = 30
)

// sextBits extends the sign of the low n bits.
func sextBits(x uint32, n uint) int64 { return int64(int32(x<<(32-n)) >> (32 - n)) }

// armField reads the immediate of a relocation type's field, its size, and the bits of the instruction beside it.
func armField(typ uint32, b []byte) (imm int64, n int, rest uint64) {
	le := binary.LittleEndian
	var w uint32 // the word; of a Thumb instruction the first halfword is the upper one
	switch {
	case typ == uint32(elf.R_ARM_NONE) || typ == rARMV4BX:
		return 0, 0, 0
	case typ == uint32(elf.R_ARM_ABS8):
		if len(b) < 1 {
			return 0, 1, 0
		}
		return int64(int8(b[0])), 1, 0
	case typ == uint32(elf.R_ARM_ABS16) || typ == rARMThmJump11 || typ == rARMThmJump8 || typ >= rARMThmAluG0 && typ <= rARMThmAluG0+3:
		if len(b) < 2 {
			return 0, 2, 0
		}
		h := uint32(le.Uint16(b))
		switch typ {
		case rARMThmJump11:
			return sextBits(h&0x7ff, 11) << 1, 2, uint64(h & 0xf800)
		case rARMThmJump8:
			return sextBits(h&0xff, 8) << 1, 2, uint64(h & 0xff00)
		case uint32(elf.R_ARM_ABS16):
			return sextBits(h, 16), 2, 0
		}
		return int64(h & 0xff), 2, uint64(h & 0xff00)
	}
	if len(b) < 4 {
		return 0, 4, 0
	}
	w = le.Uint32(b)
	thumb := uint32(le.Uint16(b))<<16 | uint32(le.Uint16(b[2:]))
	switch typ {
	case rARMPrel31:
		return sextBits(w&0x7fffffff, 31), 4, uint64(w >> 31)
	case rARMCall, rARMJump24, uint32(elf.R_ARM_PC24), uint32(elf.R_ARM_PLT32):
		imm = sextBits(w&0xffffff, 24) << 2
		if w>>28 == 0xf { // BLX: one more bit of the distance
			imm |= int64(w >> 24 & 1 << 1)
		}
		return imm, 4, uint64(w >> 24)
	case rARMThmCall, rARMThmJump24:
		s := thumb >> 26 & 1
		i1, i2 := ^(thumb>>13^s)&1, ^(thumb>>11^s)&1
		imm = sextBits(s<<24|i1<<23|i2<<22|thumb>>16&0x3ff<<12|thumb&0x7ff<<1, 25)
		return imm, 4, uint64(thumb & 0xf800d000)
	case rARMThmJump19:
		imm = sextBits(thumb>>26&1<<20|thumb>>11&1<<19|thumb>>13&1<<18|thumb>>16&0x3f<<12|thumb&0x7ff<<1, 21)
		return imm, 4, uint64(thumb & 0xfbc0d000)
	case rARMMovw, rARMMovt, rARMMovw + 2, rARMMovt + 2:
		return sextBits(w>>4&0xf000|w&0xfff, 16), 4, uint64(w &^ 0xf0fff)
	case rARMThmMovw, rARMThmMovt, rARMThmMovw + 2, rARMThmMovt + 2:
		return sextBits(thumb>>16&0xf<<12|thumb>>26&1<<11|thumb>>12&7<<8|thumb&0xff, 16), 4, uint64(thumb & 0xfbf08f00)
	}
	return int64(int32(w)), 4, 0
}

func armForm(typ uint32) form {
	switch {
	case typ == uint32(elf.R_ARM_NONE), typ == rARMV4BX:
		return formNone
	case typ == uint32(elf.R_ARM_ABS32), typ == uint32(elf.R_ARM_REL32), typ == uint32(elf.R_ARM_ABS16), typ == uint32(elf.R_ARM_ABS8),
		typ == uint32(elf.R_ARM_PC24), typ == uint32(elf.R_ARM_PLT32), typ == rARMThmCall, typ == rARMCall, typ == rARMJump24,
		typ == rARMThmJump24, typ == rARMTarget1, typ == rARMPrel31, typ >= rARMMovw && typ <= rARMThmMovt+2, typ == rARMThmJump19,
		typ == rARMThmJump11, typ == rARMThmJump8, typ == rARMTLSLE32, typ >= rARMThmAluG0 && typ <= rARMThmAluG0+3,
		typ == uint32(elf.R_ARM_GOTOFF):
		return formPlace
	case typ == rARMTarget2, typ == rARMGOTPrel, typ == uint32(elf.R_ARM_GOTPC), typ == uint32(elf.R_ARM_GOT32),
		typ >= rARMTLSGD32 && typ <= rARMTLSIE32:
		return formSlot
	}
	return formUnknown
}

func armBias(typ uint32) (int64, bool) {
	switch typ {
	case rARMThmCall, rARMThmJump24, rARMThmJump19, rARMThmJump11, rARMThmJump8:
		return 4, true
	case rARMCall, rARMJump24, uint32(elf.R_ARM_PC24), uint32(elf.R_ARM_PLT32):
		return 8, true
	case uint32(elf.R_ARM_ABS32), rARMMovw, rARMMovt, rARMThmMovw, rARMThmMovt, rARMTarget1:
		return 0, true
	}
	return 0, false
}

func armCall(s *section, r *reloc) bool {
	switch r.typ {
	case rARMThmCall, rARMThmJump24, rARMThmJump19, rARMThmJump11, rARMThmJump8, rARMCall, rARMJump24, uint32(elf.R_ARM_PC24), uint32(elf.R_ARM_PLT32):
		return true
	}
	return false
}

func armDecode(v *checker, c *site) decoded {
	r := c.reloc()
	off := int64(r.off)
	p := uint32(c.base + r.off)
	a := uint32(r.addend)
	is, n, rest := armField(r.typ, c.out[r.off:])
	_, _, was := armField(r.typ, c.sec.data[r.off:])
	d := decoded{lo: off, hi: off + int64(n), kind: leadPlace}
	if n > len(c.out)-int(r.off) {
		d.kind, d.hi, d.bad = leadNowhere, off, "the relocation reaches beyond the end of the section"
		return d
	}
	x := uint32(is)
	t := &c.sec.obj.targets[r.sym]
	// The place of a Thumb function has bit 0 set in its symbol, a branch to it does not.
	bit := uint32(0)
	if t.def != nil && t.def.kind() == elf.STT_FUNC {
		bit = uint32(t.def.value) & 1
	}
	at := func(addr uint32) { d.place.addr = uint64(addr) }
	switch r.typ {
	case uint32(elf.R_ARM_NONE), rARMV4BX:
		d.kind = leadNowhere
	case uint32(elf.R_ARM_ABS32), rARMTarget1:
		return v.wordLead(d, uint64(p), r.addend)
	case uint32(elf.R_ARM_REL32), rARMPrel31:
		at(x + p - a)
	case rARMThmCall, rARMThmJump24, rARMThmJump19, rARMThmJump11, rARMThmJump8:
		if r.typ == rARMThmCall && rest&0x1000 == 0 {
			p &^= 3 // BLX counts from an aligned address
		}
		at((x+p-a)&^1 | bit)
		if r.typ == rARMThmCall && rest == was^0x1000 && (rest&0x1000 == 0) == v.armCode(c, t, uint64(x+p+4)) {
			was, d.relaxed = rest, true // BL became BLX or the other way round, as the target is ARM or Thumb code
		}
	case rARMCall, rARMJump24, uint32(elf.R_ARM_PC24), uint32(elf.R_ARM_PLT32):
		at((x+p-a)&^1 | bit)
		blx, wasBLX := rest&0xfe == 0xfa, was&0xfe == 0xfa
		if rest != was && (blx || wasBLX) && (blx || rest == 0xeb) && (wasBLX || was == 0xeb) && blx != v.armCode(c, t, uint64(x+p+8)) {
			was, d.relaxed = rest, true
		}
	case rARMMovw, rARMMovt, rARMThmMovw, rARMThmMovt:
		if y, ok := armOther(c); ok {
			lo, hi := x, y
			if r.typ == rARMMovt || r.typ == rARMThmMovt {
				lo, hi = y, x
			}
			at((hi<<16 | lo&0xffff) - a)
		} else if r.typ == rARMMovw || r.typ == rARMThmMovw {
			d.kind, d.mask = leadLow, 0xffff
			at(x&0xffff - a)
		} else {
			d.kind, d.mask = leadLow, 0xffff0000
			at(x<<16 - a)
		}
	case uint32(elf.R_ARM_ABS16), uint32(elf.R_ARM_ABS8):
		d.kind, d.mask = leadLow, 1<<(8*n)-1
		at(x - a)
	case rARMThmAluG0, rARMThmAluG0 + 1, rARMThmAluG0 + 2, rARMThmAluG0 + 3:
		shift := 8 * (r.typ - rARMThmAluG0)
		d.kind, d.mask = leadLow, 0xff<<shift
		at(x<<shift - a)
	case rARMTLSLE32:
		if v.out.tlsAlign > 0 {
			at(x - a + uint32(v.out.tlsStart) - uint32((8+v.out.tlsAlign-1)&^(v.out.tlsAlign-1)))
		}
	case rARMGOTPrel:
		return v.slotLead(d, uint64(x+p-a))
	case uint32(elf.R_ARM_GOTPC):
		return v.gotLead(d, uint64(x+p-a))
	default:
		d.kind = leadSkipped
		return d
	}
	if rest != was {
		d.bad = fmt.Sprintf("is %x, another instruction than the original's %x", c.output(off, uint64(n)), c.original(off, uint64(n)))
	}
	return d
}

// armCode says that what a branch leads to is ARM code, not Thumb: the symbol says so, or it is a veneer or table entry
// made of ARM instructions.
func (v *checker) armCode(c *site, t *target, addr uint64) bool {
	if _, ok := armVeneer(v.out, addr); ok || t.kind != toSection {
		w := binary.LittleEndian.Uint32(append(append([]byte(nil), v.out.tail(addr&^3)...), 0, 0, 0, 0))
		return addr&3 == 0 && w>>28 == 0xe
	}
	return t.def == nil || t.def.kind() != elf.STT_FUNC || t.def.value&1 == 0
}

// armOther is the immediate of the other half of a MOVW and MOVT pair: the nearest relocation of the other type with the
// same symbol and addend.
func armOther(c *site) (uint32, bool) {
	r := c.reloc()
	other := map[uint32]uint32{rARMMovw: rARMMovt, rARMMovt: rARMMovw, rARMThmMovw: rARMThmMovt, rARMThmMovt: rARMThmMovw}[r.typ]
	if q := partner(c, func(q *reloc) bool { return q.typ == other && q.sym == r.sym && q.addend == r.addend }); q != nil {
		imm, n, _ := armField(q.typ, c.out[q.off:])
		return uint32(imm), n == 4 && q.off+4 <= uint64(len(c.out))
	}
	return 0, false
}

// armPLT: add ip, pc, #n; add ip, ip, #n; ldr pc, [ip, #n]!, after bx pc; nop where Thumb code calls it.
func armPLT(o *output, addr uint64) (uint64, bool) {
	b := o.tail(addr &^ 1)
	addr &^= 1
	if len(b) >= 4 && string(b[:4]) == "\x78\x47\xc0\x46" {
		b, addr = b[4:], addr+4
	}
	if len(b) < 12 {
		return 0, false
	}
	le := binary.LittleEndian
	w := [3]uint32{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])}
	if w[0]&0xfffff000 != 0xe28fc000 || w[1]&0xfffff000 != 0xe28cc000 || w[2]&0xfffff000 != 0xe5bcf000 {
		return 0, false
	}
	rotated := func(w uint32) uint32 {
		n := w >> 8 & 15 * 2
		return w&0xff>>n | w&0xff<<(32-n)
	}
	return uint64(uint32(addr) + 8 + rotated(w[0]) + rotated(w[1]) + w[2]&0xfff), true
}

// armJump: B.W, or the short B, of Thumb; B of ARM.
func armJump(o *output, addr uint64, original []byte) (target, size uint64, ok bool) {
	addr &^= 1
	b := o.tail(addr)
	if len(b) >= 4 {
		if imm, _, rest := armField(rARMThmJump24, b); rest == 0xf0009000 {
			return uint64(uint32(addr) + 4 + uint32(imm)), 4, true
		}
		if w := binary.LittleEndian.Uint32(b); w>>24 == 0xea {
			imm, _, _ := armField(rARMJump24, b)
			return uint64(uint32(addr) + 8 + uint32(imm)), 4, true
		}
	}
	if len(b) >= 2 {
		if imm, _, rest := armField(rARMThmJump11, b); rest == 0xe000 {
			return uint64(uint32(addr) + 4 + uint32(imm)), 2, true
		}
	}
	return 0, 0, false
}

// armVeneer knows what GNU ld and lld put where a branch cannot reach its target: a load or move of the whole address.
func armVeneer(o *output, addr uint64) (uint64, bool) {
	addr &^= 1
	var padded [16]byte // it may be the last of its section
	if copy(padded[:], o.tail(addr)) < 8 {
		return 0, false
	}
	b := padded[:]
	le := binary.LittleEndian
	move := func(b []byte, thumb bool) (uint64, bool) { // movw ip, #lo; movt ip, #hi; bx ip
		if thumb {
			lo, _, x := armField(rARMThmMovw, b)
			hi, _, y := armField(rARMThmMovt, b[4:])
			return uint64(uint32(lo)&0xffff | uint32(hi)<<16), x == 0xf2400c00 && y == 0xf2c00c00 && le.Uint16(b[8:]) == 0x4760
		}
		lo, _, x := armField(rARMMovw, b)
		hi, _, y := armField(rARMMovt, b[4:])
		return uint64(uint32(lo)&0xffff | uint32(hi)<<16), x == 0xe300c000 && y == 0xe340c000 && le.Uint32(b[8:]) == 0xe12fff1c
	}
	for _, thumb := range []bool{true, false} {
		if to, ok := move(b, thumb); ok {
			return to, true
		}
	}
	switch {
	case (le.Uint32(b) == 0xf000f8df || le.Uint32(b) == 0xf000f85f) && addr&3 == 0: // ldr.w pc, [pc]
		return uint64(le.Uint32(b[4:])), true
	case le.Uint32(b) == 0xe51ff004: // ldr pc, [pc, #-4]
		return uint64(le.Uint32(b[4:])), true
	case string(b[:10]) == "\x01\xb4\x02\x48\x84\x46\x01\xbc\x60\x47" && addr&3 == 0: // push {r0}; ldr r0, [pc, #8]; mov ip, r0; pop {r0}; bx ip
		return uint64(le.Uint32(b[12:])), true
	case string(b[:4]) == "\x78\x47\xc0\x46" && le.Uint32(b[4:]) == 0xe51ff004: // bx pc; nop; ldr pc, [pc, #-4]
		return uint64(le.Uint32(b[8:])), true
	case string(b[:4]) == "\x78\x47\xc0\x46" && b[7] == 0xea: // bx pc; nop; b target
		imm, _, _ := armField(rARMJump24, b[4:])
		return uint64(uint32(addr) + 12 + uint32(imm)), true
	case string(b[:6]) == "\x03\xb4\x01\x48\x01\x90" && string(b[6:8]) == "\x01\xbd" && addr&3 == 0: // push {r0, r1}; ldr r0, [pc, #4]; str r0, [sp, #4]; pop {r0, pc}
		return uint64(le.Uint32(b[8:])), true
	}
	return 0, false
}
