package objfile

// riscv follows the RISC-V ELF psABI (version 1.0 and later additions),
// section "Relocations", for both address sizes.
//
// Linkers may shorten code here ("relaxation"): where a place behind the
// start of a function will lie is known only to the label that marks it. So
// differences between labels stay relocations, in pairs of one that adds and
// one that subtracts, and a pair of instructions that compute one address
// are tied by a label: the second's relocation names the first's place.
var riscv = Arch{
	Machine: EM_RISCV,
	Name:    "RISC-V",
	Reloc: func(typ uint32) RelocType {
		if typ < uint32(len(riscvRelocs)) {
			return riscvRelocs[typ]
		}
		return RelocType{}
	},
	// The branches of the architecture have relocation types of their own.
	IsCall: func(code []byte, r Reloc) bool {
		return r.Type < uint32(len(riscvRelocs)) && riscvRelocs[r.Type].Kind == RelBranch
	},
	Bias:       func(r Reloc) int64 { return 0 },
	Addend:     func(field []byte, typ uint32) (int64, bool) { return 0, false }, // always SHT_RELA
	Thunk:      riscvThunk,
	OwnAddress: riscvOwnAddress,
	None:       0,
	Mapping:    true,
	Relaxes:    true,
}

const (
	riscvJAL     = 17
	riscvCallPLT = 19
	riscvRelax   = 51

	riscvRVC = 1 // EF_RISCV_RVC: there may be compressed instructions
)

// riscvRelocs is indexed by relocation type.
var riscvRelocs = [...]RelocType{
	0:  {RelNone, 0, "R_RISCV_NONE"},
	1:  {RelAbs, 4, "R_RISCV_32"},
	2:  {RelAbs, 8, "R_RISCV_64"},
	6:  {RelTLS, 4, "R_RISCV_TLS_DTPMOD32"},
	7:  {RelTLS, 8, "R_RISCV_TLS_DTPMOD64"},
	8:  {RelTLS, 4, "R_RISCV_TLS_DTPREL32"},
	9:  {RelTLS, 8, "R_RISCV_TLS_DTPREL64"},
	10: {RelTLS, 4, "R_RISCV_TLS_TPREL32"},
	11: {RelTLS, 8, "R_RISCV_TLS_TPREL64"},
	16: {RelBranch, 4, "R_RISCV_BRANCH"},
	17: {RelBranch, 4, "R_RISCV_JAL"},
	18: {RelBranch, 8, "R_RISCV_CALL"},
	19: {RelBranch, 8, "R_RISCV_CALL_PLT"},
	20: {RelGOT, 4, "R_RISCV_GOT_HI20"},
	21: {RelTLS, 4, "R_RISCV_TLS_GOT_HI20"},
	22: {RelTLS, 4, "R_RISCV_TLS_GD_HI20"},
	23: {RelPC, 4, "R_RISCV_PCREL_HI20"},
	24: {RelLow, 4, "R_RISCV_PCREL_LO12_I"},
	25: {RelLow, 4, "R_RISCV_PCREL_LO12_S"},
	26: {RelAbs, 4, "R_RISCV_HI20"},
	27: {RelAbs, 4, "R_RISCV_LO12_I"},
	28: {RelAbs, 4, "R_RISCV_LO12_S"},
	29: {RelTLS, 4, "R_RISCV_TPREL_HI20"},
	30: {RelTLS, 4, "R_RISCV_TPREL_LO12_I"},
	31: {RelTLS, 4, "R_RISCV_TPREL_LO12_S"},
	32: {RelTLS, 4, "R_RISCV_TPREL_ADD"},
	33: {RelDiff, 1, "R_RISCV_ADD8"},
	34: {RelDiff, 2, "R_RISCV_ADD16"},
	35: {RelDiff, 4, "R_RISCV_ADD32"},
	36: {RelDiff, 8, "R_RISCV_ADD64"},
	37: {RelDiff, 1, "R_RISCV_SUB8"},
	38: {RelDiff, 2, "R_RISCV_SUB16"},
	39: {RelDiff, 4, "R_RISCV_SUB32"},
	40: {RelDiff, 8, "R_RISCV_SUB64"},
	41: {RelGOT, 4, "R_RISCV_GOT32_PCREL"},
	43: {RelHint, 0, "R_RISCV_ALIGN"},
	44: {RelBranch, 2, "R_RISCV_RVC_BRANCH"},
	45: {RelBranch, 2, "R_RISCV_RVC_JUMP"},
	46: {RelAbs, 2, "R_RISCV_RVC_LUI"},
	51: {RelHint, 0, "R_RISCV_RELAX"},
	52: {RelDiff, 1, "R_RISCV_SUB6"},
	53: {RelDiff, 1, "R_RISCV_SET6"},
	54: {RelDiff, 1, "R_RISCV_SET8"},
	55: {RelDiff, 2, "R_RISCV_SET16"},
	56: {RelDiff, 4, "R_RISCV_SET32"},
	57: {RelPC, 4, "R_RISCV_32_PCREL"},
	59: {RelPC, 4, "R_RISCV_PLT32"}, // of a data word
	60: {RelDiff, 1, "R_RISCV_SET_ULEB128"},
	61: {RelDiff, 1, "R_RISCV_SUB_ULEB128"},
	62: {RelTLS, 4, "R_RISCV_TLSDESC_HI20"},
	63: {RelLow, 4, "R_RISCV_TLSDESC_LOAD_LO12"},
	64: {RelLow, 4, "R_RISCV_TLSDESC_ADD_LO12"},
	65: {RelLow, 4, "R_RISCV_TLSDESC_CALL"},
}

// riscvThunk is JAL x0, which reaches 1 MB either way and changes nothing
// else; in larger programs it is the tail pseudo-instruction, auipc t1 and
// jalr x0 (t1), which reaches everything. The calling convention leaves t1 to
// whoever stands between a call and its target, but what is entered by an
// interrupt knows no calling convention: it is told by the return from one.
// Where the function may be relaxed the jump may, too. A function that begins
// with a landing pad (Zicfilp: auipc x0) keeps its body, for t1 would not be
// what the pad of its leader expects.
func riscvThunk(f *File, section uint32, reach uint64) *Thunk {
	body := f.Bytes(section)
	if len(body) >= 4 && le.Uint32(body)&0xfff == 0x017 {
		return nil
	}
	align := uint64(2)
	if f.Flags&riscvRVC == 0 {
		align = 4
	}
	if reach < 1<<20 {
		return &Thunk{Code: []byte{0x6f, 0, 0, 0}, Relocs: []Reloc{{Type: riscvJAL}}, Align: align}
	}
	for k := 0; k+4 <= len(body); k += 2 {
		if w := le.Uint32(body[k:]); w&^0x70000000 == 0x00200073 { // URET, SRET, MRET, MNRET
			return nil
		}
	}
	t := &Thunk{
		Code:   []byte{0x17, 0x03, 0, 0, 0x67, 0, 0x03, 0},
		Relocs: []Reloc{{Type: riscvCallPLT}},
		Align:  align,
	}
	rs := f.Relocs(section)
	for i := range rs.Len() {
		if rs.At(i).Type == riscvRelax {
			t.Relocs = append(t.Relocs, Reloc{Type: riscvRelax})
			break
		}
	}
	return t
}
