package verify

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// A linker that relaxes shortens RISC-V code where a relocation allows it (R_RISCV_RELAX beside it): a call of two
// instructions becomes one, the upper half of an address goes where the lower half reaches it from gp or zero, padding
// (R_RISCV_ALIGN) becomes less (RISC-V psABI, "Linker Relaxation"). What is left is walked here beside the original, one
// relocation after the other: the bytes between must be the same, each changed instruction one of the shorter forms of the
// original, and each call must lead to its function.

// riscvRelaxed compares a section with what the linker made of it at base, which is size bytes long; known is false where
// something stands in it that is not followed.
func riscvRelaxed(v *checker, s *section, base uint64) (size uint64, known bool, d *difference) {
	w := relaxWalk{v: v, s: s, base: base, out: v.out.tail(base)}
	for i := range s.relocs {
		r := &s.relocs[i]
		if elf.R_RISCV(r.typ) == elf.R_RISCV_RELAX {
			continue
		}
		if r.off < w.in {
			return 0, false, nil // two relocations of one place
		}
		if d := w.plain(r.off); d != nil {
			return 0, true, d
		}
		relax := i+1 < len(s.relocs) && s.relocs[i+1].off == r.off && elf.R_RISCV(s.relocs[i+1].typ) == elf.R_RISCV_RELAX
		if known, d := w.field(r, relax); !known || d != nil {
			return 0, known, d
		}
	}
	d = w.plain(s.size)
	return w.at, true, d
}

// relaxWalk is how far the two have been compared.
type relaxWalk struct {
	v    *checker
	s    *section
	base uint64
	out  []byte
	in   uint64 // offset in the original
	at   uint64 // offset in the output
}

// left is what is left of the output.
func (w *relaxWalk) left() []byte { return w.out[min(w.at, uint64(len(w.out))):] }

// plain compares the bytes up to an offset of the original.
func (w *relaxWalk) plain(to uint64) *difference {
	n := to - w.in
	if out := w.left(); uint64(len(out)) < n || string(out[:n]) != string(w.s.data[w.in:to]) {
		return &difference{int64(w.in), fmt.Sprintf("is not the original's code, shortened to be at 0x%x", w.base+w.at)}
	}
	w.in, w.at = to, w.at+n
	return nil
}

// field compares one relocated place.
func (w *relaxWalk) field(r *reloc, relax bool) (known bool, d *difference) {
	original, out := w.s.data[r.off:], w.left()
	_, n, was := riscvField(r.typ, original)
	step := func(in, out int) (bool, *difference) {
		w.in, w.at = w.in+uint64(in), w.at+uint64(out)
		return true, nil
	}
	other := func() (bool, *difference) {
		return true, &difference{int64(r.off), fmt.Sprintf("is another instruction than the original's %x at 0x%x", original[:min(n, len(original))], w.base+w.at)}
	}
	if n > len(original) {
		return false, nil
	}
	// What the field holds where it has not changed its form.
	var is uint64
	var imm int64
	kept := len(out) >= n
	if kept {
		imm, _, is = riscvField(r.typ, out)
		kept = is == was
	}
	switch elf.R_RISCV(r.typ) {
	case elf.R_RISCV_NONE:
		return true, nil
	case elf.R_RISCV_ALIGN:
		align := uint64(2)
		for align <= uint64(r.addend) {
			align *= 2
		}
		pad := -(w.base + w.at) & (align - 1)
		for k := uint64(0); k < pad; {
			b := w.left()[min(k, uint64(len(w.left()))):]
			switch {
			case len(b) >= 4 && pad-k >= 4 && binary.LittleEndian.Uint32(b) == 0x13: // nop
				k += 4
			case len(b) >= 2 && binary.LittleEndian.Uint16(b) == 1: // c.nop
				k += 2
			default:
				return true, &difference{int64(r.off), fmt.Sprintf("is padded with something else than nops at 0x%x", w.base+w.at+k)}
			}
		}
		return step(int(r.addend), int(pad))
	case elf.R_RISCV_CALL, rRISCVCallPLT:
		size, rd := 8, was>>32>>7&31 // of jalr
		if !kept {
			if !relax || len(out) < 2 {
				return other()
			}
			word := binary.LittleEndian.Uint32(append(out[:min(len(out), 4):min(len(out), 4)], 0, 0))
			short, _, rest := riscvField(uint32(elf.R_RISCV_RVC_JUMP), out)
			switch {
			case uint64(word&0xfff) == 0x6f|rd<<7: // jal
				imm, _, _ = riscvField(uint32(elf.R_RISCV_JAL), out)
				size = 4
			case rest == 0xa001 && rd == 0, rest == 0x2001 && rd == 1 && w.v.out.word == 4: // c.j, c.jal
				imm, size = short, 2
			default:
				return other()
			}
		}
		if t := &w.s.obj.targets[r.sym]; t.kind == toSection && t.value == 0 && r.addend == 0 && t.sec.rep().located {
			to, want := (w.base+w.at+uint64(imm))&w.v.out.mask(), t.sec.rep().addr
			if through, _, ok := w.v.arch.jump(w.v.out, want, t.sec.data); to != want && !(t.sec.fate == Thunk && ok && through == to) {
				return true, &difference{int64(r.off), fmt.Sprintf("calls 0x%x, but %s is at 0x%x", to, t.describe(), want)}
			}
		}
		return step(8, size)
	case elf.R_RISCV_HI20, elf.R_RISCV_PCREL_HI20:
		if kept {
			return step(4, 4)
		}
		rd := was >> 7 & 31
		if relax && elf.R_RISCV(r.typ) == elf.R_RISCV_HI20 && len(out) >= 2 {
			if h := uint64(binary.LittleEndian.Uint16(out)); h&0xe003 == 0x6001 && h>>7&31 == rd { // c.lui
				return step(4, 2)
			}
		}
		if !relax {
			return other()
		}
		return step(4, 0)
	case elf.R_RISCV_LO12_I, elf.R_RISCV_LO12_S, elf.R_RISCV_PCREL_LO12_I, elf.R_RISCV_PCREL_LO12_S:
		const base = 31 << 15 // rs1
		if from := is >> 15 & 31; !kept && (!relax || len(out) < 4 || is&^base != was&^base || from != 0 && from != 3) {
			return other()
		}
		return step(4, 4)
	case elf.R_RISCV_BRANCH, elf.R_RISCV_JAL, elf.R_RISCV_RVC_BRANCH, elf.R_RISCV_RVC_JUMP:
		if !kept {
			return other()
		}
		return step(n, n)
	}
	return false, nil
}
