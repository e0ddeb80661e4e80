package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// assemble makes an object of assembly.
func assemble(t testing.TB, dir, name, source string) string {
	t.Helper()
	need(t, "gcc")
	if err := os.WriteFile(filepath.Join(dir, name+".s"), []byte(source+"\n.section .note.GNU-stack,\"\",@progbits\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "gcc", "-c", "-o", name+".o", name+".s")
	return name + ".o"
}

// claimFold adds to the claim that one section became another, by "object section".
func claimFold(t testing.TB, c *Claim, kind FateKind, follower, leader string) {
	t.Helper()
	find := func(name string) (int, int) {
		object, section, _ := strings.Cut(name, " ")
		for i := range c.Objects {
			if c.Objects[i].Name != object {
				continue
			}
			f, err := openELF(object, c.Objects[i].Data)
			if err != nil {
				t.Fatal(err)
			}
			for j, s := range f.Sections {
				if s.Name == section {
					return i, j
				}
			}
		}
		t.Fatalf("no %s", name)
		return 0, 0
	}
	i, j := find(follower)
	o, s := find(leader)
	for len(c.Objects[i].Fates) <= j {
		c.Objects[i].Fates = append(c.Objects[i].Fates, Fate{})
	}
	c.Objects[i].Fates[j] = Fate{kind, uint32(o), uint32(s)}
}

// func1 is a function in a section of its own.
func func1(name, body string) string {
	return "\n.section .text." + name + ",\"ax\",@progbits\n.globl " + name + "\n.type " + name + ",@function\n" + name + ":\n" +
		body + "\n.size " + name + ", .-" + name + "\n"
}

const startS = `
.section .text._start,"ax",@progbits
.globl _start
_start: call f
call g
mov $60, %eax
xor %edi, %edi
syscall
.data
.globl d1, d2
d1: .long 1
d2: .long 2, 3
.section .tbss,"awT",@nobits
.globl t1, t2
t1: .zero 4
t2: .zero 4
.text
.globl plain1, plain2
plain1: ret
plain2: nop
ret
.globl abs1, abs2
abs1 = 0x1234
abs2 = 0x1234
.globl abs3
abs3 = 0x1235
`

const frameS = `
.hidden DW.ref.pers
.weak DW.ref.pers
.section .data.rel.local.DW.ref.pers,"awG",@progbits,DW.ref.pers,comdat
.type DW.ref.pers, @object
DW.ref.pers: .quad plain1
`

// lsda is a function with a landing pad, whose table has one call site of the given action.
func lsda(name, personality, action string) string {
	return frameS + `
.section .text.` + name + `,"ax",@progbits
.globl ` + name + `
` + name + `:
.cfi_startproc
.cfi_personality 0x9b, ` + personality + `
.cfi_lsda 0x1b, .Ltable
.Lfrom: call plain1
.Lto: ret
.Lpad: nop
ret
.cfi_endproc
.section .gcc_except_table.` + name + `,"a",@progbits
.align 4
.Ltable: .byte 0xff, 0xff, 1
.uleb128 .Lend-.Lsites
.Lsites: .uleb128 .Lfrom-` + name + `
.uleb128 .Lto-.Lfrom
.uleb128 .Lpad-` + name + `
.uleb128 ` + action + `
.Lend: .byte 0, 0
`
}

// TestPairs: what is claimed equal is found to be so or not.
func TestPairs(t *testing.T) {
	ret := "ret"
	strs := func(text string) string {
		return ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Lunused: .string \"unused\"\nmessage: .string \"" + text + "\"\n"
	}
	cst := func(first, second string) string {
		return ".section .rodata.cst16,\"aM\",@progbits,16\n.align 16\nc0: .quad " + first + ",0\nc1: .quad " + second + ",0\n"
	}
	tests := []struct {
		name string
		f, g string // the objects of leader and follower
		want string // how the follower differs, "" if it does not
	}{
		{"equal", func1("f", ret), func1("g", ret), ""},
		{"contents", func1("f", "nop\nret"), func1("g", "ret\nnop"), "offset 0x0: is not its leader f.o: section .text.f: it holds c3, the leader 90"},
		{"size", func1("f", ret), func1("g", "ret\nnop"), "it has 2 bytes, the leader 1"},
		{"flags", func1("f", ret), strings.Replace(func1("g", ret), `"ax"`, `"awx"`, 1), "it has flags 0x7, the leader 0x6"},
		{"section class", func1("f", ret), strings.Replace(func1("g", ret), ".text.g", ".other.g", 1), "linker scripts may put them into different output sections"},
		{"relocation type", func1("f", "call plain1"), func1("g", ".byte 0xe8\n.long plain1-.-4"), "offset 0x1: is not its leader f.o: section .text.f: it has a relocation of type 2 here, the leader one of type 4"},
		{"relocation count", func1("f", ".byte 0xe8\n.long 0"), func1("g", "call plain1"), "it has 1 relocations, the leader 0"},
		{"target", func1("f", "call plain1"), func1("g", "call plain2"), "it refers to plain2 in start.o"},
		{"addend", func1("f", "mov d1+1(%rip), %eax"), func1("g", "mov d1+2(%rip), %eax"), "it refers to d1 in start.o: section .data-2, the leader to d1 in start.o: section .data-3"},
		{"place by another symbol", func1("f", "mov d1+4(%rip), %eax"), func1("g", "mov d2(%rip), %eax"), ""},
		{"slot of another symbol", func1("f", "mov d1@GOTPCREL(%rip), %rax"), func1("g", "mov d2@GOTPCREL(%rip), %rax"), "it refers to d2"},
		{"undefined of two names", func1("f", ".weak w1\ncall w1"), func1("g", ".weak w2\ncall w2"), "it refers to w2-4, the leader to w1-4"},
		{"undefined of one name", func1("f", ".weak w1\ncall w1"), func1("g", ".weak w1\ncall w1"), ""},
		{"equal absolute", func1("f", "mov $abs1, %eax"), func1("g", "mov $abs2, %eax"), ""},
		{"other absolute", func1("f", "mov $abs1, %eax"), func1("g", "mov $abs3, %eax"), "it refers to the absolute 0x1235+0, the leader to the absolute 0x1234+0"},
		{"kind of target", func1("f", "mov $abs1, %eax"), func1("g", "mov $d1, %eax"), "it refers to d1 in start.o"},
		{"equal strings", strs("hello") + func1("f", "lea message(%rip), %rax"), strs("hello") + func1("g", "lea message(%rip), %rax"), ""},
		{"other strings", strs("hello") + func1("f", "lea message(%rip), %rax"), strs("hallo") + func1("g", "lea message(%rip), %rax"), `it refers to "hallo\x00", the leader to "hello\x00"`},
		{"into a string", strs("hello") + func1("f", "lea message+1(%rip), %rax"), strs("hello") + func1("g", "lea message+2(%rip), %rax"), "it refers to \"hello\\x00\""},
		{"constant before differs", cst("1", "2") + func1("f", "movdqa c1(%rip), %xmm0"), cst("3", "2") + func1("g", "movdqa c1(%rip), %xmm0"), ""},
		{"constant meant differs", cst("1", "2") + func1("f", "movdqa c1(%rip), %xmm0"), cst("1", "3") + func1("g", "movdqa c1(%rip), %xmm0"), "it refers to 03"},
		{"mergeable or not", cst("1", "2") + func1("f", "movdqa c1(%rip), %xmm0"), strings.Replace(cst("1", "2"), `"aM",@progbits,16`, `"a"`, 1) + func1("g", "movdqa c1(%rip), %xmm0"), "only one of them is mergeable"},
		{"constant and string", strings.Replace(strs("aaaaaaa"), `"aMS",@progbits,1`, `"aM",@progbits,1`, 1) + func1("f", "lea message(%rip), %rax"), strs("a") + func1("g", "lea message(%rip), %rax"), "which are not merged with each other"},
		{"thread-local", func1("f", "mov %fs:t1@tpoff, %eax"), func1("g", "mov %fs:t2@tpoff, %eax"), "it refers to t2"},
		{"recursion", func1("f", "call f\nret"), func1("g", "call g\nret"), ""},
		{"call of an equal function that is not folded", func1("f", "call h1@PLT") + func1("h1", "nop\nret"), func1("g", "call h2@PLT") + func1("h2", "nop\nret"), ""},
		{"call of another function", func1("f", "call h1@PLT") + func1("h1", "nop\nret"), func1("g", "call h2@PLT") + func1("h2", "ret\nnop"), "it refers to h2"},
		{"address of an equal function that is not folded", func1("f", "lea h1(%rip), %rax\nret") + func1("h1", "nop\nret"), func1("g", "lea h2(%rip), %rax\nret") + func1("h2", "nop\nret"), "it refers to h2"},
		{"frame rows", func1("f", ".cfi_startproc\nnop\n.cfi_def_cfa_offset 16\nret\n.cfi_endproc"), func1("g", ".cfi_startproc\nnop\n.cfi_def_cfa_offset 24\nret\n.cfi_endproc"), "its call frame differs from the leader's"},
		{"frame or none", func1("f", ".cfi_startproc\nret\n.cfi_endproc"), func1("g", ret), "it has 0 frame descriptions, the leader 1"},
		{"signal frame", func1("f", ".cfi_startproc\nret\n.cfi_endproc"), func1("g", ".cfi_startproc\n.cfi_signal_frame\nret\n.cfi_endproc"), "its frame's common information differs"},
		{"equal landing pads", lsda("f", "DW.ref.pers", "0"), lsda("g", "DW.ref.pers", "0"), ""},
		{"other landing pads", lsda("f", "DW.ref.pers", "0"), lsda("g", "DW.ref.pers", "1"), "the landing-pad tables differ: they have 10 and 8 bytes"},
		{"other landing pad", lsda("f", "DW.ref.pers", "0"), strings.Replace(lsda("g", "DW.ref.pers", "0"), ".uleb128 .Lpad-g", ".uleb128 .Lpad-g+1", 1), "the landing-pad tables differ: offset 0x6: it holds 07, the leader 06"},
		{"other personality", lsda("f", "DW.ref.pers", "0"), lsda("g", "d1", "0"), "the personality routines differ: it refers to d1"},
		{"personality or none", lsda("f", "DW.ref.pers", "0"), func1("g", ".cfi_startproc\ncall plain1\nret\nnop\nret\n.cfi_endproc"), "one has a personality routine, the other not"},
		{"indirect function", func1("f", "call i1") + ".type i1,@gnu_indirect_function\n.globl i1\ni1: ret", func1("g", "call i2") + ".type i2,@gnu_indirect_function\n.globl i2\ni2: ret", "it refers to i2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			objects := []string{assemble(t, dir, "start", startS), assemble(t, dir, "f", test.f), assemble(t, dir, "g", test.g)}
			run(t, dir, "gcc", append([]string{"-nostdlib", "-static", "-o", "out"}, objects...)...)
			c := claimOf(t, dir, "out", objects...)
			mustAgree(t, c)
			follower := "g.o .text.g"
			if test.name == "section class" {
				follower = "g.o .other.g"
			}
			claimFold(t, c, Folded, follower, "f.o .text.f")
			res, err := Check(c)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, m := range res.Mismatches {
				if strings.Contains(m.What, "is not its leader") {
					found = append(found, m.String())
				}
			}
			switch {
			case res.Folds != 1:
				t.Errorf("%d folds were looked at", res.Folds)
			case test.want == "" && len(found) > 0:
				t.Errorf("found to differ: %s", found)
			case test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)):
				t.Errorf("want a difference with %q, got %q", test.want, found)
			}
		})
	}
}

// TestPieceAlignment: a leader whose constant is aligned less than its follower's puts the larger alignment on it.
func TestPieceAlignment(t *testing.T) {
	dir := t.TempDir()
	object := func(name, align string) string {
		return assemble(t, dir, name, ".section .rodata.cst16,\"aM\",@progbits,16\n.balign "+align+"\nc: .quad 1,2\n"+func1(name, "lea c(%rip), %rax\nret"))
	}
	// The start puts a byte before the leader's constant, which so lies at an odd address.
	start := assemble(t, dir, "start", ".section .rodata.cst16.0,\"a\"\n.byte 1\n"+startS)
	script := "SECTIONS { . = 0x400000; .rodata : { *(.rodata.cst16.0) f.o(.rodata.cst16) g.o(.rodata.cst16) } .text : { *(.text*) } .data : { *(.data) } .tbss : { *(.tbss) } }"
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := []string{start, object("f", "1"), object("g", "16")}
	run(t, dir, "gcc", append([]string{"-nostdlib", "-static", "-Wl,-T,script", "-o", "out"}, objects...)...)
	c := claimOf(t, dir, "out", objects...)
	mustAgree(t, c)
	claimFold(t, c, Folded, "g.o .text.g", "f.o .text.f")
	res, err := Check(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range res.Mismatches {
		if strings.Contains(m.String(), "f.o: section .text.f: offset 0x3: leads to a piece of f.o: section .rodata.cst16") {
			if !strings.HasSuffix(m.String(), "which is not aligned to 16") {
				t.Error(m)
			}
			return
		}
	}
	t.Errorf("the alignment was not asked for: %v", res.Mismatches)
}

// rustS marks an object as one that rustc made.
const rustS = ".ident \"rustc version 1.0.0\"\n"

// TestLegality: equal sections that must not be folded, and ones that may.
func TestLegality(t *testing.T) {
	const trait = "_ZN50_$LT$a..T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE"
	const glue = "_ZN4core3ptr20drop_in_place$LT$a..T$GT$17h0123456789abcdefE"
	const user = "_ZN1a4user17h0123456789abcdefE"
	fg := func1("f", "nop\nret") + func1("g", "nop\nret")
	data := func(section, symbols string) string {
		return "\n.section " + section + ",\"a\",@progbits\n.align 8\n" + symbols + ".quad 7\n"
	}
	vtable := func(drop, size, method string) string {
		return "\n.section .data.rel.ro..Lanon.0.1,\"aw\",@progbits\n.align 8\n.quad " + drop + ", " + size + ", 8, " + method + "\n"
	}
	keep := "\n.section .text.keep,\"ax\",@progbits\n.globl keep\nkeep: "
	tests := []struct {
		name     string
		source   string // of one object with both
		mode     string
		kind     FateKind
		link     []string
		follower string // sections; "" for .text.g and .text.f
		leader   string
		want     string
	}{
		{name: "only called", source: fg},
		{name: "called through the GOT", source: fg + keep + "call *g@GOTPCREL(%rip)\njmp *g@GOTPCREL(%rip)\n"},
		{name: "tail called under a condition", source: fg + keep + "jne g\nret\n"},
		{name: "address computed", source: fg + keep + "lea g(%rip), %rax\n", want: "its address is taken at x.o: section .text.keep: offset 0x3"},
		{name: "address loaded", source: fg + keep + "mov g@GOTPCREL(%rip), %rax\n", want: "its address is taken at x.o: section .text.keep"},
		{name: "address in data", source: fg + keep + "mov p(%rip), %rax\n.data\np: .quad g\n", want: "its address is taken at x.o: section .data"},
		{name: "address of itself", source: func1("f", "nop\nlea f(%rip), %rax") + func1("g", "nop\nlea g(%rip), %rax"), want: "its address is taken at x.o: section .text.g: offset 0x4"},
		{name: "address taken but a jump", source: fg + keep + "lea g(%rip), %rax\n", kind: Thunk},
		{name: "address taken in mode all, C", mode: "all", source: fg + keep + "lea g(%rip), %rax\n", want: "its address is taken"},
		{name: "address taken in mode all, Rust", mode: "all", source: rustS + fg + keep + "lea g(%rip), %rax\n"},
		{name: "address taken in mode all, C with a table that clears it", mode: "all", source: ".section .llvm_addrsig,\"e\",@0x6fff4c03\n" + fg + keep + "lea g(%rip), %rax\n",
			want: "its address is taken"}, // the other object has no table, and it calls g
		{name: "leader's address taken", source: fg + keep + "lea f(%rip), %rax\n"},
		{name: "own jump table", source: func1("f", "lea .Lf(%rip), %rax\nnop\nret") + func1("g", "lea .Lg(%rip), %rax\nnop\nret") +
			".section .rodata.f,\"a\"\n.align 4\n.Lf: .long f-.Lf, f-.Lf+7\n.section .rodata.g,\"a\"\n.align 4\n.Lg: .long g-.Lg, g-.Lg+7\n"},
		{name: "distance in a named table", source: fg + keep + "lea table(%rip), %rax\n.section .rodata.table,\"a\"\n.globl table\ntable: .long g-., f-.\n",
			want: "its address is taken at x.o: section .rodata.table"},
		{name: "init array", source: fg + "\n.section .init_array,\"aw\",@init_array\n.quad g\n", want: "its address is taken at x.o: section .init_array"},
		{name: "exported", source: fg, link: []string{"-shared"}, want: "it is exported as g"},
		{name: "exported in mode all", source: rustS + fg, mode: "all", link: []string{"-shared"}, want: "it is exported as g"},
		{name: "retained", source: func1("f", "ret") + strings.Replace(func1("g", "ret"), `"ax"`, `"axR"`, 1), want: "it is marked to be retained"},
		{name: "named after a C identifier", source: strings.Replace(strings.Replace(fg, ".section .text.f", ".section mine", 1), ".section .text.g", ".section mine,\"ax\",@progbits,unique,1\n.section mine", 1),
			follower: "mine", leader: "mine", want: "its own leader"},
		{name: "retained by name", source: strings.ReplaceAll(fg, ".text.g", "text_g"), follower: "text_g", want: "its name is a C identifier"},
		{name: "init section", source: func1("f", "ret") + strings.ReplaceAll(func1("g", "ret"), ".text.g", ".init.g"), follower: ".init.g", want: "it runs at start or exit"},
		{name: "resolver", source: func1("f", "ret") + strings.ReplaceAll(func1("g", "ret"), "@function", "@gnu_indirect_function"), want: "it is the resolver of an indirect function"},
		{name: "writable data", source: rustS + fg + keep + "mov $a, %eax\nmov $b, %eax\n.section .data.a,\"aw\"\na: .quad 7\n.section .data.b,\"aw\"\nb: .quad 7\n",
			follower: ".data.b", leader: ".data.a", want: "it is writable"},
		{name: "anonymous constants", source: rustS + fg + keep + "mov $.La, %eax\nmov $.Lb, %eax\n" + data(".rodata..Lanon.1", ".La: ") + data(".rodata..Lanon.2", ".Lb: "),
			follower: ".rodata..Lanon.2", leader: ".rodata..Lanon.1"},
		{name: "anonymous constants not of Rust", source: fg + keep + "mov $.La, %eax\nmov $.Lb, %eax\n" + data(".rodata..Lanon.1", ".La: ") + data(".rodata..Lanon.2", ".Lb: "),
			follower: ".rodata..Lanon.2", leader: ".rodata..Lanon.1", want: "it was not made by rustc"},
		{name: "named static", source: rustS + fg + keep + "mov $A, %eax\nmov $B, %eax\n" + data(".rodata.A", ".globl A\nA: ") + data(".rodata.B", ".globl B\nB: "),
			follower: ".rodata.B", leader: ".rodata.A", want: "it is the named static B"},
		{name: "local named static", source: rustS + fg + keep + "mov $A, %eax\nmov $B, %eax\n" + data(".rodata.A", "A: ") + data(".rodata.B", "B: "),
			follower: ".rodata.B", leader: ".rodata.A", want: "it is the named static B"},
		{name: "section of the user's choosing", source: rustS + fg + keep + "mov $.La, %eax\nmov $.Lb, %eax\n" + data(".mine.1", ".La: ") + data(".mine.2", ".Lb: "),
			follower: ".mine.2", leader: ".mine.1", want: "it is in a section of its own choosing"},
		{name: "defmt", source: rustS + fg + keep + "mov $.La, %eax\nmov $.Lb, %eax\n" + data(".defmt.1", ".La: ") + data(".defmt.2", ".Lb: "),
			follower: ".defmt.2", leader: ".defmt.1", want: "its address is a message"},
		{name: "data to a jump", kind: Thunk, source: rustS + fg + keep + "mov $.La, %eax\nmov $.Lb, %eax\n" + data(".rodata..Lanon.1", ".La: ") + data(".rodata..Lanon.2", ".Lb: "),
			follower: ".rodata..Lanon.2", leader: ".rodata..Lanon.1", want: "data can be no jump"},
		{name: "table amid code to a jump", kind: Thunk, source: strings.ReplaceAll(fg, "@function", "@object") + keep + "lea g(%rip), %rax\n", want: "data can be no jump"},
		{name: "code of no type to a jump", kind: Thunk, source: strings.ReplaceAll(fg, "@function", "@notype") + keep + "lea g(%rip), %rax\n", want: "data can be no jump"},
		{name: "address loaded by what looks like a call", source: fg + keep + "lea g@PLT(%rip), %rax\n", want: "its address is taken at x.o: section .text.keep"},
		{name: "probe", source: func1("f", "nop\nret") + func1("g", "nop\n9: ret") + ".section .note.probe,\"\",@note\n.quad 9b\n", want: "a tool is told of a place in it at x.o: section .note.probe: offset 0x0"},
		{name: "line table", source: func1("f", "nop\nret") + func1("g", "nop\n9: ret") + ".section .debug_mine,\"\",@progbits\n.quad 9b\n"},
		{name: "method in a vtable", source: rustS + strings.ReplaceAll(fg, "g", `"`+trait+`"`) + keep + "mov $v, %eax\n.set v, .data.rel.ro..Lanon.0.1\n" + func1(`"`+glue+`"`, "int3\nret") + vtable(`"`+glue+`"`, "16", `"`+trait+`"`)},
		{name: "function in what looks like a vtable", source: rustS + fg + func1(`"`+user+`"`, "int3\nret") + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\n" + vtable(`"`+user+`"`, "16", "g"),
			want: "its address is taken at x.o: section .data.rel.ro..Lanon.0.1: offset 0x18"},
		{name: "function where a vtable has no drop glue", source: rustS + fg + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\n" + vtable("0", "16", "g"),
			want: "its address is taken at x.o: section .data.rel.ro..Lanon.0.1: offset 0x18"},
		{name: "function where a vtable has its size", source: rustS + fg + func1(`"`+glue+`"`, "int3\nret") + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\n" + vtable(`"`+glue+`"`, "g", "g"),
			want: "its address is taken at x.o: section .data.rel.ro..Lanon.0.1: offset 0x8"},
		{name: "vtable not of Rust", source: fg + func1(`"`+glue+`"`, "int3\nret") + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\n" + vtable(`"`+glue+`"`, "16", "g"),
			want: "its address is taken at x.o: section .data.rel.ro..Lanon.0.1: offset 0x18"},
		{name: "method in a vtable, leader's address taken", source: rustS + fg + func1(`"`+glue+`"`, "int3\nret") + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\nlea f(%rip), %rax\n" + vtable(`"`+glue+`"`, "16", "g"),
			want: "it is in a vtable, and the leader's address is taken at x.o: section .text.keep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			source := test.source
			g := "g"
			if test.name == "method in a vtable" {
				// The function that stands for g has a name that assembles only in quotes.
				source = rustS + func1("f", "nop\nret") + func1(`"`+trait+`"`, "nop\nret") + keep + "mov $.data.rel.ro..Lanon.0.1, %eax\n" +
					func1(`"`+glue+`"`, "int3\nret") + vtable(`"`+glue+`"`, "16", `"`+trait+`"`)
				source = strings.ReplaceAll(source, `.section .text."`+trait+`"`, `.section ".text.g"`)
				g = `"` + trait + `"`
			}
			source = strings.ReplaceAll(source, `.section .text."`+glue+`"`, ".section .text.glue")
			source = strings.ReplaceAll(source, `.section .text."`+user+`"`, ".section .text.user")
			call := "\ncall " + g + "\n"
			if !strings.Contains(source, "keep:") {
				call += ".globl keep\nkeep:\n"
			}
			pic := len(test.link) > 0
			start := "\n.section .text._start,\"ax\",@progbits\n.globl _start\n_start: call f\ncall keep\n" + call
			if pic {
				start = strings.ReplaceAll(start, "call "+g, "call g@PLT")
				start = strings.ReplaceAll(strings.ReplaceAll(start, "call f\n", "call f@PLT\n"), "call keep\n", "nop\n")
			}
			objects := []string{assemble(t, dir, "start", start), assemble(t, dir, "x", source)}
			run(t, dir, "gcc", append(append([]string{"-nostdlib", "-static", "-o", "out"}, test.link...), objects...)...)
			c := claimOf(t, dir, "out", objects...)
			c.Shared = pic
			mustAgree(t, c)
			if test.mode != "" {
				c.Mode = test.mode
			}
			kind, follower, leader := Folded, ".text.g", ".text.f"
			if test.kind != Unknown {
				kind = test.kind
			}
			if test.follower != "" {
				follower = test.follower
			}
			if test.leader != "" {
				leader = test.leader
			}
			claimFold(t, c, kind, "x.o "+follower, "x.o "+leader)
			res, err := Check(c)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, m := range res.Mismatches {
				if strings.Contains(m.What, "must not be folded") || strings.Contains(m.What, "its own leader") {
					found = append(found, m.String())
				}
			}
			switch {
			case test.want == "" && len(found) > 0:
				t.Errorf("refused: %s", found)
			case test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)):
				t.Errorf("want %q, got %q", test.want, found)
			}
		})
	}
}
