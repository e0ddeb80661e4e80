package merge

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"leanlink/objfile"
)

// deadProgram has a function f with a body, PANIC in which calls a panic, and
// more sections.
func deadProgram(body, more string) string {
	return strings.NewReplacer("PANIC", "leaq message(%rip), %rdi\n call "+panicFmtName+"@PLT").Replace(
		".section .text.f,\"ax\",@progbits\n.p2align 4\n.globl f\n.type f,@function\nf:\n"+body+"\n.size f, .-f\n"+more+
			"\n.section .rodata.message,\"a\",@progbits\nmessage: .asciz \"text\"\n") +
		".section .text." + panicFmtName + ",\"ax\",@progbits\n.globl " + panicFmtName + "\n.type " + panicFmtName + ",@function\n" + panicFmtName + ": nop\n ret\n"
}

// What is left of each function is, byte by byte and reference by reference,
// what another one is assembled to.
func TestDeadEnds(t *testing.T) {
	const push = "pushq %rax\n popq %rax\n" // two bytes
	long := func(n int) string { return ".rept " + strconv.Itoa(n) + "\n" + push + ".endr\n" }
	for _, tt := range []struct{ name, was, want string }{
		{"at the end", "cmpl $1, %edi\n jae 1f\n movl %edi, %eax\n ret\n1: PANIC", "cmpl $1, %edi\n jae 1f\n movl %edi, %eax\n ret\n1: ud2"},
		{"in the middle", "testl %edi, %edi\n je 1f\n PANIC\n1: movl value(%rip), %eax\n ret", "testl %edi, %edi\n je 1f\n ud2\n1: movl value(%rip), %eax\n ret"},
		{"a call through the table of addresses", "je 1f\n call *" + panicFmtName + "@GOTPCREL(%rip)\n1: ret", "je 1f\n ud2\n1: ret"},
		{"a jump to a panic", "je 1f\n jmp " + panicFmtName + "@PLT\n1: ret", "je 1f\n ud2\n1: ret"},
		{"what is stored on the stack", "je 1f\n pushq %rbx\n subq $24, %rsp\n movq %rdi, 8(%rsp)\n leaq f(%rip), %rax\n movq %rax, (%rsp)\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"},
		{"what is read from it and from fixed places", "je 1f\n movq 8(%rsp), %rdi\n movups value(%rip), %xmm0\n movaps %xmm0, (%rsp)\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"},
		{"a choice between two panics", "je 3f\n cmpl $4, %esi\n jb 1f\n movl $1, %esi\n PANIC\n1: movl $2, %esi\n jmp 2f\n2: PANIC\n3: ret", "je 3f\n ud2\n3: ret"},
		{"a store stays", "je 1f\n movl $1, (%rsi)\n PANIC\n1: ret", "je 1f\n movl $1, (%rsi)\n ud2\n1: ret"},
		{"a store by the frame pointer, which may be any", "je 1f\n movl $1, 8(%rbp)\n PANIC\n1: ret", "je 1f\n movl $1, 8(%rbp)\n ud2\n1: ret"},
		{"a store at a fixed place", "je 1f\n movl $1, value(%rip)\n PANIC\n1: ret", "je 1f\n movl $1, value(%rip)\n ud2\n1: ret"},
		{"a load by the frame pointer, which may be any", "je 1f\n movl 8(%rbp), %edi\n PANIC\n1: ret", "je 1f\n movl 8(%rbp), %edi\n ud2\n1: ret"},
		{"a load of what may change", "je 1f\n movl counter(%rip), %edi\n PANIC\n1: ret", "je 1f\n movl counter(%rip), %edi\n ud2\n1: ret"},
		{"a load of what is nowhere", "je 1f\n movl nowhere(%rip), %edi\n PANIC\n1: ret", "je 1f\n movl nowhere(%rip), %edi\n ud2\n1: ret"},
		{"a load of an address", "je 1f\n movq counter@GOTPCREL(%rip), %rdi\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"},
		{"an address of what may change", "je 1f\n leaq counter(%rip), %rdi\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"},
		{"a bit of a register", "je 1f\n btq %rax, %rdi\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"},
		{"a bit far from the stack", "je 1f\n btq %rax, 8(%rsp)\n PANIC\n1: ret", "je 1f\n btq %rax, 8(%rsp)\n ud2\n1: ret"},
		{"a store into an array on the stack", "je 1f\n movl $1, (%rsp,%rsi,4)\n PANIC\n1: ret", "je 1f\n movl $1, (%rsp,%rsi,4)\n ud2\n1: ret"},
		{"a load stays", "je 1f\n movl (%rsi), %edi\n PANIC\n1: ret", "je 1f\n movl (%rsi), %edi\n ud2\n1: ret"},
		{"a call stays", "je 1f\n call other@PLT\n PANIC\n1: ret", "je 1f\n call other@PLT\n ud2\n1: ret"},
		{"a call of something else", "je 1f\n leaq message(%rip), %rdi\n call other@PLT\n1: ret", ""},
		{"an exchange stays", "je 1f\n lock incl 8(%rsp)\n PANIC\n1: ret", "je 1f\n lock incl 8(%rsp)\n ud2\n1: ret"},
		{"a thread's own stays", "je 1f\n movq %fs:0, %rax\n PANIC\n1: ret", "je 1f\n movq %fs:0, %rax\n ud2\n1: ret"},
		{"another stack", "je 1f\n movq %rax, %rsp\n movq %rbx, (%rsp)\n PANIC\n1: ret", "je 1f\n movq %rax, %rsp\n ud2\n1: ret"},
		{"a string is moved", "je 1f\n rep movsb\n PANIC\n1: ret", "je 1f\n rep movsb\n ud2\n1: ret"},
		{"a division may fault", "je 1f\n divl %esi\n PANIC\n1: ret", "je 1f\n divl %esi\n ud2\n1: ret"},
		{"a system call stays", "je 1f\n syscall\n PANIC\n1: ret", "je 1f\n syscall\n ud2\n1: ret"},
		{"a loop may not end", "je 2f\n1: decl %eax\n jne 1b\n PANIC\n2: ret", "je 2f\n1: decl %eax\n jne 1b\n ud2\n2: ret"},
		{"a loop that does not", "je 2f\n jb 3f\n1: jmp 1b\n2: ret\n3: PANIC", "je 2f\n jb 3f\n1: jmp 1b\n2: ret\n3: ud2"},
		{"what nothing leads to", "je 1f\n ret\n movq %rax, %rdi\n call other@PLT\n1: PANIC", "je 1f\n ret\n1: ud2"},
		{"all of it", "leaq value(%rip), %rsi\n PANIC", "ud2"},
		{"a branch becomes short", "je 1f\n jb 2f\n ret\n1: " + long(60) + " ret\n2: leaq message(%rip), %rdi\n call other@PLT\n " + long(10) + " ret\n .rept 20\n PANIC\n .endr",
			"je 1f\n jb 2f\n ret\n1: " + long(60) + " ret\n2: leaq message(%rip), %rdi\n call other@PLT\n " + long(10) + " ret"},
		{"a trap near by", "jae 1f\n incl %eax\n ret\n" + long(200) + "1: PANIC", "jae 1f\n incl %eax\n ret\n1: ud2"},
		{"a trap near by behind a return", "jae 1f\n jb 2f\n ret\n2: " + long(100) + "ret\n1: PANIC",
			"jae 1f\n jb 2f\n ret\n1: ud2\n2: " + long(100) + "ret\n ud2"},
		{"a loop stays aligned", "je 1f\n PANIC\n1: movl $9, %eax\n .p2align 4\n2: decl %eax\n jne 2b\n ret", "je 1f\n ud2\n1: movl $9, %eax\n .byte 0x0f, 0x1f, 0x80, 0, 0, 0, 0\n2: decl %eax\n jne 2b\n ret"},
		{"a loop where none was aligned", "je 1f\n PANIC\n1: movl $9, %eax\n2: decl %eax\n jne 2b\n ret", "je 1f\n ud2\n1: movl $9, %eax\n2: decl %eax\n jne 2b\n ret"},
		{"it calls itself", "je 1f\n PANIC\n1: call f\n ret", "je 1f\n ud2\n1: call f\n ret"},
		{"a branch elsewhere", "jb other\n je 1f\n PANIC\n1: ret", "jb other\n je 1f\n ud2\n1: ret"},
		{"a branch to a panic", "jb 1f\n je " + panicFmtName + "\n PANIC\n1: ret", "jb 1f\n ud2\n1: ret"},
		{"a call at the end, which does not return", "je 1f\n call other@PLT\n1: PANIC\n call other@PLT", "je 1f\n call other@PLT\n1: ud2"},
		{"a trap of its own stays, and what leads to it", "je 1f\n PANIC\n1: pushq %rax\n ud2", "je 1f\n ud2\n1: pushq %rax\n ud2"},

		{"it goes on behind the end", "je 1f\n PANIC\n1: incl %eax", ""},
		{"no instruction", "je 1f\n PANIC\n1: ret\n .byte 0x06", ""},
		{"AVX", "je 1f\n PANIC\n1: vmovups (%rdi), %ymm0\n ret", ""},
		{"a branch that some processors take for shorter", "je 1f\n PANIC\n1: .byte 0x66, 0x0f, 0x84, 0, 0, 0, 0\n ret", ""},
		{"a jump that some processors take for shorter", "je 1f\n PANIC\n1: .byte 0x66, 0xe9, 0, 0, 0, 0\n ret", ""},
		{"its own code is read by half its place", "je 1f\n PANIC\n1: leal 2f(%eip), %eax\n2: ret", ""},
		{"its own code is read", "je 1f\n PANIC\n1: movl 2f(%rip), %eax\n2: ret", ""},
		{"an address of its own", "je 1f\n PANIC\n1: leaq 2f(%rip), %rax\n jmp *%rax\n2: ret", ""},
		{"where it is is asked", "je 1f\n PANIC\n1: call 2f\n2: popq %rax\n ret", ""},
		{"a branch into an instruction", "je 1f\n PANIC\n1: jb 2f+1\n2: movl $1, %eax\n ret", ""},
		{"a transaction", "je 1f\n PANIC\n1: xbegin 2f\n2: ret", ""},
	} {
		const more = "\n.section .rodata.v,\"a\",@progbits\n.globl value\nvalue: .quad 1, 2\n.data\n.globl counter, nowhere\n.weak nowhere\ncounter: .quad 3\n"
		_, x := trimOf(t, Trim{Trap: true}, deadProgram(tt.was, more)+rustc)
		i, cut := x.sectionNamed(t, 0, ".text.f")
		if tt.want == "" {
			if cut == CutEnds {
				t.Errorf("%s: cut %d: %x", tt.name, cut, x.Files[0].Bytes(i))
			}
			continue
		}
		want := assemble(t, deadProgram(tt.want, more)+rustc)[0]
		k := slices.IndexFunc(want.Sections, func(s objfile.Section) bool { return s.Name == ".text.f" })
		if cut != CutEnds || !bytes.Equal(x.Files[0].Bytes(i), want.Bytes(uint32(k))) {
			t.Errorf("%s: cut %d:\n%x, want\n%x", tt.name, cut, x.Files[0].Bytes(i), want.Bytes(uint32(k)))
			continue
		}
		refs := func(f *objfile.File, i uint32) (list []string) {
			rs := f.Relocs(i)
			for k := range rs.Len() {
				r := rs.At(k)
				list = append(list, fmt.Sprintf("%#x %d %s%+d", r.Offset, r.Type, f.SymbolName(r.Sym), r.Addend))
			}
			return list
		}
		if got, want := refs(x.Files[0], i), refs(want, uint32(k)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
		for k := range x.Files[0].NumSymbols {
			if s := x.Files[0].Symbol(k); x.Files[0].NameOf(&s) == "f" && s.Size != uint64(len(x.Files[0].Bytes(i))) {
				t.Errorf("%s: f has %d bytes", tt.name, s.Size)
			}
		}
	}
}

// A function that can only trap is a trap for those that call it; two that
// only call each other are none.
func TestDeadEndsCalled(t *testing.T) {
	function := func(name, body string) string {
		return ".section .text." + name + ",\"ax\",@progbits\n.p2align 4\n.globl " + name + "\n.type " + name + ",@function\n" + name + ":\n" + body + "\n"
	}
	source := deadProgram("je 1f\n movl $1, %esi\n call wrapper@PLT\n1: ret",
		function("wrapper", "movl $2, %edi\n call inner@PLT")+function("inner", "pushq %rax\n PANIC")+
			function("left", "je 1f\n PANIC\n1: call right@PLT")+function("right", "jmp left@PLT"))
	_, x := trimOf(t, Trim{Trap: true}, source+rustc)
	for name, want := range map[string]string{"f": "74020f0bc3", "wrapper": "0f0b", "inner": "0f0b", "left": "74020f0be800000000", "right": "e900000000"} {
		i, _ := x.sectionNamed(t, 0, ".text."+name)
		if got := fmt.Sprintf("%x", x.Files[0].Bytes(i)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if align := x.Files[0].Sections[i].Align; (align == 1) != (want == "0f0b") {
			t.Errorf("%s: alignment %d", name, align)
		}
	}
	if x.DeadEnds != 4 || x.DeadBytes == 0 {
		t.Errorf("%d functions, %d bytes", x.DeadEnds, x.DeadBytes)
	}
}

// Entries of jump tables follow the code that they lead to.
func TestDeadEndsTables(t *testing.T) {
	const body = "cmpl $3, %edi\n ja 4f\n leaq .Lt(%rip), %rax\n movslq (%rax,%rdi,4), %rcx\n addq %rax, %rcx\n jmp *%rcx\n" +
		".La: movl $1, %eax\n ret\n4: PANIC\n.Lb: movl $2, %eax\n ret\n.Lc: movl $3, %esi\n PANIC\n"
	relative := func(entries string) string { return ".section .rodata.f,\"a\",@progbits\n.p2align 2\n" + entries }
	const entries = ".Lt: .long .La-.Lt, .Lb-.Lt, .Lc-.Lt, .La-.Lt\n"
	for _, tt := range []struct {
		name, body, more string
		want             []int64 // where the entries lead
	}{
		{"distances", body, relative(entries), []int64{21, 29, 35, 21}},
		{"of a function that is unlikely to run", body, strings.Replace(relative(entries), ".rodata.f", ".rodata.unlikely.f", 1), []int64{21, 29, 35, 21}},
		{"behind another table", body, relative(".Lt2: .long .La-.Lt2\n .long 0\n" + entries), nil},
		{"of which the code has the start", body + ".Lx: leaq .Lt2(%rip), %rax\n movslq (%rax), %rcx\n addq %rax, %rcx\n jmp *%rcx\n.Ly: leaq .Lt(%rip), %rax\n ret",
			relative(".Lt2: .long .Lx-.Lt2, .Ly-.Lt2\n" + entries), []int64{37, 52, 21, 29, 35, 21}},
		{"addresses", strings.NewReplacer("movslq (%rax,%rdi,4), %rcx\n addq %rax, %rcx\n jmp *%rcx", "jmp *(%rax,%rdi,8)").Replace(body),
			".section .data.rel.ro.f,\"aw\",@progbits\n.p2align 3\n.Lt: .quad .La, .Lb, .Lc, f\n", []int64{15, 23, 29, 0}},
		{"another function has the table, too", body, relative(entries) + ".section .text.g,\"ax\",@progbits\nleaq .Lt(%rip), %rax\n ret\n", nil},
		{"that was written by hand", body, strings.Replace(relative(entries), ".rodata.f", ".rodata.g", 1), nil},
		{"of a name alone", body, strings.Replace(relative(entries), ".rodata.f", ".table.f", 1), nil},
		{"no function has it", strings.Replace(body, ".Lt(%rip)", "other(%rip)", 1), relative(entries), nil},
		{"an entry into an instruction", body, relative(strings.Replace(entries, ".Lb-", ".Lb+1-", 1)), nil},
		{"its table is read without its address", strings.Replace(body, "leaq .Lt", "movq .Lt", 1), relative(entries), nil},
	} {
		_, x := trimOf(t, Trim{Trap: true}, deadProgram(tt.body, tt.more)+rustc)
		_, cut := x.sectionNamed(t, 0, ".text.f")
		if (cut == CutEnds) != (tt.want != nil) {
			t.Errorf("%s: cut %d", tt.name, cut)
		}
		f := x.Files[0]
		var got []int64
		for i := range f.Sections {
			if s := &f.Sections[i]; cut == CutEnds && (strings.HasPrefix(s.Name, ".rodata.") && s.Name != ".rodata.message" || s.Name == ".data.rel.ro.f") {
				rs, start := f.Relocs(uint32(i)), int64(0)
				for k := range rs.Len() {
					r := rs.At(k)
					to := r.Addend
					if s.Name != ".data.rel.ro.f" {
						if len(tt.want) == 6 && k >= 2 {
							start = 8
						}
						to -= int64(r.Offset) - start
					}
					got = append(got, to)
				}
				if x.Cuts[0][i] != CutTable {
					t.Errorf("%s: cut %d of the table", tt.name, x.Cuts[0][i])
				}
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: the entries lead to %d, want %d", tt.name, got, tt.want)
		}
	}
}

// What else knows the inside of a function keeps it whole, or in its place: then
// what is dead is filled with traps.
func TestDeadEndsKept(t *testing.T) {
	const body = "je 1f\n PANIC\n1: ret"
	const framed = ".cfi_startproc\n" + body + "\n.cfi_endproc"
	const debug = ".section .debug_info,\"\",@progbits\n.quad f\n"
	for _, tt := range []struct {
		name, source string
		trim         Trim
		strip        bool
		want         string
	}{
		{"nothing", deadProgram(body, "") + rustc, Trim{Trap: true}, false, "moved"},
		{"no trap", deadProgram(body, "") + rustc, Trim{Locations: true}, false, ""},
		{"C", deadProgram(body, ""), Trim{Trap: true}, false, ""},
		{"a frame entry", deadProgram(framed, "") + rustc, Trim{Trap: true}, false, "filled"},
		{"a frame entry with an exception table", deadProgram(strings.Replace(framed, "je", ".cfi_lsda 0x1b,message\n je", 1), "") + rustc, Trim{Trap: true}, false, ""},
		{"a frame entry with an exception table that goes", deadProgram(strings.Replace(framed, "je", ".cfi_lsda 0x1b,message\n je", 1), "") + rustc, Trim{Trap: true, Frames: true}, false, "moved"},
		{"no room for two traps", deadProgram(strings.Replace(framed, " PANIC", " jb 2f\n js 1f\n pushq %rax\n2: PANIC", 1), "") + rustc, Trim{Trap: true}, false, ""},
		{"room for one", deadProgram(strings.Replace(framed, " PANIC", " pushq %rax\n PANIC", 1), "") + rustc, Trim{Trap: true}, false, "filled"},
		{"a frame entry that goes", deadProgram(framed, "") + rustc, Trim{Trap: true, Frames: true}, false, "moved"},
		{"debug information", deadProgram(body, debug) + rustc, Trim{Trap: true}, false, "filled"},
		{"debug information that goes", deadProgram(body, debug) + rustc, Trim{Trap: true}, true, "moved"},
		{"a name inside", deadProgram(strings.Replace(body, "1: ret", ".globl inner\ninner:\n1: ret", 1), "") + rustc, Trim{Trap: true}, false, ""},
		{"no function", strings.Replace(deadProgram(body, ""), ".type f,@function", "", 1) + rustc, Trim{Trap: true}, false, ""},
		{"an address inside", deadProgram(body, ".section .text.g,\"ax\",@progbits\nleaq f+2(%rip), %rax\n ret\n") + rustc, Trim{Trap: true}, false, ""},
		{"its address", deadProgram(body, ".section .text.g,\"ax\",@progbits\nleaq f(%rip), %rax\n ret\n") + rustc, Trim{Trap: true}, false, "moved"},
		{"its code is read", deadProgram(body, ".section .text.g,\"ax\",@progbits\nmovl f(%rip), %eax\n ret\n") + rustc, Trim{Trap: true}, false, ""},
		{"a note of a place inside", deadProgram(strings.Replace(body, "1: ret", "1: nop\n.Lin: ret", 1), ".section .note.probes,\"\",@progbits\n.quad .Lin\n") + rustc, Trim{Trap: true}, false, ""},
		{"a table of faults", deadProgram(strings.Replace(body, "1: ret", "1: nop\n.Lin: ret", 1), ".section .faults,\"a\",@progbits\n.long .Lin-.\n") + rustc, Trim{Trap: true}, false, ""},
		{"its distance", deadProgram(body, ".section .rodata.d,\"a\",@progbits\n.long f-.\n") + rustc, Trim{Trap: true}, false, "moved"},
		{"in a group", strings.Replace(deadProgram(body, ""), "\"ax\",@progbits", "\"axG\",@progbits,f,comdat", 1) + rustc, Trim{Trap: true}, false, ""},
	} {
		l, err := NewLink(assemble(t, tt.source), Options{Wanted: map[string]bool{"main": true}, Strip: tt.strip})
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(tt.trim)
		if err != nil {
			t.Fatal(err)
		}
		i, cut := x.sectionNamed(t, 0, ".text.f")
		got := ""
		switch code := x.Files[0].Bytes(i); {
		case cut != CutEnds:
		case x.Files[0].Sections[i].Size < l.Objects[0].File.Sections[i].Size:
			got = "moved"
		case bytes.HasPrefix(code, []byte("\x74")) && bytes.HasPrefix(code[2:], []byte("\x0f\x0b\xcc\xcc")) && code[len(code)-1] == 0xc3 && x.Files[0].Relocs(i).Len() == 0:
			got = "filled"
		default:
			got = fmt.Sprintf("%x", code)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q (cut %d)", tt.name, got, tt.want, cut)
		}
	}
}

// Only what rustc made is cut.
func TestDeadEndsRust(t *testing.T) {
	c := strings.Replace(deadProgram("je 1f\n PANIC\n1: ret", ""), ".globl "+panicFmtName, ".weak "+panicFmtName, 1)
	_, x := trimOf(t, Trim{Trap: true}, c, deadProgram("ret", "")+rustc)
	if x.Cuts[0] != nil || x.Traps != 1 {
		t.Errorf("cuts %d in C, %d traps", x.Cuts[0], x.Traps)
	}
}

// A function that another can take the place of is no trap to its callers, and
// what refers to its inside keeps it whole all the same.
func TestDeadEndsReplaced(t *testing.T) {
	source := func(more string) string {
		return deadProgram("je 1f\n call wrapper@PLT\n1: ret", ".section .text.wrapper,\"ax\",@progbits\n.globl wrapper\n.type wrapper,@function\nwrapper: pushq %rax\n PANIC\n"+more)
	}
	for _, tt := range []struct {
		name, more string
		opt        Options
		f, wrapper Cut
	}{
		{"by nothing", "", Options{}, CutEnds, CutEnds},
		{"in a shared object", "", Options{Shared: true, Exports: func(n string) bool { return n == "wrapper" }}, CutNone, CutEnds},
		{"in a program", "", Options{Exports: func(n string) bool { return n == "wrapper" }}, CutEnds, CutEnds},
		{"by a linker script", "", Options{Pinned: map[string]bool{"wrapper": true}}, CutNone, CutEnds},
		{"with its address", ".data\n.quad wrapper\n", Options{Pinned: map[string]bool{"wrapper": true}}, CutNone, CutEnds},
		{"with an address inside", ".data\n.quad wrapper+1\n", Options{Pinned: map[string]bool{"wrapper": true}}, CutNone, CutOperands},
		{"with an address inside, in code", ".section .text.g,\"ax\",@progbits\nleaq wrapper+1(%rip), %rax\nret\n", Options{Pinned: map[string]bool{"wrapper": true}}, CutNone, CutOperands},
	} {
		tt.opt.Wanted = map[string]bool{"main": true}
		l, err := NewLink(assemble(t, source(tt.more)+rustc), tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(Trim{Trap: true})
		if err != nil {
			t.Fatal(err)
		}
		_, f := x.sectionNamed(t, 0, ".text.f")
		_, wrapper := x.sectionNamed(t, 0, ".text.wrapper")
		if f != tt.f || wrapper != tt.wrapper {
			t.Errorf("%s: cuts %d and %d, want %d and %d", tt.name, f, wrapper, tt.f, tt.wrapper)
		}
	}
}

// The decoder finds the same instructions as a disassembler in all that the
// standard library has, where it understands them at all.
func TestInstructionsAgainstObjdump(t *testing.T) {
	rustcPath, err := exec.LookPath("rustc")
	objdump, err2 := exec.LookPath("objdump")
	if err != nil || err2 != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("rustc and objdump are needed")
		}
		t.Skip("rustc and objdump are needed")
	}
	sysroot, err := exec.Command(rustcPath, "--print", "sysroot").Output()
	if err != nil {
		t.Fatal(err)
	}
	list, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(sysroot)), "lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-*.so"))
	if len(list) == 0 {
		t.Skip("no standard library for x86-64")
	}
	f, err := elf.Open(list[0])
	if err != nil {
		t.Fatal(err)
	}
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-d", "--no-show-raw-insn", "-j.text", list[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	begins := make([]bool, len(code)+1)
	count := 0
	for line := range strings.Lines(string(out)) {
		place, _, ok := strings.Cut(strings.TrimSpace(line), ":\t")
		if at, err := strconv.ParseUint(place, 16, 64); ok && err == nil && at >= text.Addr && at < text.Addr+text.Size {
			begins[at-text.Addr] = true
			count++
		}
	}
	begins[len(code)] = true
	seen := 0
	for at := range code {
		if !begins[at] {
			continue
		}
		inst, err := x86asm.Decode(code[at:], 64)
		if err != nil || inst.Op == 0 || isVEX(&inst) {
			continue
		}
		seen++
		if end := at + inst.Len; end > len(code) || !begins[end] || slices.Contains(begins[at+1:end], true) {
			t.Errorf("at %#x: %v has %d bytes: %x", text.Addr+uint64(at), inst, inst.Len, code[at:min(at+16, len(code))])
		}
	}
	if seen < count*99/100 || seen < 100000 {
		t.Errorf("%d instructions of %d are understood", seen, count)
	}
}
