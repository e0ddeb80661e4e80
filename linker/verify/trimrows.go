package verify

import (
	"bytes"
	"fmt"
	"maps"
)

// A frame table with the rows that calls need says of each place from which a call can return what the original says,
// and may say anything of the others; where no call is, there need be no entry.

// objectFDE is a frame description in an object, by what its relocations say.
type objectFDE struct {
	cie    *cie
	fields fdeFields
	off    uint64
	pc     reloc // of the function
	lsda   reloc // zero without one
}

// objectFrames reads a frame table of an object.
func objectFrames(s *section, word uint64) ([]objectFDE, error) {
	list, err := walkFrames(s.data)
	if err != nil {
		return nil, err
	}
	cies := map[uint64]*cie{}
	var fdes []objectFDE
	for _, e := range list {
		if e.isCIE {
			c, err := parseCIE(s.data, e, word)
			if err != nil {
				return nil, err
			}
			if c.persAt != 0 {
				c.personality = relocAt(s, c.persAt)
			}
			cies[e.off] = c
			continue
		}
		c := cies[e.cie]
		if c == nil {
			return nil, fmt.Errorf("%w: the entry at 0x%x has no CIE", errFrame, e.off)
		}
		x, err := parseFDE(s.data, e, c, word)
		if err != nil {
			return nil, err
		}
		f := objectFDE{cie: c, fields: x, off: e.off}
		r := relocAt(s, x.pcAt)
		if r == nil {
			return nil, fmt.Errorf("%w: the entry at 0x%x names no function", errFrame, e.off)
		}
		f.pc = *r
		f.pc.off = 0
		if x.lsdaAt != 0 {
			if r := relocAt(s, x.lsdaAt); r != nil {
				f.lsda = *r
				f.lsda.off = 0
			}
		}
		fdes = append(fdes, f)
	}
	return fdes, nil
}

// unlikeCallRows says how a frame table differs from the original's at calls; "" if it does not.
func (v *checker) unlikeCallRows(was, is *section, cut func(uint32) CutKind) string {
	possible := possibleCalls[v.arch.machine]
	if possible == nil {
		return "the calls of this machine are not known"
	}
	if was.name != ".eh_frame" {
		return "no frame table"
	}
	before, err := objectFrames(was, v.out.word)
	if err != nil {
		return err.Error()
	}
	after, err := objectFrames(is, v.out.word)
	if err != nil {
		return "of the trimmed object: " + err.Error()
	}
	left := map[reloc]*objectFDE{}
	for i := range after {
		if f := &after[i]; left[f.pc] != nil {
			return fmt.Sprintf("two frame entries of one function, the second at 0x%x", f.off)
		} else {
			left[f.pc] = f
		}
	}
	for i := range before {
		f := &before[i]
		g := left[f.pc]
		delete(left, f.pc)
		y := &was.obj.symbols[f.pc.sym]
		if !y.defined() {
			return fmt.Sprintf("the frame entry at 0x%x is of no function here", f.off)
		}
		if g == nil && cut(y.shndx).body() {
			continue // a body of one instruction
		}
		code := was.obj.sections[y.shndx]
		body := slice(code.data, y.value+uint64(f.pc.addend), f.fields.size)
		if body == nil && f.fields.size > 0 {
			return fmt.Sprintf("the frame entry at 0x%x is not of its function's size", f.off)
		}
		calls := possible(code, y.value+uint64(f.pc.addend), f.fields.size)
		if g == nil {
			if len(calls) > 0 {
				return fmt.Sprintf("%s has no frame entry, but what may be a call before 0x%x", code.name, calls[0]+1)
			}
			continue
		}
		if what := unlikeAtCalls(f, g, calls); what != "" {
			return fmt.Sprintf("the frame entry of %s %s", code.name, what)
		}
	}
	if len(left) > 0 {
		return fmt.Sprintf("%d frame entries of functions that had none", len(left))
	}
	return ""
}

// unlikeAtCalls compares two frame entries of one function at its calls.
func unlikeAtCalls(f, g *objectFDE, calls []uint64) string {
	p, q := f.cie.personality, g.cie.personality
	switch {
	case f.fields.size != g.fields.size:
		return "covers another range"
	case f.lsda != g.lsda:
		return "has another landing-pad table"
	case !f.cie.sameFrame(g.cie) || f.cie.fdeEnc != g.cie.fdeEnc || f.cie.lsdaEnc != g.cie.lsdaEnc || f.cie.persEnc != g.cie.persEnc:
		return "has other common information"
	case (p == nil) != (q == nil) || p != nil && (p.sym != q.sym || p.typ != q.typ || p.addend != q.addend):
		return "has another personality routine"
	case bytes.Equal(f.cie.rows, g.cie.rows) && bytes.Equal(f.fields.rows, g.fields.rows):
		return ""
	}
	for _, pc := range calls {
		x, err := frameAt(f.cie, f.fields.padded, pc)
		if err != nil {
			return err.Error()
		}
		y, err := frameAt(g.cie, g.fields.padded, pc)
		if err != nil {
			return err.Error()
		}
		if !x.same(y) {
			return fmt.Sprintf("says %v of a call that returns to 0x%x, the original %v", y, pc+1, x)
		}
	}
	return ""
}

// sameFrame says that two entries mean the same but for their instructions.
func (c *cie) sameFrame(d *cie) bool {
	e := *d
	e.rows = c.rows
	return c.same(&e)
}

// frameState is the frame at one place: the canonical frame address as a register and an offset, the factored offsets
// from it at which registers were saved, and the bytes of arguments (GNU) that a landing pad takes off the stack.
type frameState struct {
	reg, off uint64
	args     uint64
	saved    map[uint64]uint64
}

func (s *frameState) same(t *frameState) bool {
	return s.reg == t.reg && s.off == t.off && s.args == t.args && maps.Equal(s.saved, t.saved)
}

// frameAt runs the instructions of a frame entry up to the row that holds the place at pc in its function.
func frameAt(c *cie, rows []byte, pc uint64) (*frameState, error) {
	s := &frameState{saved: map[uint64]uint64{}}
	if _, err := s.run(c.padded, nil, 1, 0); err != nil {
		return nil, err
	}
	initial := maps.Clone(s.saved)
	return s.run(rows, initial, c.codeAlign, pc)
}

func (s *frameState) run(code []byte, initial map[uint64]uint64, align, pc uint64) (*frameState, error) {
	type saved struct {
		reg, off, args uint64
		saved          map[uint64]uint64
	}
	var stack []saved
	r := reader{b: code}
	loc := uint64(0)
	restore := func(reg uint64) {
		delete(s.saved, reg)
		if v, ok := initial[reg]; ok {
			s.saved[reg] = v
		}
	}
	for r.pos < uint64(len(code)) && !r.bad {
		op := r.u8()
		low := uint64(op & 0x3f)
		step := uint64(0)
		switch op >> 6 {
		case 1:
			step = low
		case 2:
			s.saved[low] = r.uleb()
		case 3:
			restore(low)
		default:
			switch op {
			case 0:
			case 2:
				step = uint64(r.u8())
			case 3:
				b := r.take(2)
				step = uint64(b[0]) | uint64(b[1])<<8
			case 4:
				b := r.take(4)
				step = uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
			case 5:
				reg := r.uleb()
				s.saved[reg] = r.uleb()
			case 6:
				restore(r.uleb())
			case 10:
				stack = append(stack, saved{s.reg, s.off, s.args, maps.Clone(s.saved)})
			case 11:
				if len(stack) == 0 {
					return nil, fmt.Errorf("restores what it did not remember")
				}
				top := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if s.args != top.args {
					return nil, fmt.Errorf("restores the arguments' bytes, which not every unwinder does")
				}
				s.reg, s.off, s.saved = top.reg, top.off, top.saved
			case 12:
				s.reg = r.uleb()
				s.off = r.uleb()
			case 13:
				s.reg = r.uleb()
			case 14:
				s.off = r.uleb()
			case 0x2e:
				s.args = r.uleb()
			default:
				return nil, fmt.Errorf("has the instruction 0x%x, which no trimmed entry has", op)
			}
		}
		if loc += step * align; loc > pc {
			return s, nil
		}
	}
	if r.bad {
		return nil, fmt.Errorf("has a truncated instruction")
	}
	return s, nil
}
