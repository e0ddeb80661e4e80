package merge

import (
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// A compiler starts functions at multiples of 16 bytes so that a loop of them
// is fetched a little faster, where it optimises for speed; the machine needs
// no more than its instructions do, which on x86-64 is nothing. The other
// machines' functions have no more than they need as it is.
//
// Alignment is for speed, so it goes where speed is not wanted: everywhere in
// a program that is optimised for size, which leaves the standard library's
// functions, and else in functions that are cold: the compiler says that they
// are unlikely to run, or nothing but such functions calls them. One whose
// address is taken may be called in a loop.
//
// Code that might hold data, which needs the alignment, stays as it is.

// speedAlign is how LLVM aligns functions of x86-64 for speed.
const speedAlign = 16

// alignments takes the alignment of functions down. It comes after what gives
// functions other bodies.
func (x *trimmer) alignments() {
	l := x.l
	if l.Arch.Machine != objfile.EM_X86_64 {
		return
	}
	wanted := x.unaligned(Trim{Align: true})
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			cut := CutNone
			if c := x.out.Cuts[o.index]; c != nil {
				cut = c[i]
			}
			if cut.body() || s.Align != speedAlign || !isFunctionSection(s) || !wanted(o.Base+SecID(i)) || !x.l.onlyInstructions(o, uint32(i)) {
				continue
			}
			x.edit(o).SetAlign(uint32(i), 1)
			x.out.Cuts[o.index][i] |= CutAligned
			x.out.Aligned++
		}
	}
}

// unaligned says which functions need no alignment for speed.
func (x *trimmer) unaligned(t Trim) func(SecID) bool {
	if !t.Align {
		return func(SecID) bool { return false }
	}
	if x.cold == nil && !x.l.optimisedForSize() {
		x.cold = x.l.coldFunctions()
	}
	return func(id SecID) bool { return x.cold == nil || x.cold[id] }
}

// isFunctionSection reports whether a section holds one function's code.
func isFunctionSection(s *objfile.Section) bool {
	return s.Flags&objfile.SHF_EXECINSTR != 0 && s.Type == objfile.SHT_PROGBITS && !s.MultiRel && s.Size > 0 && strings.HasPrefix(s.Name, ".text.")
}

// optimisedForSize reports whether none of the program's own crates has
// functions that are aligned for speed.
func (l *Link) optimisedForSize() bool {
	functions := 0
	for _, o := range l.Objects {
		if !o.Rust || strings.Contains(o.File.Name, "/rustlib/") {
			continue
		}
		for i := range o.File.Sections {
			// rustc's own main is not optimised for size.
			if s := &o.File.Sections[i]; isFunctionSection(s) && s.Name != ".text.main" {
				if s.Align >= speedAlign {
					return false
				}
				functions++
			}
		}
	}
	return functions > 0
}

// coldFunctions are those that are unlikely to run, and those that only such
// functions call.
func (l *Link) coldFunctions() map[SecID]bool {
	cold, known := map[SecID]bool{}, map[SecID]bool{} // known: its address is taken
	callers, callees := map[SecID]map[SecID]bool{}, map[SecID][]SecID{}
	var next []SecID
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			s, from := &o.File.Sections[i], o.Base+SecID(i)
			if strings.HasPrefix(s.Name, ".text.unlikely.") {
				cold[from] = true
				next = append(next, from)
			}
			if s.Flags&objfile.SHF_ALLOC == 0 || isEhFrame(s) || s.Rel == 0 || s.MultiRel {
				continue
			}
			code, rs := o.File.Bytes(uint32(i)), o.File.Relocs(uint32(i))
			for k := range rs.Len() {
				r := rs.At(k)
				t := l.resolveRef(o, r.Sym)
				if t.kind != toSection || l.Section(t.sec).Flags&objfile.SHF_EXECINSTR == 0 {
					continue
				}
				if s.Flags&objfile.SHF_EXECINSTR == 0 || !l.Arch.IsCall(code, r) {
					known[t.sec] = true
					continue
				}
				if callers[t.sec] == nil {
					callers[t.sec] = map[SecID]bool{}
				}
				if !callers[t.sec][from] {
					callers[t.sec][from] = true
					callees[from] = append(callees[from], t.sec)
				}
			}
		}
	}
	for len(next) > 0 {
		from := next[len(next)-1]
		next = next[:len(next)-1]
		for _, to := range callees[from] {
			// Each cold caller is taken off once; none is left of a function that
			// only they call.
			delete(callers[to], from)
			if len(callers[to]) == 0 && !known[to] && !cold[to] {
				cold[to] = true
				next = append(next, to)
			}
		}
	}
	return cold
}

// onlyInstructions reports whether x86-64 code is instructions from end to
// end, of which none reads the code itself.
func (l *Link) onlyInstructions(o *Object, i uint32) bool {
	code, rs := o.File.Bytes(i), o.File.Relocs(i)
	fields := relocIndex(rs)
	next := 0 // the first relocation of those not seen yet, in order of offsets
	for at := uint64(0); at < uint64(len(code)); {
		inst, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return false
		}
		end := at + uint64(inst.Len)
		relocated := false
		for ; next < rs.Len(); next++ {
			r := rs.At(fields.nth(next))
			kind := l.Arch.Reloc(r.Type)
			if r.Offset >= end {
				break
			}
			if r.Offset <= at || r.Offset+uint64(kind.Size) > end || kind.Size == 8 {
				return false // not a field of the instruction
			}
			relocated = true
		}
		for _, arg := range inst.Args {
			if m, ok := arg.(x86asm.Mem); ok && m.Base == x86asm.RIP && !relocated {
				return false
			}
		}
		at = end
	}
	return next == rs.Len()
}
