package objfile

// x86_64 follows the System V psABI for AMD64, section 4.4, table 4.9
// (version 1.0).
var x86_64 = Arch{
	Machine: EM_X86_64,
	Name:    "x86-64",
	Reloc: func(typ uint32) RelocType {
		if typ < uint32(len(x86_64Relocs)) {
			return x86_64Relocs[typ]
		}
		return RelocType{}
	},
	IsCall: x86_64IsCall,
	Bias: func(r Reloc) int64 {
		if r.Type < uint32(len(x86_64Relocs)) && x86_64Relocs[r.Type].Kind == RelAbs {
			return 0
		}
		return -4
	},
	Addend:     func(field []byte, typ uint32) (int64, bool) { return 0, false }, // always SHT_RELA
	Thunk:      x86_64Thunk,
	OwnAddress: x86_64OwnAddress,
	None:       0,
	Address:    1,
}

// x86_64Relocs is indexed by relocation type.
var x86_64Relocs = [...]RelocType{
	0:  {RelNone, 0, "R_X86_64_NONE"},
	1:  {RelAbs, 8, "R_X86_64_64"},
	2:  {RelPC, 4, "R_X86_64_PC32"},
	3:  {RelUnknown, 4, "R_X86_64_GOT32"},
	4:  {RelBranch, 4, "R_X86_64_PLT32"},
	9:  {RelGOT, 4, "R_X86_64_GOTPCREL"},
	10: {RelAbs, 4, "R_X86_64_32"},
	11: {RelAbs, 4, "R_X86_64_32S"},
	12: {RelAbs, 2, "R_X86_64_16"},
	13: {RelPC, 2, "R_X86_64_PC16"},
	14: {RelAbs, 1, "R_X86_64_8"},
	15: {RelPC, 1, "R_X86_64_PC8"},
	17: {RelTLS, 8, "R_X86_64_DTPOFF64"},
	18: {RelTLS, 8, "R_X86_64_TPOFF64"},
	19: {RelTLS, 4, "R_X86_64_TLSGD"},
	20: {RelTLS, 4, "R_X86_64_TLSLD"},
	21: {RelTLS, 4, "R_X86_64_DTPOFF32"},
	22: {RelTLS, 4, "R_X86_64_GOTTPOFF"},
	23: {RelTLS, 4, "R_X86_64_TPOFF32"},
	24: {RelPC, 8, "R_X86_64_PC64"},
	32: {RelSize, 4, "R_X86_64_SIZE32"},
	33: {RelSize, 8, "R_X86_64_SIZE64"},
	34: {RelTLS, 4, "R_X86_64_GOTPC32_TLSDESC"},
	35: {RelTLS, 0, "R_X86_64_TLSDESC_CALL"},
	41: {RelGOT, 4, "R_X86_64_GOTPCRELX"},
	42: {RelGOT, 4, "R_X86_64_REX_GOTPCRELX"},
}

// x86_64IsCall looks at the opcode before the field: E8 and E9 (call and
// jmp rel32), 0F 8x (jcc rel32), FF /2 and FF /4 with a RIP-relative operand
// (call and jmp through the GOT). The type alone does not tell: an assembler
// emits PC32 for a call, too, and PLT32 for lea f@PLT(%rip).
func x86_64IsCall(code []byte, r Reloc) bool {
	if r.Offset < 1 || r.Offset+4 > uint64(len(code)) || r.Addend != -4 {
		return false
	}
	last := code[r.Offset-1]
	if r.Type >= uint32(len(x86_64Relocs)) {
		return false
	}
	switch x86_64Relocs[r.Type].Kind {
	case RelBranch, RelPC:
		// The byte before a branch opcode could make it the tail of a
		// longer instruction (a ModRM or SIB byte of E8); the operand is
		// RIP-relative with ModRM = mod 00, rm 101, that is 05, 0D, … 3D
		// and never E8 or E9. 0F 80–8F has two bytes.
		if last == 0xE8 || last == 0xE9 {
			return true
		}
		return r.Offset >= 2 && code[r.Offset-2] == 0x0F && last&0xF0 == 0x80
	case RelGOT:
		return r.Offset >= 2 && code[r.Offset-2] == 0xFF && (last == 0x15 || last == 0x25)
	}
	return false
}

// x86_64Thunk is jmp rel32, after the endbr64 that indirect-branch tracking
// wants at the target of a pointer. C++ keeps a bit of its own in pointers to
// member functions, so the address stays even.
func x86_64Thunk(f *File, section uint32, reach uint64) *Thunk {
	var code []byte
	if body := f.Bytes(section); len(body) >= 4 && string(body[:4]) == "\xf3\x0f\x1e\xfa" {
		code = append(code, body[:4]...)
	}
	code = append(code, 0xE9, 0, 0, 0, 0)
	return &Thunk{Code: code, Relocs: []Reloc{{Offset: uint64(len(code) - 4), Type: 4, Addend: -4}}, Align: 2}
}
