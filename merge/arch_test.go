package merge

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/objfile"
)

// Rules that hold for ARM, AArch64 and RISC-V only, in the form of those in
// rules_test.go.

// assembleFor turns assembly for a target of LLVM's into objects. A flag
// stands before the triple: "+relax riscv32".
func assembleFor(t testing.TB, target string, sources ...string) []*objfile.File {
	t.Helper()
	mc := ""
	for _, n := range []string{"llvm-mc-19", "llvm-mc-16", "llvm-mc"} {
		if p, err := exec.LookPath(n); err == nil {
			mc = p
			break
		}
	}
	if mc == "" {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("llvm-mc is not installed")
		}
		t.Skip("llvm-mc is not installed")
	}
	words := strings.Fields(target)
	args := []string{"-filetype=obj", "-triple=" + words[len(words)-1]}
	if len(words) > 1 {
		args = append(args, "-mattr="+words[0])
	}
	dir := t.TempDir()
	var files []*objfile.File
	for i, s := range sources {
		name := string(rune('a'+i)) + ".o"
		path := filepath.Join(dir, name)
		cmd := exec.Command(mc, append(args, "-o", path)...)
		cmd.Stdin = strings.NewReader(s + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("llvm-mc: %v\n%s", err, out)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := objfile.Parse(name, b)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// planFor folds a link whose entry is main.
func planFor(t *testing.T, target string, opt Options, sources ...string) *Plan {
	t.Helper()
	opt.Wanted = map[string]bool{"main": true}
	l, err := NewLink(assembleFor(t, target, sources...), opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range l.Objects {
		if o.Reason != "" {
			t.Fatalf("%s is left alone: %s", o.File.Name, o.Reason)
		}
	}
	p, err := l.Make()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// edited carries a plan out for one object and reads the result.
func edited(t *testing.T, p *Plan, object int) *objfile.File {
	t.Helper()
	e, err := p.Edit(object, new(objfile.Scratch))
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		return p.Link.Objects[object].File
	}
	var b bytes.Buffer
	if _, err := e.Write(&b); err != nil {
		t.Fatal(err)
	}
	f, err := objfile.Parse("edited", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// thumb is a function in Thumb state with an index entry. The at sign begins
// a comment here.
func thumb(name, body string) string {
	return ".section .text." + name + ",\"ax\",%progbits\n.globl " + name + "\n.type " + name + ",%function\n.thumb\n.thumb_func\n" + name +
		":\n.fnstart\n.save {r4,lr}\npush {r4,lr}\n" + body + "\npop {r4,pc}\n.fnend\n.size " + name + ",.-" + name + "\n"
}

// calls is main, which calls all the names.
func calls(names ...string) string {
	b := ""
	for _, n := range names {
		b += "bl " + n + "\n"
	}
	return thumb("main", b)
}

// words is static data that can change, of a name of its own and alive.
func words(values string) string {
	return ".section .init_array,\"aw\",%init_array\n.balign 4\n" + values + "\n"
}

const (
	m3       = "thumbv7m-none-eabi"
	thumbTop = ".syntax unified\n.cpu cortex-m3\n.eabi_attribute 6,10\n"
	rustcARM = "\n.section .comment,\"MS\",%progbits,1\n.string \"rustc version 1.95.0\"\n"
	thumbJob = "movs r0,#1\nbl u\nmovs r0,#2\nbl u\nmovs r0,#3\nbl u"
)

func TestRulesARM(t *testing.T) {
	const safe, all = ModeSafe, ModeAll
	// extab makes a function with landing pads: a personality and words that
	// follow it.
	extab := func(name, personality, lsda string) string {
		return strings.Replace(thumb(name, thumbJob), ".fnend", ".personality "+personality+"\n.handlerdata\n"+lsda+"\n.fnend", 1)
	}
	literal := func(name, word string) string {
		return ".section .text." + name + ",\"ax\",%progbits\n.globl " + name + "\n.type " + name + ",%function\n.thumb\n.thumb_func\n" + name +
			":\n.fnstart\n.cantunwind\nldr r0,1f\nldr r0,[r0]\nbx lr\n.balign 4\n1: " + word + "\n.fnend\n"
	}
	str := ".section .rodata.str1.1,\"aMS\",%progbits,1\n"
	for _, c := range []struct {
		name    string
		mode    Mode
		sources []string
		same    string // pairs of sections that share a leader
		apart   string // pairs that don't
	}{
		{name: "equal", mode: safe, sources: []string{calls("f", "g") + thumb("f", thumbJob) + thumb("g", thumbJob)}, same: "f g"},
		{name: "mutual recursion", mode: safe, sources: []string{calls("f", "g") + thumb("f", "bl g\n"+thumbJob) + thumb("g", "bl f\n"+thumbJob)}, same: "f g"},
		{name: "callees differ", mode: safe, sources: []string{calls("f", "g") + thumb("f", "bl p\nmovs r0,#9") + thumb("g", "bl q\nmovs r0,#9") + thumb("p", thumbJob) + thumb("q", "nop\n"+thumbJob)}, apart: "f g"},
		// Both load a word at sym+addend; the addend lies in the literal.
		{name: "addends in the field, one place", mode: safe, sources: []string{calls("f", "g") + literal("f", ".long s+4") + literal("g", ".long s+4") + ".data\n.globl s\ns: .long 1,2\n"}, same: "f g"},
		{name: "addends in the field differ", mode: safe, sources: []string{calls("f", "g") + literal("f", ".long s+4") + literal("g", ".long s") + ".data\n.globl s\ns: .long 1,2\n"}, apart: "f g"},
		{name: "MOVW and MOVT addends differ", mode: safe, sources: []string{calls("f", "g") +
			thumb("f", "movw r0,:lower16:(s+4)\nmovt r0,:upper16:(s+4)") + thumb("g", "movw r0,:lower16:s\nmovt r0,:upper16:s") + ".data\n.globl s\ns: .long 1,2\n"}, apart: "f g"},
		// The string is chosen by what the field adds to the section's symbol:
		// the fields are equal, and the strings there are not.
		{name: "strings behind section symbols", mode: safe, sources: []string{
			calls("f", "g", "h") + literal("f", ".long .Ls") + str + ".asciz \"ab\"\n.Ls: .asciz \"one\"\n",
			literal("g", ".long .Ls") + str + ".asciz \"cd\"\n.Ls: .asciz \"two\"\n",
			literal("h", ".long .Ls") + str + ".asciz \"ef\"\n.Ls: .asciz \"one\"\n"}, same: "f h", apart: "f g"},
		{name: "a literal takes the address", mode: safe, sources: []string{calls("f", "g", "p", "q") + literal("f", ".long p") + literal("g", ".long q") + thumb("p", thumbJob) + thumb("q", thumbJob) + rustcARM}, apart: "f g"},
		{name: "a literal takes the address, all", mode: all, sources: []string{calls("f", "g") + literal("f", ".long p") + literal("g", ".long q") + thumb("p", thumbJob) + thumb("q", thumbJob) + rustcARM}, same: "f g p q"},
		{name: "code and data", mode: all, sources: []string{calls("f", "g") +
			".section .text.f,\"ax\",%progbits\n.globl f\n.type f,%function\n.thumb\n.thumb_func\nf: bx lr\n.short 0x4770\n" +
			".section .text.g,\"ax\",%progbits\n.globl g\n.type g,%function\n.thumb\n.thumb_func\ng: bx lr\nbx lr\n" + rustcARM}, apart: "f g"},
		{name: "unwinding differs", mode: all, sources: []string{calls("f", "g") + thumb("f", thumbJob) + strings.Replace(thumb("g", thumbJob), ".save {r4,lr}", ".cantunwind", 1) + rustcARM}, apart: "f g"},
		{name: "no index entry", mode: all, sources: []string{calls("f", "g") + literal("f", ".long 1") + strings.NewReplacer(".fnstart", "", ".fnend", "", ".cantunwind", "").Replace(literal("g", ".long 1")) + rustcARM}, apart: "f g"},
		{name: "landing pads", mode: safe, sources: []string{calls("f", "g") + extab("f", "p1", ".long 7") + extab("g", "p1", ".long 7")}, same: "f g a:.ARM.extab.text.f a:.ARM.extab.text.g"},
		{name: "landing pads differ", mode: all, sources: []string{calls("f", "g") + extab("f", "p1", ".long 7") + extab("g", "p1", ".long 8") + rustcARM}, apart: "f g"},
		{name: "personalities differ", mode: all, sources: []string{calls("f", "g") + extab("f", "p1", ".long 7") + extab("g", "p2", ".long 7") + rustcARM}, apart: "f g"},
		{name: "caught types differ", mode: all, sources: []string{calls("f", "g") + extab("f", "p1", ".long t1(target2)") + extab("g", "p1", ".long t2(target2)") + rustcARM}, apart: "f g"},
		{name: "RAM functions", mode: all, sources: []string{calls("f", "g") + thumb("f", thumbJob) + strings.Replace(thumb("g", thumbJob), ".text.g", ".data.ramfunc.g", 1) + rustcARM}, apart: "f g"},
		{name: "log messages", mode: all, sources: []string{calls("f", "g") + literal("f", ".long d1") + literal("g", ".long d2") +
			".section .defmt.info.d1,\"a\"\nd1: .byte 0\n.section .defmt.info.d2,\"a\"\nd2: .byte 0\n" + rustcARM}, apart: "f g d1 d2"},
		{name: "handlers that scripts name", mode: all, sources: []string{calls("f", "g") + thumb("f", thumbJob) + strings.Replace(thumb("g", thumbJob), ".text.g", ".HardFaultTrampoline", 1) + rustcARM}, apart: "f g"},
		// A bare reference of even value is no reference to Thumb code: the
		// mark of the leader would make it one.
		{name: "an even word names a function", mode: all, sources: []string{calls("f", "g") + thumb("f", thumbJob) + thumb("g", thumbJob) + words(".reloc .,R_ARM_ABS32,.text.g\n.long 0") + rustcARM}, apart: "f g"},
		{name: "an odd word names a function", mode: all, sources: []string{calls("f", "g") + thumb("f", thumbJob) + thumb("g", thumbJob) + words(".reloc .,R_ARM_ABS32,.text.g\n.long 1") + rustcARM}, same: "f g"},
		// The place would have to go to the addend in the field.
		{name: "a local name of the inside", mode: all, sources: []string{calls("f", "g", "h") + literal("f", ".long .Lanon.a") + literal("g", ".long .Lanon.b") + thumb("h", "movw r0,:lower16:anon.mid\nmovt r0,:upper16:anon.mid") +
			".section .rodata..Lanon.a,\"a\"\n.Lanon.a: .long 1,2\n.section .rodata..Lanon.b,\"a\"\n.Lanon.b: .long 1\nanon.mid: .long 2\n" + rustcARM}, same: "f g", apart: "a:.rodata..Lanon.a a:.rodata..Lanon.b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.sources {
				c.sources[i] = thumbTop + c.sources[i]
			}
			p := planFor(t, m3, Options{Mode: c.mode}, c.sources...)
			checkPairs(t, p, c.same, c.apart)
			for i := range p.Link.Objects {
				edited(t, p, i)
			}
		})
	}
}

// Equal bytes in ARM and in Thumb state are different code.
func TestARMAndThumbState(t *testing.T) {
	code := func(name, state, first, second string) string {
		return ".section .text." + name + ",\"ax\",%progbits\n.globl " + name + "\n.type " + name + ",%function\n" + state + "\n" + name + ": .inst" + first + "\n" + second + "\n"
	}
	arm := func(name string) string { return code(name, ".arm", " 0xe12fff1e", "") }
	thumb := func(name string) string { return code(name, ".thumb\n.thumb_func", ".n 0xff1e", ".inst.n 0xe12f") }
	p := planFor(t, "armv7a-none-eabi", Options{Mode: ModeAll}, ".syntax unified\n"+
		code("main", ".arm", " 0xe320f000", "bl f\nbl f2\nbl g\nbl g2")+arm("f")+arm("f2")+thumb("g")+thumb("g2")+rustcARM)
	checkPairs(t, p, "f f2 g g2", "f g")
	edited(t, p, 0)
}

// checkPairs checks which sections share a leader.
func checkPairs(t *testing.T, p *Plan, same, apart string) {
	t.Helper()
	names := strings.Fields(same)
	for i := 0; i+1 < len(names); i += 2 {
		if !p.together(t, names[i], names[i+1]) {
			t.Errorf("%s and %s don't fold (%s, %s)", names[i], names[i+1], p.Reason[p.find(t, names[i])], p.Reason[p.find(t, names[i+1])])
		}
	}
	names = strings.Fields(apart)
	for i := 0; i+1 < len(names); i += 2 {
		if p.together(t, names[i], names[i+1]) {
			t.Errorf("%s and %s fold", names[i], names[i+1])
		}
		for _, n := range names[i : i+2] {
			if s := p.state(t, n); s == "dropped" || s == "none" {
				t.Errorf("%s is %s: the case shows nothing", n, s)
			}
		}
	}
}

// What marks a Thumb function is a function with bit 0 set, or words that
// hold its address would lose the bit; a reference in code keeps its addend.
func TestThumbMark(t *testing.T) {
	local := func(name string) string {
		return strings.Replace(thumb(name, thumbJob), ".globl "+name+"\n", "", 1)
	}
	p := planFor(t, m3, Options{Mode: ModeAll}, thumbTop+calls("f", "g")+local("f")+local("g")+words(".long g")+rustcARM)
	checkPairs(t, p, "f g", "")
	f := edited(t, p, 0)
	mark := uint32(0)
	for i := f.FirstGlobal; i < f.NumSymbols; i++ {
		if s := f.Symbol(i); strings.HasPrefix(f.NameOf(&s), "leanlink$") {
			mark = i
			if s.Type != objfile.STT_FUNC || s.Value != 1 || f.Sections[s.Section].Name != ".text.f" {
				t.Errorf("the mark is of type %d, value %d, in %s", s.Type, s.Value, f.Sections[s.Section].Name)
			}
		}
	}
	if mark == 0 {
		t.Fatal("no mark")
	}
	for i := range f.Sections {
		name := f.Sections[i].Name
		rs := f.Relocs(uint32(i))
		switch name {
		case ".init_array":
			if r := rs.At(0); r.Sym != mark {
				t.Errorf("the word names symbol %d, not the mark", r.Sym)
			}
		case ".text.main":
			// The second call named g; its field still holds −4.
			r := rs.At(1)
			if a, ok := p.Link.Arch.Addend(f.Bytes(uint32(i))[r.Offset:], r.Type); r.Sym != mark || !ok || a != -4 {
				t.Errorf("the call names symbol %d with addend %d", r.Sym, a)
			}
		case ".ARM.exidx.text.g", ".text.g":
			if f.Sections[i].Flags&objfile.SHF_EXCLUDE == 0 && p.Link.opt.Exclude == ExcludeSections {
				t.Errorf("%s stays", name)
			}
		}
	}
}

// The index entry of a folded function goes with it and stays as it is: it
// must never become a second one of its leader.
func TestExidxGoesWithItsFunction(t *testing.T) {
	p := planFor(t, m3, Options{Mode: ModeSafe, Exclude: ExcludeSections}, thumbTop+calls("f", "g")+thumb("f", thumbJob)+thumb("g", thumbJob))
	if f, g := p.state(t, "a:.ARM.exidx.text.f"), p.state(t, "a:.ARM.exidx.text.g"); f != "kept" || g != "dropped" {
		t.Errorf("the index entries are %s and %s, want kept and dropped", f, g)
	}
	before, after := p.Link.Objects[0].File, edited(t, p, 0)
	x := uint32(p.find(t, "a:.ARM.exidx.text.g") - p.Link.Objects[0].Base)
	if after.Sections[x].Flags&objfile.SHF_EXCLUDE == 0 {
		t.Error("the folded function's index entry is not excluded")
	}
	for k := range after.Relocs(x).Len() {
		if a, b := before.Relocs(x).At(k), after.Relocs(x).At(k); a != b {
			t.Errorf("the folded function's index entry refers to %v, not %v", b, a)
		}
	}
}

// Where a script throws the index away nobody can tell how two functions would have been unwound.
func TestDiscardedExidx(t *testing.T) {
	bare := func(name string) string {
		return strings.Replace(thumb(name, "nop"), ".save {r4,lr}", ".cantunwind", 1)
	}
	source := calls("f", "g") + thumb("f", "nop") + bare("g") + "\n.section .comment,\"MS\",%progbits,1\n.string \"rustc version 1.95.0\"\n"
	for _, c := range []struct {
		name     string
		discards func(string) bool
		together bool
	}{
		{"kept", nil, false},
		{"something else is thrown away", func(n string) bool { return n == ".ARM.exidx" }, false},
		{"thrown away", func(n string) bool { return strings.HasPrefix(n, ".ARM.exidx.") }, true},
	} {
		p := planFor(t, m3, Options{Mode: ModeSafe, Discards: c.discards}, source)
		if got := p.together(t, "f", "g"); got != c.together {
			t.Errorf("%s: folded is %v, want %v", c.name, got, c.together)
		}
	}
}

// A function whose address is taken becomes B.W, which keeps its index entry.
func TestThumbThunk(t *testing.T) {
	for _, c := range []struct{ name, arch, want string }{
		{"v7-M", "10", "thunk"},
		{"v6-M", "11", "kept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := strings.Replace(thumbTop, "6,10", "6,"+c.arch, 1)
			p := planFor(t, m3, Options{Mode: ModeSafe}, top+calls("f", "g")+thumb("f", thumbJob)+thumb("g", thumbJob)+words(".long f,g")+rustcARM)
			if got := p.state(t, "g"); got != c.want {
				t.Fatalf("g is %s, want %s", got, c.want)
			}
			if c.want != "thunk" {
				return
			}
			f := edited(t, p, 0)
			x := uint32(p.find(t, "g") - p.Link.Objects[0].Base)
			if got := f.Bytes(x); !bytes.Equal(got, []byte{0xff, 0xf7, 0xfe, 0xbf}) {
				t.Errorf("g is % x", got)
			}
			rs := f.Relocs(x)
			if rs.Len() != 1 || rs.At(0).Type != 30 || f.SymbolName(rs.At(0).Sym) != "f" {
				t.Errorf("g has %d relocations", rs.Len())
			}
			for i := uint32(1); i < f.NumSymbols; i++ {
				if s := f.Symbol(i); s.Section == x && (s.Value > 4 || s.Size > 4) {
					t.Errorf("symbol %q ends behind the jump", f.NameOf(&s))
				}
			}
		})
	}
}

func TestRulesAArch64(t *testing.T) {
	const target = "aarch64-none-elf"
	lsda := func(name, pads string) string {
		return strings.Replace(fn(name, "bl u\nret"), ".cfi_startproc", ".cfi_startproc\n.cfi_personality 0x1b,pers\n.cfi_lsda 0x1b,.Lx"+name, 1) +
			".section .gcc_except_table." + name + ",\"a\"\n.balign 4\n.Lx" + name + ": .byte 255,255,1," + pads + "\n"
	}
	main := func(names ...string) string {
		b := ""
		for _, n := range names {
			b += "bl " + n + "\n"
		}
		return fn("main", b+"ret")
	}
	anon := func(name, words string) string {
		return ".section .rodata..Lanon." + name + ",\"a\"\n.balign 8\n.Lanon." + name + ": .xword 0x010101010101010" + words + "\n"
	}
	pair := func(name, sym string) string {
		return fn(name, "adrp x0,"+sym+"\nadd x0,x0,:lo12:"+sym+"\nldr x0,[x0]\nret")
	}
	for _, c := range []struct {
		name, source, same, apart string
		mode                      Mode
	}{
		{name: "equal", mode: ModeSafe, source: main("f", "g") + fn("f", "bl u\nret") + fn("g", "bl u\nret"), same: "f g"},
		{name: "landing pads", mode: ModeSafe, source: main("f", "g") + lsda("f", "4,0,4,4,0") + lsda("g", "4,0,4,4,0"), same: "f g"},
		{name: "landing pads differ", mode: ModeAll, source: main("f", "g") + lsda("f", "4,0,4,4,0") + lsda("g", "4,0,4,0,0"), apart: "f g"},
		{name: "constants by ADRP and ADD", mode: ModeSafe, source: main("f", "g") + pair("f", ".Lanon.a") + pair("g", ".Lanon.b") + anon("a", "1") + anon("b", "1") + rustc, same: "f g a:.rodata..Lanon.a a:.rodata..Lanon.b"},
		{name: "constants differ", mode: ModeSafe, source: main("f", "g") + pair("f", ".Lanon.a") + pair("g", ".Lanon.b") + anon("a", "1") + anon("b", "2") + rustc, apart: "f g"},
		{name: "an address by ADRP and ADD", mode: ModeSafe, source: main("f", "g", "p", "q") + pair("f", "p") + pair("g", "q") + fn("p", "bl u\nret") + fn("q", "bl u\nret") + rustc, apart: "f g"},
		{name: "an address by the GOT", mode: ModeSafe, source: main("f", "g", "p", "q") + fn("f", "adrp x0,:got:p\nldr x0,[x0,:got_lo12:p]\nret") + fn("g", "adrp x0,:got:q\nldr x0,[x0,:got_lo12:q]\nret") + fn("p", "bl u\nret") + fn("q", "bl u\nret") + rustc, apart: "f g"},
		{name: "half an address", mode: ModeSafe, source: main("f", "g") + fn("f", "adrp x0,d\nret") + fn("g", "adrp x0,d\nret") + ".data\nd: .xword 1\n" + rustc, apart: "f g"},
		{name: "the other half", mode: ModeAll, source: main("f", "g") + fn("f", "ldr x0,[x0,:got_lo12:u]\nret") + fn("g", "ldr x0,[x0,:got_lo12:u]\nret") + rustc, apart: "f g"},
		{name: "halves of two", mode: ModeAll, source: main("f", "g") + fn("f", "adrp x0,d\nadd x0,x0,:lo12:d+4\nret") + fn("g", "adrp x0,d\nadd x0,x0,:lo12:d+4\nret") + ".data\nd: .xword 1\n" + rustc, apart: "f g"},
		{name: "an address by ADRP and ADD, all", mode: ModeAll, source: main("f", "g", "p", "q") + pair("f", "p") + pair("g", "q") + fn("p", "bl u\nret") + fn("q", "bl u\nret") + rustc, same: "f g p q"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := planFor(t, target, Options{Mode: c.mode}, c.source)
			checkPairs(t, p, c.same, c.apart)
			edited(t, p, 0)
		})
	}
	t.Run("a jump behind a landing pad", func(t *testing.T) {
		body := "bti c\nmov x0,#1\nmov x1,#2\nbl u\nret"
		p := planFor(t, "+bti "+target, Options{Mode: ModeSafe}, main("f", "g")+fn("f", body)+fn("g", body)+".data\n.xword f,g\n.section .init_array,\"aw\"\n.xword f,g\n"+rustc)
		if got := p.state(t, "g"); got != "thunk" {
			t.Fatalf("g is %s, want thunk", got)
		}
		x := uint32(p.find(t, "g") - p.Link.Objects[0].Base)
		if got := edited(t, p, 0).Bytes(x); !bytes.Equal(got, []byte{0x5f, 0x24, 0x03, 0xd5, 0, 0, 0, 0x14}) {
			t.Errorf("g is % x", got)
		}
	})
}

func TestRulesRISCV(t *testing.T) {
	main := func(names ...string) string {
		b := ""
		for _, n := range names {
			b += "call " + n + "\n"
		}
		return fn("main", b+"ret")
	}
	const work = "addi sp,sp,-16\n.cfi_def_cfa_offset 16\nsd ra,8(sp)\n.cfi_offset ra,-8\ncall u\nld ra,8(sp)\naddi sp,sp,16\nret"
	load := func(name, sym string) string {
		return fn(name, "call u\nlla a0,"+sym+"\n1: auipc a2,%pcrel_hi("+sym+")\nlw a1,%pcrel_lo(1b)(a2)\nret")
	}
	anon := func(name, values string) string {
		return ".section .rodata..Lanon." + name + ",\"a\"\n.balign 8\n.Lanon." + name + ": .dword 0x010101010101010" + values + "\n"
	}
	// table makes a function with a jump table of absolute addresses, and one
	// of distances, which stay pairs of relocations where code can shrink.
	table := func(f, form string) string {
		return fn(f, "lla a0,.LT"+f+"\n.L1"+f+":call u\n.L2"+f+":\n"+work) + ".section .rodata." + f + ",\"a\"\n.balign 8\n.LT" + f + ":" +
			strings.NewReplacer("1", ".L1"+f, "2", ".L2"+f, "0", ".LT"+f).Replace(form) + "\n"
	}
	lsda := func(f string) string {
		return strings.Replace(fn(f, ".L1"+f+": call u\n.L2"+f+": nop\n"+work), ".cfi_startproc", ".cfi_startproc\n.cfi_personality 0x9b,pers\n.cfi_lsda 0x1b,.Lx"+f, 1) +
			".section .gcc_except_table." + f + ",\"a\"\n.balign 4\n.Lx" + f + ": .byte 255,255,3\n.byte 12\n.word .L1" + f + "-" + f + ",.L2" + f + "-.L1" + f + ",0\n"
	}
	for _, target := range []string{"+relax,+c riscv64-none-elf", "-relax,+c riscv64-none-elf"} {
		for _, c := range []struct {
			name, source, same, apart string
			mode                      Mode
		}{
			{name: "equal", mode: ModeSafe, source: main("f", "g") + fn("f", work) + fn("g", work), same: "f g"},
			{name: "call frames differ in a place", mode: ModeSafe, source: main("f", "g") + fn("f", work) + fn("g", strings.Replace(work, "sd ra,8(sp)\n.cfi_offset ra,-8", ".cfi_offset ra,-8\nsd ra,8(sp)", 1)), apart: "f g"},
			{name: "pairs of instructions", mode: ModeSafe, source: main("f", "g") + load("f", ".Lanon.a") + load("g", ".Lanon.b") + anon("a", "1") + anon("b", "1") + rustc, same: "f g"},
			{name: "pairs of instructions for different constants", mode: ModeSafe, source: main("f", "g") + load("f", ".Lanon.a") + load("g", ".Lanon.b") + anon("a", "1") + anon("b", "2") + rustc, apart: "f g"},
			{name: "an address", mode: ModeSafe, source: main("f", "g", "p", "q") + load("f", "p") + load("g", "q") + fn("p", work) + fn("q", work) + rustc, apart: "f g"},
			{name: "an address, all", mode: ModeAll, source: main("f", "g", "p", "q") + load("f", "p") + load("g", "q") + fn("p", work) + fn("q", work) + rustc, same: "f g p q"},
			{name: "tables of addresses", mode: ModeSafe, source: main("f", "g") + table("f", ".dword 1,2") + table("g", ".dword 1,2") + rustc, same: "f g a:.rodata.f a:.rodata.g"},
			{name: "tables of distances", mode: ModeSafe, source: main("f", "g") + table("f", ".word 1-0,2-0") + table("g", ".word 1-0,2-0") + rustc, same: "f g a:.rodata.f a:.rodata.g"},
			{name: "tables differ", mode: ModeSafe, source: main("f", "g") + table("f", ".word 1-0,2-0") + table("g", ".word 2-0,1-0") + rustc, apart: "f g"},
			{name: "landing pads", mode: ModeSafe, source: main("f", "g") + lsda("f") + lsda("g") + rustc, same: "f g a:.gcc_except_table.f a:.gcc_except_table.g"},
			{name: "landing pads differ", mode: ModeSafe, source: main("f", "g") + lsda("f") + strings.Replace(lsda("g"), "-.L1g,0", "-.L1g,.L2g-g", 1) + rustc, apart: "f g"},
		} {
			t.Run(strings.Fields(target)[0]+" "+c.name, func(t *testing.T) {
				p := planFor(t, target, Options{Mode: c.mode}, c.source)
				checkPairs(t, p, c.same, c.apart)
				edited(t, p, 0)
			})
		}
	}
	// Code that shrinks: what lies behind the leader's start has no number.
	t.Run("the inside of code that is shortened", func(t *testing.T) {
		source := main("f", "g") + fn("f", work) + fn("g", "nop\nnop\n.reloc .,R_RISCV_NONE,0\n"+work)
		source = main("f", "g") + fn("f", work+"\n.Lf: ret") + fn("g", work+"\n.Lg: ret") + ".section .init_array,\"aw\"\n.dword .Lg\n" + rustc
		p := planFor(t, "+relax,+c riscv64-none-elf", Options{Mode: ModeAll}, source)
		checkPairs(t, p, "", "f g")
		if r := p.Reason[p.find(t, "g")]; r != NotRedirected {
			t.Errorf("g stays because %q, want %q", r, NotRedirected)
		}
		checkPairs(t, planFor(t, "-relax,+c riscv64-none-elf", Options{Mode: ModeAll}, source), "f g", "")
	})
	t.Run("a jump and its frame entry", func(t *testing.T) {
		source := main("f", "g") + fn("f", work+"\n.Lend_f:") + fn("g", work+"\n.Lend_g:") + ".section .init_array,\"aw\"\n.dword f,g\n" + rustc
		for _, relax := range []string{"+relax", "-relax"} {
			p := planFor(t, relax+",+c riscv64-none-elf", Options{Mode: ModeSafe}, source)
			if got := p.state(t, "g"); got != "thunk" {
				t.Fatalf("%s: g is %s, want thunk", relax, got)
			}
			f := edited(t, p, 0)
			l, err := NewLink([]*objfile.File{f}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			o := l.Objects[0]
			x := uint32(p.find(t, "g") - p.Link.Objects[0].Base)
			if got := f.Bytes(x); !bytes.Equal(got, []byte{0x6f, 0, 0, 0}) {
				t.Errorf("%s: g is % x", relax, got)
			}
			refs := o.framesOf(x)
			if len(refs) != 1 {
				t.Fatalf("%s: g has %d frame entries", relax, len(refs))
			}
			eh := o.frames[refs[0].frame]
			fde, size := &eh.FDEs[refs[0].fde], int64(eh.FDEs[refs[0].fde].Range)
			if !allZero(f.Bytes(eh.Section)[fde.InstrOff():fde.End()]) {
				t.Errorf("%s: the jump's frame entry has rows", relax)
			}
			for _, k := range o.innerRelocs(refs[0]) {
				switch r := f.Relocs(eh.Section).At(k); r.Type {
				case 35:
					size += l.placeIn(o, r)
				case 39:
					size -= l.placeIn(o, r)
				case 0:
				default:
					t.Errorf("%s: the jump's frame entry has a relocation of type %d", relax, r.Type)
				}
			}
			if size != 4 {
				t.Errorf("%s: the jump's frame entry covers %d bytes, want 4", relax, size)
			}
		}
	})
}

// placeIn is the place in its section that a relocation names.
func (l *Link) placeIn(o *Object, r objfile.Reloc) int64 {
	return int64(l.resolveRef(o, r.Sym).value) + r.Addend
}

// Poison is refused where no byte is known that traps.
func TestPoisonOfAnotherMachine(t *testing.T) {
	p := planFor(t, "thumbv7m-none-eabi", Options{Mode: ModeSafe, Poison: true}, thumb("main", "bl a\nbl b\nbx lr")+thumb("a", "adds r0, #3\nbx lr")+thumb("b", "adds r0, #3\nbx lr"))
	const want = "a.o: poison: no byte is known that traps on this machine"
	if _, err := p.Edit(0, new(objfile.Scratch)); err == nil || err.Error() != want {
		t.Errorf("Edit: %v, want %s", err, want)
	}
}
