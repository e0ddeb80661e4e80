package objfile_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// branch says what an instruction does with a field of it that is relocated.
type branch uint8

const (
	noBranch   branch = iota // anything but a call or jump
	direct                   // the field is the displacement of a call or jump
	indirect                 // a call or jump through memory at the field
	undecoded                // the disassembler does not know the instruction
	outOfRange               // no function's code holds the field
)

// disassembled is what the disassembler says of each relocation of a
// section of code, in the order of the table.
func disassembled(f *objfile.File, section uint32, starts []codeRange) []branch {
	code, rs := f.Bytes(section), f.Relocs(section)
	out := make([]branch, rs.Len())
	order := make([]int, rs.Len())
	for i := range order {
		order[i], out[i] = i, outOfRange
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rs.At(a).Offset, rs.At(b).Offset) })
	for _, r := range starts {
		k, _ := slices.BinarySearchFunc(order, r.from, func(i int, at uint64) int { return cmp.Compare(rs.At(i).Offset, at) })
		for at := r.from; at < r.to && k < len(order); {
			inst, err := x86asm.Decode(code[at:r.to], 64)
			if err != nil {
				for ; k < len(order) && rs.At(order[k]).Offset < r.to; k++ {
					out[order[k]] = undecoded
				}
				break
			}
			end := at + uint64(inst.Len)
			for ; k < len(order) && rs.At(order[k]).Offset < end; k++ {
				out[order[k]] = kindOf(inst, rs.At(order[k]).Offset-at)
			}
			at = end
		}
	}
	return out
}

// kindOf says what an instruction does with its field at an offset.
func kindOf(inst x86asm.Inst, field uint64) branch {
	if inst.PCRel != 4 || uint64(inst.PCRelOff) != field {
		return noBranch
	}
	switch inst.Op {
	case x86asm.CALL, x86asm.JMP, x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JE, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE,
		x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JS:
		switch arg := inst.Args[0].(type) {
		case x86asm.Rel:
			return direct
		case x86asm.Mem:
			if arg.Base == x86asm.RIP && arg.Index == 0 {
				return indirect
			}
		}
	}
	return noBranch
}

// codeRange is the code of one function.
type codeRange struct{ from, to uint64 }

// functions lists the code of each section's functions.
func functions(f *objfile.File) map[uint32][]codeRange {
	all := map[uint32][]codeRange{}
	for i := range f.NumSymbols {
		s := f.Symbol(i)
		if s.Type != objfile.STT_FUNC || !s.Defined() || f.Sections[s.Section].Flags&objfile.SHF_EXECINSTR == 0 {
			continue
		}
		if n := uint64(len(f.Bytes(s.Section))); s.Value <= n && s.Size <= n-s.Value {
			all[s.Section] = append(all[s.Section], codeRange{s.Value, s.Value + s.Size})
		}
	}
	return all
}

// TestX86IsCallAgainstDisassembler: over all code of Rust's libraries (and
// of C libraries that are here), a relocation that IsCall accepts is the
// operand of a call or jump, and any other is not, but for those that IsCall
// leaves out on purpose.
func TestX86IsCallAgainstDisassembler(t *testing.T) {
	arch := objfile.ArchOf(objfile.EM_X86_64)
	type count struct{ calls, got, others, withAddend, throughData, unsure, undecoded, outOfRange int }
	check := func(t *testing.T, c *count, o object) {
		f, err := objfile.Parse(o.name, o.data)
		if err != nil || f.Machine != objfile.EM_X86_64 {
			return
		}
		for section, ranges := range functions(f) {
			rs, code := f.Relocs(section), f.Bytes(section)
			for i, is := range disassembled(f, section, ranges) {
				r := rs.At(i)
				accepted := arch.IsCall(code, r)
				kind := arch.Reloc(r.Type).Kind
				bad := ""
				switch {
				case is == undecoded:
					c.undecoded++
				case is == outOfRange:
					c.outOfRange++
				case is == direct && accepted:
					c.calls++
				case is == indirect && accepted && kind == objfile.RelGOT:
					c.got++
				case accepted:
					bad = "is taken for a call"
				case is == direct && r.Addend != -4:
					c.withAddend++ // to a place behind the start of its target
				case is == indirect && kind != objfile.RelGOT:
					c.throughData++ // through a table of the program's own, or a thread-local one
				case is == direct && kind == objfile.RelPC:
					c.unsure++ // could be an immediate operand
				case is != noBranch:
					bad = "is a call, and not taken for one"
				default:
					c.others++
				}
				if bad != "" {
					from := max(r.Offset, 8) - 8
					t.Errorf("%s: %s+%#x: %s %+d %s: % x", f.Name, f.Sections[section].Name, r.Offset, arch.Reloc(r.Type).Name, r.Addend, bad, code[from:min(r.Offset+8, uint64(len(code)))])
				}
			}
		}
	}
	report := func(t *testing.T, c count) {
		t.Logf("%d direct calls and jumps, %d through the GOT, %d others; left out: %d with an addend, %d through data, %d unsure; not decoded %d, outside functions %d",
			c.calls, c.got, c.others, c.withAddend, c.throughData, c.unsure, c.undecoded, c.outOfRange)
		if total := c.calls + c.got + c.others; c.undecoded*100 > total || c.unsure*1000 > total {
			t.Errorf("of %d relocations %d are in code that is not decoded, %d could be calls", total, c.undecoded, c.unsure)
		}
	}
	t.Run("compiled", func(t *testing.T) {
		compiled, err := realObjects()
		if err != nil {
			t.Fatal(err)
		}
		var c count
		for _, o := range append(seeds(t, ".o"), compiled...) {
			check(t, &c, o)
		}
		report(t, c)
	})
	t.Run("Rust", func(t *testing.T) {
		root, err := sysroot()
		if err != nil {
			t.Skip("no rustc")
		}
		var c count
		for i, o := range libraryMembers(t, root, "x86_64-unknown-linux-gnu") {
			if !testing.Short() || i%10 == 0 {
				check(t, &c, o)
			}
		}
		report(t, c)
		if c.calls == 0 || c.got == 0 {
			t.Skip("no libraries for x86_64-unknown-linux-gnu")
		}
	})
	for _, lib := range []string{"/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib/x86_64-linux-musl/libc.a"} {
		t.Run(filepath.Base(filepath.Dir(lib))+"/"+filepath.Base(lib), func(t *testing.T) {
			b, err := os.ReadFile(lib)
			if err != nil {
				t.Skipf("no %s", lib)
			}
			a, err := objfile.ParseArchive(lib, b)
			if err != nil {
				t.Fatal(err)
			}
			var c count
			for _, m := range a.Members {
				check(t, &c, object{fmt.Sprintf("%s(%s)", a.Name, m.Name), m.Data})
			}
			report(t, c)
		})
	}
}
