package verify

import "encoding/binary"

// stepKind says what an x86-64 instruction does to the flow of control.
type stepKind uint8

const (
	stepOther stepKind = iota // not decoded here
	stepNext                  // goes on behind itself
	stepJump                  // jumps by rel
	stepCall                  // calls by rel, or jumps or calls by the word at it
)

// step is an instruction by its effects, decoded for the few forms that lead up to a call (Intel SDM 2, appendix A).
type step struct {
	kind     stepKind
	size     int
	rel      int64
	mentions uint32 // the general registers among its operands, a bit each
	dst      int    // the general register that it changes, −1 if none
	src      int    // the one whose 64 bits it copies to dst, −1 if none
	stores   bool   // writes memory
	strays   bool   // reads memory by other than the stack and the frame pointer
}

// quiet says that the step changes nothing but registers, and neither stack nor frame pointer.
func (s *step) quiet() bool {
	return s.kind == stepNext && !s.stores && !s.strays && s.dst != 4 && s.dst != 5
}

// x86Stepper reads one instruction.
type x86Stepper struct {
	code   []byte
	pos    int
	rex    byte
	has    bool // a REX prefix
	short  bool
	f2, f3 bool
	bad    bool
	s      step
	// The ModRM operand.
	reg, rm int
	memory  bool
}

func (x *x86Stepper) next() byte {
	if x.pos >= len(x.code) {
		x.bad = true
		return 0
	}
	x.pos++
	return x.code[x.pos-1]
}

func (x *x86Stepper) skip(n int) {
	if x.pos += n; x.pos > len(x.code) {
		x.bad = true
	}
}

// mention notes a general register; bytes of the first four have two numbers without REX.
func (x *x86Stepper) mention(r int) {
	x.s.mentions |= 1 << r
	if !x.has && r < 8 {
		x.s.mentions |= 1 << (r & 3)
	}
}

// modrm reads the operands; general says which of reg and rm are general registers.
func (x *x86Stepper) modrm(regGeneral, rmGeneral bool) {
	m := x.next()
	mod, low := m>>6, int(m&7)
	x.reg = int(m>>3&7) | int(x.rex&4)<<1
	x.rm = low | int(x.rex&1)<<3
	if regGeneral {
		x.mention(x.reg)
	}
	if mod == 3 {
		if rmGeneral {
			x.mention(x.rm)
		}
		return
	}
	x.memory = true
	base, index := x.rm, -1
	if low == 4 {
		sib := x.next()
		base = int(sib&7) | int(x.rex&1)<<3
		if i := int(sib>>3&7) | int(x.rex&2)<<2; i != 4 {
			index = i
			x.mention(i)
		}
		if sib&7 == 5 && mod == 0 {
			base = -1
			x.skip(4)
		}
	} else if low == 5 && mod == 0 {
		base = -1
		x.skip(4)
	}
	if base >= 0 {
		x.mention(base)
	}
	switch mod {
	case 1:
		x.skip(1)
	case 2:
		x.skip(4)
	}
	x.s.strays = index >= 0 || base != 4 && base != 5
}

// into says that the operation changes the operand rm.
func (x *x86Stepper) into() {
	if x.memory {
		x.s.stores = true
	} else {
		x.s.dst = x.rm
	}
}

// from says that the operation changes the register reg.
func (x *x86Stepper) from() { x.s.dst = x.reg }

// x86StepAt decodes the instruction at the start of code.
func x86StepAt(code []byte) step {
	x := &x86Stepper{code: code, s: step{kind: stepNext, dst: -1, src: -1}}
prefixes:
	for {
		switch b := x.next(); b {
		case 0x66:
			x.short = true
		case 0x2e: // of long nops
		case 0xf2:
			x.f2 = true
		case 0xf3:
			x.f3 = true
		default:
			if b&0xf0 == 0x40 {
				x.rex, x.has = b, true
				b = x.next()
			}
			x.opcode(b)
			break prefixes
		}
		if x.bad {
			break
		}
	}
	if x.bad || x.s.kind == stepOther {
		return step{dst: -1, src: -1}
	}
	if !x.has && x.s.dst >= 4 && x.s.dst < 8 && x.s.mentions&(1<<(x.s.dst&3)) != 0 && x.byteWide(code) {
		x.s.dst &= 3 // ah, ch, dh, bh
	}
	x.s.size = x.pos
	return x.s
}

// byteWide reports whether an instruction without REX works on bytes: its opcode is even and of those that have such a
// form.
func (x *x86Stepper) byteWide(code []byte) bool {
	op := code[0]
	return op < 0x40 && op&1 == 0 || op == 0x88 || op == 0x8a || op == 0x80 || op == 0xc6 || op&0xf8 == 0xb0
}

func (x *x86Stepper) opcode(op byte) {
	immediate := 4
	if x.short {
		immediate = 2
	}
	wide := x.rex&8 != 0
	switch {
	case op < 0x40 && op&7 < 6 && (op>>3 == 0 || op>>3 == 1 || op>>3 == 4 || op>>3 == 5 || op>>3 == 6): // add or and sub xor
		switch op & 7 {
		case 0, 1:
			x.modrm(true, true)
			x.into()
		case 2, 3:
			x.modrm(true, true)
			x.from()
		case 4:
			x.mention(0)
			x.s.dst = 0
			x.skip(1)
		case 5:
			x.mention(0)
			x.s.dst = 0
			x.skip(immediate)
		}
	case op == 0x80 || op == 0x81 || op == 0x83:
		x.modrm(false, true)
		if x.reg&7 == 7 || x.reg&7 == 2 || x.reg&7 == 3 {
			x.s.kind = stepOther // cmp, adc, sbb
		}
		x.into()
		if op == 0x81 {
			x.skip(immediate)
		} else {
			x.skip(1)
		}
	case op == 0xc1 || op == 0xd1 || op == 0xd3:
		x.modrm(false, true)
		if x.reg&7 != 4 && x.reg&7 != 5 {
			x.s.kind = stepOther
		}
		x.into()
		if op == 0xc1 {
			x.skip(1)
		} else if op == 0xd3 {
			x.mention(1)
		}
	case op == 0x88 || op == 0x89:
		x.modrm(true, true)
		x.into()
		if !x.memory && op == 0x89 && wide {
			x.s.src = x.reg
		}
	case op == 0x8a || op == 0x8b || op == 0x63:
		x.modrm(true, true)
		x.from()
		if !x.memory && op == 0x8b && wide {
			x.s.src = x.rm
		}
	case op == 0x8d:
		x.modrm(true, true)
		x.from()
		x.s.strays = false // reads nothing
		if !x.memory {
			x.s.kind = stepOther
		}
	case op == 0xc6 || op == 0xc7:
		x.modrm(false, true)
		x.into()
		if op == 0xc6 {
			immediate = 1
		}
		x.skip(immediate)
	case op&0xf8 == 0xb8:
		x.s.dst = int(op&7) | int(x.rex&1)<<3
		x.mention(x.s.dst)
		if wide {
			immediate = 8
		}
		x.skip(immediate)
	case op&0xf8 == 0xb0:
		x.s.dst = int(op&7) | int(x.rex&1)<<3
		x.mention(x.s.dst)
		x.skip(1)
	case op == 0xff && x.pos < len(x.code) && x.code[x.pos]>>3&7 < 2 || op == 0xfe: // inc, dec
		x.modrm(false, true)
		x.into()
	case op == 0xff && (x.pos < len(x.code)) && (x.code[x.pos] == 0x15 || x.code[x.pos] == 0x25):
		x.skip(5)
		x.s.kind = stepCall
	case op == 0xe8:
		x.skip(4)
		x.s.kind = stepCall
	case op == 0xe9:
		x.skip(4)
		if !x.bad {
			x.s.rel = int64(int32(binary.LittleEndian.Uint32(x.code[x.pos-4:])))
		}
		x.s.kind = stepJump
	case op == 0xeb:
		x.s.rel = int64(int8(x.next()))
		x.s.kind = stepJump
	case op&0xf8 == 0x50: // push
		x.mention(int(op&7) | int(x.rex&1)<<3)
		x.s.stores = true
		x.s.dst = 4
	case op == 0x90 && !x.has:
	case op == 0x0f:
		x.twoByte(x.next())
	default:
		x.s.kind = stepOther
	}
}

func (x *x86Stepper) twoByte(op byte) {
	switch {
	case op == 0x1f: // nop
		x.modrm(false, false)
		x.s.strays, x.s.mentions = false, 0
	case op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf: // movzx, movsx
		x.modrm(true, true)
		x.from()
	case (op == 0x10 || op == 0x28) && !x.f2 && !x.f3 && !x.short, op == 0x57 && !x.short, op == 0x7e && x.f3:
		x.modrm(false, false)
	case (op == 0x11 || op == 0x29) && !x.f2 && !x.f3 && !x.short:
		x.modrm(false, false)
		x.s.stores = x.memory
	case op == 0x6e && x.short:
		x.modrm(false, true)
	case op == 0x7e && x.short:
		x.modrm(false, true)
		x.into()
	case op == 0xd6 && x.short:
		x.modrm(false, false)
		x.s.stores = x.memory
	default:
		x.s.kind = stepOther
	}
}
