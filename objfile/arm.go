package objfile

// arm follows ELF for the Arm Architecture (AAELF32, 2024Q3), section 5.6.
// Thumb code is what it is made for; code in ARM state is understood, too.
var arm = Arch{
	Machine: EM_ARM,
	Name:    "ARM",
	Reloc: func(typ uint32) RelocType {
		if typ < uint32(len(armRelocs)) {
			return armRelocs[typ]
		}
		return RelocType{}
	},
	// The branches of the architecture have relocation types of their own.
	IsCall: func(code []byte, r Reloc) bool {
		return r.Type < uint32(len(armRelocs)) && armRelocs[r.Type].Kind == RelBranch
	},
	Bias:       armBias,
	Addend:     armAddend,
	Thunk:      armThunk,
	OwnAddress: armOwnAddress,
	None:       0,
	Address:    2,
	Mapping:    true,
}

// armRelocs is indexed by relocation type: static relocations, table 5-5 and
// those of table 5-9 that toolchains use.
var armRelocs = [...]RelocType{
	0:   {RelNone, 0, "R_ARM_NONE"},
	1:   {RelBranch, 4, "R_ARM_PC24"},
	2:   {RelAbs, 4, "R_ARM_ABS32"},
	3:   {RelPC, 4, "R_ARM_REL32"},
	5:   {RelAbs, 2, "R_ARM_ABS16"},
	6:   {RelAbs, 4, "R_ARM_ABS12"},
	8:   {RelAbs, 1, "R_ARM_ABS8"},
	10:  {RelBranch, 4, "R_ARM_THM_CALL"},
	11:  {RelPC, 2, "R_ARM_THM_PC8"},
	17:  {RelTLS, 4, "R_ARM_TLS_DTPMOD32"},
	18:  {RelTLS, 4, "R_ARM_TLS_DTPOFF32"},
	19:  {RelTLS, 4, "R_ARM_TLS_TPOFF32"},
	26:  {RelGOT, 4, "R_ARM_GOT_BREL"},
	27:  {RelBranch, 4, "R_ARM_PLT32"},
	28:  {RelBranch, 4, "R_ARM_CALL"},
	29:  {RelBranch, 4, "R_ARM_JUMP24"},
	30:  {RelBranch, 4, "R_ARM_THM_JUMP24"},
	38:  {RelAbs, 4, "R_ARM_TARGET1"},
	40:  {RelHint, 4, "R_ARM_V4BX"},
	41:  {RelPC, 4, "R_ARM_TARGET2"},
	42:  {RelPC, 4, "R_ARM_PREL31"},
	43:  {RelAbs, 4, "R_ARM_MOVW_ABS_NC"},
	44:  {RelAbs, 4, "R_ARM_MOVT_ABS"},
	45:  {RelPC, 4, "R_ARM_MOVW_PREL_NC"},
	46:  {RelPC, 4, "R_ARM_MOVT_PREL"},
	47:  {RelAbs, 4, "R_ARM_THM_MOVW_ABS_NC"},
	48:  {RelAbs, 4, "R_ARM_THM_MOVT_ABS"},
	49:  {RelPC, 4, "R_ARM_THM_MOVW_PREL_NC"},
	50:  {RelPC, 4, "R_ARM_THM_MOVT_PREL"},
	51:  {RelBranch, 4, "R_ARM_THM_JUMP19"},
	52:  {RelBranch, 2, "R_ARM_THM_JUMP6"},
	53:  {RelPC, 4, "R_ARM_THM_ALU_PREL_11_0"},
	54:  {RelPC, 4, "R_ARM_THM_PC12"},
	55:  {RelAbs, 4, "R_ARM_ABS32_NOI"},
	56:  {RelPC, 4, "R_ARM_REL32_NOI"},
	96:  {RelGOT, 4, "R_ARM_GOT_PREL"},
	102: {RelBranch, 2, "R_ARM_THM_JUMP11"},
	103: {RelBranch, 2, "R_ARM_THM_JUMP8"},
	104: {RelTLS, 4, "R_ARM_TLS_GD32"},
	105: {RelTLS, 4, "R_ARM_TLS_LDM32"},
	106: {RelTLS, 4, "R_ARM_TLS_LDO32"},
	107: {RelTLS, 4, "R_ARM_TLS_IE32"},
	108: {RelTLS, 4, "R_ARM_TLS_LE32"},
	132: {RelAbs, 2, "R_ARM_THM_ALU_ABS_G0_NC"},
	133: {RelAbs, 2, "R_ARM_THM_ALU_ABS_G1_NC"},
	134: {RelAbs, 2, "R_ARM_THM_ALU_ABS_G2_NC"},
	135: {RelAbs, 2, "R_ARM_THM_ALU_ABS_G3"},
}

// armBias is the distance by which the program counter that a branch adds
// to runs ahead of it: 4 in Thumb state, 8 in ARM state (AAELF32, 5.6.1.2).
func armBias(r Reloc) int64 {
	switch r.Type {
	case 10, 30, 51, 52, 102, 103:
		return -4
	case 1, 27, 28, 29:
		return -8
	}
	return 0
}

// armAddend decodes the addend that lies in the field (AAELF32, 5.6.1.1).
// A 32-bit Thumb instruction is two halfwords, the leading one first.
func armAddend(field []byte, typ uint32) (int64, bool) {
	if typ >= uint32(len(armRelocs)) || len(field) < int(armRelocs[typ].Size) {
		return 0, false
	}
	word := func() uint32 { return le.Uint32(field) }
	halves := func() (uint32, uint32) { return uint32(le.Uint16(field)), uint32(le.Uint16(field[2:])) }
	switch typ {
	case 0, 40: // NONE, V4BX: nothing is computed
		return 0, true
	case 2, 3, 38, 41, 55, 56, 17, 18, 19, 26, 96, 104, 105, 106, 107, 108:
		return int64(int32(word())), true
	case 5:
		return int64(int16(le.Uint16(field))), true
	case 8:
		return int64(int8(field[0])), true
	case 42: // PREL31: bit 31 is not the relocation's
		return signExtend(word(), 31), true
	case 1, 27, 28, 29: // B, BL: imm24:00; BLX: imm24:H:0
		if v := word(); v>>28 == 0xF {
			return signExtend(v<<2|v>>23&2, 26), true
		} else {
			return signExtend(v<<2, 26), true
		}
	case 6: // LDR (literal): imm12 and U, add or subtract
		v := word()
		return plusMinus(v&0xfff, v&(1<<23) == 0), true
	case 43, 44, 45, 46: // MOVW, MOVT: imm4:imm12; MOVT holds the addend's low half as well
		v := word()
		return signExtend(v>>4&0xf000|v&0xfff, 16), true
	case 47, 48, 49, 50: // MOVW, MOVT: imm4:i:imm3:imm8
		hi, lo := halves()
		return signExtend(hi&0xf<<12|hi>>10&1<<11|lo>>12&7<<8|lo&0xff, 16), true
	case 10, 30: // BL, BLX, B.W: S:I1:I2:imm10:imm11:0, I = not (J eor S)
		hi, lo := halves()
		s, j1, j2 := hi>>10&1, lo>>13&1, lo>>11&1
		return signExtend(s<<24|(j1^s^1)<<23|(j2^s^1)<<22|hi&0x3ff<<12|lo&0x7ff<<1, 25), true
	case 51: // Bcc.W: S:J2:J1:imm6:imm11:0
		hi, lo := halves()
		return signExtend(hi>>10&1<<20|lo>>11&1<<19|lo>>13&1<<18|hi&0x3f<<12|lo&0x7ff<<1, 21), true
	case 52: // CBZ: i:imm5:0, forwards only
		v := uint32(le.Uint16(field))
		return int64(v>>9&1<<6 | v>>3&0x1f<<1), true
	case 102: // B: imm11:0
		return signExtend(uint32(le.Uint16(field))<<1, 12), true
	case 103: // Bcc: imm8:0
		return signExtend(uint32(le.Uint16(field))<<1, 9), true
	case 11: // LDR (literal), ADR: imm8:00
		return int64(le.Uint16(field)&0xff) << 2, true
	case 53: // ADR.W: i:imm3:imm8; SUB where bits 7 and 5 are set
		hi, lo := halves()
		return plusMinus(hi>>10&1<<11|lo>>12&7<<8|lo&0xff, hi&0xa0 == 0xa0), true
	case 54: // LDR.W (literal): imm12 and U
		hi, lo := halves()
		return plusMinus(lo&0xfff, hi&0x80 == 0), true
	case 132, 133, 134, 135: // ADDS, MOVS: imm8
		return int64(le.Uint16(field) & 0xff), true
	}
	return 0, false
}

// signExtend takes the low bits of v for a signed number.
func signExtend(v uint32, bits uint) int64 { return int64(int32(v<<(32-bits)) >> (32 - bits)) }

func plusMinus(v uint32, minus bool) int64 {
	if minus {
		return -int64(v)
	}
	return int64(v)
}

// armThunk is B.W, which Thumb-2 and ARMv8-M have and ARMv6-M does not; its
// reach of 16 MB is more than any flash that such a part has, and linkers
// extend it by a veneer.
func armThunk(f *File, section uint32, reach uint64) *Thunk {
	if !f.startsThumb(section) || !f.hasThumbJump() {
		return nil
	}
	// B.W to itself: the addend −4 in the instruction.
	return &Thunk{Code: []byte{0xff, 0xf7, 0xfe, 0xbf}, Relocs: []Reloc{{Type: 30, Addend: -4}}, Align: 2}
}

// startsThumb reports whether the first mapping symbol of a section says
// that it begins with Thumb code.
func (f *File) startsThumb(section uint32) bool {
	for i := uint32(1); i < f.FirstGlobal; i++ {
		if s := f.Symbol(i); s.Section == section && s.Value == 0 && s.Type == STT_NOTYPE {
			if n := f.NameOf(&s); n == "$t" || len(n) > 3 && n[:3] == "$t." {
				return true
			}
		}
	}
	return false
}

// hasThumbJump looks for evidence that the object's processor knows B.W:
// Tag_CPU_arch of its build attributes (ABI for the Arm Architecture,
// addenda32, section 3.3).
func (f *File) hasThumbJump() bool {
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Type == SHT_ARM_ATTRIBUTES {
			switch arch, ok := cpuArch(f.Bytes(uint32(i))); {
			case !ok:
				return false
			case arch == 8 || arch == 10 || arch >= 13 && arch <= 22:
				return true // v6T2, v7, v7E-M to v9-A, ARMv8-M's baseline among them
			}
		}
	}
	return false
}

// cpuArch reads Tag_CPU_arch from .ARM.attributes: 'A', then for each vendor
// a length, a name and subsections; the one for the whole file has tag 1.
func cpuArch(b []byte) (arch uint64, ok bool) {
	const (
		tagFile       = 1
		tagCPURawName = 4
		tagCPUName    = 5
		tagCPUArch    = 6
		tagCompat     = 32
	)
	c := &cursor{b: b}
	if c.u8() != 'A' {
		return 0, false
	}
	for !c.bad && c.at < uint64(len(b)) {
		start := c.at
		size := c.fixed(4)
		if c.bad || size < 5 || size > uint64(len(b))-start {
			return 0, false
		}
		vendor := &cursor{b: b[:start+size], at: c.at}
		c.at = start + size
		if vendor.text() != "aeabi" {
			continue
		}
		at := vendor.at
		tag, n := vendor.u8(), vendor.fixed(4)
		if vendor.bad || tag != tagFile || n < 5 || n > start+size-at {
			return 0, false
		}
		for attrs := (&cursor{b: b[:at+n], at: vendor.at}); !attrs.bad && attrs.at < at+n; {
			switch tag := attrs.uleb(); {
			case tag == tagCPUArch:
				arch = attrs.uleb()
				return arch, !attrs.bad
			case tag == tagCompat:
				attrs.uleb()
				attrs.text()
			case tag == tagCPURawName || tag == tagCPUName || tag > tagCompat && tag&1 == 1:
				attrs.text()
			default:
				attrs.uleb()
			}
		}
	}
	return 0, false
}

// text reads a NUL-terminated string.
func (c *cursor) text() string {
	start := c.at
	for {
		ch := c.u8()
		if c.bad {
			return ""
		}
		if ch == 0 {
			return string(c.b[start : c.at-1])
		}
	}
}
