package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

func init() { archs = append(archs, aarch64) }

var aarch64 = &arch{
	name:    "AArch64",
	machine: elf.EM_AARCH64,
	class:   elf.ELFCLASS64,
	dynamic: map[uint32]dynKind{
		uint32(elf.R_AARCH64_RELATIVE): dynRelative, uint32(elf.R_AARCH64_IRELATIVE): dynRelative, uint32(elf.R_AARCH64_GLOB_DAT): dynSymbol,
		uint32(elf.R_AARCH64_JUMP_SLOT): dynSymbol, uint32(elf.R_AARCH64_ABS64): dynSymbol, uint32(elf.R_AARCH64_COPY): dynCopy,
		uint32(elf.R_AARCH64_TLS_TPREL64): dynTPOff, uint32(elf.R_AARCH64_TLS_DTPMOD64): dynDTPMod, uint32(elf.R_AARCH64_TLS_DTPREL64): dynDTPOff,
		uint32(elf.R_AARCH64_TLSDESC): dynTLSDesc,
	},
	implicit: func(uint32, []byte) int64 { return 0 }, // AAELF64 objects have SHT_RELA
	form:     a64Form,
	field:    func(typ uint32, b []byte) (int, uint64) { _, n, rest := a64Field(typ, b); return n, rest },
	bias:     func(typ uint32) (int64, bool) { return 0, a64Form(typ) != formUnknown },
	relative: func(typ uint32) bool {
		return elf.R_AARCH64(typ) == elf.R_AARCH64_PREL32 || elf.R_AARCH64(typ) == elf.R_AARCH64_PREL64 || elf.R_AARCH64(typ) == elf.R_AARCH64_PREL16
	},
	decode: a64Decode,
	call: func(s *section, r *reloc) bool {
		switch elf.R_AARCH64(r.typ) {
		case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26, elf.R_AARCH64_CONDBR19, elf.R_AARCH64_TSTBR14:
			return true
		}
		return false
	},
	plt:      a64PLT,
	jump:     a64Jump,
	veneer:   a64Veneer,
	half:     a64Half,
	codeMask: ^uint64(0),
}

// Relocation types that debug/elf has no names for (AAELF64, 5.7).
const (
	rA64PLT32     = 314
	rA64MovwGroup = 263 // MOVW_UABS_G0 to G3, 269, and the signed ones to 272
	rA64LdPrelLo  = 273
	rA64GOTPage   = 311
	rA64GOTLo     = 312
	rA64GOTPageLo = 313
	rA64IEPage    = 541
	rA64IELo      = 542
	rA64LEHi      = 549
	rA64LELo      = 550
	rA64LELoNC    = 551
	rA64DescPage  = 562
	rA64DescLdr   = 563
	rA64DescAdd   = 564
	rA64DescCall  = 569
)

// a64Scale is the number of low address bits that a load or store leaves out of its offset.
var a64Scale = map[elf.R_AARCH64]uint{
	elf.R_AARCH64_ADD_ABS_LO12_NC: 0, elf.R_AARCH64_LDST8_ABS_LO12_NC: 0, elf.R_AARCH64_LDST16_ABS_LO12_NC: 1, elf.R_AARCH64_LDST32_ABS_LO12_NC: 2,
	elf.R_AARCH64_LDST64_ABS_LO12_NC: 3, elf.R_AARCH64_LDST128_ABS_LO12_NC: 4, rA64GOTLo: 3, rA64GOTPageLo: 3, rA64IELo: 3, rA64DescLdr: 3,
	rA64DescAdd: 0, rA64LELo: 0, rA64LELoNC: 0, rA64LEHi: 0,
}

// a64Field reads the immediate of a relocation type's field, its size, and the bits beside it.
func a64Field(typ uint32, b []byte) (imm int64, n int, rest uint64) {
	t := elf.R_AARCH64(typ)
	le := binary.LittleEndian
	switch t {
	case elf.R_AARCH64_NONE, elf.R_AARCH64_NULL:
		return 0, 0, 0
	case elf.R_AARCH64_ABS64, elf.R_AARCH64_PREL64:
		if len(b) < 8 {
			return 0, 8, 0
		}
		return int64(le.Uint64(b)), 8, 0
	case elf.R_AARCH64_ABS16, elf.R_AARCH64_PREL16:
		if len(b) < 2 {
			return 0, 2, 0
		}
		return int64(int16(le.Uint16(b))), 2, 0
	}
	if len(b) < 4 {
		return 0, 4, 0
	}
	w := le.Uint32(b)
	switch {
	case t == elf.R_AARCH64_ABS32 || t == elf.R_AARCH64_PREL32 || typ == rA64PLT32:
		return int64(int32(w)), 4, 0
	case t == elf.R_AARCH64_CALL26 || t == elf.R_AARCH64_JUMP26:
		return sextBits(w, 26) << 2, 4, uint64(w &^ 0x3ffffff)
	case t == elf.R_AARCH64_CONDBR19 || typ == rA64LdPrelLo || t == elf.R_AARCH64_GOT_LD_PREL19:
		return sextBits(w>>5, 19) << 2, 4, uint64(w &^ 0xffffe0)
	case t == elf.R_AARCH64_TSTBR14:
		return sextBits(w>>5, 14) << 2, 4, uint64(w &^ 0x7ffe0)
	case t == elf.R_AARCH64_ADR_PREL_LO21:
		return sextBits(w>>5&0x7ffff<<2|w>>29&3, 21), 4, uint64(w &^ 0x60ffffe0)
	case t == elf.R_AARCH64_ADR_PREL_PG_HI21 || t == elf.R_AARCH64_ADR_PREL_PG_HI21_NC || typ == rA64GOTPage || typ == rA64IEPage || typ == rA64DescPage:
		return sextBits(w>>5&0x7ffff<<2|w>>29&3, 21) << 12, 4, uint64(w &^ 0x60ffffe0)
	case typ >= rA64MovwGroup && typ <= 272:
		return int64(w >> 5 & 0xffff), 4, uint64(w &^ 0x1fffe0)
	}
	if scale, ok := a64Scale[t]; ok {
		return int64(w>>10&0xfff) << scale, 4, uint64(w &^ 0x3ffc00)
	}
	return 0, 4, uint64(w)
}

func a64Form(typ uint32) form {
	switch t := elf.R_AARCH64(typ); {
	case t == elf.R_AARCH64_NONE || t == elf.R_AARCH64_NULL:
		return formNone
	case t >= elf.R_AARCH64_ABS64 && t <= elf.R_AARCH64_PREL16, typ >= rA64MovwGroup && typ <= 272,
		typ == rA64LdPrelLo, t == elf.R_AARCH64_ADR_PREL_LO21, t == elf.R_AARCH64_ADR_PREL_PG_HI21, t == elf.R_AARCH64_ADR_PREL_PG_HI21_NC,
		t == elf.R_AARCH64_ADD_ABS_LO12_NC, t == elf.R_AARCH64_LDST8_ABS_LO12_NC, t == elf.R_AARCH64_LDST16_ABS_LO12_NC, t == elf.R_AARCH64_LDST32_ABS_LO12_NC,
		t == elf.R_AARCH64_LDST64_ABS_LO12_NC, t == elf.R_AARCH64_LDST128_ABS_LO12_NC, t == elf.R_AARCH64_TSTBR14, t == elf.R_AARCH64_CONDBR19,
		t == elf.R_AARCH64_JUMP26, t == elf.R_AARCH64_CALL26, typ == rA64PLT32, typ == rA64LEHi, typ == rA64LELo, typ == rA64LELoNC:
		return formPlace
	case typ == rA64GOTPage, typ == rA64GOTLo, typ == rA64GOTPageLo, t == elf.R_AARCH64_GOT_LD_PREL19, typ == rA64IEPage, typ == rA64IELo,
		typ == rA64DescPage, typ == rA64DescLdr, typ == rA64DescAdd, typ == rA64DescCall:
		return formSlot
	}
	return formUnknown
}

// Instructions that rewritings make or look for.
const (
	a64NOP  = 0xd503201f
	a64BTIC = 0xd503245f
)

func a64Word(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func a64Decode(v *checker, c *site) decoded {
	r := c.reloc()
	off, p, a := int64(r.off), c.base+r.off, uint64(r.addend)
	is, n, rest := a64Field(r.typ, c.out[r.off:])
	x := uint64(is)
	_, _, was := a64Field(r.typ, c.sec.data[r.off:])
	d := decoded{lo: off, hi: off + int64(n), kind: leadPlace}
	if n > len(c.out)-int(r.off) {
		d.kind, d.hi, d.bad = leadNowhere, off, "the relocation reaches beyond the end of the section"
		return d
	}
	tp := func(x uint64) uint64 { // the block begins 16 bytes, aligned, after the thread pointer
		return x + v.out.tlsStart - (16+max(v.out.tlsAlign, 1)-1)&^(max(v.out.tlsAlign, 1)-1)
	}
	switch t := elf.R_AARCH64(r.typ); {
	case n == 0:
		d.kind = leadNowhere
	case t == elf.R_AARCH64_ABS64:
		return v.wordLead(d, p, r.addend)
	case t == elf.R_AARCH64_ABS32:
		d.kind, d.mask, d.place.addr = leadLow, 1<<32-1, x-a
	case t == elf.R_AARCH64_ABS16:
		d.kind, d.mask, d.place.addr = leadLow, 1<<16-1, x-a
	case t == elf.R_AARCH64_PREL16:
		d.kind, d.mask, d.place.addr = leadLow, 1<<16-1, x+p-a
	case t == elf.R_AARCH64_PREL64 || t == elf.R_AARCH64_PREL32 || r.typ == rA64PLT32 || t == elf.R_AARCH64_CALL26 || t == elf.R_AARCH64_JUMP26 ||
		t == elf.R_AARCH64_CONDBR19 || t == elf.R_AARCH64_TSTBR14 || t == elf.R_AARCH64_ADR_PREL_LO21 || r.typ == rA64LdPrelLo:
		if t == elf.R_AARCH64_CALL26 && a64Word(c.out[r.off:]) == a64NOP && c.sec.obj.targets[r.sym].weak {
			d.kind = leadNowhere // a call of a weak symbol that nobody defines
			return d
		}
		if t == elf.R_AARCH64_CALL26 && rest != was && plain(c.sec.obj.symbols[r.sym].name) == "__tls_get_addr" {
			// The traditional general dynamic sequence, of which Rust makes none: the call and the NOP after it were rewritten.
			d.kind, d.hi = leadSkipped, min(off+8, int64(len(c.out)))
			return d
		}
		d.place.addr = x + p - a
	case r.typ >= rA64MovwGroup && r.typ <= 272:
		group := (r.typ - rA64MovwGroup) / 2
		if r.typ >= 270 {
			group = r.typ - 270
			rest, was = rest&^0x60000000, was&^0x60000000 // MOVN or MOVZ, as the value's sign has it
			if rest != was {
				break
			}
			d.kind = leadSkipped
			return d
		}
		d.kind, d.mask = leadLow, 0xffff<<(16*group)
		d.place.addr = x<<(16*group) - a
	case t == elf.R_AARCH64_ADR_PREL_PG_HI21 || t == elf.R_AARCH64_ADR_PREL_PG_HI21_NC:
		return a64Page(v, c, d, x, rest != was)
	case r.typ == rA64GOTPage || r.typ == rA64GOTLo || r.typ == rA64GOTPageLo:
		return a64GOT(v, c, d)
	case r.typ == rA64IEPage || r.typ == rA64IELo:
		return a64IE(v, c, d, tp)
	case r.typ >= rA64DescPage && r.typ <= rA64DescCall:
		return a64Desc(v, c, d, tp)
	case r.typ == rA64LEHi:
		d.kind, d.mask, d.place.addr = leadLow, 0xfff000, tp(x<<12)-a
		if q := partner(c, func(q *reloc) bool {
			return (q.typ == rA64LELo || q.typ == rA64LELoNC) && q.sym == r.sym && q.addend == r.addend
		}); q != nil {
			lo, _, _ := a64Field(q.typ, c.out[q.off:])
			d.kind, d.place.addr = leadPlace, tp(x<<12+uint64(lo))-a
		} else {
			d.kind = leadSkipped
		}
	case r.typ == rA64LELo || r.typ == rA64LELoNC:
		if q := partner(c, func(q *reloc) bool { return q.typ == rA64LEHi && q.sym == r.sym && q.addend == r.addend }); q != nil {
			hi, _, _ := a64Field(q.typ, c.out[q.off:])
			d.place.addr = tp(uint64(hi)<<12+x) - a
		} else {
			d.kind = leadSkipped
		}
	default:
		scale, low := a64Scale[t]
		if !low {
			d.kind = leadSkipped
			return d
		}
		if w := a64Word(c.out[r.off:]); rest != was && w>>26 == 5 {
			// The erratum 843419 of Cortex-A53 moves a load or store out of line: a branch leads to it, and one back.
			d.relaxed = true
			to := p + uint64(sextBits(w, 26)<<2)
			if b, _, ok := v.out.at(to, 8); ok && b != nil {
				is, _, rest = a64Field(r.typ, b)
				if back := a64Word(b[4:]); back>>26 != 5 || to+4+uint64(sextBits(back, 26)<<2) != p+4 {
					rest = ^was
				}
				x = uint64(is)
			}
		}
		page := partner(c, func(q *reloc) bool {
			t := elf.R_AARCH64(q.typ)
			return (t == elf.R_AARCH64_ADR_PREL_PG_HI21 || t == elf.R_AARCH64_ADR_PREL_PG_HI21_NC) && q.sym == r.sym && q.addend == r.addend
		})
		if page != nil {
			if at, ok := a64PageOf(c, page); ok {
				d.place.addr = at + x - a
				break
			}
			// adrp; add became nop; adr, or adr; nop.
			w, first := a64Word(c.out[r.off:]), a64Word(c.output(int64(page.off), 4))
			switch at, ok := a64AdrOf(c, page); {
			case t != elf.R_AARCH64_ADD_ABS_LO12_NC:
			case ok && w == a64NOP:
				d.relaxed, d.place.addr = true, at-a
				return d
			case first == a64NOP && a64IsAdr(w) && w&31 == a64Word(c.sec.data[r.off:])&31:
				d.relaxed, d.place.addr = true, p+uint64(a64Adr(w))-a
				return d
			}
		}
		d.kind, d.mask, d.place.addr = leadLow, 0xfff&^(1<<scale-1), x-a
	}
	if rest != was && d.bad == "" {
		d.bad = fmt.Sprintf("is %x, another instruction than the original's %x", c.output(off, uint64(n)), c.original(off, uint64(n)))
	}
	return d
}

func a64IsAdr(w uint32) bool  { return w&0x9f000000 == 0x10000000 }
func a64IsAdrp(w uint32) bool { return w&0x9f000000 == 0x90000000 }
func a64Adr(w uint32) int64   { return sextBits(w>>5&0x7ffff<<2|w>>29&3, 21) }

// a64PageOf is the page that the ADRP of a relocation computes in the output, if it still is one.
func a64PageOf(c *site, q *reloc) (uint64, bool) {
	w := a64Word(c.output(int64(q.off), 4))
	return (c.base+q.off)&^0xfff + uint64(a64Adr(w)<<12), a64IsAdrp(w)
}

// a64AdrOf is the address that an ADR in the place of a relocation's ADRP computes.
func a64AdrOf(c *site, q *reloc) (uint64, bool) {
	w := a64Word(c.output(int64(q.off), 4))
	return c.base + q.off + uint64(a64Adr(w)), a64IsAdr(w)
}

// a64Page decodes an ADRP: with one of the low halves that go with it, the address is whole. A linker may have made the
// pair a NOP and an ADR (AAELF64 leaves that to linkers; lld and mold do).
func a64Page(v *checker, c *site, d decoded, x uint64, changed bool) decoded {
	r := c.reloc()
	a := uint64(r.addend)
	w := a64Word(c.out[r.off:])
	low := partner(c, func(q *reloc) bool {
		_, ok := a64Scale[elf.R_AARCH64(q.typ)]
		return ok && elf.R_AARCH64(q.typ) < rA64GOTPage && q.sym == r.sym && q.addend == r.addend
	})
	if changed {
		d.relaxed = true
		was := a64Word(c.sec.data[r.off:])
		switch at, ok := a64AdrOf(c, r); {
		case ok && w&31 == was&31:
			d.place.addr = at - a
			return d
		case w == a64NOP && low != nil:
			if at, ok := a64AdrOf(c, low); ok && a64Word(c.output(int64(low.off), 4))&31 == was&31 {
				d.place.addr = at - a
				return d
			}
		}
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is %x, no form that a linker may give the %x of the original", w, was)
		return d
	}
	page := (c.base+r.off)&^0xfff + x
	d.kind, d.mask, d.place.addr = leadLow, ^uint64(0xfff), page-a
	if low != nil && low.off <= uint64(len(c.out)) && low.off <= uint64(len(c.sec.data)) {
		lo, _, rest := a64Field(low.typ, c.out[low.off:])
		if _, _, was := a64Field(low.typ, c.sec.data[low.off:]); rest == was {
			d.kind, d.place.addr = leadPlace, page+uint64(lo)-a
		}
	}
	return d
}

// a64GOT decodes the two instructions that load from the global offset table: unchanged, or an ADRP and ADD, or a NOP
// and ADR, of the symbol itself.
func a64GOT(v *checker, c *site, d decoded) decoded {
	r := c.reloc()
	d.hi = d.lo + 4
	first := r
	second := partner(c, func(q *reloc) bool { return (q.typ == rA64GOTLo || q.typ == rA64GOTPageLo) && q.sym == r.sym })
	if r.typ != rA64GOTPage {
		second = r
		first = partner(c, func(q *reloc) bool { return q.typ == rA64GOTPage && q.sym == r.sym })
	}
	if first == nil || second == nil || second.typ == rA64GOTPageLo {
		d.kind = leadSkipped
		return d
	}
	w1, w2 := a64Word(c.output(int64(first.off), 4)), a64Word(c.output(int64(second.off), 4))
	o1, o2 := a64Word(c.original(int64(first.off), 4)), a64Word(c.original(int64(second.off), 4))
	page, isPage := a64PageOf(c, first)
	isPage = isPage && w1&31 == o1&31
	switch {
	case isPage && w2&^0x3ffc00 == o2&^0x3ffc00: // ldr
		return v.slotLead(d, page+uint64(w2>>10&0xfff<<3))
	case isPage && w2&0xffc003ff == 0x91000000|o2&0x3ff: // add
		d.relaxed, d.place.addr = true, page+uint64(w2>>10&0xfff)
	case w1 == a64NOP && a64IsAdr(w2) && w2&31 == o2&31:
		d.relaxed, d.place.addr = true, c.base+second.off+uint64(a64Adr(w2))
	case a64IsAdr(w1) && w2 == a64NOP:
		d.relaxed, d.place.addr = true, c.base+first.off+uint64(a64Adr(w1))
	default:
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is with its other half %08x %08x, no form that a linker may give a load from the global offset table", w1, w2)
	}
	return d
}

// a64IE decodes an initial exec access: unchanged, or MOVZ and MOVK of the offset.
func a64IE(v *checker, c *site, d decoded, tp func(uint64) uint64) decoded {
	r := c.reloc()
	first, second := r, partner(c, func(q *reloc) bool { return q.typ == rA64IELo && q.sym == r.sym })
	if r.typ == rA64IELo {
		second, first = r, partner(c, func(q *reloc) bool { return q.typ == rA64IEPage && q.sym == r.sym })
	}
	if first == nil || second == nil {
		d.kind = leadSkipped
		return d
	}
	w1, w2 := a64Word(c.output(int64(first.off), 4)), a64Word(c.output(int64(second.off), 4))
	o1, o2 := a64Word(c.original(int64(first.off), 4)), a64Word(c.original(int64(second.off), 4))
	page, isPage := a64PageOf(c, first)
	switch {
	case w1&31 != o1&31 || w2&31 != o2&31:
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is with its other half %08x %08x, which use other registers than the original", w1, w2)
	case isPage && w2&^0x3ffc00 == o2&^0x3ffc00: // ldr
		slot := page + uint64(w2>>10&0xfff<<3)
		if rel, ok := v.out.relocs[slot]; ok {
			return v.tlsLead(d, rel)
		}
		x, _ := v.out.load(slot)
		d.place.addr = tp(x)
	case w1>>21 == 0x695 && w2>>21 == 0x794: // movz hw=1, movk
		d.relaxed, d.place.addr = true, tp(uint64(w1>>5&0xffff)<<16|uint64(w2>>5&0xffff))
	default:
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is with its other half %08x %08x, no form that a linker may give an initial exec access", w1, w2)
	}
	return d
}

// a64Desc decodes the four instructions of an access through a TLS descriptor: unchanged, or an initial exec load, or a
// MOVZ and MOVK, with NOPs for what is left.
func a64Desc(v *checker, c *site, d decoded, tp func(uint64) uint64) decoded {
	r := c.reloc()
	if r.typ == rA64DescCall {
		d.kind = leadNowhere
		w := a64Word(c.out[r.off:])
		if d.relaxed = w != a64Word(c.sec.data[r.off:]); d.relaxed && w != a64NOP && w>>21 != 0x794 && w>>22 != 0x3e5 {
			d.bad = fmt.Sprintf("is %08x, no form that a linker may give a call of a TLS descriptor", w)
		}
		return d
	}
	if r.typ != rA64DescPage {
		d.kind = leadNowhere // followed from the first of them
		return d
	}
	// The words of the sequence, in order, without NOPs.
	var words []uint32
	words = append(words, a64Word(c.out[r.off:]))
	low, kept := uint64(0), 0
	for _, typ := range []uint32{rA64DescLdr, rA64DescAdd, rA64DescCall} {
		q := partner(c, func(q *reloc) bool { return q.typ == typ && q.sym == r.sym })
		if q == nil {
			d.kind = leadSkipped
			return d
		}
		w := a64Word(c.output(int64(q.off), 4))
		was := a64Word(c.original(int64(q.off), 4))
		if w == was || typ != rA64DescCall && w&^0x3ffc00 == was&^0x3ffc00 {
			kept++
		}
		if typ == rA64DescAdd {
			low = uint64(w >> 10 & 0xfff)
		}
		words = append(words, w)
	}
	used := []uint32{}
	for _, w := range words {
		if w != a64NOP {
			used = append(used, w)
		}
	}
	page := (c.base+r.off)&^0xfff + uint64(a64Adr(words[0])<<12)
	switch {
	case len(used) == 0:
		d.kind, d.bad = leadNowhere, "is gone"
	case used[0]&31 != 0 || len(used) == 2 && used[1]&31 != 0:
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is with what follows %08x, which use other registers than the original", words)
	case len(used) == 4 && a64IsAdrp(words[0]) && kept == 3:
		rel, ok := v.out.relocs[page+low]
		if !ok || rel.kind != dynTLSDesc {
			d.kind, d.bad = leadNowhere, fmt.Sprintf("there is no TLS descriptor at 0x%x", page+low)
			return d
		}
		return v.tlsLead(d, rel)
	case len(used) == 2 && a64IsAdrp(words[0]) && used[1]>>22 == 0x3e5:
		d.relaxed = true
		slot := page + uint64(used[1]>>10&0xfff<<3)
		if rel, ok := v.out.relocs[slot]; ok {
			return v.tlsLead(d, rel)
		}
		x, _ := v.out.load(slot)
		d.place.addr = tp(x)
	case len(used) == 2 && used[0]>>21 == 0x695 && used[1]>>21 == 0x794:
		d.relaxed, d.place.addr = true, tp(uint64(used[0]>>5&0xffff)<<16|uint64(used[1]>>5&0xffff))
	default:
		d.kind, d.bad = leadNowhere, fmt.Sprintf("is with what follows %08x, no form that a linker may give an access through a TLS descriptor", words)
	}
	return d
}

// a64PLT: adrp x16, page; ldr x17, [x16, n]; add x16, x16, n; br x17, with or without bti c before.
func a64PLT(o *output, addr uint64) (uint64, bool) {
	b := o.tail(addr)
	if a64Word(b) == a64BTIC {
		b, addr = b[4:], addr+4
	}
	if len(b) < 8 {
		return 0, false
	}
	w, l := a64Word(b), a64Word(b[4:])
	if !a64IsAdrp(w) || w&31 != 16 || l&0xffc003ff != 0xf9400211 {
		return 0, false
	}
	return addr&^0xfff + uint64(a64Adr(w)<<12) + uint64(l>>10&0xfff<<3), true
}

// a64Half: ADRP has the page of an address, ADD and the loads and stores have the rest.
func a64Half(typ uint32) (kind string, upper bool) {
	switch t := elf.R_AARCH64(typ); {
	case t == elf.R_AARCH64_ADR_PREL_PG_HI21 || t == elf.R_AARCH64_ADR_PREL_PG_HI21_NC:
		return "place", true
	case t == elf.R_AARCH64_ADD_ABS_LO12_NC || t >= elf.R_AARCH64_LDST16_ABS_LO12_NC && t <= elf.R_AARCH64_LDST64_ABS_LO12_NC ||
		t == elf.R_AARCH64_LDST8_ABS_LO12_NC || t == elf.R_AARCH64_LDST128_ABS_LO12_NC:
		return "place", false
	case typ == rA64GOTPage || typ == rA64GOTLo:
		return "slot", typ == rA64GOTPage
	case typ == rA64IEPage || typ == rA64IELo:
		return "thread-local slot", typ == rA64IEPage
	case typ == rA64DescPage || typ == rA64DescLdr || typ == rA64DescAdd:
		return "thread-local descriptor", typ == rA64DescPage
	}
	return "", false
}

// a64Jump: B, after the landing pad that the original begins with (bti or paciasp).
func a64Jump(o *output, addr uint64, original []byte) (target, size uint64, ok bool) {
	b := o.tail(addr)
	if w := a64Word(original); w&0xffffff3f == 0xd503241f || w == 0xd503233f || w == 0xd503237f {
		if got := a64Word(b); got != w && got != a64BTIC && got != 0xd50324df {
			return 0, 0, false
		}
		b, size = b[4:], 4
	}
	w := a64Word(b)
	if w>>26 != 5 {
		return 0, 0, false
	}
	return addr + size + uint64(sextBits(w, 26)<<2), size + 4, true
}

// a64Veneer knows what linkers put where a branch cannot reach its target: adrp, add and br, or a load of the address.
func a64Veneer(o *output, addr uint64) (uint64, bool) {
	b := o.tail(addr)
	if len(b) < 16 {
		return 0, false
	}
	w := [3]uint32{a64Word(b), a64Word(b[4:]), a64Word(b[8:])}
	switch {
	case a64IsAdrp(w[0]) && w[0]&31 == 16 && w[1]&0xffc003ff == 0x91000210 && w[2] == 0xd61f0200:
		return addr&^0xfff + uint64(a64Adr(w[0])<<12) + uint64(w[1]>>10&0xfff), true
	case w[0] == 0x58000050 && w[1] == 0xd61f0200: // ldr x16, .+8; br x16
		return binary.LittleEndian.Uint64(b[8:]), true
	}
	return 0, false
}
