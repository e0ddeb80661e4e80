package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

func init() { archs = append(archs, riscv(elf.ELFCLASS32), riscv(elf.ELFCLASS64)) }

// Relocation types that debug/elf has no names for (RISC-V psABI, 8.4).
const (
	rRISCVCallPLT  = 19
	rRISCV32PCRel  = 57
	rRISCVPLT32    = 59
	rRISCVSetULEB  = 60
	rRISCVSubULEB  = 61
	rRISCVGOT32    = 41
	rRISCVIRel     = 58
	rRISCVTPRelAdd = 32
)

func riscv(class elf.Class) *arch {
	a := &arch{
		name:    "RISC-V 32",
		machine: elf.EM_RISCV,
		class:   class,
		dynamic: map[uint32]dynKind{
			uint32(elf.R_RISCV_RELATIVE): dynRelative, rRISCVIRel: dynRelative, uint32(elf.R_RISCV_JUMP_SLOT): dynSymbol, uint32(elf.R_RISCV_COPY): dynCopy,
			uint32(elf.R_RISCV_32): dynSymbol, uint32(elf.R_RISCV_TLS_DTPMOD32): dynDTPMod, uint32(elf.R_RISCV_TLS_DTPREL32): dynDTPOff,
			uint32(elf.R_RISCV_TLS_TPREL32): dynTPOff,
		},
		implicit: func(uint32, []byte) int64 { return 0 }, // the psABI has SHT_RELA only
		form:     riscvForm,
		field: func(typ uint32, b []byte) (int, uint64) {
			_, n, rest := riscvField(typ, b)
			return n, rest
		},
		bias: func(typ uint32) (int64, bool) { return 0, riscvForm(typ) != formUnknown },
		relative: func(typ uint32) bool {
			switch elf.R_RISCV(typ) {
			case elf.R_RISCV_ADD8, elf.R_RISCV_ADD16, elf.R_RISCV_ADD32, elf.R_RISCV_ADD64, elf.R_RISCV_SUB8, elf.R_RISCV_SUB16, elf.R_RISCV_SUB32, elf.R_RISCV_SUB64, rRISCV32PCRel:
				return true
			}
			return false
		},
		internal: func(typ uint32) bool {
			return elf.R_RISCV(typ) == elf.R_RISCV_PCREL_LO12_I || elf.R_RISCV(typ) == elf.R_RISCV_PCREL_LO12_S
		},
		decode: riscvDecode,
		call: func(s *section, r *reloc) bool {
			switch elf.R_RISCV(r.typ) {
			case elf.R_RISCV_BRANCH, elf.R_RISCV_JAL, elf.R_RISCV_CALL, rRISCVCallPLT, elf.R_RISCV_RVC_BRANCH, elf.R_RISCV_RVC_JUMP:
				return true
			}
			return false
		},
		plt:    riscvPLT,
		jump:   riscvJump,
		range_: riscvRange,
		elastic: func(typ uint32) bool {
			return elf.R_RISCV(typ) == elf.R_RISCV_RELAX || elf.R_RISCV(typ) == elf.R_RISCV_ALIGN
		},
		relaxed:  riscvRelaxed,
		codeMask: ^uint64(0),
	}
	if class == elf.ELFCLASS64 {
		a.name = "RISC-V 64"
		delete(a.dynamic, uint32(elf.R_RISCV_32))
		a.dynamic[uint32(elf.R_RISCV_64)] = dynSymbol
		a.dynamic[uint32(elf.R_RISCV_TLS_DTPMOD64)] = dynDTPMod
		a.dynamic[uint32(elf.R_RISCV_TLS_DTPREL64)] = dynDTPOff
		a.dynamic[uint32(elf.R_RISCV_TLS_TPREL64)] = dynTPOff
	}
	return a
}

// riscvField reads the immediate of a relocation type's field, its size, and the bits beside it.
func riscvField(typ uint32, b []byte) (imm int64, n int, rest uint64) {
	le := binary.LittleEndian
	switch elf.R_RISCV(typ) {
	case elf.R_RISCV_NONE, elf.R_RISCV_RELAX, elf.R_RISCV_ALIGN, rRISCVTPRelAdd:
		return 0, 0, 0
	case rRISCVSetULEB, rRISCVSubULEB:
		x, size := binary.Uvarint(b)
		return int64(x), max(size, 1), 0
	case elf.R_RISCV_ADD8, elf.R_RISCV_SUB8, elf.R_RISCV_SET8, elf.R_RISCV_SET6, elf.R_RISCV_SUB6:
		n = 1
	case elf.R_RISCV_ADD16, elf.R_RISCV_SUB16, elf.R_RISCV_SET16, elf.R_RISCV_RVC_BRANCH, elf.R_RISCV_RVC_JUMP:
		n = 2
	case elf.R_RISCV_ADD64, elf.R_RISCV_SUB64, elf.R_RISCV_64, elf.R_RISCV_CALL, rRISCVCallPLT:
		n = 8
	default:
		n = 4
	}
	if len(b) < n {
		return 0, n, 0
	}
	switch elf.R_RISCV(typ) {
	case elf.R_RISCV_SET6, elf.R_RISCV_SUB6:
		return int64(b[0] & 0x3f), 1, uint64(b[0] & 0xc0)
	case elf.R_RISCV_RVC_BRANCH:
		h := uint32(le.Uint16(b))
		x := h>>12&1<<8 | h>>10&3<<3 | h>>5&3<<6 | h>>3&3<<1 | h>>2&1<<5
		return sextBits(x, 9), 2, uint64(h & 0xe383)
	case elf.R_RISCV_RVC_JUMP:
		h := uint32(le.Uint16(b))
		x := h>>12&1<<11 | h>>11&1<<4 | h>>9&3<<8 | h>>8&1<<10 | h>>7&1<<6 | h>>6&1<<7 | h>>3&7<<1 | h>>2&1<<5
		return sextBits(x, 12), 2, uint64(h & 0xe003)
	}
	switch n {
	case 1:
		return int64(b[0]), 1, 0
	case 2:
		return int64(le.Uint16(b)), 2, 0
	}
	w := le.Uint32(b)
	switch elf.R_RISCV(typ) {
	case elf.R_RISCV_CALL, rRISCVCallPLT:
		w2 := le.Uint32(b[4:])
		return int64(int32(w&0xfffff000)) + sextBits(w2>>20, 12), 8, uint64(w&0xfff) | uint64(w2&0xfffff)<<32
	case elf.R_RISCV_ADD64, elf.R_RISCV_SUB64, elf.R_RISCV_64:
		return int64(le.Uint64(b)), 8, 0
	case elf.R_RISCV_HI20, elf.R_RISCV_PCREL_HI20, elf.R_RISCV_GOT_HI20, elf.R_RISCV_TLS_GOT_HI20, elf.R_RISCV_TLS_GD_HI20, elf.R_RISCV_TPREL_HI20:
		return int64(int32(w & 0xfffff000)), 4, uint64(w & 0xfff)
	case elf.R_RISCV_LO12_I, elf.R_RISCV_PCREL_LO12_I, elf.R_RISCV_TPREL_LO12_I:
		return sextBits(w>>20, 12), 4, uint64(w & 0xfffff)
	case elf.R_RISCV_LO12_S, elf.R_RISCV_PCREL_LO12_S, elf.R_RISCV_TPREL_LO12_S:
		return sextBits(w>>25<<5|w>>7&0x1f, 12), 4, uint64(w & 0x01fff07f)
	case elf.R_RISCV_BRANCH:
		x := w>>31<<12 | w>>7&1<<11 | w>>25&0x3f<<5 | w>>8&15<<1
		return sextBits(x, 13), 4, uint64(w & 0x01fff07f)
	case elf.R_RISCV_JAL:
		x := w>>31<<20 | w>>12&0xff<<12 | w>>20&1<<11 | w>>21&0x3ff<<1
		return sextBits(x, 21), 4, uint64(w & 0xfff)
	}
	return int64(int32(w)), 4, 0
}

func riscvForm(typ uint32) form {
	switch elf.R_RISCV(typ) {
	case elf.R_RISCV_NONE, elf.R_RISCV_RELAX:
		return formNone
	case elf.R_RISCV_32, elf.R_RISCV_64, elf.R_RISCV_BRANCH, elf.R_RISCV_JAL, elf.R_RISCV_CALL, rRISCVCallPLT, elf.R_RISCV_PCREL_HI20,
		elf.R_RISCV_PCREL_LO12_I, elf.R_RISCV_PCREL_LO12_S, elf.R_RISCV_HI20, elf.R_RISCV_LO12_I, elf.R_RISCV_LO12_S,
		elf.R_RISCV_TPREL_HI20, elf.R_RISCV_TPREL_LO12_I, elf.R_RISCV_TPREL_LO12_S, elf.R_RISCV_RVC_BRANCH, elf.R_RISCV_RVC_JUMP,
		elf.R_RISCV_ADD8, elf.R_RISCV_ADD16, elf.R_RISCV_ADD32, elf.R_RISCV_ADD64, elf.R_RISCV_SUB8, elf.R_RISCV_SUB16, elf.R_RISCV_SUB32, elf.R_RISCV_SUB64,
		elf.R_RISCV_SET6, elf.R_RISCV_SUB6, elf.R_RISCV_SET8, elf.R_RISCV_SET16, elf.R_RISCV_SET32, rRISCVSetULEB, rRISCVSubULEB, rRISCV32PCRel, rRISCVPLT32:
		return formPlace
	case elf.R_RISCV_GOT_HI20, elf.R_RISCV_TLS_GOT_HI20, elf.R_RISCV_TLS_GD_HI20, rRISCVGOT32, rRISCVTPRelAdd, elf.R_RISCV_ALIGN:
		return formSlot
	}
	return formUnknown
}

func riscvDecode(v *checker, c *site) decoded {
	r := c.reloc()
	off, p, a := int64(r.off), c.base+r.off, uint64(r.addend)
	is, n, rest := riscvField(r.typ, c.out[r.off:])
	x := uint64(is)
	orig, _, was := riscvField(r.typ, c.sec.data[r.off:])
	d := decoded{lo: off, hi: off + int64(n), kind: leadPlace}
	if n > len(c.out)-int(r.off) {
		d.kind, d.hi, d.bad = leadNowhere, off, "the relocation reaches beyond the end of the section"
		return d
	}
	word := func(x uint64) uint64 { return x & v.out.mask() }
	switch elf.R_RISCV(r.typ) {
	case elf.R_RISCV_NONE, elf.R_RISCV_RELAX, elf.R_RISCV_ALIGN, rRISCVTPRelAdd:
		d.kind = leadNowhere
	case elf.R_RISCV_32:
		if v.out.word == 4 {
			return v.wordLead(d, p, r.addend)
		}
		d.place.addr = uint64(uint32(x)) - a
	case elf.R_RISCV_64:
		return v.wordLead(d, p, r.addend)
	case elf.R_RISCV_SET32:
		d.place.addr = uint64(uint32(x)) - a
	case elf.R_RISCV_BRANCH, elf.R_RISCV_JAL, elf.R_RISCV_CALL, rRISCVCallPLT, elf.R_RISCV_RVC_BRANCH, elf.R_RISCV_RVC_JUMP, rRISCV32PCRel, rRISCVPLT32:
		d.place.addr = word(x + p - a)
	case elf.R_RISCV_PCREL_HI20, elf.R_RISCV_GOT_HI20, elf.R_RISCV_TLS_GOT_HI20, elf.R_RISCV_TLS_GD_HI20:
		low, ok := riscvLow(c, r.off)
		if !ok {
			d.kind = leadSkipped // nothing uses the address
			break
		}
		at := word(p + x + low)
		switch elf.R_RISCV(r.typ) {
		case elf.R_RISCV_PCREL_HI20:
			d.place.addr = word(at - a)
		case elf.R_RISCV_GOT_HI20:
			d = v.slotLead(d, at)
		case elf.R_RISCV_TLS_GOT_HI20:
			d.kind = leadSkipped
		case elf.R_RISCV_TLS_GD_HI20:
			d = v.tlsPairLead(d, at)
		}
	case elf.R_RISCV_PCREL_LO12_I, elf.R_RISCV_PCREL_LO12_S:
		// What it means was followed from the upper half; here only that all the lower halves of one agree.
		d.kind = leadNowhere
		if t := &c.sec.obj.targets[r.sym]; t.sec == c.sec {
			if low, ok := riscvLow(c, t.value); ok && low != x {
				d.bad = fmt.Sprintf("holds the low bits 0x%x, another use of the same upper half 0x%x", x&0xfff, low&0xfff)
			}
		}
	case elf.R_RISCV_HI20, elf.R_RISCV_LO12_I, elf.R_RISCV_LO12_S:
		hi := elf.R_RISCV(r.typ) == elf.R_RISCV_HI20
		best := func(q *reloc) bool {
			upper := elf.R_RISCV(q.typ) == elf.R_RISCV_HI20
			lower := elf.R_RISCV(q.typ) == elf.R_RISCV_LO12_I || elf.R_RISCV(q.typ) == elf.R_RISCV_LO12_S
			return q.sym == r.sym && (hi && lower || !hi && upper)
		}
		q := partner(c, func(q *reloc) bool { return best(q) && q.addend == r.addend })
		if q == nil {
			q = partner(c, best) // a field of the same variable
		}
		switch {
		case q != nil:
			y, _, _ := riscvField(q.typ, c.out[q.off:])
			if hi {
				a = uint64(q.addend)
			}
			d.place.addr = word(x + uint64(y) - a)
		case hi:
			d.kind = leadSkipped
		default:
			d.kind, d.mask, d.place.addr = leadLow, 0xfff, x-a
		}
	case elf.R_RISCV_ADD8, elf.R_RISCV_ADD16, elf.R_RISCV_ADD32, elf.R_RISCV_ADD64, elf.R_RISCV_SUB8, elf.R_RISCV_SUB16, elf.R_RISCV_SUB32, elf.R_RISCV_SUB64:
		return riscvDistance(v, c, d, x-uint64(orig), n)
	default:
		d.kind = leadSkipped
		return d
	}
	if rest != was && d.bad == "" {
		d.bad = fmt.Sprintf("is %x, another instruction than the original's %x", c.output(off, uint64(n)), c.original(off, uint64(n)))
	}
	return d
}

// riscvLow is the low bits that go with the upper half at off: the first relocation to name it.
func riscvLow(c *site, off uint64) (uint64, bool) {
	for i := range c.sec.relocs {
		q := &c.sec.relocs[i]
		if elf.R_RISCV(q.typ) != elf.R_RISCV_PCREL_LO12_I && elf.R_RISCV(q.typ) != elf.R_RISCV_PCREL_LO12_S {
			continue
		}
		if t := &c.sec.obj.targets[q.sym]; t.sec == c.sec && t.value == off && q.off+4 <= uint64(len(c.out)) {
			imm, _, _ := riscvField(q.typ, c.out[q.off:])
			return uint64(imm), true
		}
	}
	return 0, false
}

// riscvDistance decodes one of the pair that makes a distance: what one leads to is known where the other's target is.
func riscvDistance(v *checker, c *site, d decoded, x uint64, n int) decoded {
	r := c.reloc()
	adds := func(typ uint32) bool {
		return elf.R_RISCV(typ) >= elf.R_RISCV_ADD8 && elf.R_RISCV(typ) <= elf.R_RISCV_ADD64
	}
	var other *reloc
	for _, i := range [2]int{c.i - 1, c.i + 1} {
		if i >= 0 && i < len(c.sec.relocs) && c.sec.relocs[i].off == r.off && adds(c.sec.relocs[i].typ) != adds(r.typ) {
			other = &c.sec.relocs[i]
		}
	}
	d.kind = leadSkipped
	if other == nil {
		return d
	}
	t := &c.sec.obj.targets[other.sym]
	if t.kind != toSection {
		return d
	}
	base := c.base
	if t.sec != c.sec {
		if !t.sec.rep().located || t.sec.merged() {
			return d
		}
		base = t.sec.rep().addr
	}
	known := base + t.value + uint64(other.addend)
	if adds(r.typ) {
		d.place.addr = x + known - uint64(r.addend)
	} else {
		d.place.addr = known - x - uint64(r.addend)
	}
	d.kind, d.place.addr = leadPlace, d.place.addr&v.out.mask()
	if uint64(n) < v.out.word {
		d.kind, d.mask = leadLow, 1<<(8*n)-1
	}
	return d
}

// riscvPLT: auipc t3, n; lw or ld t3, n(t3); jalr t1, t3; nop.
func riscvPLT(o *output, addr uint64) (uint64, bool) {
	b := o.tail(addr)
	if len(b) < 16 {
		return 0, false
	}
	w, l, j := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	if w&0xfff != 0xe17 || l&0xfcfff != 0x000e0e03&0xfcfff || j != 0x000e0367 {
		return 0, false
	}
	return (addr + uint64(int64(int32(w&0xfffff000))) + uint64(sextBits(l>>20, 12))) & o.mask(), true
}

// riscvJump: auipc t1 and jalr x0, or the shorter jal x0 and c.j.
func riscvJump(o *output, addr uint64, original []byte) (target, size uint64, ok bool) {
	b := o.tail(addr)
	if len(b) >= 8 {
		imm, _, rest := riscvField(rRISCVCallPLT, b)
		if rest == 0x317|0x30067<<32 {
			return (addr + uint64(imm)) & o.mask(), 8, true
		}
	}
	if len(b) >= 4 {
		if imm, _, rest := riscvField(uint32(elf.R_RISCV_JAL), b); rest == 0x6f {
			return (addr + uint64(imm)) & o.mask(), 4, true
		}
	}
	if len(b) >= 2 {
		if imm, _, rest := riscvField(uint32(elf.R_RISCV_RVC_JUMP), b); rest == 0xa001 {
			return (addr + uint64(imm)) & o.mask(), 2, true
		}
	}
	return 0, 0, false
}

// riscvRange is the length of a frame description's code, which the assembler leaves to the linker as a distance.
func riscvRange(s *section, f fdeFields, size uint64) uint64 {
	var add, sub *reloc
	for i := range s.relocs {
		if r := &s.relocs[i]; r.off == f.sizeAt {
			switch elf.R_RISCV(r.typ) {
			case elf.R_RISCV_ADD32, elf.R_RISCV_ADD64:
				add = r
			case elf.R_RISCV_SUB32, elf.R_RISCV_SUB64:
				sub = r
			}
		}
	}
	if add == nil || sub == nil {
		return size
	}
	return s.obj.symbols[add.sym].value + uint64(add.addend) - s.obj.symbols[sub.sym].value - uint64(sub.addend)
}
