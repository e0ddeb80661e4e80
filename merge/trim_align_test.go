package merge

import (
	"fmt"
	"strings"
	"testing"

	"leanlink/objfile"
)

// alignedFunction is a global function in a section of its own.
func alignedFunction(section string, align int, body string) string {
	name := section[strings.LastIndexByte(section, '.')+1:]
	return fmt.Sprintf("\t.section %s,\"ax\",@progbits\n\t.balign %d\n\t.globl %[3]s\n\t.type %[3]s,@function\n%[3]s:\n%[4]s\n\tret\n\t.size %[3]s, .-%[3]s\n", section, align, name, body)
}

// In a program that is optimised for size, what is aligned for speed comes
// from the standard library.
func TestAlignForSize(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		align      int
		want       bool
	}{
		{"instructions", "\tcall g@PLT", 16, true},
		{"an address", "\tleaq g(%rip), %rax", 16, true},
		{"aligned for something else", "\tnop", 32, false},
		{"a little aligned", "\tnop", 4, false},
		{"what is no instruction", "\t.byte 0x06", 16, false},
		{"an address in the code", "\t.quad g", 16, false},
		{"a constant of its own", "\tmovaps .Lc(%rip), %xmm0\n\tret\n.Lc: .fill 16, 1, 0x90", 16, false},
		{"a relocation of the opcode", "\t.long g - .", 16, false},
	} {
		own := "/t/deps/own.o"
		files := assemble(t, alignedFunction(".text.main", 16, "\tcall f@PLT")+alignedFunction(".text.g", 1, "\tnop")+rustc,
			alignedFunction(".text.f", tt.align, tt.body)+rustc)
		files[0].Name, files[1].Name = own, "/x/lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-0123456789abcdef.rlib(core.o)"
		l, err := NewLink(files, Options{Wanted: map[string]bool{"main": true}})
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(Trim{Align: true})
		if err != nil {
			t.Fatal(err)
		}
		i, cut := x.sectionNamed(t, 1, ".text.f")
		if (cut == CutAligned) != tt.want || (x.Files[1].Sections[i].Align == 1) != tt.want {
			t.Errorf("%s: cut %d, alignment %d", tt.name, cut, x.Files[1].Sections[i].Align)
		}
	}
}

// In one that is optimised for speed, only what is unlikely to run.
func TestAlignCold(t *testing.T) {
	source := alignedFunction(".text.main", 16, "\tcall hot@PLT\n\tcall failed@PLT") + alignedFunction(".text.hot", 16, "\tcall both@PLT") +
		alignedFunction(".text.unlikely.failed", 16, "\tcall both@PLT\n\tcall cold@PLT\n\tcall cold@PLT\n\tcall taken@PLT\n\tcall again@PLT") +
		alignedFunction(".text.both", 16, "") + alignedFunction(".text.cold", 16, "\tcall colder@PLT") + alignedFunction(".text.colder", 16, "") +
		alignedFunction(".text.taken", 16, "") + alignedFunction(".text.again", 16, "\tcall again@PLT") + alignedFunction(".text.alone", 16, "") +
		"\t.data\n\t.quad taken\n" + rustc
	l, x := trimOf(t, Trim{Align: true}, source)
	for name, want := range map[string]bool{
		".text.main": false, ".text.hot": false, ".text.both": false, ".text.taken": false, ".text.again": false, ".text.alone": false,
		".text.unlikely.failed": true, ".text.cold": true, ".text.colder": true,
	} {
		if i, cut := x.sectionNamed(t, 0, name); (cut == CutAligned) != want || (x.Files[0].Sections[i].Align == 1) != want {
			t.Errorf("%s: cut %d", name, cut)
		}
	}
	if x.Aligned != 3 {
		t.Errorf("%d functions", x.Aligned)
	}
	// C code, and other machines, have nothing to leave out.
	if _, x := trimOf(t, Trim{Align: true}, strings.TrimSuffix(source, rustc)); x.Aligned != 0 {
		t.Errorf("%d functions of C", x.Aligned)
	}
	l.Arch = objfile.ArchOf(objfile.EM_AARCH64)
	if x, err := l.Trim(Trim{Align: true}); err != nil || x.Aligned != 0 {
		t.Errorf("%v, %d functions", err, x.Aligned)
	}
}

// What else is cut from a function does not matter to its alignment.
func TestAlignWithOperands(t *testing.T) {
	source := strings.Replace(messageProgram("leaq pieces(%rip), %rdi\n call *"+unwrapFailed+"@GOTPCREL(%rip)"), ".section .text.main,\"ax\",@progbits\n",
		".section .text.unlikely.main,\"ax\",@progbits\n\t.balign 16\n", 1)
	_, x := trimOf(t, Trim{Messages: true, Align: true}, source)
	if _, cut := x.sectionNamed(t, 0, ".text.unlikely.main"); cut != CutOperands|CutAligned {
		t.Errorf("cut %d", cut)
	}
}
