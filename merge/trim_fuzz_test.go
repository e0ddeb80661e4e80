package merge

import (
	"math/rand/v2"
	"testing"

	"leanlink/objfile"
)

// trimSeeds are objects that panic, for each machine.
func trimSeeds(t testing.TB) []*objfile.File {
	t.Helper()
	const frame = ".cfi_startproc\n"
	var all []*objfile.File
	for _, s := range [][2]string{
		{"thumbv7em-none-eabihf", thumbProgram("\t.fnstart\n\tpush {r4, lr}\n\tcbz r0, 1f\n\ttbb [pc, r0]\n3: .byte (1f-3b)/2, (2f-3b)/2\n2: it eq\n\tbeq.w 1f\n\tldr r1, 4f\n\tpop {r4, pc}\n1: movw r2, :lower16:place\n" +
			"\tmovt r2, :upper16:place\n\tbl " + panicBounds + "\n\t.p2align 2\n4: .word place\n\t.fnend")},
		{"aarch64-none-elf", endsProgram(frame + "cbz x0, 1f\n tbz x1, #3, 2f\n ret\n 1: adrp x2, place\n add x2, x2, :lo12:place\n 2: bl " + panicBounds + "\n .cfi_endproc")},
		{"+c riscv32-none-elf", endsProgram(frame + "beqz a0, 1f\n jr a0\n 1: nop\n .Lx: lui a2, %hi(place)\n call " + panicBounds + "\n .cfi_endproc\nELSEWHERE .section .rodata.x,\"a\"\n .word .Lx")},
		{"+relax,+c riscv32-none-elf", endsProgram(frame + "beqz a0, 1f\n ret\n 1: call " + panicBounds + "\n .cfi_endproc")},
		{"x86_64-none-elf", endsProgram(frame + "test %rdi, %rdi\n je 1f\n lea .Lt(%rip), %rax\n movslq (%rax,%rdi,4), %rcx\n add %rax, %rcx\n jmp *%rcx\n .La: ret\n 1: lea place(%rip), %rdx\n call " + panicBounds +
			"\n .cfi_endproc\nELSEWHERE .section .rodata.main,\"a\"\n .Lt: .long .La-.Lt, 1b-.Lt")},
	} {
		all = append(all, assembleFor(t, s[0], s[1])...)
	}
	return all
}

// FuzzTrim: the trims of a damaged object end in an error, or in objects that
// are whole and can be linked.
func FuzzTrim(f *testing.F) {
	seeds := trimSeeds(f)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 4 * len(seeds) {
		ops := make([]byte, 15)
		for k := range ops {
			ops[k] = byte(r.Uint32())
		}
		f.Add(uint8(i), uint8(r.Uint32()), ops)
	}
	f.Fuzz(func(t *testing.T, which, how uint8, ops []byte) {
		file, err := objfile.Parse("damaged.o", damage(seeds[int(which)%len(seeds)].Data, ops))
		if err != nil {
			return // as FuzzParse has it
		}
		opt := Options{Wanted: map[string]bool{"main": true}, Strip: how&1 != 0}
		l, err := NewLink([]*objfile.File{file}, opt)
		if err != nil {
			return
		}
		x, err := l.Trim(Trim{Trap: how&2 == 0, Messages: how&2 != 0, Locations: how&4 != 0, Symbolizer: how&8 != 0, Frames: how&16 != 0, Calls: how&48 == 32, Align: how&64 != 0})
		if err != nil {
			return
		}
		l, err = NewLink(x.Files, opt)
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.Make()
		if err != nil {
			mustBeFormatError(t, err)
			return
		}
		checkEdit(t, p, 0)
	})
}
