package merge

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// Each test here guards one rule: it holds a small link in assembly, and
// fails if the rule goes. What is asserted is which sections share a leader.

// rustc makes an assembled object one of rustc's.
const rustc = "\n.section .comment,\"MS\",@progbits,1\n.string \"rustc version 1.95.0\"\n"

// assemble turns assembly into objects.
func assemble(t *testing.T, sources ...string) []*objfile.File {
	t.Helper()
	as, err := exec.LookPath("as")
	if err != nil {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("as is not installed")
		}
		t.Skip("as is not installed")
	}
	dir := t.TempDir()
	var files []*objfile.File
	for i, s := range sources {
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(path+".s", []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(as, "--64", "-o", path+".o", path+".s").CombinedOutput(); err != nil {
			t.Fatalf("as: %v\n%s", err, out)
		}
		b, err := os.ReadFile(path + ".o")
		if err != nil {
			t.Fatal(err)
		}
		f, err := objfile.Parse(string(rune('a'+i))+".o", b)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// makePlan resolves and folds a link whose entry is main.
func makePlan(t *testing.T, opt Options, sources ...string) *Plan {
	t.Helper()
	if opt.Wanted == nil {
		opt.Wanted = map[string]bool{}
	}
	opt.Wanted["main"] = true
	l, err := NewLink(assemble(t, sources...), opt)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Make()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// find returns the section that defines a symbol; object:section names one
// directly.
func (p *Plan) find(t *testing.T, name string) SecID {
	t.Helper()
	object, section, direct := strings.Cut(name, ":")
	for _, o := range p.Link.Objects {
		f := o.File
		if direct {
			if f.Name != object+".o" {
				continue
			}
			for i := range f.Sections {
				if f.Sections[i].Name == section {
					return o.Base + SecID(i)
				}
			}
			continue
		}
		for i := uint32(1); i < f.NumSymbols; i++ {
			if s := f.Symbol(i); s.Defined() && f.NameOf(&s) == name {
				return o.Base + SecID(s.Section)
			}
		}
	}
	t.Fatalf("no section for %s", name)
	return NoSec
}

// state says in words what becomes of a section.
func (p *Plan) state(t *testing.T, name string) string {
	t.Helper()
	id := p.find(t, name)
	switch p.Fate[id] {
	case FateKept:
		return "kept"
	case FateDropped:
		return "dropped"
	case FateFolded:
		return "folded"
	case FateThunk:
		return "thunk"
	}
	return "none"
}

// together reports whether two sections have one leader.
func (p *Plan) together(t *testing.T, a, b string) bool {
	t.Helper()
	lead := func(n string) SecID {
		id := p.find(t, n)
		if p.Leader[id] != NoSec {
			return p.Leader[id]
		}
		return id
	}
	return lead(a) == lead(b)
}

// fn is a function in a section of its own, with a frame entry.
func fn(name, body string) string {
	return ".section .text." + name + ",\"ax\",@progbits\n.globl " + name + "\n.type " + name + ",@function\n" + name + ":\n.cfi_startproc\n" +
		body + "\n.cfi_endproc\n.size " + name + ",.-" + name + "\n"
}

// callers makes main call each name.
func callers(names ...string) string {
	b := ""
	for _, n := range names {
		b += "call " + n + "\n"
	}
	return fn("main", b+"ret")
}

const work = "mov $1,%eax\nadd $2,%eax\nimul $77,%eax\nadd $3,%eax\nret\n"

func TestRules(t *testing.T) {
	const safe, all = ModeSafe, ModeAll
	for _, c := range []struct {
		name    string
		mode    Mode
		opt     Options
		sources []string
		same    string // pairs that fold together: "f g"
		apart   string // pairs that don't
	}{
		{name: "basic", mode: safe, sources: []string{callers("f", "g") + fn("f", work) + fn("g", work)}, same: "f g"},
		{name: "bytes differ", mode: safe, sources: []string{callers("f", "g") + fn("f", work) + fn("g", "nop\n"+work)}, apart: "f g"},
		{name: "across objects", mode: safe, sources: []string{callers("f", "g") + fn("f", work), fn("g", work)}, same: "f g"},
		{name: "mutual recursion", mode: safe, sources: []string{callers("f", "p") +
			fn("f", "call g\nret") + fn("g", "call f\nnop\nret") + fn("p", "call q\nret") + fn("q", "call p\nnop\nret")}, same: "f p g q", apart: "f g"},
		{name: "recursion", mode: safe, sources: []string{callers("f", "g") + fn("f", "nop\ncall f\nret") + fn("g", "nop\ncall g\nret")}, same: "f g"},
		{name: "different callees", mode: safe, sources: []string{callers("f", "g") +
			fn("f", "call p\nret") + fn("g", "call q\nret") + fn("p", work) + fn("q", "nop\n"+work)}, apart: "f g"},
		{name: "callees that fold", mode: safe, sources: []string{callers("f", "g") +
			fn("f", "call p\nret") + fn("g", "call q\nret") + fn("p", work) + fn("q", work)}, same: "f g p q"},
		{name: "undefined names differ", mode: safe, sources: []string{callers("f", "g") + fn("f", "call u1\nret") + fn("g", "call u2\nret")}, apart: "f g"},
		{name: "undefined names equal", mode: safe, sources: []string{callers("f", "g") + fn("f", "call u1\nret"), fn("g", "call u1\nret")}, same: "f g"},
		{name: "addend differs", mode: safe, sources: []string{callers("f", "g") +
			fn("f", "lea d(%rip),%rax\nret") + fn("g", "lea d+4(%rip),%rax\nret") + ".data\nd: .quad 1,2\n"}, apart: "f g"},
		{name: "one place, two ways", mode: safe, sources: []string{callers("f", "g") +
			fn("f", "lea d1+4(%rip),%rax\nret") + fn("g", "lea d2(%rip),%rax\nret") + ".data\n.globl d1,d2\nd1: .long 1\nd2: .long 2\n"}, same: "f g"},
		{name: "relocation type differs", mode: safe, sources: []string{callers("f", "g") +
			fn("f", ".reloc .,R_X86_64_32,d\n.long 0\nret") + fn("g", ".reloc .,R_X86_64_32S,d\n.long 0\nret") + ".data\nd: .quad 1\n"}, apart: "f g"},
		{name: "frame differs", mode: safe, sources: []string{callers("f", "g") +
			fn("f", work) + fn("g", ".cfi_def_cfa_offset 32\n"+work)}, apart: "f g"},
		{name: "no frame", mode: safe, sources: []string{callers("f", "g") + fn("f", work) +
			".section .text.g,\"ax\"\n.globl g\ng:\n" + work}, apart: "f g"},
		{name: "address taken of both", mode: safe, sources: []string{fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nret") + fn("f", work) + fn("g", work) + rustc}, apart: ""},
		{name: "address taken, all, Rust", mode: all, sources: []string{fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nret") + fn("f", work) + fn("g", work) + rustc}, same: "f g"},
		{name: "a loaded address and a called one", mode: safe, sources: []string{callers("g") + fn("x", "") + ".section .init_array,\"aw\"\n.quad f\n" + fn("f", work) + fn("g", work) + rustc}, same: "f g"},
		{name: "calls through the GOT are calls", mode: safe, sources: []string{fn("main", "call *f@GOTPCREL(%rip)\njmp *g@GOTPCREL(%rip)") + fn("f", work) + fn("g", work)}, same: "f g"},
		{name: "keep", mode: all, opt: Options{Keep: func(n string) bool { return n == "g" }}, sources: []string{callers("f", "g") + fn("f", work) + fn("g", work) + rustc}, apart: "f g"},
		{name: "writable data", mode: all, sources: []string{fn("main", "lea a(%rip),%rax\nlea b(%rip),%rax\nret") +
			".section .data.a,\"aw\"\na: .quad 1\n.section .data.b,\"aw\"\nb: .quad 1\n" + rustc}, apart: "a b"},
		{name: "named statics", mode: all, sources: []string{fn("main", "lea a(%rip),%rax\nlea b(%rip),%rax\nret") +
			".section .rodata.a,\"a\"\na: .quad 1\n.section .rodata.b,\"a\"\nb: .quad 1\n" + rustc}, apart: "a b"},
		{name: "statics named like mapping symbols", mode: all, sources: []string{fn("main", "lea \"$d.a\"(%rip),%rax\nlea \"$d.b\"(%rip),%rax\nret") +
			".section .rodata.a,\"a\"\n.globl \"$d.a\"\n\"$d.a\": .quad -1\n.section .rodata.b,\"a\"\n.globl \"$d.b\"\n\"$d.b\": .quad -1\n" + rustc}, apart: "$d.a $d.b"},
		{name: "anonymous constants", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.Lanon.a: .quad -1\n.section .rodata..Lanon.b,\"a\"\n.Lanon.b: .quad -1\n" + rustc}, same: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "zeros that may be no values", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.balign 4\n.Lanon.a: .long 0,1\n.section .rodata..Lanon.b,\"a\"\n.balign 4\n.Lanon.b: .long 0,1\n" + rustc}, apart: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "a zero among bytes", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.Lanon.a: .byte 7,0,7\n.section .rodata..Lanon.b,\"a\"\n.Lanon.b: .byte 7,0,7\n" + rustc}, apart: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "a zero among halves", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.balign 2\n.Lanon.a: .short 7,0,7\n.section .rodata..Lanon.b,\"a\"\n.balign 2\n.Lanon.b: .short 7,0,7\n" + rustc}, apart: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "upper ends of numbers", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.balign 4\n.Lanon.a: .long 97,7\n.section .rodata..Lanon.b,\"a\"\n.balign 4\n.Lanon.b: .long 97,7\n" + rustc}, same: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "zeros beside pointers", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .data.rel.ro..Lanon.a,\"aw\"\n.Lanon.a: .quad d,0\n.section .data.rel.ro..Lanon.b,\"aw\"\n.Lanon.b: .quad d,0\n.data\nd: .quad 1\n" + rustc}, apart: "a:.data.rel.ro..Lanon.a a:.data.rel.ro..Lanon.b"},
		{name: "lengths beside pointers", mode: safe, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .data.rel.ro..Lanon.a,\"aw\"\n.Lanon.a: .quad d,5\n.section .data.rel.ro..Lanon.b,\"aw\"\n.Lanon.b: .quad d,5\n.data\nd: .quad 1\n" + rustc}, same: "a:.data.rel.ro..Lanon.a a:.data.rel.ro..Lanon.b"},
		{name: "nothing but zeros, all", mode: all, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.Lanon.a: .quad 0\n.section .rodata..Lanon.b,\"a\"\n.Lanon.b: .quad 0\n" + rustc}, apart: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "data without symbols of a C object", mode: all, sources: []string{fn("main", "lea .La(%rip),%rax\nlea .Lb(%rip),%rax\nret") +
			".section .rodata.a,\"a\"\n.La: .quad 1\n.section .rodata.b,\"a\"\n.Lb: .quad 1\n"}, apart: "a:.rodata.a a:.rodata.b"},
		{name: "C identifier", mode: all, sources: []string{callers("f") + fn("f", work) + ".section hooks,\"ax\"\n.globl g\ng:\n.cfi_startproc\n" + work + ".cfi_endproc\n" + rustc}, apart: "f g"},
		{name: "retained", mode: all, sources: []string{callers("f") + fn("f", work) + ".section .text.g,\"axR\"\n.globl g\ng:\n.cfi_startproc\n" + work + ".cfi_endproc\n" + rustc}, apart: "f g"},
		{name: "code outside .text", mode: all, sources: []string{callers("f", "g") + fn("f", work) + ".section .ramfunc.g,\"ax\"\n.globl g\ng:\n.cfi_startproc\n" + work + ".cfi_endproc\n" + rustc}, apart: "f g"},
		{name: "IFUNC", mode: all, sources: []string{callers("f", "g") + fn("f", work) + fn("g", work) + ".type g,@gnu_indirect_function\n" + rustc}, apart: "f g"},
		{name: "several functions in a section", mode: all, sources: []string{callers("f", "g") + fn("f", work+"f2:\n"+work) + fn("g", work+"g2:\n"+work) + rustc}, apart: "f g"},
		// The weak g loses to the strong one; neither may become an alias.
		{name: "weak and strong", mode: all, sources: []string{callers("f", "g", "h") + fn("f", work) + fn("g", "nop\n"+work) + fn("h", "nop\n"+work), fn("g", work) + ".weak g\n.section .init_array,\"aw\"\n.quad .text.g\n" + rustc}, apart: "a:.text.g h f b:.text.g"},
		{name: "pinned", mode: all, opt: Options{Pinned: map[string]bool{"g": true, "h": true}}, sources: []string{callers("f", "g", "h") + fn("f", work) + fn("g", work) + fn("h", work) + rustc}, same: "f g", apart: "g h"},
		{name: "pinned data", mode: all, opt: Options{Pinned: map[string]bool{"anon.b": true}}, sources: []string{fn("main", "lea .Lanon.a(%rip),%rax\nlea anon.b(%rip),%rax\nret") +
			".section .rodata..Lanon.a,\"a\"\n.Lanon.a: .quad -1\n.section .rodata..Lanon.b,\"a\"\n.globl anon.b\nanon.b: .quad -1\n" + rustc}, apart: "a:.rodata..Lanon.a anon.b"},
		{name: "groups", mode: all, sources: []string{callers("f", "g") + fn("f", work) + ".section .text.g,\"axG\",@progbits,g,comdat\n.globl g\ng:\n.cfi_startproc\n" + work + ".cfi_endproc\n" + rustc}, apart: "f g"},
		{name: "output classes", mode: all, opt: Options{Class: func(_ int, n string) string { return n }}, sources: []string{callers("f", "g") + fn("f", work) + fn("g", work) + rustc}, apart: "f g"},
		{name: "output classes by file", mode: all, opt: Options{Class: func(o int, _ string) string { return string(rune('a' + o)) }}, sources: []string{callers("f", "g", "h") + fn("f", work) + fn("g", work) + rustc, fn("h", work) + rustc}, same: "f g", apart: "g h"},
		{name: "thread-local", mode: all, sources: []string{fn("main", "mov a@tpoff,%rax\nmov b@tpoff,%rcx\nret") +
			".section .tdata.a,\"awT\"\na: .quad 1\n.section .tdata.b,\"awT\"\nb: .quad 1\n" + rustc}, apart: "a b"},
		{name: "strings by contents", mode: safe, sources: []string{callers("f", "g") + fn("f", "lea .Ls(%rip),%rax\nret") + ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Lx: .string \"zero\"\n.Ls: .string \"one\"\n" + rustc,
			fn("g", "lea .Ls(%rip),%rax\nret") + ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Ls: .string \"one\"\n.Lx: .string \"two\"\n" + rustc}, same: "f g"},
		{name: "strings differ", mode: safe, sources: []string{callers("f", "g") + fn("f", "lea .Ls(%rip),%rax\nret") + ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Ls: .string \"one\"\n" + rustc,
			fn("g", "lea .Ls(%rip),%rax\nret") + ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Ls: .string \"onf\"\n" + rustc}, apart: "f g"},
		{name: "a relocation that is not known", mode: all, sources: []string{callers("f", "g") + fn("f", ".reloc .,R_X86_64_GOT32,u\n.long 0\nret") + fn("g", ".reloc .,R_X86_64_GOT32,u\n.long 0\nret") + rustc}, apart: "f g"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Mode = c.mode
			p := makePlan(t, c.opt, c.sources...)
			names := strings.Fields(c.same)
			for i := 0; i+1 < len(names); i += 2 {
				if !p.together(t, names[i], names[i+1]) {
					t.Errorf("%s and %s don't fold (%s, %s)", names[i], names[i+1], p.Reason[p.find(t, names[i])], p.Reason[p.find(t, names[i+1])])
				}
			}
			names = strings.Fields(c.apart)
			for i := 0; i+1 < len(names); i += 2 {
				if p.together(t, names[i], names[i+1]) {
					t.Errorf("%s and %s fold", names[i], names[i+1])
				}
				if s := p.state(t, names[i]); s == "dropped" || s == "none" {
					t.Errorf("%s is %s: the case shows nothing", names[i], s)
				}
				if s := p.state(t, names[i+1]); s == "dropped" || s == "none" {
					t.Errorf("%s is %s: the case shows nothing", names[i+1], s)
				}
			}
		})
	}
}

// A constant of a mergeable section is picked by the symbol's value, and the
// −4 of a PC-relative field does not choose the constant before it.
func TestPieceBeforeTheRightOne(t *testing.T) {
	object := func(first, second, f string) string {
		// GNU as keeps a global symbol and would reduce a local one.
		return ".section .rodata.cst16,\"aM\",@progbits,16\n.quad " + first + ",0\n.globl k" + f + "\nk" + f + ": .quad " + second + ",0\n" +
			fn(f, "movups k"+f+"(%rip),%xmm0\nret") + rustc
	}
	p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g", "h"), object("1", "2", "f"), object("1", "3", "g"), object("9", "2", "h"))
	if p.together(t, "f", "g") {
		t.Error("functions that load different constants fold")
	}
	if !p.together(t, "f", "h") {
		t.Error("functions that load equal constants don't fold")
	}
}

// Constants of one size lie in sections of different alignments: whoever
// stays must be aligned for all.
func TestPieceAlignment(t *testing.T) {
	object := func(align, f string) string {
		return ".section .rodata.cst16,\"aM\",@progbits,16\n.balign " + align + "\n.globl k" + f + "\nk" + f + ": .quad 5,0\n" + fn(f, "movups k"+f+"(%rip),%xmm0\nret") + rustc
	}
	p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g"), object("1", "f"), object("16", "g"))
	if !p.together(t, "f", "g") {
		t.Fatal("f and g don't fold")
	}
	if got := p.Align[p.find(t, "kf")]; got != 16 {
		t.Errorf("the leader's constants are aligned to %d, want 16", got)
	}
}

// What a safe fold leaves of functions whose addresses the program has: their
// addresses, and jumps for bodies.
func TestAddressSignificance(t *testing.T) {
	vtable := func(name, glue, size, method string) string {
		return ".section .data.rel.ro..Lanon." + name + ",\"aw\"\n.balign 8\n.Lanon." + name + ": .quad " + glue + "," + size + ",8," + method + "\n"
	}
	const glueF, glueG = "_ZN4core3ptr20drop_in_place$LT$F$GT$17h0123456789abcdefE", "_ZN4core3ptr20drop_in_place$LT$G$GT$17h0123456789abcdefE"
	const methodF, methodG = "_ZN30_$LT$F$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE", "_ZN30_$LT$G$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE"
	use := func(names ...string) string {
		b := ""
		for _, n := range names {
			b += "lea .Lanon." + n + "(%rip),%rax\n"
		}
		return b
	}
	t.Run("vtables", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", use("f", "g")+"ret")+vtable("f", `"`+glueF+`"`, "16", `"`+methodF+`"`)+vtable("g", `"`+glueG+`"`, "16", `"`+methodG+`"`)+
			quoted(glueF, work)+quoted(glueG, work)+quoted(methodF, "nop\n"+work)+quoted(methodG, "nop\n"+work)+rustc)
		if !p.together(t, methodF, methodG) || !p.together(t, "a:.data.rel.ro..Lanon.f", "a:.data.rel.ro..Lanon.g") {
			t.Error("equal vtables or their methods don't fold")
		}
	})
	t.Run("a struct with a vtable's shape", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", use("f", "g")+"ret")+vtable("f", "p1", "16", "q1")+vtable("g", "p2", "16", "q2")+
			fn("p1", work)+fn("p2", work)+fn("q1", "nop\n"+work)+fn("q2", "nop\n"+work)+rustc)
		for _, n := range []string{"p1", "p2", "q1", "q2"} {
			if p.state(t, n) == "folded" {
				t.Errorf("%s lost its address", n)
			}
		}
	})
	t.Run("a vtable's function and a materialised one", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", use("f")+"lea m(%rip),%rax\nret")+vtable("f", `"`+glueF+`"`, "16", `"`+methodF+`"`)+
			quoted(glueF, work)+quoted(methodF, "nop\n"+work)+fn("m", "nop\n"+work)+rustc)
		if s := p.state(t, methodF); s != "kept" {
			t.Errorf("the vtable's function is %s, want kept", s)
		}
		if s := p.state(t, "m"); s == "folded" {
			t.Error("the materialised function lost its address")
		}
	})
	t.Run("its own address", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g")+fn("f", "lea f(%rip),%rax\n"+work)+fn("g", "lea g(%rip),%rax\n"+work)+rustc)
		if p.together(t, "f", "g") {
			t.Error("functions that return their own addresses fold")
		}
	})
	t.Run("jumps", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nret")+fn("f", "call u\n"+work)+fn("g", "call u\n"+work)+rustc)
		if a, b := p.state(t, "f"), p.state(t, "g"); a != "kept" || b != "thunk" {
			t.Errorf("f is %s and g %s, want kept and thunk", a, b)
		}
	})
	t.Run("no jump in place of a table amid code", func(t *testing.T) {
		for _, typ := range []string{"", ".type f,@object\n.type g,@object\n"} {
			p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nret")+
				".section .text.f,\"ax\"\n.globl f\nf: .long u-., 1, 2, 3\n.section .text.g,\"ax\"\n.globl g\ng: .long u-., 1, 2, 3\n"+typ+rustc)
			if a, b := p.state(t, "f"), p.state(t, "g"); a != "kept" || b != "kept" {
				t.Errorf("%q: f is %s and g %s, want both kept", typ, a, b)
			}
		}
	})
	t.Run("the form of a call that loads an address", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f@PLT(%rip),%rax\nlea g@PLT(%rip),%rcx\nret")+fn("f", work)+fn("g", work)+rustc)
		if a, b := p.state(t, "f"), p.state(t, "g"); a == "folded" || b == "folded" {
			t.Errorf("f is %s and g %s, want addresses of their own", a, b)
		}
	})
	t.Run("no jump where the inside is referred to", func(t *testing.T) {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f(%rip),%rax\nlea g+3(%rip),%rcx\nret")+fn("f", "call u\n"+work)+fn("g", "call u\n"+work)+rustc)
		if s := p.state(t, "g"); s != "kept" {
			t.Errorf("g is %s, want kept", s)
		}
	})
	t.Run("jump tables", func(t *testing.T) {
		table := func(f string) string {
			return fn(f, "lea .LT"+f+"(%rip),%rax\n.L1"+f+": nop\n.L2"+f+":\n"+work) +
				".section .rodata." + f + ",\"a\"\n.balign 4\n.LT" + f + ": .long .L1" + f + "-.LT" + f + ", .L2" + f + "-.LT" + f + "\n"
		}
		p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g")+table("f")+table("g")+rustc)
		if !p.together(t, "f", "g") || !p.together(t, "a:.rodata.f", "a:.rodata.g") {
			t.Error("functions with equal jump tables don't fold")
		}
	})
}

// quoted is fn for names that the assembler wants in quotes.
func quoted(name, body string) string {
	return ".section \".text." + name + "\",\"ax\",@progbits\n.globl \"" + name + "\"\n.type \"" + name + "\",@function\n\"" + name + "\":\n.cfi_startproc\n" + body + "\n.cfi_endproc\n"
}

// Order and repetition change nothing that matters.
func TestMetamorphic(t *testing.T) {
	a := callers("f", "g", "h") + fn("f", "call g\nret") + fn("g", work)
	b := fn("h", work) + rustc
	c := fn("f2", "call g2\nret") + fn("g2", work)
	forward, backward := makePlan(t, Options{Mode: ModeSafe}, a, b), makePlan(t, Options{Mode: ModeSafe}, b, a)
	for _, pair := range [][2]string{{"f", "g"}, {"g", "h"}, {"f", "h"}} {
		if forward.together(t, pair[0], pair[1]) != backward.together(t, pair[0], pair[1]) {
			t.Errorf("%v: the order of objects decides", pair)
		}
	}
	twice := makePlan(t, Options{Mode: ModeSafe, Wanted: map[string]bool{}}, a+"\n", b, c+callersNamed("also", "f2", "g2")+".section .init_array,\"aw\"\n.quad also\n")
	for _, n := range []string{"f2", "g2"} {
		if s := twice.state(t, n); s != "folded" {
			t.Errorf("%s, a copy, is %s", n, s)
		}
	}
}

func callersNamed(name string, names ...string) string {
	return strings.ReplaceAll(callers(names...), "main", name)
}

// A local symbol's distance from its own section needs no relocation, so the
// code itself says that it takes its own address.
func TestOwnAddressWithoutRelocation(t *testing.T) {
	local := func(f string) string {
		return ".section .text." + f + ",\"ax\",@progbits\n.globl " + f + "\n.type " + f + ",@function\n.L" + f + ":\n" + f + ":\n.cfi_startproc\nlea .L" + f + "(%rip),%rax\n" + work + ".cfi_endproc\n"
	}
	p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g")+local("f")+local("g")+rustc)
	if n := p.Link.Objects[0].File.Relocs(uint32(p.find(t, "f") - p.Link.Objects[0].Base)).Len(); n != 0 {
		t.Fatalf("f has %d relocations: the case shows nothing", n)
	}
	if p.together(t, "f", "g") {
		t.Error("functions that return their own addresses fold")
	}
}

// An ABI of which nothing is tested is not understood.
func TestX32(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.s"), []byte(callers("f", "g")+fn("f", work)+fn("g", work)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("as", "--x32", "-o", filepath.Join(dir, "a.o"), filepath.Join(dir, "a.s")).CombinedOutput(); err != nil {
		t.Skipf("as --x32: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := objfile.Parse("a.o", b)
	if err != nil {
		t.Fatal(err)
	}
	const want = "a.o: 32-bit pointers (x32, ILP32) are not supported on x86-64"
	if _, err := NewLink([]*objfile.File{f}, Options{}); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A named static is no leader either: a program may know that a constant is
// not that static.
func TestStaticIsNoLeader(t *testing.T) {
	p := makePlan(t, Options{Mode: ModeAll}, fn("main", "lea a(%rip),%rax\nlea .Lanon.b(%rip),%rax\nret")+
		".section .rodata.a,\"a\"\na: .quad 1\n.section .rodata..Lanon.b,\"a\"\n.Lanon.b: .quad 1\n"+rustc)
	if p.together(t, "a", "a:.rodata..Lanon.b") {
		t.Error("a constant folds into a named static")
	}
}
