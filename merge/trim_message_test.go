package merge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	panicBounds  = "_RNvNtCsgEmfK2I1SDS_4core9panicking18panic_bounds_check"
	unwrapFailed = "_RNvNtCsgEmfK2I1SDS_4core6result13unwrap_failed"
	panicStr     = "_RNvNtCsgEmfK2I1SDS_4core9panicking5panic"
	optionUnwrap = "_RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed"
)

// coreFunction is a global function in a section of its own.
func coreFunction(name, body string) string {
	return fmt.Sprintf("\t.section .text.%[1]s,\"ax\",@progbits\n\t.globl %[1]s\n\t.type %[1]s,@function\n%[1]s:\n\t.cfi_startproc\n%s\n\t.cfi_endproc\n\t.size %[1]s, .-%[1]s\n", name, body)
}

const panicFmtBody = `
	pushq %rbp
	movq %rsp, %rbp
	subq $0x30, %rsp
	movq %rdi, -0x10(%rbp)
	movq %rsi, -8(%rbp)
	leaq -0x10(%rbp), %rax
	movq %rax, -0x28(%rbp)
	movq %rdx, -0x20(%rbp)
	movw $1, -0x18(%rbp)
	leaq -0x28(%rbp), %rdi
	call *rust_begin_unwind@GOTPCREL(%rip)`

// messageProgram has the function that all messages go through, three before
// it, of which option::unwrap_failed goes by panic, and a caller.
func messageProgram(caller string) string {
	return coreFunction(panicFmtName, panicFmtBody) +
		coreFunction(panicStr, "\tpushq %rbp\n\tleaq 1(,%rsi,2), %rsi\n\tcall *"+panicFmtName+"@GOTPCREL(%rip)") +
		coreFunction(panicBounds, "\tsubq $0x30, %rsp\n\tmovq format@GOTPCREL(%rip), %rcx\n\tmovq %rcx, 8(%rsp)\n\tleaq pieces(%rip), %rdi\n\tmovq %rsp, %rsi\n\tcall "+panicFmtName+"@PLT") +
		coreFunction(unwrapFailed, "\tmovq %rdi, -8(%rsp)\n\tleaq pieces(%rip), %rdi\n\tmovq %r8, %rdx\n\tcall *"+panicFmtName+"@GOTPCREL(%rip)") +
		coreFunction(optionUnwrap, "\tmovq %rdi, %rdx\n\tleaq pieces(%rip), %rdi\n\tmovl $43, %esi\n\tcall *"+panicStr+"@GOTPCREL(%rip)") +
		coreFunction("main", caller) +
		"\t.section .rodata..Lanon.p,\"a\",@progbits\npieces: .ascii \"text\"\n" +
		"\t.section .rodata..Lanon.v,\"a\",@progbits\nvtable: .quad 1\n" +
		"\t.section .rodata..Lanon.l,\"a\",@progbits\nplace: .quad 2\n" +
		"\t.section .text.format,\"ax\",@progbits\n.globl format\nformat: ret\n" +
		coreFunction("rust_begin_unwind", "\tud2") + rustc
}

func TestMessages(t *testing.T) {
	_, x := trimOf(t, Trim{Messages: true}, messageProgram("\tret"))
	for _, tt := range []struct {
		name string
		cut  Cut
		code string
	}{
		{panicFmtName, CutMessage, "554889e56a01544883ec200f1f440000488d45f0488945d8488955e066c745e80100488d7dd8ff1500000000"},
		{panicStr, CutHandOn, "ff2500000000"},
		{panicBounds, CutHandOn, "e900000000"},
		{unwrapFailed, CutHandOn, "4c89c2ff2500000000"},
		{optionUnwrap, CutHandOn, "4889faff2500000000"},
	} {
		i, cut := x.sectionNamed(t, 0, ".text."+tt.name)
		if got := fmt.Sprintf("%x", x.Files[0].Bytes(i)); cut != tt.cut || got != tt.code {
			t.Errorf("%s: cut %d, %s", tt.name, cut, got)
		}
		if n := x.Files[0].Relocs(i).Len(); n != 1 {
			t.Errorf("%s has %d relocations", tt.name, n)
		}
	}
	if x.Messages != 5 || len(x.Missing) > 0 {
		t.Errorf("%d messages, missing %q", x.Messages, x.Missing)
	}
}

// An entry point that does more than hand its Location on stays as it is.
func TestMessagesKept(t *testing.T) {
	straight := "\tmovq %r8, %rdx\n"
	for _, tt := range []struct{ name, old, new string }{
		{"a branch", straight, "\ttestq %rdi, %rdi\n\tje .Lend\n" + straight + ".Lend:\n"},
		{"another call", straight, "\tcall *format@GOTPCREL(%rip)\n" + straight},
		{"a Location of its own", straight, "\tleaq place(%rip), %rdx\n"},
		{"one from memory", straight, "\tmovq 8(%r8), %rdx\n"},
		{"one that was changed", straight, "\tmovq %rdi, %r8\n\taddq $8, %r8\n" + straight},
		{"half of one", straight, "\tmovl %r8d, %edx\n"},
		{"another callee", "call *" + panicFmtName + "@GOTPCREL(%rip)\n\t.cfi_endproc\n\t.size " + unwrapFailed, "call *format@GOTPCREL(%rip)\n\t.cfi_endproc\n\t.size " + unwrapFailed},
	} {
		source := messageProgram("\tret")
		if changed := strings.Replace(source, tt.old, tt.new, 1); changed == source {
			t.Fatalf("%s: nothing to change", tt.name)
		} else {
			source = changed
		}
		_, x := trimOf(t, Trim{Messages: true}, source)
		if _, cut := x.sectionNamed(t, 0, ".text."+unwrapFailed); cut == CutHandOn {
			t.Errorf("%s: handed on", tt.name)
		}
	}
	// Other code of panic_fmt, or an unknown release, is not understood.
	for _, source := range []string{
		strings.Replace(messageProgram("\tret"), "movw $1, -0x18", "movw $0, -0x18", 1),
		strings.Replace(messageProgram("\tret"), "version 1.95", "version 1.98", 1),
		strings.Replace(messageProgram("\tret"), "version 1.95", "version 1.94", 1),
	} {
		if _, x := trimOf(t, Trim{Messages: true}, source); x.Messages != 0 || !slices.Equal(x.Missing["trim.panic"], []string{panicFmt}) {
			t.Errorf("%d messages, missing %q", x.Messages, x.Missing)
		}
	}
}

// What a caller loads for a panic is cut where nothing looks at it.
func TestOperands(t *testing.T) {
	const bounds, unwrap = "call *" + panicBounds + "@GOTPCREL(%rip)", "call *" + unwrapFailed + "@GOTPCREL(%rip)"
	for _, tt := range []struct {
		name          string
		caller        string
		message, trap int // operands of main that are cut
	}{
		{"a text and a vtable", "leaq pieces(%rip), %rdi\n movl $4, %esi\n leaq vtable(%rip), %rcx\n leaq place(%rip), %r8\n " + unwrap, 2, 3},
		{"by the global offset table", "movq format@GOTPCREL(%rip), %rdi\n " + unwrap, 1, 1},
		{"a direct call", "leaq pieces(%rip), %rdi\n call " + unwrapFailed + "@PLT", 1, 1},
		{"a tail call", "leaq pieces(%rip), %rdi\n jmp " + unwrapFailed + "@PLT", 1, 1},
		{"behind a jump", "leaq pieces(%rip), %rdi\n jmp .Lcall\n .fill 200, 1, 0x90\n .Lcall: " + unwrap, 1, 1},
		{"the Location", "leaq place(%rip), %rdx\n " + bounds, 0, 1},
		{"read between", "leaq pieces(%rip), %rdi\n movq %rdi, %rsi\n " + unwrap, 0, 1},
		{"half read between", "leaq pieces(%rip), %rdi\n movzbl %dil, %esi\n " + unwrap, 0, 1},
		{"an address from it", "leaq pieces(%rip), %rdi\n leaq 8(%rdi), %rsi\n " + unwrap, 0, 1},
		{"outlives the call", "leaq pieces(%rip), %rbx\n " + unwrap, 0, 1},
		{"stored", "leaq pieces(%rip), %rax\n movq %rax, 8(%rsp)\n " + unwrap, 0, 0},
		{"pushed", "leaq pieces(%rip), %rax\n pushq %rax\n " + unwrap, 0, 0},
		{"something is stored between", "leaq pieces(%rip), %rdi\n movl $1, (%rbx)\n " + unwrap, 0, 0},
		{"a branch", "leaq pieces(%rip), %rdi\n je .Lend\n " + unwrap + "\n .Lend:", 0, 0},
		{"another call first", "leaq pieces(%rip), %rdi\n call format@PLT\n " + unwrap, 0, 0},
		{"for another call", "leaq pieces(%rip), %rdi\n call format@PLT", 0, 0},
		{"a load through a pointer", "leaq pieces(%rip), %rdi\n movq (%rbx), %rsi\n " + unwrap, 0, 0},
		{"a load through it", "leaq pieces(%rip), %rdi\n movq (%rdi), %rsi\n " + unwrap, 0, 0},
		{"a load from the frame", "leaq pieces(%rip), %rdi\n movq 8(%rsp), %rsi\n " + unwrap, 1, 1},
		{"the stack pointer", "leaq pieces(%rip), %rdi\n subq $16, %rsp\n " + unwrap, 0, 0},
		{"the frame pointer", "leaq pieces(%rip), %rbp\n movq 8(%rbp), %rsi\n " + unwrap, 0, 0},
		{"a value, not an address", "movq pieces(%rip), %rdi\n " + unwrap, 0, 0},
		{"thread-local", "leaq pieces(%rip), %rdi\n movq %fs:0, %rax\n " + unwrap, 0, 0},
		{"into the middle", "leaq pieces(%rip), %rdi\n call " + unwrapFailed + "+4", 0, 0},
		{"a loop", ".Lloop: leaq pieces(%rip), %rdi\n jmp .Lloop", 0, 0},
	} {
		// Of what is no instruction to the end, dead ends stay.
		source := messageProgram(tt.caller + "\n .byte 6")
		for name, want := range map[string]int{"message": tt.message, "trap": tt.trap} {
			l, x := trimOf(t, Trim{Messages: name == "message", Trap: name == "trap"}, source)
			i, cut := x.sectionNamed(t, 0, ".text.main")
			was, is := l.Objects[0].File.Relocs(i), x.Files[0].Relocs(i)
			got := 0
			for k := range was.Len() {
				if is.At(k).Type == l.Arch.None {
					got++
				}
			}
			if got != want || (cut == CutOperands) != (want > 0) {
				t.Errorf("%s, %s: %d operands cut, want %d (cut %d)", tt.name, name, got, want, cut)
			}
		}
	}
}
