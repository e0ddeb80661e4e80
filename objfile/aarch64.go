package objfile

// aarch64 follows ELF for the Arm 64-bit Architecture (AAELF64, 2024Q3),
// section 5.7.
var aarch64 = Arch{
	Machine: EM_AARCH64,
	Name:    "AArch64",
	Reloc: func(typ uint32) RelocType {
		if typ < uint32(len(aarch64Relocs)) {
			return aarch64Relocs[typ]
		}
		return RelocType{}
	},
	// The branches of the architecture have relocation types of their own.
	IsCall: func(code []byte, r Reloc) bool {
		return r.Type < uint32(len(aarch64Relocs)) && aarch64Relocs[r.Type].Kind == RelBranch && r.Type != 314
	},
	Bias:       func(r Reloc) int64 { return 0 },
	Addend:     func(field []byte, typ uint32) (int64, bool) { return 0, false }, // always SHT_RELA
	Thunk:      aarch64Thunk,
	OwnAddress: aarch64OwnAddress,
	Half:       aarch64Half,
	None:       0,
	Address:    257,
	Mapping:    true,
}

// aarch64Relocs is indexed by relocation type: the static relocations of
// tables 5-6 to 5-13.
var aarch64Relocs = [...]RelocType{
	0:   {RelNone, 0, "R_AARCH64_NONE"},
	256: {RelNone, 0, "R_AARCH64_NONE"}, // of ILP32's numbering, still accepted
	257: {RelAbs, 8, "R_AARCH64_ABS64"},
	258: {RelAbs, 4, "R_AARCH64_ABS32"},
	259: {RelAbs, 2, "R_AARCH64_ABS16"},
	260: {RelPC, 8, "R_AARCH64_PREL64"},
	261: {RelPC, 4, "R_AARCH64_PREL32"},
	262: {RelPC, 2, "R_AARCH64_PREL16"},
	263: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G0"},
	264: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G0_NC"},
	265: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G1"},
	266: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G1_NC"},
	267: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G2"},
	268: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G2_NC"},
	269: {RelAbs, 4, "R_AARCH64_MOVW_UABS_G3"},
	270: {RelAbs, 4, "R_AARCH64_MOVW_SABS_G0"},
	271: {RelAbs, 4, "R_AARCH64_MOVW_SABS_G1"},
	272: {RelAbs, 4, "R_AARCH64_MOVW_SABS_G2"},
	273: {RelPC, 4, "R_AARCH64_LD_PREL_LO19"},
	274: {RelPC, 4, "R_AARCH64_ADR_PREL_LO21"},
	275: {RelPC, 4, "R_AARCH64_ADR_PREL_PG_HI21"},
	276: {RelPC, 4, "R_AARCH64_ADR_PREL_PG_HI21_NC"},
	277: {RelAbs, 4, "R_AARCH64_ADD_ABS_LO12_NC"},
	278: {RelAbs, 4, "R_AARCH64_LDST8_ABS_LO12_NC"},
	279: {RelBranch, 4, "R_AARCH64_TSTBR14"},
	280: {RelBranch, 4, "R_AARCH64_CONDBR19"},
	282: {RelBranch, 4, "R_AARCH64_JUMP26"},
	283: {RelBranch, 4, "R_AARCH64_CALL26"},
	284: {RelAbs, 4, "R_AARCH64_LDST16_ABS_LO12_NC"},
	285: {RelAbs, 4, "R_AARCH64_LDST32_ABS_LO12_NC"},
	286: {RelAbs, 4, "R_AARCH64_LDST64_ABS_LO12_NC"},
	287: {RelPC, 4, "R_AARCH64_MOVW_PREL_G0"},
	288: {RelPC, 4, "R_AARCH64_MOVW_PREL_G0_NC"},
	289: {RelPC, 4, "R_AARCH64_MOVW_PREL_G1"},
	290: {RelPC, 4, "R_AARCH64_MOVW_PREL_G1_NC"},
	291: {RelPC, 4, "R_AARCH64_MOVW_PREL_G2"},
	292: {RelPC, 4, "R_AARCH64_MOVW_PREL_G2_NC"},
	293: {RelPC, 4, "R_AARCH64_MOVW_PREL_G3"},
	299: {RelAbs, 4, "R_AARCH64_LDST128_ABS_LO12_NC"},
	309: {RelGOT, 4, "R_AARCH64_GOT_LD_PREL19"},
	310: {RelGOT, 4, "R_AARCH64_LD64_GOTOFF_LO15"},
	311: {RelGOT, 4, "R_AARCH64_ADR_GOT_PAGE"},
	312: {RelGOT, 4, "R_AARCH64_LD64_GOT_LO12_NC"},
	313: {RelGOT, 4, "R_AARCH64_LD64_GOTPAGE_LO15"},
	314: {RelPC, 4, "R_AARCH64_PLT32"}, // of a data word
	512: {RelTLS, 4, "R_AARCH64_TLSGD_ADR_PREL21"},
	513: {RelTLS, 4, "R_AARCH64_TLSGD_ADR_PAGE21"},
	514: {RelTLS, 4, "R_AARCH64_TLSGD_ADD_LO12_NC"},
	517: {RelTLS, 4, "R_AARCH64_TLSLD_ADR_PREL21"},
	518: {RelTLS, 4, "R_AARCH64_TLSLD_ADR_PAGE21"},
	519: {RelTLS, 4, "R_AARCH64_TLSLD_ADD_LO12_NC"},
	523: {RelTLS, 4, "R_AARCH64_TLSLD_MOVW_DTPREL_G2"},
	524: {RelTLS, 4, "R_AARCH64_TLSLD_MOVW_DTPREL_G1"},
	525: {RelTLS, 4, "R_AARCH64_TLSLD_MOVW_DTPREL_G1_NC"},
	526: {RelTLS, 4, "R_AARCH64_TLSLD_MOVW_DTPREL_G0"},
	527: {RelTLS, 4, "R_AARCH64_TLSLD_MOVW_DTPREL_G0_NC"},
	528: {RelTLS, 4, "R_AARCH64_TLSLD_ADD_DTPREL_HI12"},
	529: {RelTLS, 4, "R_AARCH64_TLSLD_ADD_DTPREL_LO12"},
	530: {RelTLS, 4, "R_AARCH64_TLSLD_ADD_DTPREL_LO12_NC"},
	539: {RelTLS, 4, "R_AARCH64_TLSIE_MOVW_GOTTPREL_G1"},
	540: {RelTLS, 4, "R_AARCH64_TLSIE_MOVW_GOTTPREL_G0_NC"},
	541: {RelTLS, 4, "R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21"},
	542: {RelTLS, 4, "R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC"},
	543: {RelTLS, 4, "R_AARCH64_TLSIE_LD_GOTTPREL_PREL19"},
	544: {RelTLS, 4, "R_AARCH64_TLSLE_MOVW_TPREL_G2"},
	545: {RelTLS, 4, "R_AARCH64_TLSLE_MOVW_TPREL_G1"},
	546: {RelTLS, 4, "R_AARCH64_TLSLE_MOVW_TPREL_G1_NC"},
	547: {RelTLS, 4, "R_AARCH64_TLSLE_MOVW_TPREL_G0"},
	548: {RelTLS, 4, "R_AARCH64_TLSLE_MOVW_TPREL_G0_NC"},
	549: {RelTLS, 4, "R_AARCH64_TLSLE_ADD_TPREL_HI12"},
	550: {RelTLS, 4, "R_AARCH64_TLSLE_ADD_TPREL_LO12"},
	551: {RelTLS, 4, "R_AARCH64_TLSLE_ADD_TPREL_LO12_NC"},
	552: {RelTLS, 4, "R_AARCH64_TLSLE_LDST8_TPREL_LO12"},
	553: {RelTLS, 4, "R_AARCH64_TLSLE_LDST8_TPREL_LO12_NC"},
	554: {RelTLS, 4, "R_AARCH64_TLSLE_LDST16_TPREL_LO12"},
	555: {RelTLS, 4, "R_AARCH64_TLSLE_LDST16_TPREL_LO12_NC"},
	556: {RelTLS, 4, "R_AARCH64_TLSLE_LDST32_TPREL_LO12"},
	557: {RelTLS, 4, "R_AARCH64_TLSLE_LDST32_TPREL_LO12_NC"},
	558: {RelTLS, 4, "R_AARCH64_TLSLE_LDST64_TPREL_LO12"},
	559: {RelTLS, 4, "R_AARCH64_TLSLE_LDST64_TPREL_LO12_NC"},
	560: {RelTLS, 4, "R_AARCH64_TLSDESC_LD_PREL19"},
	561: {RelTLS, 4, "R_AARCH64_TLSDESC_ADR_PREL21"},
	562: {RelTLS, 4, "R_AARCH64_TLSDESC_ADR_PAGE21"},
	563: {RelTLS, 4, "R_AARCH64_TLSDESC_LD64_LO12"},
	564: {RelTLS, 4, "R_AARCH64_TLSDESC_ADD_LO12"},
	567: {RelTLS, 4, "R_AARCH64_TLSDESC_LDR"},
	568: {RelTLS, 4, "R_AARCH64_TLSDESC_ADD"},
	569: {RelTLS, 4, "R_AARCH64_TLSDESC_CALL"},
	570: {RelTLS, 4, "R_AARCH64_TLSLE_LDST128_TPREL_LO12"},
	571: {RelTLS, 4, "R_AARCH64_TLSLE_LDST128_TPREL_LO12_NC"},
}

// aarch64Half tells ADRP, by what it is the page of, from the instructions that
// add the lower twelve bits of that.
func aarch64Half(typ uint32) (family uint8, high bool) {
	switch typ {
	case 275, 276:
		return 1, true
	case 277, 278, 284, 285, 286, 299:
		return 1, false
	case 311:
		return 2, true
	case 312:
		return 2, false
	case 541:
		return 3, true
	case 542:
		return 3, false
	case 562:
		return 4, true
	case 563, 564:
		return 4, false
	case 513:
		return 5, true
	case 514:
		return 5, false
	case 518:
		return 6, true
	case 519:
		return 6, false
	}
	return 0, false
}

// aarch64Thunk is B, after a landing pad where the function begins with one.
// PACIASP and PACIBSP are landing pads, too, but sign the return address,
// which the leader will do: BTI c stands for them.
func aarch64Thunk(f *File, section uint32, reach uint64) *Thunk {
	const (
		bti, btiC, btiJ, btiJC = 0xd503241f, 0xd503245f, 0xd503249f, 0xd50324df
		paciasp, pacibsp       = 0xd503233f, 0xd503237f
		branch                 = 0x14000000
	)
	body := f.Bytes(section)
	if len(body) < 4 || len(body)%4 != 0 {
		return nil
	}
	var code []byte
	switch first := le.Uint32(body); first {
	case bti, btiC, btiJ, btiJC:
		code = le.AppendUint32(code, first)
	case paciasp, pacibsp:
		code = le.AppendUint32(code, btiC)
	}
	at := uint64(len(code))
	code = le.AppendUint32(code, branch)
	return &Thunk{Code: code, Relocs: []Reloc{{Offset: at, Type: 282}}, Align: 4}
}
