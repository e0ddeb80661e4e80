package verify

import (
	"strings"
	"testing"
)

// framed is a function with a frame description.
func framed(name, body string) string {
	return func1(name, ".cfi_startproc\n"+body+"\n.cfi_endproc")
}

// TestRewritten: links in which f and g were folded by hand, well and badly. The claim has the original objects, the
// output comes from the rewritten ones.
func TestRewritten(t *testing.T) {
	const start = `
.section .text._start,"ax",@progbits
.globl _start
.type _start,@function
_start: .cfi_startproc
call f
call g
call helper
mov $60, %eax
xor %edi, %edi
syscall
.cfi_endproc
.size _start, .-_start
` + "\n"
	helper := framed("helper", "lea 4(%rdi), %eax\nret")
	f := framed("f", "push %rax\ncall helper\npop %rcx\nret")
	g := framed("g", "push %rax\ncall helper\npop %rcx\nret")
	const aliasG = "\n.globl g\n.type g,@function\n.set g, f\n"
	materialised := strings.Replace(start, "call helper", "lea g(%rip), %rax\ncall helper", 1)
	thunk := func(body string) string { return framed("g", body) }
	cet := func(s string) string { return strings.Replace(s, "push", "endbr64\npush", 1) }

	tests := []struct {
		name      string
		original  [4]string // start, f, g, helper
		rewritten [4]string // "" where it is the original
		kind      FateKind
		claim     func(t *testing.T, c *Claim)
		link      []string
		want      []string
		thunks    int
	}{
		{name: "well", original: [4]string{start, f, g, helper}, rewritten: [4]string{"", f + aliasG, "nop", ""}, kind: Folded},
		{name: "well, stripped", original: [4]string{start, f, g, helper}, rewritten: [4]string{"", f + aliasG, "nop", ""}, kind: Folded, link: []string{"-s", "-Wl,-Map=map"},
			claim: func(t *testing.T, c *Claim) { c.Map = strings.TrimSuffix(c.Output, "out") + "map" }},
		{name: "nothing was folded", original: [4]string{start, f, g, helper}, kind: Folded,
			want: []string{"start.o: section .text._start: offset 0x6: leads to 0x*", "g.o: section .text.g: offset 0x0: symbol g is at 0x*"}},
		{name: "folded into another function", original: [4]string{start, f, g, helper},
			rewritten: [4]string{"", f, "nop", helper + "\n.globl g\n.set g, helper\n"}, kind: Folded,
			want: []string{"start.o: section .text._start: offset 0x6: leads to 0x", "g.o: section .text.g: offset 0x0: symbol g is at 0x", "symbol g has size 4 in the output, 8 in the original"}},
		{name: "a frame description left over", original: [4]string{start, f, g, helper},
			rewritten: [4]string{"", f + aliasG + ".section .text.f\n.cfi_startproc\n.cfi_endproc\n", "nop", ""}, kind: Folded},
		{name: "a frame description too many", original: [4]string{start, f, g, helper},
			rewritten: [4]string{"", strings.Replace(f, "pop", ".cfi_endproc\n.cfi_startproc\npop", 1) + aliasG, "nop", ""}, kind: Folded,
			want: []string{"f.o: section .text.f: offset 0x0: the frame description covers 6 bytes, the original's 8", "f.o: section .text.f: offset 0x6: the output has a frame description for 0x"}},
		{name: "alignment forgotten", original: [4]string{start, f, strings.Replace(g, ".globl g", ".balign 64\n.globl g", 1), helper},
			rewritten: [4]string{"", f + aliasG, "nop", ""}, kind: Folded, want: []string{"g.o: section .text.g: at 0x"}},
		{name: "folded unclaimed", original: [4]string{start, f, g, helper}, rewritten: [4]string{"", f + aliasG, "nop", ""},
			want: []string{"shares bytes with f.o: section .text.f at 0x"}},
		{name: "dropped though referenced", original: [4]string{start, f, g, helper},
			claim: func(t *testing.T, c *Claim) { claimFold(t, c, Dropped, "g.o .text.g", "g.o .text.g") },
			want:  []string{"start.o: section .text._start: offset 0x6: refers to g.o: section .text.g, which is claimed as dropped"}},
		{name: "a jump", original: [4]string{materialised, f, g, helper}, rewritten: [4]string{"", "", thunk("jmp f"), ""}, kind: Thunk, thunks: 1},
		{name: "a jump called past", original: [4]string{materialised, f, g, helper},
			rewritten: [4]string{strings.Replace(materialised, "call g", "call f", 1), "", thunk("jmp f"), ""}, kind: Thunk, thunks: 1},
		{name: "a jump, stripped", original: [4]string{materialised, f, g, helper}, rewritten: [4]string{"", "", thunk("jmp f"), ""}, kind: Thunk, link: []string{"-s"}, thunks: 1},
		{name: "a jump elsewhere", original: [4]string{materialised, f, g, helper}, rewritten: [4]string{"", "", thunk("jmp helper"), ""}, kind: Thunk, thunks: 1,
			want: []string{"g.o: section .text.g: offset 0x1: leads to 0x"}},
		{name: "no jump at all", original: [4]string{materialised, f, g, helper}, kind: Thunk,
			want: []string{"g.o: section .text.g: offset 0x0: should be a jump to f.o: section .text.f, but 0x"}},
		{name: "a jump without its endbr64", original: [4]string{materialised, cet(f), cet(g), helper}, rewritten: [4]string{"", "", thunk("jmp f"), ""}, kind: Thunk,
			want: []string{"g.o: section .text.g: offset 0x0: should be a jump to f.o: section .text.f, but 0x"}},
		{name: "a jump with its endbr64", original: [4]string{materialised, cet(f), cet(g), helper}, rewritten: [4]string{"", "", thunk("endbr64\njmp f"), ""}, kind: Thunk, thunks: 1},
		{name: "a jump with the frame of a function", original: [4]string{materialised, f, g, helper},
			rewritten: [4]string{"", "", thunk(".cfi_def_cfa_offset 32\njmp f"), ""}, kind: Thunk, thunks: 1,
			want: []string{"g.o: section .text.g: offset 0x0: the jump at 0x"}},
		{name: "the address of a jump is its leader's", original: [4]string{materialised, f, g, helper},
			rewritten: [4]string{strings.Replace(materialised, "lea g", "lea f", 1), "", thunk("jmp f"), ""}, kind: Thunk, thunks: 1,
			want: []string{"start.o: section .text._start: offset 0xd: leads to 0x"}},
		{name: "a reference into what became a jump", original: [4]string{strings.Replace(materialised, "lea g", "lea g+1", 1), f, g, helper},
			rewritten: [4]string{"", "", thunk("jmp f"), ""}, kind: Thunk, thunks: 1,
			want: []string{"start.o: section .text._start: offset 0xd: leads into the middle of g.o: section .text.g, which became a jump"}},
		{name: "well, stripped, from an entry of another name", original: [4]string{strings.NewReplacer("cfi_startproc", "cfi_startproc", "_start", "begin").Replace(start), f, g, helper},
			rewritten: [4]string{"", f + aliasG, "nop", ""}, kind: Folded, link: []string{"-s", "-Wl,-e,begin"}},
		{name: "nothing to be found", original: [4]string{start, f, g, helper}, rewritten: [4]string{strings.Replace(start, "call f", "hlt\ncall f", 1), f + aliasG, "nop", ""}, kind: Folded,
			link: []string{"-s"}, want: []string{"output: no function of the objects was found in it"}},
		{name: "a weak definition that lost wins", original: [4]string{start, f, g, helper + strings.Replace(framed("g", "mov $244, %eax\nnop\nnop\nret"), ".globl g", ".weak g", 1)},
			rewritten: [4]string{"", f, "nop", ""},
			want:      []string{"g.o: section .text.g: offset 0x0: holds b8f4 at 0x"}},
	}
	names := []string{"start", "f", "g", "helper"}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			original, rewritten := t.TempDir(), t.TempDir()
			var objects []string
			for i, name := range names {
				objects = append(objects, assemble(t, original, name, test.original[i]))
				source := test.rewritten[i]
				if source == "" {
					source = test.original[i]
				}
				assemble(t, rewritten, name, source)
			}
			run(t, rewritten, "gcc", append(append([]string{"-nostdlib", "-no-pie", "-Wl,--gc-sections", "-Wl,--eh-frame-hdr", "-o", "out"}, test.link...), objects...)...)
			c := claimOf(t, original, "out", objects...)
			c.Output = rewritten + "/out"
			if test.kind != Unknown {
				claimFold(t, c, test.kind, "g.o .text.g", "f.o .text.f")
			}
			if test.claim != nil {
				test.claim(t, c)
			}
			res, err := Check(c)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, res.Mismatches, test.want)
			if test.kind != Unknown && res.Folds != 1 || res.Thunks != test.thunks {
				t.Errorf("%d folds and %d thunks were looked at, want %d thunks", res.Folds, res.Thunks, test.thunks)
			}
		})
	}
}

// TestLinkerFolds: what the linker folds by itself is no mismatch where it was asked to.
func TestLinkerFolds(t *testing.T) {
	flags := useLinker(t, "lld")
	dir := t.TempDir()
	objects := []string{
		assemble(t, dir, "start", func1("_start", "call f\ncall g\nhlt")),
		assemble(t, dir, "f", framed("f", "push %rax\npop %rcx\nret")), assemble(t, dir, "g", framed("g", "push %rax\npop %rcx\nret")),
	}
	run(t, dir, "gcc", append(append([]string{"-nostdlib", "-no-pie", "-Wl,--icf=all", "-o", "out"}, flags...), objects...)...)
	c := claimOf(t, dir, "out", objects...)
	c.LinkerFolds = true
	mustAgree(t, c)
	c.LinkerFolds = false
	res, err := Check(c)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, res.Mismatches, []string{"g.o: section .text.g: at 0x"})
}
