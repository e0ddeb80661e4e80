package report

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"strings"
)

// RISC-V's far call is two instructions, auipc and jalr, which a linker makes
// one, jal, where that reaches, if the object allows it: if it was compiled
// with +relax, which rustc's targets are not by default. A linked file shows
// what would come of it: where the two follow each other, both their target and
// the distance are known. Relaxing only brings targets nearer, and shortens
// other things besides, so the count is a lower bound. The standard library's
// own code is compiled already and stays as it is.

const (
	callBytes = 4       // what a call of eight bytes has less as one of four
	jalReach  = 1 << 20 // bytes that jal reaches in either direction
)

// relaxableCalls returns the bytes that calls in the program's own crates
// would have less with +relax; 0 for other machines.
func (z *Sizes) relaxableCalls() uint64 {
	if z.Layout == nil {
		return 0
	}
	file, err := os.Open(z.Path)
	if err != nil {
		return 0
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil || f.Machine != elf.EM_RISCV {
		return 0
	}
	var count uint64
	for i := range z.Items {
		it := &z.Items[i]
		if it.Label != LabelCode || it.Addr == 0 || it.Symbol == "" || z.fromSysroot(it) {
			continue
		}
		s := f.Sections[it.Section]
		code := make([]byte, it.Bytes)
		if _, err := s.ReadAt(code, int64(it.Addr-s.Addr)); err == nil {
			count += farCalls(code)
		}
	}
	return count * callBytes
}

// fromSysroot says whether an item was compiled before the project was.
func (z *Sizes) fromSysroot(it *Item) bool {
	if it.Of == None || z.Report == nil {
		return standard[it.Crate] != 0
	}
	return strings.HasPrefix(z.Report.Inputs[z.Report.Sections[it.Of].Input].Path, "$SYSROOT/")
}

// farCalls counts auipc and jalr through one register, to where jal reaches.
func farCalls(code []byte) uint64 {
	var count uint64
	for i := 0; i+8 <= len(code); {
		first := binary.LittleEndian.Uint16(code[i:])
		if first&3 != 3 {
			i += 2 // compressed
			continue
		}
		if first&0x1f == 0x1f {
			return count // longer than 32 bits, or no code
		}
		auipc, jalr := binary.LittleEndian.Uint32(code[i:]), binary.LittleEndian.Uint32(code[i+4:])
		register := auipc >> 7 & 31
		if auipc&0x7f != 0x17 || jalr&0x707f != 0x67 || jalr>>15&31 != register || register == 0 {
			i += 4
			continue
		}
		link := jalr >> 7 & 31 // ra of a call, zero of a jump; jal writes no other here
		distance := int64(int32(auipc&^0xfff)) + int64(int32(jalr)>>20)
		if (link == 1 || link == 0) && distance >= -jalReach && distance < jalReach {
			count++
		}
		i += 8
	}
	return count
}
