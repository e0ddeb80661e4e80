package merge

import (
	"fmt"
	"strings"
	"testing"

	"leanlink/objfile"
)

// endsProgram has a panic entry point, a function that is none, and main, in code whose functions return by ret.
func endsProgram(main string) string {
	function := func(name, body string) string {
		return fmt.Sprintf("\t.section .text.%[1]s,\"ax\",@progbits\n\t.globl %[1]s\n\t.type %[1]s,@function\n%[1]s:\n%[2]s\n\t.size %[1]s, .-%[1]s\n", name, body)
	}
	main, rest, _ := strings.Cut(main, "ELSEWHERE")
	return function(panicBounds, "\tnop\n\tnop\n\tnop\n\tret") + function("other", "\tret") + function("main", main) +
		"\t.section .rodata..Lanon.l,\"a\",@progbits\nplace: .word 2\n" + rest + "\n" + rustc
}

// Each body of main becomes the other one; none has more relocations.
func TestDeadEndsOther(t *testing.T) {
	const a64, a64Panic = "adrp x2, place\n add x2, x2, :lo12:place\n", "bl " + panicBounds + "\n"
	const a64Live = "cmp x0, #4\n b.hs 1f\n add x0, x0, #1\n ret\n"
	const rv, rvPanic = "lui a2, %hi(place)\n addi a2, a2, %lo(place)\n", "call " + panicBounds + "\n"
	const rvLive = "li a1, 4\n bgeu a0, a1, 1f\n addi a0, a0, 1\n ret\n"
	type example struct {
		name, was, is string // "" is as it was
		relocs        int    // that are left
	}
	for _, m := range []struct {
		target string
		list   []example
	}{
		{"aarch64-none-elf", []example{
			{"at the end", a64Live + "1: " + a64 + a64Panic, a64Live + "1: brk #1", 0},
			{"several", "cbz x1, 1f\n cbnz w2, 2f\n tbz x3, #40, 3f\n b.eq 4f\n ret\n 1: " + a64Panic + "2: nop\n" + a64Panic + "3: " + a64Panic + "4: " + a64 + "b " + panicBounds,
				"cbz x1, 1f\n cbnz w2, 1f\n tbz x3, #40, 1f\n b.eq 1f\n ret\n 1: brk #1", 0},
			{"in the middle", "cbz x0, 1f\n" + a64 + a64Panic + "1: ret", "cbz x0, 1f\n brk #1\n brk #1\n brk #1\n 1: ret", 0},
			{"the frame", a64Live + "1: stp x29, x30, [sp, #-32]!\n mov x29, sp\n str x2, [sp, #8]\n stur x2, [sp, #-8]\n ldr x1, [sp, #16]\n ldp x3, x4, [sp]\n sub sp, sp, #16\n" + a64Panic, a64Live + "1: brk #1", 0},
			{"a store elsewhere", a64Live + "1: str x2, [x0]\n" + a64Panic, a64Live + "1: str x2, [x0]\n brk #1", 0},
			{"a load elsewhere", a64Live + "1: ldp x2, x3, [x0]\n" + a64 + a64Panic, a64Live + "1: ldp x2, x3, [x0]\n brk #1", 0},
			{"an exclusive load", a64Live + "1: ldxr x2, [sp]\n" + a64 + a64Panic, a64Live + "1: ldxr x2, [sp]\n brk #1", 0},
			{"the stack is another", a64Live + "1: add sp, x0, #16\n str x1, [sp]\n" + a64Panic, a64Live + "1: add sp, x0, #16\n brk #1", 0},
			{"the stack is another, with a tag", a64Live + "1: .inst 0x9adf101f // irg sp, x0\n str x1, [sp]\n" + a64Panic, a64Live + "1: .inst 0x9adf101f\n brk #1", 0},
			{"interrupts", a64Live + "1: msr daifset, #2\n" + a64 + a64Panic, a64Live + "1: msr daifset, #2\n brk #1", 0},
			{"a call of the host", a64Live + "1: hlt #0xf000\n" + a64 + a64Panic, a64Live + "1: hlt #0xf000\n brk #1", 0},
			{"a call", a64Live + "1: bl other\n" + a64 + a64Panic, a64Live + "1: bl other\n brk #1", 1},
			{"a loop", a64Live + "1: b 1b\n" + a64Panic, a64Live + "1: b 1b", 0},
			{"a call of itself", "0: cbz x0, 1f\n ret\n 1: bl 0b\n nop\n" + a64Panic, "0: cbz x0, 1f\n ret\n 1: bl 0b\n brk #1", 0},
			{"a call of its inside", "cbz x0, 1f\n 0: ret\n 1: bl 0b\n nop\n" + a64Panic, "", 1},
			{"floats", a64Live + "1: fadd d0, d0, d1\n" + a64Panic, a64Live + "1: fadd d0, d0, d1\n brk #1", 0},
			{"its own place", "adr x1, 1f\n br x1\n 1: " + a64 + a64Panic, "", 3},
			{"a constant", "ldr x1, 2f\n cbz x1, 1f\n ret\n 1: " + a64Panic + "2: .xword 5", "", 1},
			{"code that is read", "3: cbz x1, 1f\n ldr x0, 3b\n ret\n 1: " + a64 + a64Panic, "", 3},
			{"entered", "cbz x0, 1f\n ret\n 1: nop\n 3: " + a64 + a64Panic + "ELSEWHERE .section .data.x,\"aw\"\n .xword 3b", "cbz x0, 1f\n ret\n 1: brk #1\n 3: brk #1", 0},
			{"a table of distances", "cbz x0, 1f\n ret\n 1: nop\n 3: " + a64 + a64Panic + "ELSEWHERE .section .rodata.x,\"a\"\n 4: .word 3b-4b, 1b-4b", "", 3},
		}},
		{"+c riscv32-none-elf", []example{
			{"at the end", rvLive + "1: " + rv + rvPanic, rvLive + "1: c.ebreak", 0},
			{"several", "c.beqz a0, 1f\n beq a1, a2, 2f\n c.bnez a3, 3f\n ret\n 1: " + rvPanic + "2: nop\n" + rvPanic + "3: " + rv + "tail " + panicBounds,
				"c.beqz a0, 1f\n beq a1, a2, 1f\n c.bnez a3, 1f\n ret\n 1: c.ebreak", 0},
			{"in the middle", "c.beqz a0, 1f\n" + rv + rvPanic + "1: ret", "c.beqz a0, 1f\n .rept 8\n c.ebreak\n .endr\n 1: ret", 0},
			{"the frame", rvLive + "1: addi sp, sp, -32\n sw ra, 28(sp)\n c.swsp a0, 4(sp)\n lw a1, 2000(sp)\n c.lwsp a2, 0(sp)\n c.addi4spn a0, sp, 8\n" + rvPanic, rvLive + "1: c.ebreak", 0},
			{"a store elsewhere", rvLive + "1: sw a2, 0(a0)\n" + rvPanic, rvLive + "1: sw a2, 0(a0)\n c.ebreak", 0},
			{"a far store elsewhere", rvLive + "1: sw a2, 2000(t0)\n" + rvPanic, rvLive + "1: sw a2, 2000(t0)\n c.ebreak", 0},
			{"a load elsewhere", rvLive + "1: lw a2, 100(t0)\n" + rv + rvPanic, rvLive + "1: lw a2, 100(t0)\n c.ebreak", 0},
			{"the stack is another", rvLive + "1: mv sp, a0\n sw a1, 0(sp)\n" + rvPanic, rvLive + "1: mv sp, a0\n c.ebreak", 0},
			{"a trap handler's register", rvLive + "1: mv tp, a0\n" + rvPanic, rvLive + "1: mv tp, a0\n c.ebreak", 0},
			{"a float in the frame", rvLive + "1: .insn i 0x07, 3, x10, x2, 8 # fld fa0, 8(sp)\n .insn s 0x27, 2, x10, 8(x2) # fsw fa0, 8(sp)\n" + rvPanic, rvLive + "1: c.ebreak", 0},
			{"a vector that may lie anywhere", rvLive + "1: .insn r 0x27, 6, 7, x4, x2, x8 # vsoxei32.v v4, (sp), v8\n" + rvPanic, rvLive + "1: .insn r 0x27, 6, 7, x4, x2, x8\n c.ebreak", 0},
			{"a vector from anywhere", rvLive + "1: .insn r 0x07, 6, 7, x4, x2, x8 # vloxei32.v v4, (sp), v8\n" + rvPanic, rvLive + "1: .insn r 0x07, 6, 7, x4, x2, x8\n c.ebreak", 0},
			{"interrupts", rvLive + "1: csrci mstatus, 8\n" + rv + rvPanic, rvLive + "1: csrci mstatus, 8\n c.ebreak", 0},
			{"a fence", rvLive + "1: fence\n" + rv + rvPanic, rvLive + "1: fence\n c.ebreak", 0},
			{"a call of the host", rvLive + "1:\n .option push\n .option norvc\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop\n" + rv + rvPanic,
				rvLive + "1:\n .option push\n .option norvc\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop\n c.ebreak", 0},
			{"a call", rvLive + "1: call other\n" + rv + rvPanic, rvLive + "1: call other\n c.ebreak", 1},
			{"a loop", rvLive + "1: j 1b\n" + rvPanic, rvLive + "1: j 1b", 0},
			{"its own place", "auipc a0, 0\n jr a0\n " + rv + rvPanic, "", 3},
			{"by a table", "beqz a0, 1f\n jr a0\n 1: nop\n " + rvPanic + ".Lx: " + rv + rvPanic + "ELSEWHERE .section .rodata.x,\"a\"\n .word .Lx", "beqz a0, 1f\n jr a0\n 1: c.ebreak\nELSEWHERE .section .rodata.x,\"a\"\n .word main", 0},
		}},
		{"riscv32-none-elf", []example{{"without short instructions", "beqz a0, 1f\n ret\n 1: nop\n" + rvPanic, "beqz a0, 1f\n ret\n 1: ebreak", 0}}},
		{"+c riscv64-none-elf", []example{{"words of 64 bits", "c.beqz a0, 1f\n ret\n 1: c.addiw a0, 1\n c.sdsp a0, 8(sp)\n" + rvPanic, "c.beqz a0, 1f\n ret\n 1: c.ebreak", 0}}},
		{"+relax,+c riscv32-none-elf", []example{{"code that linkers shorten", rvLive + "1: " + rv + rvPanic, "", 7}}},
	} {
		for _, tt := range m.list {
			was := trimFor(t, m.target, Trim{}, endsProgram(tt.was))
			x := trimFor(t, m.target, Trim{Trap: true}, endsProgram(tt.was))
			i, cut := x.sectionNamed(t, 0, ".text.main")
			want := was.Files[0].Bytes(i)
			if tt.is != "" {
				want = trimFor(t, m.target, Trim{}, endsProgram(tt.is)).Files[0].Bytes(i)
			}
			f := x.Files[0]
			if got := f.Bytes(i); string(got) != string(want) || (cut == CutEnds) != (tt.is != "") || f.Relocs(i).Len() != tt.relocs {
				t.Errorf("%s: %s: cut %d, %x with %d relocations, want %x with %d", m.target, tt.name, cut, got, f.Relocs(i).Len(), want, tt.relocs)
			}
			// What leads into the function leads to an instruction of it.
			for k := range f.NumSymbols {
				if s := f.Symbol(k); s.Section == i && s.Type != objfile.STT_SECTION && s.Value > uint64(len(want)) {
					t.Errorf("%s: %s: %s is at 0x%x", m.target, tt.name, f.NameOf(&s), s.Value)
				}
			}
		}
	}
}

// A frame entry says how long a function is, so that stays as it is unless the entries go, too.
func TestDeadEndsWithFrames(t *testing.T) {
	source := endsProgram(".cfi_startproc\n cbz x0, 1f\n ret\n 1: nop\n bl " + panicBounds + "\n .cfi_endproc")
	for _, tt := range []struct {
		trim Trim
		code string
	}{
		{Trim{Trap: true}, "400000b4c0035fd6200020d4200020d4"},
		{Trim{Trap: true, Frames: true}, "400000b4c0035fd6200020d4"},
	} {
		x := trimFor(t, "aarch64-none-elf", tt.trim, source)
		i, cut := x.sectionNamed(t, 0, ".text.main")
		if got := fmt.Sprintf("%x", x.Files[0].Bytes(i)); cut != CutEnds || got != tt.code {
			t.Errorf("cut %d, %s, want %s", cut, got, tt.code)
		}
	}
}
