package merge

import (
	"encoding/binary"
	"strings"
	"testing"

	"leanlink/objfile"
)

// Links made to trap the folding. Each case was either a wrong program once or
// stands for a rule that no other test misses when it is taken out: both sides
// of a pair have what the rule speaks of, so that nothing but the rule keeps
// them apart.

// section is contents under a section directive.
func section(directive, contents string) string {
	return ".section " + directive + "\n" + contents + "\n"
}

// uses is main, which takes the addresses of some labels and calls functions.
func uses(labels []string, functions ...string) string {
	b := ""
	for _, n := range labels {
		b += "lea " + n + "(%rip),%rax\n"
	}
	for _, n := range functions {
		b += "call " + n + "\n"
	}
	return fn("main", b+"ret")
}

// inSection is fn with another section directive.
func inSection(directive, name, body string) string {
	_, rest, _ := strings.Cut(fn(name, body), "\n")
	return section(directive, rest)
}

// bare is a function without a frame entry.
func bare(name, body string) string {
	return section(".text."+name+",\"ax\",@progbits", ".globl "+name+"\n.type "+name+",@function\n"+name+":\n"+body+"\n.size "+name+",.-"+name)
}

// byHand is a function whose frame entry is written by hand, in forms that the
// assembler's own have not. common goes into the common information, entry is
// what follows the function's address.
func byHand(f, common, entry string) string {
	return bare(f, "nop\n"+work) + section(".eh_frame,\"a\",@progbits", `
.Lcie`+f+`: .long .Lciend`+f+`-.Lc`+f+`
.Lc`+f+`: .long 0
.byte 1
.string "zLR"
.uleb128 1
.sleb128 -8
.byte 16
.uleb128 2
.byte 0x1b,0x1b
.byte 0x0c,7,8,0x90,1
`+common+`
.balign 8
.Lciend`+f+`: .long .Lfend`+f+`-.Lf`+f+`
.Lf`+f+`: .long .Lf`+f+`-.Lcie`+f+`
.long .text.`+f+`-.
`+entry+`
.balign 8
.Lfend`+f+`:`)
}

func TestAdversarial(t *testing.T) {
	const safe, all = ModeSafe, ModeAll
	anonymous := []string{".La", ".Lb"}
	for _, c := range []struct {
		name    string
		mode    Mode
		opt     Options
		sources []string
		same    string
		apart   string
	}{
		// Eligibility.
		{"a section of a type that means something", all, Options{}, []string{uses(anonymous) +
			section(".rodata..Lanon.a,\"a\",@0x60000001", ".La: .quad 1") + section(".rodata..Lanon.b,\"a\",@0x60000001", ".Lb: .quad 1") + rustc},
			"", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{"functions without code, which run into what comes next", all, Options{}, []string{callers("f", "g") + bare("f", "") + bare("g", "") + rustc}, "", "f g"},
		{"thread-local constants", all, Options{}, []string{uses(anonymous) +
			section(".rodata..Lanon.a,\"aT\",@progbits", ".La: .quad 1") + section(".rodata..Lanon.b,\"aT\",@progbits", ".Lb: .quad 1") + rustc},
			"", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{"constants that go with functions", all, Options{}, []string{callers("f", "g") + fn("f", work) + fn("g", "nop\n"+work) +
			section(".rodata..Lanon.a,\"ao\",@progbits,.text.f", ".quad 1") + section(".rodata..Lanon.b,\"ao\",@progbits,.text.g", ".quad 1") + rustc},
			"", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{"functions with metadata", all, Options{}, []string{callers("f", "g") + fn("f", work) + fn("g", work) +
			section(".meta.f,\"ao\",@progbits,.text.f", ".quad .text.f") + section(".meta.g,\"ao\",@progbits,.text.g", ".quad .text.g") + rustc}, "", "f g"},
		{"constants with metadata", all, Options{}, []string{uses(anonymous) + section(".rodata..Lanon.a,\"a\"", ".La: .quad 1") + section(".rodata..Lanon.b,\"a\"", ".Lb: .quad 1") +
			section(".meta.a,\"ao\",@progbits,.rodata..Lanon.a", ".quad 5") + section(".meta.b,\"ao\",@progbits,.rodata..Lanon.b", ".quad 5") + rustc},
			"", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{"both in groups", all, Options{}, []string{callers("f", "g") + inSection(".text.f,\"axG\",@progbits,sf,comdat", "f", work) +
			inSection(".text.g,\"axG\",@progbits,sg,comdat", "g", work) + rustc}, "", "f g"},
		{"sections of pieces", all, Options{}, []string{uses(anonymous[:1], "f") + section(".rodata.str1.1,\"aMS\",@progbits,1", ".La: .string \"x\"") + rustc,
			fn("f", "lea .La(%rip),%rcx\nret") + section(".rodata.str1.1,\"aMS\",@progbits,1", ".La: .string \"x\"") + rustc},
			"", "a:.rodata.str1.1 b:.rodata.str1.1"},
		{"code that changes", all, Options{}, []string{callers("f", "g") + inSection(".text.f,\"awx\",@progbits", "f", work) + inSection(".text.g,\"awx\",@progbits", "g", work) + rustc}, "", "f g"},
		{"both in a place of their own", all, Options{}, []string{callers("f", "g") + inSection(".ram.f,\"ax\",@progbits", "f", work) + inSection(".ram.g,\"ax\",@progbits", "g", work) + rustc}, "", "f g"},
		{"data in a place of its own", all, Options{}, []string{uses(anonymous) + section(".ram.a,\"a\"", ".La: .quad 1") + section(".ram.b,\"a\"", ".Lb: .quad 1") + rustc}, "", "a:.ram.a a:.ram.b"},
		{"constants that change", all, Options{}, []string{uses(anonymous) + section(".rodata..Lanon.a,\"aw\"", ".La: .quad 1") + section(".rodata..Lanon.b,\"aw\"", ".Lb: .quad 1") + rustc},
			"", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{"several frame entries", all, Options{}, []string{callers("f", "g") + fn("f", work+".cfi_endproc\n.cfi_startproc\nnop\n") + fn("g", work+".cfi_endproc\n.cfi_startproc\nnop\n") + rustc}, "", "f g"},
		{"a frame entry that begins late", all, Options{}, []string{callers("f", "g") + bare("f", "nop\n.cfi_startproc\n"+work+".cfi_endproc") + bare("g", "nop\n.cfi_startproc\n"+work+".cfi_endproc") + rustc}, "", "f g"},
		{"frames by hand", all, Options{}, []string{callers("f", "g") + byHand("f", "", ".long 5\n.uleb128 4\n.long 0") + byHand("g", "", ".long 5\n.uleb128 4\n.long 0") + rustc}, "f g", ""},
		{"a frame entry longer than its function", all, Options{}, []string{callers("f", "g") + byHand("f", "", ".long 4096\n.uleb128 4\n.long 0") + byHand("g", "", ".long 4096\n.uleb128 4\n.long 0") + rustc}, "", "f g"},
		{"an exception table at a fixed distance", all, Options{}, []string{callers("f", "g") + byHand("f", "", ".long 5\n.uleb128 4\n.long 64") + byHand("g", "", ".long 5\n.uleb128 4\n.long 64") + rustc}, "", "f g"},
		{"a frame entry that names something else", all, Options{}, []string{callers("f", "g") + byHand("f", "", ".long 5\n.uleb128 4\n.long 0\n.byte 0x0f,5,3\n.long d") +
			byHand("g", "", ".long 5\n.uleb128 4\n.long 0\n.byte 0x0f,5,3\n.long d") + section(".data,\"aw\"", ".globl d\nd: .quad 1") + rustc}, "", "f g"},

		// Whose address counts.
		{"a table that others can read", safe, Options{}, []string{
			fn("f", "lea .LTf(%rip),%rax\n"+work) + section(".rodata.f,\"a\"", ".balign 4\n.LTf: .long f-.LTf") + fn("g", "lea .LTg(%rip),%rax\n"+work) + section(".rodata.g,\"a\"", ".balign 4\n.LTg: .long g-.LTg") +
				uses([]string{".LTf", ".LTg"}, "f", "g") + rustc}, "", "f g"},
		{"a table of its own start", safe, Options{}, []string{
			fn("f", "lea .LTf(%rip),%rax\n"+work) + section(".data.rel.ro.f,\"aw\"", ".balign 8\n.LTf: .quad f") + fn("g", "lea .LTg(%rip),%rax\n"+work) + section(".data.rel.ro.g,\"aw\"", ".balign 8\n.LTg: .quad g") +
				callers("f", "g") + rustc}, "", "f g"},

		// What references mean.
		{"IFUNC and its resolver", all, Options{}, []string{callers("f", "g") + fn("f", "call i\nret") + fn("g", "call r\nret") +
			section(".text.r,\"ax\",@progbits", ".globl i,r\n.type r,@function\n.type i,@gnu_indirect_function\ni: r: lea main(%rip),%rax\nret") + rustc}, "", "f g"},
		{"sizes of two symbols of one place", all, Options{}, []string{callers("f", "g") + fn("f", "mov $a@SIZE,%eax\nret") + fn("g", "mov $b@SIZE,%eax\nret") +
			section(".data,\"aw\"", ".globl a,b\na: b: .quad 1,2\n.size a,8\n.size b,16") + rustc}, "", "f g"},
		{"a place in the GOT and a place in the data", all, Options{}, []string{callers("f", "g") + fn("f", "mov d1@GOTPCREL+4(%rip),%eax\nret") + fn("g", "mov d2@GOTPCREL(%rip),%eax\nret") +
			section(".data,\"aw\"", ".globl d1,d2\nd1: .long 1\nd2: .long 2") + rustc}, "", "f g"},
		{"a place behind a slot and a place behind a variable", all, Options{}, []string{callers("f", "g") + fn("f", "mov t1@GOTTPOFF+4(%rip),%eax\nret") + fn("g", "mov t2@GOTTPOFF(%rip),%eax\nret") +
			section(".tdata,\"awT\",@progbits", ".globl t1,t2\n.type t1,@object\n.type t2,@object\nt1: .long 1\nt2: .long 2") + rustc}, "", "f g"},
		{"pieces that end up in different places", all, Options{}, []string{callers("f", "g", "h") +
			fn("f", "lea .La(%rip),%rax\nret") + section("names,\"aMS\",@progbits,1", ".La: .string \"x\"") +
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.str1.1,\"aMS\",@progbits,1", ".Lb: .string \"x\"") +
			fn("h", "lea .Lc(%rip),%rax\nret") + section(".rodata.h.str1.1,\"aMS\",@progbits,1", ".Lc: .string \"x\"") + rustc}, "g h", "f g f h"},
		{"pieces that are written to", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea ka(%rip),%rax\nret") + section(".rodata.cst8,\"awM\",@progbits,8", ".globl ka\nka: .quad 1\n") +
			fn("g", "lea kb(%rip),%rax\nret") + section(".rodata.cst8.b,\"awM\",@progbits,8", ".globl kb\nkb: .quad 1\n") + rustc}, "", "f g"},
		{"wide strings of equal bytes", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.str2.2,\"aMS\",@progbits,2", ".balign 2\n.La: .byte 65,0,0,0") +
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.str4.4,\"aMS\",@progbits,4", ".balign 4\n.Lb: .byte 65,0,0,0,0,0,0,0") + rustc}, "", "f g"},
		{"wide strings cut where a character begins with a zero", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.str2.2,\"aMS\",@progbits,2", ".balign 2\n.La: .byte 65,0,0,1,66,0,0,0") + rustc,
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.str2.2,\"aMS\",@progbits,2", ".balign 2\n.Lb: .byte 65,0,0,1,67,0,0,0") + rustc}, "", "f g"},
		{"strings at places of different alignment", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.str1.8,\"aMS\",@progbits,1", ".balign 8\n.La: .string \"x\"") + rustc,
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.str1.8,\"aMS\",@progbits,1", ".balign 8\n.string \"y\"\n.Lb: .string \"x\"") + rustc}, "", "f g"},
		{"strings and constants", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.str1.1,\"aMS\",@progbits,1", ".La: .string \"\"") + rustc,
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.cst1,\"aM\",@progbits,1", ".Lb: .byte 0") + rustc}, "", "f g"},
		{"the halves of a constant", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea k(%rip),%rax\nret") + section(".rodata.cst16,\"aM\",@progbits,16", ".globl k\nk: .quad 7\n.globl m\nm: .quad 7") +
			fn("g", "lea m(%rip),%rax\nret") + rustc}, "", "f g"},
		{"constants aligned beyond their size", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.cst8,\"aM\",@progbits,8", ".balign 16\n.La: .quad 7") + rustc,
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.cst8,\"aM\",@progbits,8", ".balign 8\n.Lb: .quad 7") + rustc}, "", "f g"},
		{"constants of different sizes", all, Options{}, []string{callers("f", "g") +
			fn("f", "lea .La(%rip),%rax\nret") + section(".rodata.cst8,\"aM\",@progbits,8", ".La: .quad 7") + rustc,
			fn("g", "lea .Lb(%rip),%rax\nret") + section(".rodata.cst16,\"aM\",@progbits,16", ".Lb: .quad 7,0") + rustc}, "", "f g"},
		{"absolute values", all, Options{}, []string{callers("f", "g", "h") + fn("f", "mov $v,%eax\nret") + fn("g", "mov $w,%eax\nret") + fn("h", "mov $x,%eax\nret") +
			".globl v,w,x\nv=5\nw=6\nx=5\n" + rustc}, "f h", "f g"},

		// Names with several meanings.
		{"a function by its version", all, Options{Exports: func(n string) bool { return n == "f" }, Shared: true}, []string{
			callers("f1", "g") + fn("f1", work) + fn("g", work) + ".symver f1,f@@V1\n" + rustc}, "", ""},
		{"an object of two compilers", all, Options{}, []string{uses(anonymous) + section(".rodata..Lanon.a,\"a\"", ".La: .quad 1") + section(".rodata..Lanon.b,\"a\"", ".Lb: .quad 1") +
			section(".comment,\"MS\",@progbits,1", ".string \"GCC: (GNU) 12\"\n.string \"rustc version 1.95.0\"")}, "", "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Mode = c.mode
			checkPairs(t, makePlan(t, c.opt, c.sources...), c.same, c.apart)
		})
	}
}

// The fields of a named static can be read, however much it looks like a
// vtable: what stands in it is materialised.
func TestStaticLikeAVtable(t *testing.T) {
	const methodF, methodG = "_ZN30_$LT$F$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE", "_ZN30_$LT$G$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE"
	link := func(label string) *Plan {
		ops := func(name, method string) string {
			return section(".data.rel.ro."+name+",\"aw\"", ".balign 8\n"+label+name+": .quad 0,16,8,\""+method+"\"")
		}
		return makePlan(t, Options{Mode: ModeSafe}, uses([]string{label + "f", label + "g"})+ops("f", methodF)+ops("g", methodG)+quoted(methodF, work)+quoted(methodG, work)+rustc)
	}
	if p := link("ops_"); p.together(t, methodF, methodG) {
		t.Error("functions that two statics hold fold")
	}
	if p := link(".Lanon."); !p.together(t, methodF, methodG) {
		t.Error("methods of two vtables don't fold: the case shows nothing")
	}
}

// retyped is an object with another number for the type of a section.
func retyped(t *testing.T, f *objfile.File, section string, typ uint32) *objfile.File {
	t.Helper()
	b := append([]byte(nil), f.Data...)
	headers := binary.LittleEndian.Uint64(b[0x28:])
	for i := range f.Sections {
		if f.Sections[i].Name == section {
			binary.LittleEndian.PutUint32(b[headers+64*uint64(i)+4:], typ)
		}
	}
	g, err := objfile.Parse(f.Name, b)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// relocated is an object whose relocations in a section are of another type.
func relocated(t *testing.T, f *objfile.File, section string, typ uint32) *objfile.File {
	t.Helper()
	b := append([]byte(nil), f.Data...)
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Name == ".rela"+section {
			for at := s.Offset; at < s.Offset+s.Size; at += 24 {
				binary.LittleEndian.PutUint32(b[at+8:], typ)
			}
		}
	}
	g, err := objfile.Parse(f.Name, b)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// planOf folds objects that are there already.
func planOf(t *testing.T, opt Options, files ...*objfile.File) *Plan {
	t.Helper()
	if opt.Wanted == nil {
		opt.Wanted = map[string]bool{}
	}
	opt.Wanted["main"] = true
	l, err := NewLink(files, opt)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Make()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An object that is not understood may refer to all that it names: what only
// it keeps alive is alive, has its address taken, and keeps its inside.
func TestOpaqueObject(t *testing.T) {
	const crel = 0x40000014
	files := assemble(t,
		callers("f")+section(".data.d,\"aw\"", ".quad g"),
		fn("f", "call h\n"+work)+fn("g", "call h\n"+work)+fn("h", "nop\n"+work)+fn("unused", "call k\nret")+fn("k", work)+rustc)
	files[0] = retyped(t, files[0], ".rela.text.main", crel)
	p := planOf(t, Options{Mode: ModeSafe}, files...)
	if p.Link.Objects[0].Reason == "" {
		t.Fatal("the object is understood: the case shows nothing")
	}
	for name, want := range map[string]string{"f": "kept", "g": "kept", "h": "kept", "unused": "dropped"} {
		if got := p.state(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// Its own sections are alive as well, and not folded with each other.
	files = assemble(t, callers("f", "g")+fn("f", work)+fn("g", work)+fn("x", "call main\nret")+rustc)
	checkPairs(t, planOf(t, Options{Mode: ModeAll}, files...), "f g", "")
	files[0] = retyped(t, files[0], ".rela.text.x", crel)
	checkPairs(t, planOf(t, Options{Mode: ModeAll}, files...), "", "f g")
	// Nor can its pieces be given another alignment.
	object := func(align, f, more string) string {
		return section(".rodata.cst16,\"aM\",@progbits,16", ".balign "+align+"\n.globl k"+f+"\nk"+f+": .quad 5,0") + more + rustc
	}
	files = assemble(t, callers("f", "g")+fn("f", "movaps kf(%rip),%xmm0\nret")+fn("g", "movaps kg(%rip),%xmm0\nret")+rustc,
		object("1", "f", section(".text.x,\"ax\",@progbits", "call main")), object("16", "g", ""))
	files[1] = retyped(t, files[1], ".rela.text.x", crel)
	p = planOf(t, Options{Mode: ModeSafe}, files...)
	checkPairs(t, p, "", "f g")
}

// A relocation of a type that nobody knows yet neither folds nor panics.
func TestUnknownRelocation(t *testing.T) {
	files := assemble(t, callers("f", "g", "h")+fn("f", work)+fn("g", work)+rustc, fn("h", "mov f@GOTPCREL(%rip),%rax\nret")+rustc)
	files[1] = relocated(t, files[1], ".text.h", 250)
	p := planOf(t, Options{Mode: ModeSafe}, files...)
	if got := p.state(t, "f"); got == "folded" {
		t.Error("what an unknown relocation names lost its address")
	}
	// By a local symbol it can't be made to name another section.
	for _, typ := range []uint32{250, 32 /* R_X86_64_SIZE32 */} {
		files = assemble(t, callers("f", "h")+fn("f", work)+rustc, section(".text.g,\"ax\",@progbits", ".type g,@function\ng: .cfi_startproc\n"+work+".cfi_endproc\n.size g,.-g")+fn("h", "lea g(%rip),%rax\nret")+rustc)
		p = planOf(t, Options{Mode: ModeAll}, files...)
		if got := p.state(t, "g"); got != "folded" {
			t.Fatalf("g is %s: the case shows nothing", got)
		}
		files[1] = relocated(t, files[1], ".text.h", typ)
		p = planOf(t, Options{Mode: ModeAll}, files...)
		if got := p.state(t, "g"); got != "kept" {
			t.Errorf("what a relocation of type %d names by a local symbol is %s, want kept", typ, got)
		}
	}
}

// Where a folded constant is named by a slot of the GOT, the place in it can't
// go to the addend, which would choose another slot.
func TestPlaceBehindASlot(t *testing.T) {
	object := func(f, through string) string {
		return fn(f, "mov .Ly"+through+",%rax\nret") + section(".rodata..Lanon."+f+",\"a\"", ".balign 8\n.Lx: .quad 0x100000001\n.Ly: .quad 0x200000002") + rustc
	}
	p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g"), object("f", "(%rip)"), object("g", "@GOTPCREL(%rip)"))
	if !strings.Contains(p.state(t, "c:.rodata..Lanon.g"), "kept") {
		t.Error("a constant that is named by a place in it, through the GOT, folds")
	}
	p = makePlan(t, Options{Mode: ModeSafe}, callers("f", "g"), object("f", "(%rip)"), object("g", "(%rip)"))
	checkPairs(t, p, "b:.rodata..Lanon.f c:.rodata..Lanon.g f g", "")
}

// A jump has another size than the function had.
func TestSizeOfAJump(t *testing.T) {
	p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nmov $g@SIZE,%ecx\nret")+fn("f", "call u\n"+work)+fn("g", "call u\n"+work)+rustc)
	if got := p.state(t, "g"); got != "kept" {
		t.Errorf("g is %s, want kept", got)
	}
}

// A jump is aligned as the function was, where someone may have asked for it.
func TestAlignmentOfAJump(t *testing.T) {
	for _, c := range []struct {
		name    string
		comment string
		align   uint64
		want    uint64
	}{
		{"rustc's habit", rustc, 16, 2},
		{"more than rustc's habit", rustc, 64, 64},
		{"C", "", 16, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := func(n string) string {
				return strings.Replace(fn(n, "call u\n"+work), ".globl", ".balign "+map[uint64]string{16: "16", 64: "64"}[c.align]+"\n.globl", 1)
			}
			p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "lea f(%rip),%rax\nlea g(%rip),%rcx\nret")+f("f")+f("g")+c.comment)
			if got := p.state(t, "g"); got != "thunk" {
				t.Fatalf("g is %s: the case shows nothing", got)
			}
			g := edited(t, p, 0)
			if got := g.Sections[p.find(t, "g")].Align; got != c.want {
				t.Errorf("the jump is aligned to %d, want %d", got, c.want)
			}
		})
	}
}

// Which copy of a COMDAT group a linker chooses depends on the order in which
// it comes by the objects. The other copy keeps its exception table, and what
// it refers to is alive.
func TestCopiesOfAGroup(t *testing.T) {
	copy := func(f, helper string) string {
		return strings.ReplaceAll(inSection(".text.shared,\"axG\",@progbits,shared,comdat", "shared", ".cfi_personality 0x1b,pers\n.cfi_lsda 0x1b,.LLSDA\ncall "+helper+"\nret"), ".globl", ".weak") +
			section(".gcc_except_table.shared,\"aG\",@progbits,shared,comdat", ".LLSDA: .byte 0xff,0xff,1,0") +
			section(".text."+helper+",\"ax\",@progbits", ".type "+helper+",@function\n"+helper+":\n.cfi_startproc\n"+work+".cfi_endproc\n.size "+helper+",.-"+helper) + fn(f, "call shared\nret")
	}
	p := makePlan(t, Options{Mode: ModeSafe, Exclude: ExcludeSections}, callers("f", "g")+fn("pers", "ret"), copy("f", "one"), copy("g", "two"))
	if got := p.state(t, "two"); got == "dropped" {
		t.Error("what the second copy refers to is dead")
	}
	o := p.Link.Objects[2]
	g := edited(t, p, 2)
	frames, err := g.ReadEhFrame(o.frames[0].Section)
	if err != nil {
		t.Fatal(err)
	}
	if at := frames.FDEs[0].LSDA(); relocIndex(g.Relocs(frames.Section)).rs.At(mustFind(t, g, frames.Section, at)).Type == p.Link.Arch.None {
		t.Error("the second copy lost its exception table")
	}
	// What folds is named by its leader in both copies.
	if p.together(t, "one", "two") {
		for i, name := range map[int]string{1: "one", 2: "two"} {
			g := edited(t, p, i)
			for k := range g.Sections {
				if s := &g.Sections[k]; s.Name == ".text."+name && s.Flags&objfile.SHF_EXCLUDE != 0 {
					checkNoReference(t, g, uint32(k))
				}
			}
		}
	} else {
		t.Error("the helpers don't fold: the case shows less than it should")
	}
}

// mustFind is the index of the relocation at a place.
func mustFind(t *testing.T, f *objfile.File, section uint32, at uint64) int {
	t.Helper()
	k, ok := relocIndex(f.Relocs(section)).find(at)
	if !ok {
		t.Fatalf("no relocation at offset %#x", at)
	}
	return k
}

// checkNoReference checks that no allocated section but frame tables names a
// section by a local symbol.
func checkNoReference(t *testing.T, f *objfile.File, to uint32) {
	t.Helper()
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Flags&objfile.SHF_ALLOC == 0 || isEhFrame(s) {
			continue
		}
		rs := f.Relocs(uint32(i))
		for k := range rs.Len() {
			if s := f.Symbol(rs.At(k).Sym); s.Defined() && s.Section == to && rs.At(k).Sym < f.FirstGlobal {
				t.Errorf("%s still refers to %s, which is left out", f.Sections[i].Name, f.Sections[to].Name)
			}
		}
	}
}

// Of several weak definitions no one knows which is chosen either.
func TestFurtherDefinitions(t *testing.T) {
	weak := func(helper, body string) string {
		return strings.Replace(fn("w", "call "+helper+"\nret"), ".globl", ".weak", 1) + section(".text."+helper+",\"ax\",@progbits", helper+": "+body)
	}
	p := makePlan(t, Options{Mode: ModeSafe}, callers("w"), weak("one", work), weak("two", "nop\n"+work))
	for _, n := range []string{"b:.text.one", "c:.text.two", "b:.text.w", "c:.text.w"} {
		if got := p.state(t, n); got != "kept" {
			t.Errorf("%s is %s, want kept", n, got)
		}
	}
}

// A name with a version leaves the output though a version script speaks only
// of the plain one; what it refers to must not be taken for dead.
func TestVersionedName(t *testing.T) {
	opt := Options{Mode: ModeSafe, Shared: true, Exports: func(n string) bool { return n == "f" }}
	p := makePlan(t, opt, fn("main", "ret")+fn("old", "call helper\nret")+".symver old,f@V1\n"+section(".text.helper,\"ax\",@progbits", "helper: "+work), fn("user", "call f\nret"))
	if got := p.state(t, "a:.text.helper"); got != "kept" {
		t.Errorf("the helper of a versioned function is %s, want kept", got)
	}
}

// Of the visibilities that objects give a name the narrowest holds, a
// reference's too.
func TestHiddenByAReference(t *testing.T) {
	link := func(more string) *Plan {
		return makePlan(t, Options{Mode: ModeSafe, Shared: true, Exports: func(n string) bool { return true }},
			fn("main", "call f\ncall g\nret")+".hidden main\n"+more, fn("f", work)+fn("g", work)+rustc)
	}
	checkPairs(t, link(".hidden f,g\n"), "f g", "")
	checkPairs(t, link(""), "", "f g")
}

// Linkers keep by name what nothing refers to, and not all the same.
func TestKeptByName(t *testing.T) {
	for _, name := range []string{".initcall6", ".init_data", ".fini_table", ".ctors.5", ".jcr", ".preinit_array", ".notes", ".text.my_personality", "listed"} {
		p := makePlan(t, Options{Mode: ModeSafe}, fn("main", "ret")+section(name+",\"a\",@progbits", ".quad 1"))
		if got := p.state(t, "a:"+name); got != "kept" {
			t.Errorf("%s is %s, want kept", name, got)
		}
	}
}

// What tools are told of a section goes with it: gold misses the section
// otherwise.
func TestToolsMetadata(t *testing.T) {
	p := makePlan(t, Options{Mode: ModeSafe, Exclude: ExcludeSections}, callers("f")+fn("f", work)+rustc, fn("main2", "call g\nret")+section(".init_array,\"aw\"", ".quad main2")+
		section(".text.g,\"ax\",@progbits", ".type g,@function\ng: .cfi_startproc\n"+work+".cfi_endproc\n.size g,.-g")+section(".stack_sizes,\"o\",@progbits,.text.g", ".quad g\n.byte 8")+rustc)
	if got := p.state(t, "b:.text.g"); got != "folded" {
		t.Fatalf("g is %s: the case shows nothing", got)
	}
	g := edited(t, p, 1)
	for i := range g.Sections {
		if s := &g.Sections[i]; s.Name == ".stack_sizes" && s.Flags&objfile.SHF_EXCLUDE == 0 {
			t.Error("the stack size of a folded function stays")
		}
	}
}

// A name that only C++ can make is not Rust's, though it has 17h in it.
func TestNamesOfRust(t *testing.T) {
	for name, want := range map[string]bool{
		"_ZN4core3fmt17h0123456789abcdefE":          true,
		"_ZN4core3fmt17h0123456789abcdefE.llvm.123": true,
		"_RNvC1a1b":                        true,
		"_ZN5boost17hash_combine_implERmm": false,
		"_ZN2ns17hash_range_unrollEv":      false,
		"main":                             false,
	} {
		if got := IsRustName(name); got != want {
			t.Errorf("IsRustName(%q) = %v", name, got)
		}
	}
}

// inputs makes archives and objects of assembly: a source that begins with a
// bang is a member of the archive before it, or of a new one.
func inputs(t *testing.T, sources ...string) []Input {
	t.Helper()
	var clean []string
	for _, s := range sources {
		clean = append(clean, strings.TrimPrefix(s, "!"))
	}
	var in []Input
	for i, f := range assemble(t, clean...) {
		if !strings.HasPrefix(sources[i], "!") {
			in = append(in, Input{File: f})
			continue
		}
		m := &Member{Name: f.Name, Parse: func() (*objfile.File, error) { return f, nil }}
		for k := f.FirstGlobal; k < f.NumSymbols; k++ {
			if s := f.Symbol(k); s.Section != objfile.SecUndef {
				m.Defines = append(m.Defines, f.NameOf(&s))
			}
		}
		if n := len(in); i > 0 && strings.HasPrefix(sources[i-1], "!") {
			in[n-1].Members = append(in[n-1].Members, m)
		} else {
			in = append(in, Input{Members: []*Member{m}})
		}
	}
	return in
}

// Members come into the link in the order in which they are wanted, which is
// that of constructors.
func TestOrderOfExtraction(t *testing.T) {
	sources := []string{callers("y"), "!" + fn("x", "call w\nret"), "!" + fn("w", "ret"), "!" + fn("y", "call z\ncall x\nret"), "!" + fn("z", "ret")}
	for _, eager := range []bool{true, false} {
		in := inputs(t, sources...)
		if _, err := Extract(in, nil, eager); err != nil {
			t.Fatal(err)
		}
		order := map[string]int{}
		for _, m := range in[1].Members {
			during, rank := m.Extracted()
			if during != 1 {
				t.Errorf("%s came in while input %d was being read, want 1", m.Name, during)
			}
			order[m.Name] = rank
		}
		want := map[string]int{"d.o": 0, "e.o": 1, "b.o": 2, "c.o": 3}
		if eager { // what is on offer is taken at once, z only when its turn comes
			want = map[string]int{"d.o": 0, "b.o": 1, "c.o": 2, "e.o": 3}
		}
		for name, rank := range want {
			if order[name] != rank {
				t.Errorf("eager %v: %s came in as number %d, want %d", eager, name, order[name], rank)
			}
		}
	}
	// What an archive offered before is taken while a later input is read.
	in := inputs(t, "!"+fn("x", "ret"), callers("x"))
	if _, err := Extract(in, nil, true); err != nil {
		t.Fatal(err)
	}
	if during, _ := in[0].Members[0].Extracted(); in[0].Members[0].File() == nil || during != 1 {
		t.Errorf("the member came in while input %d was being read, want 1", during)
	}
}

// Where linkers that search archives alike disagree all the same, it is said.
func TestContested(t *testing.T) {
	common := inputs(t, callers("f")+".comm x,4,4\n", "!"+fn("f", "ret"), "!"+section(".data,\"aw\"", ".globl x\nx: .long 5"))
	plain := inputs(t, callers("f"), "!"+fn("f", "ret"), "!"+section(".data,\"aw\"", ".globl x\nx: .long 5"))
	for _, c := range []struct {
		in   []Input
		want string
	}{{common, "x"}, {plain, ""}} {
		x, err := Extract(c.in, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Contested(); got != c.want {
			t.Errorf("contested is %q, want %q", got, c.want)
		}
	}
	// A shared object and an archive behind it offer the same.
	shared := inputs(t, callers("f"), "!"+fn("f", "ret"))
	library := assemble(t, fn("f", "ret"))[0]
	in := []Input{shared[0], {Shared: library}, shared[1]}
	x, err := Extract(in, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := x.Contested(); got != "f" {
		t.Errorf("contested is %q, want f", got)
	}
}

// An undefined name can pull a member out of an archive, so the names by which
// leaders are marked count as names that objects did not refer to before.
func TestMarksAreNames(t *testing.T) {
	p := makePlan(t, Options{Mode: ModeSafe}, callers("v")+section(".init_array,\"aw\"", ".quad lead"),
		fn("v", "call twin\nret")+section(".text.twin,\"ax\",@progbits", ".type twin,@function\ntwin: .cfi_startproc\n"+work+".cfi_endproc\n.size twin,.-twin"), fn("lead", work))
	checkPairs(t, p, "twin lead", "")
	if !p.Aliases()["lead"] {
		t.Error("the name of a leader is not among those that are new to objects")
	}
}

// The last comparison is made without hashes. It finds each difference that a
// hash should have found, alone.
func TestExactComparison(t *testing.T) {
	lsda := func(f, table string) string {
		return fn(f, ".cfi_personality 0x1b,pers\n.cfi_lsda 0x1b,"+table+"\n"+work)
	}
	table := func(f, contents string) string {
		return section(".gcc_except_table."+f+",\"a\"", ".LT"+f+": "+contents)
	}
	const pers = ".section .text.pers,\"ax\"\n.globl pers,pers2\npers: pers2: ret\n"
	str := func(f, directive, contents string) string {
		return fn(f, "lea .L"+f+"(%rip),%rax\nret") + section(directive, ".L"+f+": "+contents) + rustc
	}
	anon := func(directive, contents string) string {
		return section(directive, contents) + ".text\nhere:\n" + rustc
	}
	for _, c := range []struct {
		name string
		a, b string // in objects of their own
		x, y string // the sections
		same bool
	}{
		{"nothing", fn("f", work), fn("g", work), "f", "g", true},
		{"bytes", fn("f", work), fn("g", "mov $2,%eax\nadd $2,%eax\nimul $77,%eax\nadd $3,%eax\nret\n"), "f", "g", false},
		{"sizes", bare("f", work), bare("g", work+"nop\n"), "f", "g", false},
		{"equal constants", anon(".rodata..Lanon.a,\"a\"", ".quad 0x100000001"), anon(".rodata..Lanon.b,\"a\"", ".quad 0x100000001"), "a:.rodata..Lanon.a", "b:.rodata..Lanon.b", true},
		{"flags", anon(".rodata..Lanon.a,\"a\"", ".quad 0x100000001"), anon(".data.rel.ro..Lanon.b,\"aw\"", ".quad 0x100000001"), "a:.rodata..Lanon.a", "b:.data.rel.ro..Lanon.b", false},
		{"flags of one class", anon(".rodata..Lanon.a,\"a\"", ".quad 0x100000001"), anon(".rodata..Lanon.b,\"al\"", ".quad 0x100000001"), "a:.rodata..Lanon.a", "b:.rodata..Lanon.b", false},
		{"classes", anon(".rodata..Lanon.a,\"a\"", ".quad 0x100000001"), anon(".rodatas..Lanon.b,\"a\"", ".quad 0x100000001"), "a:.rodata..Lanon.a", "b:.rodatas..Lanon.b", false},
		{"a frame entry", fn("f", work), bare("g", work), "f", "g", false},
		{"the size of a frame entry", fn("f", work+".cfi_endproc\nnop\n.cfi_startproc\n.cfi_endproc\n.cfi_startproc"), fn("g", work+"nop\n"), "f", "g", false},
		{"rows", fn("f", work), fn("g", ".cfi_def_cfa_offset 32\n"+work), "f", "g", false},
		{"common information", fn("f", work), strings.Replace(fn("g", work), ".cfi_startproc", ".cfi_startproc\n.cfi_signal_frame", 1), "f", "g", false},
		{"an exception table or none", lsda("f", ".LTf") + table("f", ".byte 0xff,0xff,1,0"), fn("g", ".cfi_personality 0x1b,pers\n"+work), "f", "g", false},
		{"a personality or none", fn("f", ".cfi_personality 0x1b,pers\n"+work), fn("g", work), "f", "g", false},
		{"personalities", fn("f", ".cfi_personality 0x1b,pers\n"+work), fn("g", ".cfi_personality 0x1b,u\n"+work), "f", "g", false},
		{"exception tables", lsda("f", ".LTf") + table("f", ".byte 0xff,0xff,1,0"), lsda("g", ".LTg") + table("g", ".byte 0xff,0xff,1,1"), "f", "g", false},
		{"equal exception tables", lsda("f", ".LTf") + table("f", ".byte 0xff,0xff,1,0"), lsda("g", ".LTg") + table("g", ".byte 0xff,0xff,1,0"), "f", "g", true},
		{"what is named", fn("f", "call u1\nret"), fn("g", "call u2\nret"), "f", "g", false},
		{"addends", fn("f", "call u1+1\nret"), fn("g", "call u1\nret"), "f", "g", false},
		{"kinds of targets", fn("f", "call u1\nret"), fn("g", "call pers\nret"), "f", "g", false},
		{"strings", str("f", ".rodata.str1.1,\"aMS\",@progbits,1", ".string \"a\""), str("g", ".rodata.str1.1,\"aMS\",@progbits,1", ".string \"b\""), "f", "g", false},
		{"equal strings", str("f", ".rodata.str1.1,\"aMS\",@progbits,1", ".string \"a\""), str("g", ".rodata.str1.1,\"aMS\",@progbits,1", ".string \"a\""), "f", "g", true},
		{"classes of strings", str("f", ".rodata.str1.1,\"aMS\",@progbits,1", ".string \"a\""), str("g", "names,\"aMS\",@progbits,1", ".string \"a\""), "f", "g", false},
		{"forms of pieces", str("f", ".rodata.x,\"aMS\",@progbits,2", ".byte 65,0,0,0"), str("g", ".rodata.x,\"aM\",@progbits,4", ".byte 65,0,0,0"), "f", "g", false},
		{"places in a string section", str("f", ".rodata.str1.4,\"aMS\",@progbits,1", ".balign 4\n.string \"abc\""), str("g", ".rodata.str1.4,\"aMS\",@progbits,1", ".string \"abc\"\n.balign 4"), "f", "g", true},
		{"numbers of relocations", fn("f", "nop\nnop\nnop\nnop\n"+work), fn("g", ".reloc .,R_X86_64_NONE,pers\nnop\nnop\nnop\nnop\n"+work), "f", "g", false},
		{"types of relocations", fn("f", ".reloc .,R_X86_64_32,u\n.long 0\nret"), fn("g", ".reloc .,R_X86_64_32S,u\n.long 0\nret"), "f", "g", false},
		{"places of relocations", fn("f", ".reloc .,R_X86_64_32,u\n.long 0,0\nret"), fn("g", ".reloc .+4,R_X86_64_32,u\n.long 0,0\nret"), "f", "g", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			keep := section(".init_array,\"aw\"", ".quad pers") + pers
			opt := Options{Mode: ModeAll, KeepAll: true}
			p := makePlan(t, opt, c.a, c.b, fn("main", "ret")+keep)
			x, y := p.find(t, c.x), p.find(t, c.y)
			if got := p.together(t, c.x, c.y); got != c.same {
				t.Errorf("together is %v, want %v (%s, %s)", got, c.same, p.Reason[x], p.Reason[y])
			}
			f, err := p.Link.fold(p.Reason)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.same(x, y); got != c.same {
				t.Errorf("same is %v, want %v (%s, %s)", got, c.same, p.Reason[x], p.Reason[y])
			}
		})
	}
}

// What is evidence of a vtable, and what looks like one.
func TestVtableEvidence(t *testing.T) {
	const (
		glue     = "\"_ZN4core3ptr20drop_in_place$LT$F$GT$17h0123456789abcdefE\""
		method   = "\"_ZN30_$LT$F$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE\""
		default_ = "\"_ZN1m5Trait6method17h0123456789abcdefE\""
		free     = "\"_ZN1m4free17h0123456789abcdefE\""
		section_ = ".data.rel.ro..Lanon.v,\"aw\""
	)
	for _, c := range []struct {
		name, directive, contents string
		want                      bool
	}{
		{"drop glue and a method", section_, ".quad " + glue + ",16,8," + method, true},
		{"drop glue alone", section_, ".quad " + glue + ",16,8", true},
		{"no drop glue", section_, ".quad 0,16,8," + method, true},
		{"drop glue and a default method", section_, ".quad " + glue + ",16,8," + default_, true},
		{"a default method alone proves nothing", section_, ".quad 0,16,8," + default_, false},
		{"nothing at all", section_, ".quad 0,16,8", false},
		{"a free function", section_, ".quad " + glue + ",16,8," + free, false},
		{"a free function for drop glue", section_, ".quad " + free + ",16,8," + method, false},
		{"a method for drop glue", section_, ".quad " + method + ",16,8," + method, false},
		{"data for drop glue", section_, ".quad d,16,8," + method, false},
		{"a supertrait's vtable", section_, ".quad " + glue + ",16,8,d," + method, true},
		{"a size that is none of the alignment", section_, ".quad " + glue + ",12,8," + method, false},
		{"an alignment of 0", section_, ".quad " + glue + ",16,0," + method, false},
		{"an alignment that is no power of two", section_, ".quad " + glue + ",12,12," + method, false},
		{"an alignment beyond all", section_, ".quad " + glue + ",0x40000000,0x40000000," + method, false},
		{"a function for a size", section_, ".quad " + glue + "," + method + ",8," + method, false},
		{"a number among the methods", section_, ".quad " + glue + ",16,8," + method + ",5", false},
		{"an odd size", section_, ".quad " + glue + ",16,8," + method + "\n.long 0", false},
		{"too small", section_, ".quad " + glue + ",16", false},
		{"a half address", section_, ".quad " + glue + ",16,8\n.long " + method + ",0", false},
		{"an address at an odd place", section_, ".quad " + glue + ",16,8\n.long 0\n.quad " + method + "\n.long 0", false},
		{"a distance", section_, ".quad " + glue + ",16,8\n.quad " + method + "-.", false},
		{"a place in a function", section_, ".quad " + glue + ",16,8," + method + "+1", false},
		{"two functions at one place", section_, ".quad " + glue + ",16,8," + method + "\n.reloc .-8,R_X86_64_64," + method, false},
		{"another section", ".data.v,\"aw\"", ".quad " + glue + ",16,8," + method, false},
		{"the name of a vtable", section_, ".type vtable.0,@object\nvtable.0: .quad " + free + ",16,8," + free, true},
		{"the name of a static", section_, "OPS: .quad " + glue + ",16,8," + method, false},
		{"the names of a vtable and of a static", section_, "vtable.0: OPS: .quad " + glue + ",16,8," + method, false},
		{"the label of a constant", section_, ".Lanon.v: .quad " + glue + ",16,8," + method, true},
	} {
		for _, comment := range []string{rustc, ""} {
			if comment == "" && !c.want {
				continue
			}
			p := makePlan(t, Options{Mode: ModeSafe, KeepAll: true}, fn("main", "ret")+section(c.directive, c.contents)+
				quoted(strings.Trim(glue, `"`), work)+quoted(strings.Trim(method, `"`), work)+quoted(strings.Trim(default_, `"`), work)+quoted(strings.Trim(free, `"`), work)+section(".rodata.d,\"a\"", "d: .quad 1")+comment)
			name, _, _ := strings.Cut(c.directive, ",")
			if got, want := p.Link.vtable[p.find(t, "a:"+name)], c.want && comment != ""; got != want {
				t.Errorf("%s, in an object of rustc's: %v: vtable is %v, want %v", c.name, comment != "", got, want)
			}
		}
	}
}
