package merge

import (
	"fmt"
	"slices"
	"testing"

	"leanlink/objfile"
)

func TestX86Calls(t *testing.T) {
	relocated := func(at ...uint64) func(uint64) bool {
		return func(off uint64) bool { return slices.Contains(at, off) }
	}
	for _, tt := range []struct {
		name  string
		code  string
		field []uint64
		want  []uint64
	}{
		{"call rel32", "\xe8\x00\x00\x00\x70\xc3", []uint64{1}, []uint64{4}},
		{"no call: no relocation and far away", "\xe8\x00\x00\x00\x70\xc3", nil, nil},
		{"a call that the assembler resolved", "\xe8\xfb\xff\xff\xff\xc3", nil, []uint64{4}},
		{"just before the section", "\xe8\xfa\xff\xff\xff\xc3", nil, nil},
		{"through the GOT", "\xff\x15\x00\x00\x00\x00\xc3", []uint64{2}, []uint64{5}},
		{"FF 15 by chance", "\xff\x15\x00\x00\x00\x00\xc3", nil, nil},
		{"call *%rax", "\xff\xd0\xc3", nil, []uint64{1}},
		{"call *%r11", "\x41\xff\xd3\xc3", nil, []uint64{2}},
		{"call *(%rax)", "\xff\x10\xc3", nil, []uint64{1}},
		{"call *0x18(%rax)", "\xff\x50\x18\xc3", nil, []uint64{2}},
		{"call *0x180(%rax)", "\xff\x90\x80\x01\x00\x00\xc3", nil, []uint64{5}},
		{"call *0x18(%rsp)", "\xff\x54\x24\x18\xc3", nil, []uint64{3}},
		{"call *(%rax,%rcx,8)", "\xff\x14\xc8\xc3", nil, []uint64{2}},
		{"call *0x1000(,%rcx,8)", "\xff\x14\xcd\x00\x10\x00\x00\xc3", nil, []uint64{6}},
		{"jmp *%rax", "\xff\xe0\xff\x25\x00\x00\x00\x00", []uint64{4}, nil},
		{"at the end", "\x90\xff\xd0", nil, []uint64{2}},
		{"cut short", "\xe8\x00\x00", []uint64{1}, nil},
		{"cut short, FF", "\xff", nil, nil},
		{"two", "\xff\xd0\xff\xd0", nil, []uint64{1, 3}},
	} {
		if got := x86Calls([]byte(tt.code), 0, uint64(len(tt.code)), relocated(tt.field...)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	// Within a section, counted from the function's start.
	if got := x86Calls([]byte("\xff\xd0\x90\xff\xd0"), 2, 5, relocated()); !slices.Equal(got, []uint64{2}) {
		t.Errorf("%v", got)
	}
}

func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		machine uint16
		code    string
		want    []uint64
	}{
		{"bl", objfile.EM_AARCH64, "\x00\x00\x00\x94\xc0\x03\x5f\xd6", []uint64{3}},
		{"b, blr x8, br x8, blraaz x8", objfile.EM_AARCH64, "\x00\x00\x00\x14\x00\x01\x3f\xd6\x00\x01\x1f\xd6\x1f\x09\x3f\xd6", []uint64{7, 15}},
		{"blraa x8, sp", objfile.EM_AARCH64, "\x1f\x09\x3f\xd7", []uint64{3}},
		{"jal ra; jal zero", objfile.EM_RISCV, "\xef\x00\x00\x00\x6f\x00\x00\x00", []uint64{3}},
		{"jal t0", objfile.EM_RISCV, "\xef\x02\x00\x00", []uint64{3}},
		{"jalr ra, t1; jr t1", objfile.EM_RISCV, "\xe7\x00\x03\x00\x67\x00\x03\x00", []uint64{3}},
		{"c.nop; jalr ra, 0(ra)", objfile.EM_RISCV, "\x01\x00\xe7\x80\x00\x00", []uint64{5}},
		{"c.jalr a0; c.jr a0; c.ebreak; c.add", objfile.EM_RISCV, "\x02\x95\x02\x85\x02\x90\x2e\x95", []uint64{1}},
		{"c.jal", objfile.EM_RISCV, "\x01\x20", []uint64{1}},
	} {
		if got := callsOf[tt.machine]([]byte(tt.code), 0, uint64(len(tt.code)), nil); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		// Counted from the function's start.
		if got := callsOf[tt.machine]([]byte("...."+tt.code), 4, uint64(4+len(tt.code)), nil); !slices.Equal(got, tt.want) {
			t.Errorf("%s, within a section: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The common information of x86-64: the frame is at rsp+8, the return address
// at its end.
const x86CIE = "\x0c\x07\x08\x90\x01\x00\x00"

func TestCallRows(t *testing.T) {
	// push rbx; sub rsp,16; …; add; pop; ret; and the same again behind a jump.
	const rows = "\x41\x0e\x10\x44\x0e\x20\x83\x02" + // at 1: 16; at 5: 32, rbx
		"\x02\x40\x0a\x0e\x10\x41\x0e\x08" + // at 69: remember, 16; at 70: 8
		"\x41\x0b\x00\x00" // at 71: as remembered
	for _, tt := range []struct {
		name  string
		rows  string
		calls []uint64
		want  string
	}{
		{"no call", rows, nil, "none"},
		{"one row", rows, []uint64{10}, "0e208302"},
		{"in several places of one row", rows, []uint64{5, 68, 71, 200}, "0e208302"},
		{"in the prologue", rows, []uint64{1, 10}, "0e10450e208302"},
		{"before the prologue", rows, []uint64{0, 10}, "450e208302"},
		{"before it only", rows, []uint64{0}, ""},
		{"in the epilogue", rows, []uint64{10, 69}, "0e20830202450e10"},
		{"in the last rows, one of which was remembered", rows, []uint64{70, 71}, "830202470e20"},
		{"with a frame pointer", "\x41\x0e\x10\x86\x02\x43\x0d\x06", []uint64{8}, "0c06108602"},
		{"an expression stays", "\x0f\x01\x50", []uint64{8}, "stays"},
		{"arguments on the stack", "\x41\x0e\x18\x2e\x10\x44\x0e\x08\x2e\x00", []uint64{3, 8}, "0e182e10450e082e00"},
		{"restored with other arguments", "\x2e\x10\x0a\x41\x2e\x00\x0b", []uint64{8}, "stays"},
		{"truncated", "\x0e", []uint64{8}, "stays"},
		{"restored without", "\x0b", []uint64{8}, "stays"},
	} {
		kept, initial, ok := callRows([]byte(x86CIE), []byte(tt.rows), 1, tt.calls)
		code, none := rowsCode(kept, &initial, 1), len(kept) == 0
		got := fmt.Sprintf("%x", code)
		switch {
		case !ok:
			got = "stays"
		case none:
			got = "none"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if !ok || none {
			continue
		}
		for _, at := range tt.calls {
			if was, is := rowAt(t, tt.rows, at), rowAt(t, string(code), at); was != is {
				t.Errorf("%s: at %d: %s, was %s", tt.name, at, is, was)
			}
		}
	}
	if _, _, ok := callRows([]byte("\x0f\x01\x50"), nil, 1, []uint64{1}); ok {
		t.Error("common information of an unknown form")
	}
}

// rowAt is what call-frame instructions say of a place.
func rowAt(t *testing.T, code string, at uint64) string {
	t.Helper()
	empty := frameRow{offsets: map[uint64]uint64{}}
	initial, ok := frameRows([]byte(x86CIE), empty, empty, 1)
	if !ok {
		t.Fatal("bad CIE")
	}
	rows, ok := frameRows([]byte(code), initial[0], initial[0], 1)
	if !ok {
		t.Fatalf("bad rows %x", code)
	}
	i := len(rows) - 1
	for rows[i].at > at {
		i--
	}
	return fmt.Sprint(rows[i].reg, rows[i].offset, rows[i].offsets)
}

const callProgram = `
	.section .text.main,"ax",@progbits
	.globl main
	.type main,@function
main:	.cfi_startproc
	pushq %rbx
	.cfi_def_cfa_offset 16
	.cfi_offset %rbx, -16
	call leaf@PLT
	call other@PLT
	popq %rbx
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.section .text.leaf,"ax",@progbits
	.globl leaf
	.type leaf,@function
leaf:	.cfi_startproc
	pushq %rbx
	.cfi_def_cfa_offset 16
	popq %rbx
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.section .text.other,"ax",@progbits
	.globl other
	.type other,@function
other:	.cfi_startproc
	.cfi_personality 0x9b,DW.ref.rust_eh_personality
	.cfi_lsda 0x1b,.Lexception
	subq $8, %rsp
	.cfi_def_cfa_offset 16
	call *%rax
	addq $8, %rsp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.section .gcc_except_table.x,"a",@progbits
.Lexception:
	.byte 0xff, 0xff, 1, 0
	.section .data.DW.ref.rust_eh_personality,"aw",@progbits
	.globl DW.ref.rust_eh_personality
DW.ref.rust_eh_personality: .quad 0
`

func TestCallFrames(t *testing.T) {
	l, x := trimOf(t, Trim{Calls: true}, callProgram+rustc)
	if x.Frames == 0 {
		t.Fatal("nothing was cut")
	}
	after, err := NewLink(x.Files, Options{})
	if err != nil {
		t.Fatal(err)
	}
	o, was := after.Objects[0], l.Objects[0]
	if o.Reason != "" {
		t.Fatal(o.Reason)
	}
	for name, want := range map[string]int{".text.main": 1, ".text.leaf": 0, ".text.other": 1} {
		i, _ := x.sectionNamed(t, 0, name)
		refs := o.framesOf(i)
		if len(refs) != want {
			t.Errorf("%s has %d entries, want %d", name, len(refs), want)
			continue
		}
		if want == 0 {
			continue
		}
		a, b := was.frames[0].FDEs[was.framesOf(i)[0].fde], o.frames[0].FDEs[refs[0].fde]
		if a.Range != b.Range || (was.framesOf(i)[0].lsda >= 0) != (refs[0].lsda >= 0) {
			t.Errorf("%s: %+v became %+v", name, a, b)
		}
		if refs[0].lsda >= 0 && after.ExceptionTable(o.Base+SecID(i)) != l.ExceptionTable(was.Base+SecID(i)) {
			t.Errorf("%s has another exception table", name)
		}
		ca, cb := was.frames[0].CIEs[a.CIE], o.frames[0].CIEs[b.CIE]
		if (ca.Personality == 0) != (cb.Personality == 0) || ca.InstrOff-ca.Offset != cb.InstrOff-cb.Offset {
			t.Errorf("%s has other common information", name)
		}
	}
	// Objects of other compilers are left alone, and so are other machines.
	if _, x := trimOf(t, Trim{Calls: true}, callProgram); x.Cuts[0] != nil || !slices.Equal(x.Missing["trim.unwind-tables"], []string{".eh_frame"}) {
		t.Errorf("an object of C was cut; missing %q", x.Missing)
	}
	l.Arch = objfile.ArchOf(objfile.EM_ARM)
	if _, err := l.Trim(Trim{Calls: true}); err == nil {
		t.Error("another machine")
	}
}
