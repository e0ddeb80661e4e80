package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// A random program in assembly is made in two steps. Shapes come first: what a
// function does, with its numbers and the shapes that it calls, always later
// ones, so that everything ends. Each shape is then written down a few times,
// in one object or another, under some binding, with each call of a shape going
// to any of its copies. Now and then a copy gets another number or calls
// another shape: those must stay apart, and all that is built on them.

type asmProgram struct {
	r      *rand.Rand
	shared bool
	nopie  bool
	rust   []bool // by object: says that rustc made it
	text   []*strings.Builder
	shapes []asmShape
	copies [][]*asmCopy // by shape
	label  int
}

type asmShape struct {
	kind    string
	numbers [2]int
	calls   [2]int // shapes
	prefix  bool   // begins with endbr64
}

// asmCopy is a function, written down once.
type asmCopy struct {
	shape  int
	object int
	name   string
	bind   string // local, global, hidden, weak, comdat
	alias  string // another name of it, or ""
}

var asmKinds = []string{
	"numbers", "numbers", "chain", "chain", "tail", "conditional", "data", "text", "constant16", "constant8", "observe",
	"pointers", "switch", "thread", "own", "cold", "recursion", "mutual", "state", "anonymous", "anonymous", "vtable", "table-in-code", "several",
}

func randomAssembly(r *rand.Rand, dir string) (program, error) {
	p := &asmProgram{r: r, shared: r.IntN(6) == 0}
	p.nopie = !p.shared && r.IntN(4) == 0
	objects := 2 + r.IntN(4)
	for range objects {
		p.text = append(p.text, &strings.Builder{})
		p.rust = append(p.rust, r.IntN(3) == 0)
	}
	for k, b := range p.text {
		b.WriteString("\t.section .note.GNU-stack,\"\",@progbits\n")
		if p.rust[k] {
			b.WriteString("\t.ident \"rustc version 1.95.0\"\n")
		}
	}
	p.design(6 + r.IntN(12))
	for s := range p.shapes {
		for _, c := range p.copies[s] {
			p.write(c)
		}
	}
	p.sharedData()
	return p.build(dir)
}

// design invents the shapes, the last first, and their copies.
func (p *asmProgram) design(n int) {
	p.shapes, p.copies = make([]asmShape, n), make([][]*asmCopy, n)
	for s := n - 1; s >= 0; s-- {
		sh := &p.shapes[s]
		sh.kind = asmKinds[p.r.IntN(len(asmKinds))]
		if s >= n-3 {
			sh.kind = "numbers" // there is something to call
		}
		sh.numbers = [2]int{p.r.IntN(4) + 1, p.r.IntN(4) * 7}
		sh.prefix = p.r.IntN(8) == 0
		for k := range sh.calls {
			sh.calls[k] = p.later(s)
		}
		for k := range 1 + p.r.IntN(5) {
			c := &asmCopy{shape: s, object: p.r.IntN(len(p.text)), name: fmt.Sprintf("f%d_%d", s, k), bind: "global"}
			if k > 0 {
				c.bind = [...]string{"local", "local", "global", "global", "hidden", "weak", "comdat"}[p.r.IntN(7)]
			}
			if p.rust[c.object] && p.r.IntN(2) == 0 {
				// As rustc writes <m::A as m::T>::NAME.
				c.name = fmt.Sprintf("_ZN25_$LT$m..A$u20$as$u20$m..T$GT$%d%s17h%016xE", len(c.name), c.name, p.r.Uint64())
			}
			if p.r.IntN(6) == 0 && c.bind != "comdat" {
				c.alias = fmt.Sprintf("alias_%d_%d", s, k)
			}
			p.copies[s] = append(p.copies[s], c)
		}
	}
}

func (p *asmProgram) later(s int) int {
	if s+1 >= len(p.shapes) {
		return s
	}
	return s + 1 + p.r.IntN(min(len(p.shapes)-s-1, 5))
}

// callee picks one of the copies of a shape that code in an object can name.
func (p *asmProgram) callee(object, shape int) *asmCopy {
	for {
		if c := p.copies[shape][p.r.IntN(len(p.copies[shape]))]; c.bind != "local" || c.object == object {
			return c
		}
	}
}

// naming is one of the names of a function.
func (p *asmProgram) naming(c *asmCopy) string {
	if c.alias != "" && p.r.IntN(2) == 0 {
		return c.alias
	}
	return c.name
}

func (p *asmProgram) call(how string, c *asmCopy) string {
	name := p.naming(c)
	switch p.r.IntN(4) {
	case 0:
		return fmt.Sprintf("\t%s *%s@GOTPCREL(%%rip)\n", how, name)
	case 1:
		return fmt.Sprintf("\t%s %s@PLT\n", how, name)
	}
	return fmt.Sprintf("\t%s %s\n", how, name)
}

// address loads a function's address.
func (p *asmProgram) address(c *asmCopy, reg string) string {
	name := p.naming(c)
	switch k := p.r.IntN(4); {
	case k == 0, p.shared && c.bind != "local" && c.bind != "hidden":
		return fmt.Sprintf("\tmovq %s@GOTPCREL(%%rip), %%r%s\n", name, reg)
	case k == 1 && p.nopie:
		return fmt.Sprintf("\tmovl $%s, %%e%s\n", name, reg)
	case k == 2 && !p.shared:
		// The form of a call, but no call.
		return fmt.Sprintf("\tleaq %s@PLT(%%rip), %%r%s\n", name, reg)
	}
	return fmt.Sprintf("\tleaq %s(%%rip), %%r%s\n", name, reg)
}

func (p *asmProgram) newLabel() string {
	p.label++
	return fmt.Sprintf(".Lp%d", p.label)
}

// write writes one copy of a function, with what data it has of its own.
func (p *asmProgram) write(c *asmCopy) {
	r, sh, b := p.r, p.shapes[c.shape], p.text[c.object]
	out := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	n := sh.numbers
	if r.IntN(12) == 0 {
		n[r.IntN(2)]++
	}
	calls := sh.calls
	if r.IntN(10) == 0 {
		calls[r.IntN(2)] = p.later(c.shape)
	}
	section := ".text." + [...]string{"", "", "", "hot.", "unlikely."}[r.IntN(5)] + c.name
	flags := `"ax",@progbits`
	if c.bind == "comdat" {
		flags = fmt.Sprintf(`"axG",@progbits,%s,comdat`, c.name)
	}
	frames := r.IntN(10) > 0
	head := func(name, align string) {
		out("\t.section %s,%s", section, flags)
		out("\t.p2align %s", align)
		switch c.bind {
		case "global":
			out("\t.globl %s", name)
		case "hidden":
			out("\t.globl %s\n\t.hidden %s", name, name)
		case "weak", "comdat":
			out("\t.weak %s", name)
		}
		out("\t.type %s,@function\n%s:", name, name)
		if frames {
			out("\t.cfi_startproc")
		}
		if sh.prefix {
			out("\tendbr64")
		}
	}
	tail := func(name string) {
		if frames {
			out("\t.cfi_endproc")
		}
		out("\t.size %s, .-%s", name, name)
	}
	cfi := func(bytes int) {
		if frames {
			out("\t.cfi_adjust_cfa_offset %d", bytes)
		}
	}
	A, B := func() *asmCopy { return p.callee(c.object, calls[0]) }, func() *asmCopy { return p.callee(c.object, calls[1]) }
	align := [...]string{"0", "1", "4", "4", "5"}[r.IntN(5)]

	switch sh.kind {
	case "switch", "pointers", "anonymous", "vtable", "table-in-code", "text", "constant16", "constant8":
		// Data comes before the code that uses it.
	default:
		head(c.name, align)
	}
	switch sh.kind {
	case "numbers":
		out("\tleaq %d(%%rdi,%%rdi,2), %%rax\n\txorq $%d, %%rax\n\tret", n[0], n[1])
	case "several":
		// A second function in the section, which nothing folds then.
		out("\tleaq %d(%%rdi), %%rax\n\tret", n[0])
		out("\t.globl %s_2\n\t.hidden %s_2\n%s_2:\n\tleaq %d(%%rdi), %%rax\n\tret", c.name, c.name, c.name, n[1])
	case "chain":
		out("\tpushq %%rbx")
		cfi(8)
		b.WriteString(p.call("call", A()))
		out("\tmovq %%rax, %%rbx\n\tleaq %d(%%rax), %%rdi", n[0])
		b.WriteString(p.call("call", B()))
		out("\taddq %%rbx, %%rax\n\tpopq %%rbx")
		cfi(-8)
		out("\tret")
	case "tail":
		out("\taddq $%d, %%rdi", n[0])
		b.WriteString(p.call("jmp", A()))
	case "conditional":
		out("\ttestb $%d, %%dil", n[0])
		out("\tjz %s", p.naming(A()))
		b.WriteString(p.call("jmp", B()))
	case "data":
		out("\tmovq data%d+%d(%%rip), %%rax\n\taddq %%rdi, %%rax\n\tret", n[0]%3, n[1]%2*8)
	case "state":
		out("\tincq state%d(%%rip)\n\tmovq state%d(%%rip), %%rax\n\txorq %%rdi, %%rax\n\tret", n[0]%2, n[0]%2)
	case "thread":
		if p.shared {
			out("\tmovq thread%d@gottpoff(%%rip), %%rax\n\tmovq %%fs:(%%rax), %%rax", n[0]%2)
		} else {
			out("\tmovq %%fs:thread%d@tpoff, %%rax", n[0]%2)
		}
		out("\taddq %%rdi, %%rax\n\tret")
	case "observe":
		out("\tmovq %%rdi, %%rsi")
		b.WriteString(p.address(A(), "ax"))
		b.WriteString(p.address(B(), "cx"))
		out("\txorl %%edi, %%edi\n\tcmpq %%rax, %%rcx\n\tsete %%dil\n\tjmp observe@PLT")
	case "own":
		out("\tmovq %%rdi, %%rsi")
		b.WriteString(p.address(c, "ax"))
		b.WriteString(p.address(p.callee(c.object, c.shape), "cx"))
		out("\txorl %%edi, %%edi\n\tcmpq %%rax, %%rcx\n\tsete %%dil\n\tjmp observe@PLT")
	case "recursion":
		out("\tandl $7, %%edi\n\tjz 1f\n\tpushq %%rdi")
		cfi(8)
		out("\tdecl %%edi")
		b.WriteString(p.call("call", c))
		out("\tpopq %%rdi")
		cfi(-8)
		out("\tleaq %d(%%rax,%%rdi), %%rax\n\tret\n1:\tmovl $%d, %%eax\n\tret", n[0], n[1])
	case "mutual":
		other := c.name + "_b"
		out("\tandl $7, %%edi\n\tjz 1f\n\tsubq $8, %%rsp")
		cfi(8)
		out("\tcall %s\n\taddq $8, %%rsp", other)
		cfi(-8)
		out("\taddq $%d, %%rax\n\tret\n1:\tmovl $%d, %%eax\n\tret", n[0], n[1])
		tail(c.name)
		section += "_b"
		if c.bind == "comdat" {
			flags = fmt.Sprintf(`"axG",@progbits,%s,comdat`, other)
		}
		head(other, align)
		out("\tdecl %%edi\n\tjmp %s", c.name)
		tail(other)
		p.alias(c, out)
		return
	case "cold":
		cold, back := p.newLabel(), p.newLabel()
		out("\tleaq %d(%%rdi), %%rax\n\ttestb $1, %%al\n\tjnz %s\n%s:\tret", n[0], cold, back)
		tail(c.name)
		p.alias(c, out)
		coldFlags := flags
		out("\t.section .text.unlikely.%s.cold,%s", c.name, coldFlags)
		if r.IntN(2) == 0 {
			out("\t.type %s.cold,@function\n%s.cold:", c.name, c.name)
		}
		out("%s:", cold)
		if frames {
			out("\t.cfi_startproc")
		}
		out("\txorq $%d, %%rax\n\tjmp %s", n[1], back)
		if frames {
			out("\t.cfi_endproc")
		}
		return
	case "text":
		l := p.newLabel()
		out("\t.section .rodata.str1.1,\"aMS\",@progbits,1\n%s:\t.string \"text %d\"", l, n[0])
		head(c.name, align)
		out("\tleaq %s(%%rip), %%rax\n\tmovzbl 5(%%rax), %%eax\n\taddq %%rdi, %%rax\n\tret", l)
	case "constant16":
		l := p.newLabel()
		out("\t.section .rodata.cst16,\"aM\",@progbits,16\n\t.p2align 4\n%s:\t.quad %d, %d", l, n[0], n[1])
		head(c.name, align)
		out("\tmovdqa %s(%%rip), %%xmm0\n\tmovhlps %%xmm0, %%xmm1\n\tpaddq %%xmm1, %%xmm0\n\tmovq %%xmm0, %%rax\n\taddq %%rdi, %%rax\n\tret", l)
	case "constant8":
		l := p.newLabel()
		out("\t.section .rodata.cst8,\"aM\",@progbits,8\n\t.p2align 3\n%s:\t.quad %d", l, n[0]*5)
		head(c.name, align)
		out("\tmovq %%rdi, %%rax\n\taddq %s(%%rip), %%rax\n\tret", l)
	case "pointers":
		// A named table, which the program could compare.
		l := p.newLabel()
		out("\t.section .data.rel.ro.pointers%s,\"aw\",@progbits\n\t.p2align 3\n\t.type pointers_%s,@object\npointers_%s:\n%s:\t.quad %s, %s\n\t.size pointers_%s, 16",
			c.name, c.name, c.name, l, p.naming(A()), p.naming(B()), c.name)
		head(c.name, align)
		out("\tleaq %s(%%rip), %%rax\n\tmovl %%edi, %%ecx\n\tandl $1, %%ecx\n\tjmp *(%%rax,%%rcx,8)", l)
	case "anonymous":
		// Without a symbol: of no identity in a Rust object, elsewhere the
		// program can tell it from others.
		l := p.newLabel()
		if r.IntN(2) == 0 {
			out("\t.section .rodata..Lanon.%s,\"a\",@progbits\n\t.p2align 3\n%s:\t.quad %d, %d, 3", c.name, l, n[0], n[1]+1)
		} else {
			out("\t.section .data.rel.ro..Lanon.%s,\"aw\",@progbits\n\t.p2align 3\n%s:\t.quad %d, %d, 3, %s", c.name, l, n[0], n[1]+1, p.naming(A()))
		}
		head(c.name, align)
		out("\tleaq %s(%%rip), %%rax\n\tmovq 8(%%rax), %%rax\n\taddq %%rdi, %%rax\n\tret", l)
	case "vtable":
		l := p.newLabel()
		out("\t.section .data.rel.ro..Lvtable.%s,\"aw\",@progbits\n\t.p2align 3\n%s:\t.quad 0, 8, 8, %s, %s", c.name, l, p.naming(A()), p.naming(B()))
		head(c.name, align)
		out("\tleaq %s(%%rip), %%rax\n\tjmp *%d(%%rax)", l, 24+n[0]%2*8)
	case "switch":
		l := p.newLabel()
		out("\t.section .rodata.%s,\"a\",@progbits\n\t.p2align 2", c.name)
		out("%s:\t.long %s_0-%s, %s_1-%s, %s_2-%s", l, l, l, l, l, l, l)
		head(c.name, align)
		out("\tleaq %s(%%rip), %%rcx\n\tmovl %%edi, %%eax\n\tandl $1, %%eax\n\tmovslq (%%rcx,%%rax,4), %%rax\n\taddq %%rcx, %%rax\n\tjmp *%%rax", l)
		order := [][3]int{{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {1, 0, 2}}[r.IntN(4)]
		for _, k := range order {
			out("%s_%d:\tmovl $%d, %%eax\n\tret", l, k, n[k%2]+k)
		}
	case "table-in-code":
		l := p.newLabel()
		out("\t.section .text.table_%s,\"ax\",@progbits\n\t.p2align 3", c.name)
		if r.IntN(2) == 0 {
			out("\t.type table_%s,@object", c.name)
		}
		target := "data0"
		if a := A(); !p.shared || a.bind == "local" || a.bind == "hidden" {
			target = p.naming(a)
		}
		out("table_%s:\n%s:\t.long %s-., %d, 5, 6\n\t.size table_%s, 16", c.name, l, target, n[0], c.name)
		head(c.name, align)
		if r.IntN(2) == 0 && !p.shared {
			out("\t.globl table_%s", c.name)
		}
		out("\tleaq table_%s(%%rip), %%rcx\n\tmovslq 4(%%rcx), %%rax\n\taddq %%rdi, %%rax\n\tret", c.name)
	}
	tail(c.name)
	p.alias(c, out)
}

func (p *asmProgram) alias(c *asmCopy, out func(string, ...any)) {
	if c.alias == "" {
		return
	}
	switch c.bind {
	case "global", "weak":
		out("\t.globl %s", c.alias)
	case "hidden":
		out("\t.globl %s\n\t.hidden %s", c.alias, c.alias)
	}
	out("\t.set %s, %s", c.alias, c.name)
}

// sharedData is what functions of all objects use.
func (p *asmProgram) sharedData() {
	b := p.text[0]
	for k := range 3 {
		// The first two are equal, and two places all the same.
		fmt.Fprintf(b, "\t.section .rodata.data%d,\"a\",@progbits\n\t.p2align 3\n\t.globl data%d\n\t.hidden data%d\n\t.type data%d,@object\ndata%d:\t.quad %d, 11\n\t.size data%d, 16\n",
			k, k, k, k, k, 3+k/2, k)
	}
	for k := range 2 {
		fmt.Fprintf(b, "\t.section .data.state%d,\"aw\",@progbits\n\t.globl state%d\n\t.hidden state%d\n\t.p2align 3\nstate%d:\t.quad 0\n", k, k, k, k)
		fmt.Fprintf(b, "\t.section .tdata.thread%d,\"awT\",@progbits\n\t.globl thread%d\n\t.hidden thread%d\n\t.type thread%d,@object\n\t.size thread%d, 8\n\t.p2align 3\nthread%d:\t.quad %d\n", k, k, k, k, k, k, 100)
	}
}

const asmBase = `#include <stdio.h>
long observe(long same, long x) { printf("addr %ld\n", same); return x + 1; }
void result(const char *f, long x, long value) { printf("%s(%ld) = %ld\n", f, x, value); }
void run_all(void);
int main(void) { run_all(); return 0; }
`

const asmHost = `#include <dlfcn.h>
#include <stdio.h>
long observe(long same, long x) { printf("addr %ld\n", same); return x + 1; }
void result(const char *f, long x, long value) { printf("%s(%ld) = %ld\n", f, x, value); }
/* Takes the place of the library's, if that lets it. */
long f1_0(long x) { return x ^ 0x55; }
int main(int argc, char **argv) {
	void *lib = dlopen(argv[1], RTLD_NOW);
	void (*run_all)(void) = lib ? (void (*)(void))dlsym(lib, "run_all") : 0;
	if (!run_all) { puts(dlerror()); return 1; }
	run_all();
	return 0;
}
`

// build writes the files, assembles them and says how to link them.
func (p *asmProgram) build(dir string) (program, error) {
	var roots strings.Builder
	roots.WriteString("\t.section .text.run_all,\"ax\",@progbits\n\t.globl run_all\n\t.type run_all,@function\nrun_all:\n\tpushq %rbx\n")
	for s := range p.shapes {
		for _, c := range p.copies[s] {
			if c.bind == "local" || p.r.IntN(4) == 0 {
				continue // reached through others, or not at all
			}
			for _, x := range []int{0, 1, 6} {
				fmt.Fprintf(&roots, "\tmovl $%d, %%edi\n\tcall %s@PLT\n\tmovq %%rax, %%rdx\n\tmovl $%d, %%esi\n\tleaq 7f(%%rip), %%rdi\n\tcall result@PLT\n", x, c.name, x)
				fmt.Fprintf(&roots, "\t.pushsection .rodata.run_all,\"a\",@progbits\n7:\t.string \"f%d_%s\"\n\t.popsection\n", s, c.bind)
			}
		}
	}
	roots.WriteString("\tpopq %rbx\n\tret\n\t.size run_all, .-run_all\n\t.section .note.GNU-stack,\"\",@progbits\n")
	files := map[string]string{"roots.s": roots.String(), "base.c": asmBase, "host.c": asmHost}
	objects := []string{"roots.o"}
	for k, b := range p.text {
		name := fmt.Sprintf("o%d", k)
		files[name+".s"] = b.String()
		objects = append(objects, name+".o")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return program{}, err
		}
	}
	for _, o := range objects {
		if err := command(dir, "gcc", "-c", "-o", o, strings.TrimSuffix(o, ".o")+".s"); err != nil {
			return program{}, err
		}
	}
	var args []string
	q := program{}
	for _, rust := range p.rust {
		if rust {
			q.observes = "addr "
		}
	}
	if p.shared {
		args = append(args, "-shared")
		if err := command(dir, "gcc", "-O1", "-rdynamic", "-o", "host", "host.c", "-ldl"); err != nil {
			return program{}, err
		}
		q.host = filepath.Join(dir, "host")
	} else {
		if err := command(dir, "gcc", "-O1", "-ffunction-sections", "-c", "-o", "base.o", "base.c"); err != nil {
			return program{}, err
		}
		args = append(args, "base.o")
		if p.nopie {
			args = append(args, "-no-pie")
		}
		if p.r.IntN(6) == 0 {
			args = append(args, "-Wl,--export-dynamic")
		}
	}
	// The last objects come from an archive, as a rule in one that is read again.
	archived := p.r.IntN(len(objects))
	args = append(args, objects[:len(objects)-archived]...)
	if archived > 0 {
		if err := command(dir, append([]string{"ar", "rcs", "liba.a"}, objects[len(objects)-archived:]...)...); err != nil {
			return program{}, err
		}
		args = append(args, "-Wl,--start-group", "liba.a", "-Wl,--end-group")
	}
	if p.r.IntN(5) > 0 {
		args = append(args, "-Wl,--gc-sections")
	}
	q.args = append(args, "-nodefaultlibs", "-lc", "-lgcc")
	return q, nil
}
