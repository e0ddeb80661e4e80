package verify

import (
	"debug/elf"
	"fmt"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// unlikeAligned says why a function must not lie at any address: alignment is for speed only where there are nothing but
// instructions, which x86-64 does not align, and where these read nothing of themselves.
func (v *checker) unlikeAligned(was, is *section) string {
	switch {
	case v.arch.machine != elf.EM_X86_64:
		return "instructions of this machine are aligned"
	case !was.code() || !strings.HasPrefix(was.name, ".text."):
		return "the alignment of what is no function changed"
	case was.align != 16 || is.align != 1:
		return fmt.Sprintf("the alignment should go from 16 to 1, but goes from %d to %d", was.align, is.align)
	}
	covered := 0 // relocations that lie in an operand
	for at := 0; at < len(was.data); {
		inst, err := x86asm.Decode(was.data[at:], 64)
		if err != nil {
			return fmt.Sprintf("what is at 0x%x may be data, which has its alignment", at)
		}
		fields := 0
		for _, r := range relocsWithin(was, uint64(at)+1, uint64(at+inst.Len)) {
			if r.off+4 > uint64(at+inst.Len) || r.typ == 1 { // R_X86_64_64: an address, as in tables
				return fmt.Sprintf("what is at 0x%x may be data, which has its alignment", at)
			}
			fields++
		}
		covered += fields
		for _, a := range inst.Args {
			if m, ok := a.(x86asm.Mem); ok && m.Base == x86asm.RIP && fields == 0 {
				return fmt.Sprintf("the instruction at 0x%x reads the code, whose alignment may matter", at)
			}
		}
		at += inst.Len
	}
	if covered != len(was.relocs) {
		return "a relocation lies between instructions"
	}
	return ""
}
