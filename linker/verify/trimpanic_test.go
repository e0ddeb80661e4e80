package verify

import (
	"strings"
	"testing"
)

const (
	messageFunction = "_RNvNtCsgEmfK2I1SDS_4core9panicking9panic_fmt"
	messageWas      = "pushq %rbp\n movq %rsp, %rbp\n subq $0x30, %rsp\n movq %rdi, -0x10(%rbp)\n movq %rsi, -8(%rbp)\n"
	messageIs       = "pushq %rbp\n movq %rsp, %rbp\n pushq $1\n pushq %rsp\n subq $0x20, %rsp\n .byte 0x0f, 0x1f, 0x44, 0, 0\n"
	messageTail     = " leaq -0x10(%rbp), %rax\n movq %rax, -0x28(%rbp)\n movq %rdx, -0x20(%rbp)\n movw $1, -0x18(%rbp)\n leaq -0x28(%rbp), %rdi\n call *handler@GOTPCREL(%rip)\n"
	entryWas        = "movq %rdi, -8(%rsp)\n leaq text(%rip), %rdi\n movq %r8, %rdx\n call *" + messageFunction + "@GOTPCREL(%rip)\n"
	entryIs         = "movq %r8, %rdx\n jmp *" + messageFunction + "@GOTPCREL(%rip)\n"
	callerWas       = "leaq text(%rip), %rdi\n movl $4, %esi\n leaq text(%rip), %rcx\n leaq place(%rip), %r8\n call entry_failed@PLT\n"
	// An operand that is gone; the symbols of the object must be the same, so another refers to them.
	noRDI    = "leaq 0(%rip), %rdi\n movl $4, %esi\n leaq text(%rip), %rcx\n leaq place(%rip), %r8\n call entry_failed@PLT\n"
	noRDIRCX = "leaq 0(%rip), %rdi\n movl $4, %esi\n leaq 0(%rip), %rcx\n leaq place(%rip), %r8\n call entry_failed@PLT\n"
)

// panicObject has a function that all messages go through, one before it, and a caller; each with a body.
func panicObject(t *testing.T, all, entry, caller string) []byte {
	t.Helper()
	function := func(name, body string) string {
		return "\t.section .text." + name + ",\"ax\",@progbits\n\t.globl " + name + "\n\t.type " + name + ",@function\n" + name + ":\n " + body + "\n"
	}
	// The symbols have the order in which they come first.
	names := "\t.data\n\t.quad handler, text, place, helper, entry_failed, caller, " + messageFunction + "\n"
	return cutObject(t, names+function(messageFunction, all)+function("entry_failed", entry)+function("caller", caller)+function("helper", "ret")+
		"\t.section .rodata.a,\"a\",@progbits\n\t.globl text\ntext: .ascii \"text\"\n\t.section .rodata.b,\"a\",@progbits\n\t.globl place\nplace: .quad 2\n")
}

func TestProveMessages(t *testing.T) {
	cuts := map[string]CutKind{".text." + messageFunction: CutMessage, ".text.entry_failed": CutHandOn, ".text.caller": CutOperands}
	// none puts a relocation without effect into the place of one that the body lacks, which is at off of the caller.
	none := func(body string, offs ...string) string {
		for _, off := range offs {
			body += " .reloc caller + " + off + ", R_X86_64_NONE\n"
		}
		return body
	}
	const all, tail = messageWas + messageTail, messageTail
	for _, tt := range []struct {
		name, wasAll, isAll, wasEntry, isEntry, wasCaller, isCaller, want string
	}{
		{"right", all, messageIs + tail, entryWas, entryIs, callerWas, none(noRDIRCX, "3", "15"), ""},
		{"one operand", all, messageIs + tail, entryWas, entryIs, callerWas, none(noRDI, "3"), ""},
		{"a register less", all, strings.Replace(messageIs, "pushq $1", "pushq $2", 1) + tail, entryWas, entryIs, callerWas, none(noRDI, "3"), "the code should be"},
		{"other code before", strings.Replace(all, "movw $1", "movw $0", 1), messageIs + tail, entryWas, entryIs, callerWas, none(noRDI, "3"), "the original's code should be"},
		{"the rest changed", all, messageIs + strings.Replace(tail, "movw $1", "movw $0", 1), entryWas, entryIs, callerWas, none(noRDI, "3"), "the code should be"},
		{"another Location is handed on", all, messageIs + tail, entryWas, strings.Replace(entryIs, "%r8", "%rcx", 1), callerWas, none(noRDI, "3"), "hands on another Location"},
		{"into another register", all, messageIs + tail, entryWas, strings.Replace(entryIs, "%rdx", "%rsi", 1), callerWas, none(noRDI, "3"), "to another register"},
		{"no jump", all, messageIs + tail, entryWas, strings.Replace(entryIs, "jmp", "call", 1), callerWas, none(noRDI, "3"), "should be a jump"},
		{"another function", all, messageIs + tail, entryWas, "movq %r8, %rdx\n jmp *helper@GOTPCREL(%rip)\n", callerWas, none(noRDI, "3"), "no panic without a message"},
		{"a call first", all, messageIs + tail, "call helper@PLT\n" + entryWas, entryIs, callerWas, none(noRDI, "3"), "calls another function first"},
		{"a branch first", all, messageIs + tail, "je 1f\n1: " + entryWas, entryIs, callerWas, none(noRDI, "3"), "no straight way"},
		{"the Location is not loaded", all, messageIs + tail, entryWas, entryIs, callerWas,
			none(strings.Replace(callerWas, "place(%rip)", "0(%rip)", 1), "22"), "is the Location"},
		{"a register that is read", all, messageIs + tail, entryWas, entryIs, strings.Replace(callerWas, "movl $4, %esi", "movq %rdi, %rsi", 1),
			none(strings.Replace(noRDI, "movl $4, %esi", "movq %rdi, %rsi", 1), "3"), "is read"},
		{"a register that outlives", all, messageIs + tail, entryWas, entryIs, strings.Replace(callerWas, "%rdi", "%rbx", 1),
			none(strings.Replace(noRDI, "%rdi", "%rbx", 1), "3"), "is read, or outlives"},
		{"a store between", all, messageIs + tail, entryWas, entryIs, strings.Replace(callerWas, "movl $4, %esi", "movq %rdi, (%rsp)", 1),
			none(strings.Replace(noRDI, "movl $4, %esi", "movq %rdi, (%rsp)", 1), "3"), "may be needed at 0x7"},
		{"for another call", all, messageIs + tail, entryWas, entryIs, strings.Replace(callerWas, "entry_failed", "helper", 1),
			none(strings.Replace(noRDI, "entry_failed", "helper", 1), "3"), "is for another call"},
		{"other code", all, messageIs + tail, entryWas, entryIs, callerWas, none(strings.Replace(noRDI, "$4", "$5", 1), "3"), "differs in code"},
		{"nothing", all, messageIs + tail, entryWas, entryIs, callerWas, callerWas, "differs in code"},
	} {
		got := strings.Join(proveOne(t, panicObject(t, tt.wasAll, tt.wasEntry, tt.wasCaller), panicObject(t, tt.isAll, tt.isEntry, tt.isCaller), cuts), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// To a trap everything goes, but nothing is stored.
	trap := map[string]CutKind{".text.entry_failed": CutTrap, ".text.caller": CutOperands}
	for _, tt := range []struct{ was, is, want string }{
		{callerWas, none(noRDIRCX, "3", "15"), ""},
		{strings.Replace(callerWas, "movl $4, %esi", "movq %rdi, %rsi", 1), none(strings.Replace(noRDI, "movl $4, %esi", "movq %rdi, %rsi", 1), "3"), ""},
		{strings.Replace(callerWas, "movl $4, %esi", "pushq %rdi", 1), none(strings.Replace(noRDI, "movl $4, %esi", "pushq %rdi", 1), "3"), "may be needed"},
		{strings.Replace(callerWas, "entry_failed", "helper", 1), none(strings.Replace(noRDI, "entry_failed", "helper", 1), "3"), "is for another call"},
	} {
		got := strings.Join(proveOne(t, panicObject(t, all, "nop\n nop\n ret", tt.was), panicObject(t, all, "ud2", tt.is), trap), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("trap: %q, want %q", got, tt.want)
		}
	}
}

// The instructions between an operand and a call, by what they do.
func TestX86Steps(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		quiet      bool
		size       int
	}{
		{"mov %rax, %rdx", "\x48\x89\xc2", true, 3},
		{"mov %rax, (%rsp)", "\x48\x89\x04\x24", false, 4},
		{"mov 8(%rsp), %rax", "\x48\x8b\x44\x24\x08", true, 5},
		{"mov 0x100(%rbp), %rax", "\x48\x8b\x85\x00\x01\x00\x00", true, 7},
		{"mov (%rdi), %rax", "\x48\x8b\x07", false, 3},
		{"mov (%rsp,%rax), %rax", "\x48\x8b\x04\x04", false, 4},
		{"mov 0(%rip), %rax", "\x48\x8b\x05\x00\x00\x00\x00", false, 7},
		{"mov %rax, %rsp", "\x48\x89\xc4", false, 3},
		{"mov %rax, %rbp", "\x48\x89\xc5", false, 3},
		{"lea 8(%rax,%rcx,4), %rdx", "\x48\x8d\x54\x88\x08", true, 5},
		{"lea (%rsp), %rbp", "\x48\x8d\x2c\x24", false, 4},
		{"mov $1, %esi", "\xbe\x01\x00\x00\x00", true, 5},
		{"movabs $1, %rsi", "\x48\xbe\x01\x00\x00\x00\x00\x00\x00\x00", true, 10},
		{"mov $1, %ah", "\xb4\x01", true, 2},
		{"xor %esi, %esi", "\x31\xf6", true, 2},
		{"add $8, %rsp", "\x48\x83\xc4\x08", false, 4},
		{"add $8, %rax", "\x48\x83\xc0\x08", true, 4},
		{"movups (%rsp), %xmm0", "\x0f\x10\x04\x24", true, 4},
		{"movups %xmm0, (%rsp)", "\x0f\x11\x04\x24", false, 4},
		{"movq %rax, %xmm0", "\x66\x48\x0f\x6e\xc0", true, 5},
		{"nopw 0(%rax,%rax)", "\x66\x0f\x1f\x44\x00\x00", true, 6},
		{"nopw %cs:0(%rax,%rax)", "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", true, 10},
		{"push %rax", "\x50", false, 1},
		{"inc %eax", "\xff\xc0", true, 2},
		{"cmp $1, %eax", "\x83\xf8\x01", false, 0},
		{"je", "\x74\x00", false, 0},
		{"mov %fs:0, %rax", "\x64\x48\x8b\x04\x25\x00\x00\x00\x00", false, 0},
		{"syscall", "\x0f\x05", false, 0},
		{"rep movsb", "\xf3\xa4", false, 0},
		{"cut short", "\x48\x8b", false, 0},
		{"nothing", "", false, 0},
	} {
		if s := x86StepAt([]byte(tt.code)); s.quiet() != tt.quiet || s.size != tt.size {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

// A function may lie anywhere if it is nothing but instructions.
func TestProveAligned(t *testing.T) {
	source := func(align, body string) []byte {
		return cutObject(t, "\t.section .text.f,\"ax\",@progbits\n\t.balign "+align+"\n\t.globl f\n\t.type f,@function\nf: "+body+
			"\n\tret\n\t.section .rodata.a,\"a\",@progbits\n\t.balign "+align+"\n\t.byte 1\n\t.globl g\n")
	}
	for _, tt := range []struct{ name, align, body, to, want string }{
		{"instructions", "16", "call g@PLT\n leaq g(%rip), %rax", "1", ""},
		{"aligned for something else", "32", "nop", "1", "the alignment should go from 16 to 1"},
		{"to something else", "16", "nop", "2", "the alignment should go from 16 to 1"},
		{"not", "16", "nop", "16", "the alignment should go from 16 to 1"},
		{"what is no instruction", "16", ".byte 6", "1", "may be data"},
		{"an address", "16", ".quad g", "1", "data"},
		{"a constant in the code", "16", "movaps 1f(%rip), %xmm0\n ret\n 1: .fill 16, 1, 0x90", "1", "reads the code"},
	} {
		got := strings.Join(proveOne(t, source(tt.align, tt.body), source(tt.to, tt.body), map[string]CutKind{".text.f": CutAligned, ".rodata.a": CutAligned}), "\n")
		if !strings.Contains(got, "section .rodata.a: the alignment of what is no function changed") {
			t.Errorf("%s: %q", tt.name, got)
		}
		if of := strings.Contains(got, "section .text.f"); of != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// Other code is none the less found.
	got := strings.Join(proveOne(t, source("16", "nop"), source("1", "cld"), map[string]CutKind{".text.f": CutAligned}), "\n")
	if !strings.Contains(got, "section .text.f: the trim changed the section, but claims not to") {
		t.Errorf("%q", got)
	}
}
