package verify

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// deadSource is an object with a function f, a panic, which is a trap already, and more. Each function has a relocation, so
// that each has a table of them even without code that needs one.
func deadSource(f, more string) string {
	return strings.NewReplacer("PANIC", "leaq message(%rip), %rdi\n call core_panic@PLT").Replace(
		"\t.globl core_panic, other, message, value, counter, nowhere\n\t.section .text.f,\"ax\",@progbits\n\t.p2align 4\n\t.globl f\n\t.type f,@function\nf:\n" + f + "\n\t.size f, .-f\n\t.reloc f, R_X86_64_NONE\n" +
			"\t.section .text.core_panic,\"ax\",@progbits\n\t.type core_panic,@function\ncore_panic: ud2\n" +
			"\t.section .text.other,\"ax\",@progbits\n\t.type other,@function\nother: ret\n" +
			"\t.section .rodata.m,\"a\",@progbits\nmessage: .asciz \"text\"\nvalue: .quad 1\n\t.data\ncounter: .quad 1\n" + more)
}

// Each case differs from a right one in one thing.
func TestProveDeadEnds(t *testing.T) {
	const was = "cmpl $1, %edi\n jae 1f\n movl value(%rip), %eax\n ret\n1: pushq %rax\n movq %rdi, (%rsp)\n PANIC"
	const is = "cmpl $1, %edi\n jae 1f\n movl value(%rip), %eax\n ret\n1: ud2"
	change := func(s, old, new string) string {
		t.Helper()
		if !strings.Contains(s, old) {
			t.Fatalf("no %q in %q", old, s)
		}
		return strings.Replace(s, old, new, 1)
	}
	long := func(n string) string { return ".rept " + n + "\n pushq %rax\n popq %rax\n .endr\n" }
	const loop = "je 1f\n PANIC\n1: movl $9, %eax\n .p2align 4\n2: decl %eax\n jne 2b\n ret"
	for _, tt := range []struct{ name, was, is, want string }{
		{"right", was, is, ""},
		{"right in the middle", "je 1f\n PANIC\n1: ret", "je 1f\n ud2\n1: ret", ""},
		{"right, with padding", loop, "je 1f\n ud2\n1: movl $9, %eax\n .byte 0x0f, 0x1f, 0x80, 0, 0, 0, 0\n2: decl %eax\n jne 2b\n ret", ""},
		{"right, without padding", loop, "je 1f\n ud2\n1: movl $9, %eax\n2: decl %eax\n jne 2b\n ret", ""},
		{"right, with short branches", "je 1f\n ret\n" + long("100") + "1: PANIC\n" + long("10"), "je 1f\n ret\n1: ud2", ""},
		{"right, with another trap", "je 1f\n jb 2f\n ret\n2: " + long("70") + " ret\n1: PANIC", "je 1f\n jb 2f\n ret\n1: ud2\n2: " + long("70") + " ret", ""},
		{"right, all of it", "movl $1, %esi\n PANIC", "ud2", ""},
		{"right, two ways to panic", "je 1f\n cmpl $1, %esi\n jb 2f\n PANIC\n2: movl $1, %esi\n jmp 3f\n1: ret\n3: PANIC", "je 1f\n ud2\n1: ret", ""},
		{"right, by a jump", "je 1f\n jmp core_panic@PLT\n1: ret", "je 1f\n ud2\n1: ret", ""},
		{"right, by a branch", "jb 1f\n je core_panic\n PANIC\n1: ret", "jb 1f\n ud2\n1: ret", ""},
		{"right, a call that does not return", "je 1f\n call other@PLT\n1: PANIC\n call other@PLT", "je 1f\n call other@PLT\n1: ud2", ""},
		{"right, code that nothing enters", "je 1f\n ret\n call other@PLT\n1: PANIC", "je 1f\n ret\n1: ud2", ""},

		{"another constant", was, change(is, "$1", "$2"), "at 0x0, which was 0x0: does something else"},
		{"another condition", was, change(is, "jae", "ja"), "at 0x3, which was 0x3: does something else"},
		{"another reference", was, change(is, "value", "message"), "at 0x5, which was 0x5: refers to something else"},
		{"the branch leads elsewhere", was, change(change(is, "jae 1f", "jae 2f"), "movl", "2: movl"), "does something else"},
		{"an instruction less", was, change(is, " movl value(%rip), %eax\n", ""), "does something else"},
		{"an instruction more", was, change(is, " ret", " incl %eax\n ret"), "does something else"},
		{"a trap of its own", "je 1f\n pushq %rax\n ud2\n PANIC\n1: ret", "je 1f\n pushq %rax\n ud2\n ud2\n1: ret", ""},
		{"a trap of its own at the end", "je 1f\n PANIC\n1: ud2", "je 1f\n ud2\n1: ud2", ""},
		{"what leads to a trap of its own", "je 1f\n PANIC\n1: pushq %rax\n ud2", "je 1f\n ud2\n1: ud2", "is no dead end"},
		{"no trap", was, change(is, "ud2", "nop\n ret"), "does something else"},
		{"a trap too early", was, change(is, "movl value(%rip), %eax\n", "ud2\n "), "is no dead end"},
		{"a trap at once", was, "ud2", "at 0x0, which was 0x0: is no dead end"},
		{"it ends early", was, change(is, "\n1: ud2", "\n1:"), "leads out of the function"},
		{"the end", "je 1f\n PANIC\n1: incl %eax", "je 1f\n ud2\n1: incl %eax", "goes on behind the function's end"},
		{"longer", "je 1f\n PANIC\n1: ret", "je 1f\n PANIC\n1: ret\n nop", "should have lost code"},
		{"right, in its place", was, is + "\n .fill 15, 1, 0xcc", ""},
		{"in its place, another call", change(was, "PANIC", "call other@PLT\n .fill 7, 1, 0x90"), is + "\n .fill 15, 1, 0xcc", "is no dead end"},
		{"in its place, no trap", was, change(is, "ud2", "int3") + "\n .fill 16, 1, 0xcc", "does something else"},
		{"another alignment", was, ".p2align 5\n" + is, "the alignment changed"},

		{"a store before", change(was, "(%rsp)", "(%rdi)"), is, "is no dead end"},
		{"a store by the frame pointer", change(was, "(%rsp)", "(%rbp)"), is, "is no dead end"},
		{"a store into an array", change(was, "(%rsp)", "(%rsp,%rdi)"), is, "is no dead end"},
		{"a store at a fixed place", change(was, "(%rsp)", "value(%rip)"), is, "is no dead end"},
		{"a load before", change(was, "movq %rdi, (%rsp)", "movq (%rdi), %rsi"), is, "is no dead end"},
		{"a load by the frame pointer", change(was, "movq %rdi, (%rsp)", "movq (%rbp), %rsi"), is, "is no dead end"},
		{"a load of what may change", change(was, "movq %rdi, (%rsp)", "movl counter(%rip), %esi"), is, "reads what may be a device's"},
		{"a load of what is nowhere", change(was, "movq %rdi, (%rsp)", "movl nowhere(%rip), %esi"), is, "reads what may be a device's"},
		{"right, a load of a constant", change(was, "movq %rdi, (%rsp)", "movl value(%rip), %esi"), is, ""},
		{"right, an address of what may change", change(was, "movq %rdi, (%rsp)", "leaq counter(%rip), %rsi"), is, ""},
		{"right, a bit of a register", change(was, "movq %rdi, (%rsp)", "btq %rdi, %rsi"), is, ""},
		{"a bit far from the stack", change(was, "movq %rdi, (%rsp)", "btq %rdi, (%rsp)"), is, "is no dead end"},
		{"a load of the thread's", change(was, "movq %rdi, (%rsp)", "movq %fs:(%rsp), %rsi"), is, "is no dead end"},
		{"another stack", change(was, "pushq %rax", "movq %rax, %rsp"), is, "is no dead end"},
		{"a call before", change(was, "pushq %rax", "call other@PLT"), is, "is no dead end"},
		{"a lock before", change(was, "movq %rdi,", "lock addq %rdi,"), is, "is no dead end"},
		{"a division before", change(was, "pushq %rax", "divl %esi"), is, "is no dead end"},
		{"bytes are moved before", change(was, "pushq %rax", "rep movsb"), is, "is no dead end"},
		{"a system call before", change(was, "pushq %rax", "syscall"), is, "is no dead end"},
		{"another call", change(was, "PANIC", "call other@PLT"), is, "is no dead end"},
		{"a loop before", change(was, "pushq %rax", "decl %eax\n jne 1b"), is, "is a loop, and no dead end"},
		{"a loop", change(was, "PANIC", "jmp 1b\n nop"), is, "is a loop, and no dead end"},
		{"one way does not panic", change(was, "PANIC", "je 2f\n PANIC\n2: ret"), is, "is no dead end"},

		{"a branch to a panic that need not be taken", "jb 1f\n je core_panic\n incl %eax\n1: ret", "jb 1f\n ud2\n1: ret", "is no dead end"},

		{"AVX", "je 1f\n PANIC\n1: vzeroupper\n ret", "je 1f\n ud2\n1: vzeroupper\n ret", "AVX is not understood here"},
		{"a branch of two lengths", "je 1f\n PANIC\n1: .byte 0x66, 0x0f, 0x84, 0, 0, 0, 0\n ret", "je 1f\n ud2\n1: .byte 0x66, 0x0f, 0x84, 0, 0, 0, 0\n ret", "has another length on another processor"},
		{"its own code is read by half its place", "je 1f\n PANIC\n1: leal 2f(%eip), %eax\n2: ret", "je 1f\n ud2\n1: leal 2f(%eip), %eax\n2: ret", "reads its own code"},
		{"its own code is read", "je 1f\n PANIC\n1: movl 2f(%rip), %eax\n2: ret", "je 1f\n ud2\n1: movl 2f(%rip), %eax\n2: ret", "reads its own code"},
		{"where it is is asked", "je 1f\n PANIC\n1: call 2f\n2: popq %rax\n ret", "je 1f\n ud2\n1: call 2f\n2: popq %rax\n ret", "calls itself amid"},
	} {
		cuts := map[string]CutKind{".text.f": CutEnds, ".text.core_panic": CutTrap}
		wasTrap := func(s string) string { return strings.Replace(s, "core_panic: ud2", "core_panic: nop\n nop\n ret", 1) }
		got := strings.Join(proveOne(t, cutObject(t, wasTrap(deadSource(tt.was, ""))), cutObject(t, deadSource(tt.is, "")), cuts), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What else an object says of a function that lost code.
func TestProveDeadEndsAround(t *testing.T) {
	const was, is = "je 1f\n PANIC\n1: ret", "je 1f\n ud2\n1: ret"
	const tableWas = "leaq .Lt(%rip), %rax\n movslq (%rax,%rdi,4), %rcx\n addq %rax, %rcx\n jmp *%rcx\n.La: ret\n PANIC\n.Lb: incl %eax\n ret\n.Lc: PANIC"
	const tableIs = "leaq .Lt(%rip), %rax\n movslq (%rax,%rdi,4), %rcx\n addq %rax, %rcx\n jmp *%rcx\n.La: ret\n.Lb: incl %eax\n ret\n.Lc: ud2"
	const table = "\t.section .rodata.f,\"a\",@progbits\n\t.quad 5\n.Lt: .long .La-.Lt, .Lb-.Lt, .Lc-.Lt\n"
	const addressesWas, addressesIs = "jmp *.Lt(,%rdi,8)\n PANIC\n.La: ret\n.Lb: incl %eax\n ret\n.Lc: ret", "jmp *.Lt(,%rdi,8)\n.La: ret\n.Lb: incl %eax\n ret\n.Lc: ret"
	const addresses = "\t.section .rodata.f,\"a\",@progbits\n.Lt: .quad .La, .Lb, .Lc\n"
	function := func(name, body string) string {
		return "\t.section .text." + name + ",\"ax\",@progbits\n\t.globl " + name + "\n\t.type " + name + ",@function\n" + name + ":\n" + body + "\n\t.reloc " + name + ", R_X86_64_NONE\n"
	}
	const frame = "\t.section .eh_frame,\"a\",@progbits\n\t.long 12, 0\n\t.byte 1\n\t.asciz \"\"\n\t.uleb128 1\n\t.sleb128 -8\n\t.byte 16, 0, 0, 0\n\t.long 20, 20\n\t.quad f, 3\n"
	const pads = "\t.section .eh_frame,\"a\",@progbits\n\t.long 12, 0\n\t.byte 1\n\t.asciz \"\"\n\t.uleb128 1\n\t.sleb128 -8\n\t.byte 16, 0, 0, 0\n\t.long 28, 20\n\t.quad f, 3, message\n"
	for _, tt := range []struct {
		name                     string
		was, is, moreWas, moreIs string
		aside                    []string
		cuts                     map[string]CutKind
		want                     string
	}{
		{"a table", tableWas, tableIs, table, table, nil, map[string]CutKind{".rodata.f": CutTable}, ""},
		{"a table of addresses", addressesWas, addressesIs, addresses, addresses, nil, map[string]CutKind{".rodata.f": CutTable}, ""},
		{"a table that was written by hand", tableWas, tableIs, strings.Replace(table, ".rodata.f", ".rodata.g", 1), strings.Replace(table, ".rodata.f", ".rodata.g", 1), nil, map[string]CutKind{".rodata.g": CutTable}, "is none that a compiler made"},
		{"a table that is not claimed", tableWas, tableIs, table, table, nil, nil, "the trim changed the section, but claims not to"},
		{"a table that changed otherwise", tableWas, tableIs, table, strings.Replace(table, ".quad 5", ".quad 6", 1), nil, map[string]CutKind{".rodata.f": CutTable}, "differs in relocations only"},
		{"two entries exchanged", tableWas, tableIs, table, strings.Replace(table, ".La-.Lt, .Lb-.Lt", ".Lb-.Lt, .La-.Lt", 1), nil, map[string]CutKind{".rodata.f": CutTable}, "does something else"},
		{"two addresses exchanged", addressesWas, addressesIs, addresses, strings.Replace(addresses, ".La, .Lb", ".Lb, .La", 1), nil, map[string]CutKind{".rodata.f": CutTable}, "does something else"},
		{"an entry that leads to a trap", tableWas, tableIs, table, strings.Replace(table, ".Lb-", ".Lc-", 1), nil, map[string]CutKind{".rodata.f": CutTable}, "is no dead end"},
		{"a table that another function has", tableWas, tableIs, table + function("g", "leaq .Lt(%rip), %rax\n ret"), table + function("g", "leaq .Lt(%rip), %rax\n ret"), nil,
			map[string]CutKind{".rodata.f": CutTable}, "is not its own"},
		{"a table that did not change", was, is, table[:strings.Index(table, ".Lt")], table[:strings.Index(table, ".Lt")], nil, map[string]CutKind{".rodata.f": CutTable}, "should differ in its entries"},
		{"a pointer as a table", was, is, ".data\n.quad f, 8\n", ".data\n.quad f+2, 8\n", nil, map[string]CutKind{".data": CutTable}, "is no dead end"},

		{"its address", was, is, ".data\n.quad f\n", ".data\n.quad f\n", nil, nil, ""},
		{"its distance", was, is, ".section .rodata.d,\"a\"\n.long f-.\n", ".section .rodata.d,\"a\"\n.long f-.\n", nil, nil, ""},
		{"an address inside", was, is, function("g", "leaq f+2(%rip), %rax\n ret"), function("g", "leaq f+2(%rip), %rax\n ret"), nil, nil, "knows the inside of .text.f"},
		{"a frame entry", was, is, frame, frame, nil, nil, "knows the inside of .text.f"},
		{"a frame entry, in its place", was, "je 1f\n ud2\n .fill 10, 1, 0xcc\n1: ret", frame, frame, nil, nil, ""},
		{"one with an exception table", was, "je 1f\n ud2\n .fill 10, 1, 0xcc\n1: ret", pads, pads, nil, nil, "unwinding may enter it"},
		{"debug information, in its place", was, "je 1f\n ud2\n .fill 10, 1, 0xcc\n1: ret", ".section .debug_info,\"\"\n.quad f\n", ".section .debug_info,\"\"\n.quad f\n", []string{".debug_info"}, nil, ""},
		{"an address inside, in its place", was, "je 1f\n ud2\n .fill 10, 1, 0xcc\n1: ret", function("g", "leaq f+2(%rip), %rax\n ret"), function("g", "leaq f+2(%rip), %rax\n ret"), nil, nil, "knows the inside of .text.f"},
		{"debug information", was, is, ".section .debug_info,\"\"\n.quad f\n", ".section .debug_info,\"\"\n.quad f\n", []string{".comment", ".debug_info"}, nil, "the debug information that tells of it stays"},
		{"debug information that goes", was, is, ".section .debug_info,\"\"\n.quad f\n", ".section .debug_info,\"\"\n.quad f\n", []string{".comment"}, nil, ""},
		{"a name inside", strings.Replace(was, "1: ret", "inner:\n1: ret", 1), strings.Replace(is, "1: ret", "inner:\n1: ret", 1), "", "", nil, nil, "code was taken from under inner"},

		{"one that calls a trap", "je 1f\n call wrapper@PLT\n1: ret", is, function("wrapper", "pushq %rax\n PANIC"), function("wrapper", "ud2"), nil, map[string]CutKind{".text.wrapper": CutEnds}, ""},
		{"one that calls none", "je 1f\n call wrapper@PLT\n1: ret", is, function("wrapper", "je 1f\n PANIC\n1: ret"), function("wrapper", "je 1f\n ud2\n1: ret"), nil,
			map[string]CutKind{".text.wrapper": CutEnds}, "is no dead end"},
		{"two that call each other", "je 1f\n call left@PLT\n1: ret", is, function("left", "call right@PLT") + function("right", "call left@PLT"), function("left", "ud2") + function("right", "ud2"), nil,
			map[string]CutKind{".text.left": CutEnds, ".text.right": CutEnds}, "is no dead end"},
	} {
		cuts := map[string]CutKind{".text.f": CutEnds, ".text.core_panic": CutTrap}
		for name, kind := range tt.cuts {
			cuts[name] = kind
		}
		before := strings.Replace(deadSource(tt.was, tt.moreWas), "core_panic: ud2", "core_panic: nop\n nop\n ret", 1)
		got := strings.Join(proveAside(t, cutObject(t, before), cutObject(t, deadSource(tt.is, tt.moreIs)), cuts, tt.aside), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A function that another can take the place of at run time is no trap.
func TestProveDeadEndsReplaced(t *testing.T) {
	function := func(body string) string {
		return "\t.section .text.wrapper,\"ax\",@progbits\n\t.globl wrapper\n\t.type wrapper,@function\nwrapper:\n" + body + "\n\t.reloc wrapper, R_X86_64_NONE\n"
	}
	was := cutObject(t, strings.Replace(deadSource("je 1f\n call wrapper@PLT\n1: ret", function("pushq %rax\n PANIC")), "core_panic: ud2", "core_panic: nop\n nop\n ret", 1))
	is := cutObject(t, deadSource("je 1f\n ud2\n1: ret", function("ud2")))
	for _, tt := range []struct {
		shared bool
		want   string
	}{{false, ""}, {true, "is no dead end: 0x2 goes on elsewhere"}} {
		v := &checker{arch: x8664, res: &Result{}, claim: &Claim{Shared: tt.shared}, out: &output{word: 8, dynamic: map[string]uint32{"wrapper": 0}, dynsyms: []symbol{{shndx: 1}}}}
		got := strings.Join(proveWith(t, v, was, is, map[string]CutKind{".text.f": CutEnds, ".text.core_panic": CutTrap, ".text.wrapper": CutEnds}), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("shared %v: %q, want %q", tt.shared, got, tt.want)
		}
	}
}

// Each bit of code that was moved matters, and of its relocations and jump table.
func TestProveDeadEndsMutated(t *testing.T) {
	const dispatch = "cmpl $4, %edi\n ja 4f\n leaq .Lt(%rip), %rax\n movslq (%rax,%rdi,4), %rcx\n addq %rax, %rcx\n jmp *%rcx\n" + ".La: movl $1, %eax\n ret\n"
	const rest = ".Lb: pushq %rbx\n movq %rsi, %rbx\n 5: decl (%rbx)\n jne 5b\n call other@PLT\n addq value(%rip), %rax\n popq %rbx\n ret\n"
	const last = ".Ld: lock incl (%rsi)\n jmp .La\n"
	const table = "\t.section .rodata.f,\"a\",@progbits\n\t.quad 5\n.Lt: .long .La-.Lt, .Lb-.Lt, .Lc-.Lt, .Ld-.Lt, .La-.Lt\n"
	// Behind what it calls, the panic is a trap already.
	was := cutObject(t, strings.Replace(deadSource(dispatch+"4: pushq %rax\n PANIC\n"+rest+".Lc: movl $3, %esi\n PANIC\n"+last, table), "core_panic: ud2", "core_panic: nop\n nop\n ret", 1))
	is := cutObject(t, deadSource(dispatch+"4: ud2\n"+rest+".Lc: ud2\n"+last, table))
	cuts := map[string]CutKind{".text.f": CutEnds, ".text.core_panic": CutTrap, ".rodata.f": CutTable}
	if got := proveOne(t, was, is, cuts); len(got) > 0 {
		t.Fatalf("%q", got)
	}
	o, err := readObject(&Object{Name: "a.o", Data: is}, 0, x8664)
	if err != nil {
		t.Fatal(err)
	}
	var unseen []string
	flipped := 0
	for _, s := range o.sections {
		switch s.name {
		case ".text.f", ".rela.text.f", ".rodata.f", ".rela.rodata.f":
		default:
			continue
		}
		at := bytes.Index(is, s.data)
		for k := range 8 * len(s.data) {
			if s.name == ".rela.text.f" && k < 8*24 {
				continue // deadSource's relocation that does nothing
			}
			b := bytes.Clone(is)
			b[at+k/8] ^= 1 << (k % 8)
			flipped++
			if _, err := readObject(&Object{Name: "a.o", Data: b}, 0, x8664); err != nil {
				continue
			}
			if got := proveOne(t, was, b, cuts); len(got) == 0 {
				unseen = append(unseen, fmt.Sprintf("%s 0x%x:%d", s.name, k/8, k%8))
			}
		}
	}
	if len(unseen) > 0 || flipped < 2000 {
		t.Errorf("of %d, unseen: %q", flipped, unseen)
	}
}
