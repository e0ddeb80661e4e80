package verify

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// endsMachine is a machine whose code loses dead ends, with what tests write in it.
type endsMachine struct {
	arch   *arch
	word   uint64
	target []string // of llvm-mc
	call   uint64   // bytes of a call
	trap   string
	live   string // goes to 1 or returns
	panics string
	passes string // an address for a panic
}

var (
	a64Ends   = endsMachine{aarch64, 8, []string{"-triple=aarch64-none-elf"}, 4, "brk #1\n", "cmp x0, #4\n b.hs 1f\n ret\n", "bl core_panic\n", "adrp x2, place\n add x2, x2, :lo12:place\n"}
	riscvEnds = endsMachine{riscv(elf.ELFCLASS32), 4, []string{"-triple=riscv32-none-elf", "-mattr=+c"}, 8, "c.ebreak\n", "bgeu a0, a1, 1f\n ret\n", "call core_panic\n", "lui a2, %hi(place)\n addi a2, a2, %lo(place)\n"}
)

// object assembles core_panic, other and main; main has relocations, be it none. What is behind ELSEWHERE is not main's.
func (m endsMachine) object(t *testing.T, panics, main string) []byte {
	t.Helper()
	mc := need(t, "llvm-mc")
	b := &strings.Builder{}
	b.WriteString("\t.data\n\t.word place, core_panic, other, unknown\n")
	main, rest, _ := strings.Cut(main, "ELSEWHERE")
	for _, f := range [][2]string{{"core_panic", panics}, {"other", "ret"}, {"main", main + "\n " + strings.Replace(m.panics, "core_panic", "other", 1)}} {
		fmt.Fprintf(b, "\t.section .text.%[1]s,\"ax\",@progbits\n\t.globl %[1]s\n\t.type %[1]s,@function\n%[1]s:\n%[2]s\n", f[0], f[1])
	}
	b.WriteString("\t.section .rodata.p,\"a\",@progbits\nplace: .word 2\n" + rest + "\n")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.s"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, mc, append([]string{"-filetype=obj", "-o", "a.o", "a.s"}, m.target...)...)
	o, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	return dropLast(t, o, m.call, "main")
}

func TestProveEndsOther(t *testing.T) {
	cuts := map[string]CutKind{".text.core_panic": CutTrap, ".text.main": CutEnds}
	type example struct{ name, was, is, want string }
	// leads is code that leads to a panic, between a way there and the panic.
	leads := func(m endsMachine, name, code, want string) example {
		return example{name, m.live + "1: " + code + "\n" + m.panics, m.live + "1: " + m.trap, want}
	}
	for _, m := range []struct {
		endsMachine
		list []example
	}{
		{a64Ends, []example{
			leads(a64Ends, "the end", a64Ends.passes, ""),
			leads(a64Ends, "the frame", "stp x29, x30, [sp, #-32]!\n mov x29, sp\n str x2, [sp, #8]\n stur x2, [sp, #-8]\n ldr x1, [sp, #16]\n ldp x3, x4, [sp]\n str x1, [sp, #-16]!\n sub sp, sp, #16", ""),
			leads(a64Ends, "a store", "str x2, [x0]", "may be seen"),
			leads(a64Ends, "a load", "ldp x2, x3, [x0]", "may be seen"),
			leads(a64Ends, "an exclusive load", "ldxr x2, [sp]", "may be seen"),
			leads(a64Ends, "another stack", "add sp, x0, #16\n str x1, [sp]", "may be seen"),
			leads(a64Ends, "another stack by logic", "and sp, x0, #0xfffffffffffffff0\n str x1, [sp]", "may be seen"),
			leads(a64Ends, "another stack by a register", "add sp, sp, x1\n str x1, [sp]", "may be seen"),
			leads(a64Ends, "another stack, with a tag", ".inst 0x9adf101f // irg sp, x0\n str x1, [sp]", "may be seen"),
			leads(a64Ends, "interrupts", "msr daifset, #2", "may be seen"),
			leads(a64Ends, "a call of the host", "hlt #0xf000", "may be seen"),
			leads(a64Ends, "a trap of its own", "brk #1", "goes on behind the end"),
			leads(a64Ends, "a call", "bl other", "goes on elsewhere"),
			leads(a64Ends, "a return", "ret", "goes where it is not known"),
			leads(a64Ends, "a loop", "b 1b", "is a loop"),
			leads(a64Ends, "a branch to a return", "cbz x1, 2f\n b 3f\n 2: ret\n 3:", "goes where it is not known"),
			leads(a64Ends, "its own place", "adr x1, 1b", "may be seen"),
			{"two ends", "tbz x3, #40, 1f\n cbnz w1, 2f\n ret\n 1: " + a64Ends.panics + "2: nop\n b core_panic", "tbz x3, #40, 1f\n cbnz w1, 1f\n ret\n 1: brk #1", ""},
			{"a call of itself", "0: cbz x0, 1f\n ret\n 1: bl 0b\n nop\n" + a64Ends.panics, "0: cbz x0, 1f\n ret\n 1: bl 0b\n brk #1", ""},
			{"a call of itself before a trap", "0: cbz x0, 1f\n ret\n 1: bl 0b\n nop\n" + a64Ends.panics, "0: cbz x0, 1f\n ret\n 1: brk #1", "may be seen"},
			{"another bit", "tbz x3, #40, 1f\n ret\n nop\n 1: nop\n" + a64Ends.panics, "tbz x3, #41, 1f\n ret\n 1: brk #1", "is 430048b6, was 630040b6"},
			{"entered", "cbz x0, 1f\n ret\n 1: nop\n 3: nop\n" + a64Ends.panics + "ELSEWHERE .section .data.x,\"aw\"\n .xword 3b", "cbz x0, 1f\n ret\n 1: brk #1\n 3: nop\nELSEWHERE .section .data.x,\"aw\"\n .xword 3b", "goes on behind the end"},
			{"a table of distances", "cbz x0, 1f\n ret\n 1: nop\n 3: nop\n" + a64Ends.panics + "ELSEWHERE .section .data.x,\"aw\"\n .word 3b-.", "cbz x0, 1f\n ret\n 1: brk #1\n 3: brk #1\nELSEWHERE .section .data.x,\"aw\"\n .word 3b-.", "goes on behind the end"},
		}},
		{riscvEnds, []example{
			leads(riscvEnds, "the end", riscvEnds.passes, ""),
			leads(riscvEnds, "the frame", "addi sp, sp, -32\n sw ra, 28(sp)\n c.swsp a0, 4(sp)\n lw a1, 2000(sp)\n c.lwsp a2, 0(sp)\n c.addi4spn a0, sp, 8\n c.addi16sp sp, -64", ""),
			leads(riscvEnds, "a store", "sw a2, 0(a0)", "may be seen"),
			leads(riscvEnds, "a long store", "sw a2, 2000(t0)", "may be seen"),
			leads(riscvEnds, "a load", "lw a2, 100(t0)", "may be seen"),
			leads(riscvEnds, "another stack", "mv sp, a0\n sw a1, 0(sp)", "may be seen"),
			leads(riscvEnds, "another stack by a load", "lw sp, 0(sp)\n sw a1, 0(sp)", "may be seen"),
			leads(riscvEnds, "a trap handler's register", "mv tp, a0", "may be seen"),
			leads(riscvEnds, "another's data", "lui gp, 5", "may be seen"),
			leads(riscvEnds, "a float in the frame", ".insn i 0x07, 3, x10, x2, 8\n .insn s 0x27, 2, x10, 8(x2)", ""),
			leads(riscvEnds, "a vector that may lie anywhere", ".insn r 0x27, 6, 7, x4, x2, x8", "may be seen"),
			leads(riscvEnds, "a vector from anywhere", ".insn r 0x07, 6, 7, x4, x2, x8", "may be seen"),
			leads(riscvEnds, "a wide vector", ".insn r 0x27, 7, 1, x4, x2, x0", "may be seen"),
			leads(riscvEnds, "bytes of a vector", ".insn r 0x27, 0, 1, x4, x2, x0", "may be seen"),
			leads(riscvEnds, "interrupts", "csrci mstatus, 8", "may be seen"),
			leads(riscvEnds, "a fence", "fence", "may be seen"),
			leads(riscvEnds, "a call of the host", ".option norvc\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option rvc", "may be seen"),
			leads(riscvEnds, "a sign for the host", ".option norvc\n srai x0, x0, 7\n .option rvc", "may be seen"),
			leads(riscvEnds, "a call", "call other", "goes on elsewhere"),
			leads(riscvEnds, "a return", "ret", "goes where it is not known"),
			leads(riscvEnds, "a loop", "j 1b", "is a loop"),
			leads(riscvEnds, "its own place", "auipc a0, 0", "may be seen"),
			{"two ends", "c.beqz a0, 1f\n bne a1, a2, 2f\n ret\n 1: " + riscvEnds.panics + "2: nop\n tail core_panic", "c.beqz a0, 1f\n bne a1, a2, 1f\n ret\n 1: c.ebreak", ""},
			{"a longer trap", "beqz a0, 1f\n ret\n 1: nop\n" + riscvEnds.panics, "beqz a0, 1f\n ret\n 1: .option norvc\n ebreak\n .option rvc", ""},
			{"a label that went to the trap", "c.beqz a0, 1f\n jr a0\n 1: nop\n " + riscvEnds.panics + ".Lx: nop\n" + riscvEnds.panics + "ELSEWHERE .section .rodata.x,\"a\"\n .word .Lx",
				"c.beqz a0, 1f\n jr a0\n 1: .Lx: c.ebreak\nELSEWHERE .section .rodata.x,\"a\"\n .word .Lx", ""},
			{"a label that should not have", "c.beqz a0, 1f\n jr a0\n 1: nop\n " + riscvEnds.panics + ".Lx: ret\nELSEWHERE .section .rodata.x,\"a\"\n .word .Lx",
				"c.beqz a0, 1f\n jr a0\n 1: .Lx: c.ebreak\nELSEWHERE .section .rodata.x,\"a\"\n .word .Lx", "goes where it is not known"},
		}},
	} {
		for _, tt := range m.list {
			got := strings.Join(proveOneOf(t, m.arch, m.word, m.object(t, "nop\n nop\n nop\n nop", tt.was), m.object(t, longTrap(m.trap), tt.is), cuts), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s: %s: %q, want %q", m.arch.name, tt.name, got, tt.want)
			}
		}
	}
}

// longTrap is the trap that a panic entry point becomes.
func longTrap(trap string) string {
	if trap == "c.ebreak\n" {
		return ".option norvc\n ebreak\n .option rvc"
	}
	return trap
}

// Each bit of trimmed code matters, but for what makes a branch go to the other trap.
func TestProveEndsMutatedOther(t *testing.T) {
	for _, tt := range []struct {
		endsMachine
		was, is string
		unseen  []int
	}{
		{a64Ends, "cmp x0, #4\n b.hs 1f\n cbnz x0, 4f\n" + a64Ends.passes + a64Ends.panics + "4: bl other\n tbz x1, #3, 2f\n ret\n 1: mov w0, #5\n b core_panic\n 2: str x2, [sp]\n" + a64Ends.panics,
			"cmp x0, #4\n b.hs 1f\n cbnz x0, 4f\n brk #1\n brk #1\n brk #1\n 4: bl other\n tbz x1, #3, 1f\n ret\n 1: brk #1", nil},
		{riscvEnds, "c.beqz a0, 1f\n bne a0, a1, 4f\n" + riscvEnds.passes + riscvEnds.panics + "4: call other\n bltu a0, a1, 2f\n j 5f\n 6: ret\n 5: addi a0, a0, 3\n j 6b\n 1: li a0, 5\n tail core_panic\n 2: sw a2, 0(sp)\n" + riscvEnds.panics,
			"c.beqz a0, 1f\n bne a0, a1, 4f\n .rept 8\n c.ebreak\n .endr\n 4: call other\n bltu a0, a1, 1f\n j 5f\n 6: ret\n 5: addi a0, a0, 3\n j 6b\n 1: c.ebreak", []int{2}},
	} {
		was, is := tt.object(t, "nop\n nop", tt.was), tt.object(t, longTrap(tt.trap), tt.is)
		if got := unseenFlips(t, tt.arch, tt.word, was, is); !slices.Equal(got, tt.unseen) {
			t.Errorf("%s: unseen: %v", tt.arch.name, got)
		}
	}
}
