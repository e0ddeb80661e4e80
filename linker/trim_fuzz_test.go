package linker

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leanlink/linker/verify"
	"leanlink/merge"
	"leanlink/objfile"
)

const fuzzPanic = "_RNvNtCsgEmfK2I1SDS_4core9panicking18panic_bounds_check"

// endsCode is how many bytes of main are the fuzzer's.
const endsCode = 96

// endsSeeds are machines whose code loses dead ends: how to assemble for them, and what main has behind the fuzzer's
// code, which begins as its seed says.
var endsSeeds = []struct{ flags, seed, behind string }{
	{"-triple=thumbv7em-none-eabihf -mattr=+vfp4",
		"push {r4, lr}\n cmp r0, #4\n bhs 1f\n cbz r1, 2f\n tbb [pc, r1]\n ldr r0, [pc, #72]\n it eq\n beq.w 2f\n pop {r4, pc}\n 2: str r0, [sp, #4]\n strd r1, r2, [sp, #8]\n b 1f\n vldr d0, [pc, #32]\n 1: add r1, sp, #4",
		"bl " + fuzzPanic + "\n bx lr\n .p2align 2\n .word 0x11223344, 0x55667788\n nop\n nop\n bl " + fuzzPanic},
	{"-triple=aarch64-none-elf",
		"stp x29, x30, [sp, #-32]!\n cmp x0, #4\n b.hs 1f\n cbz x1, 2f\n tbnz w2, #5, 1f\n ldp x29, x30, [sp], #32\n ret\n 2: str x0, [sp, #8]\n bl other\n 1: mov w0, #5\n and x1, x2, #0xff",
		"bl " + fuzzPanic + "\n ret\n nop\n b " + fuzzPanic},
	{"-triple=riscv32-none-elf -mattr=+c,+m,+a",
		"addi sp, sp, -32\n sw ra, 28(sp)\n li a1, 4\n bgeu a0, a1, 1f\n c.beqz a0, 2f\n lw ra, 28(sp)\n addi sp, sp, 32\n ret\n 2: sw a0, 4(sp)\n j 1f\n lw a2, 0(a0)\n 1: lui a2, 5",
		"call " + fuzzPanic + "\n ret\n nop\n nop\n tail " + fuzzPanic},
	{"-triple=riscv64-none-elf -mattr=+c,+m,+a,+d",
		"addi sp, sp, -32\n sd ra, 24(sp)\n li a1, 4\n bgeu a0, a1, 1f\n c.beqz a0, 2f\n ld ra, 24(sp)\n c.addiw a0, 3\n ret\n 2: sd a0, 8(sp)\n j 1f\n fld fa0, 0(a0)\n 1: lui a2, 5",
		"call " + fuzzPanic + "\n ret\n nop\n nop\n tail " + fuzzPanic},
	{"-triple=x86_64-none-elf",
		"push %rbx\n cmp $4, %rdi\n jae 1f\n test %rsi, %rsi\n je 2f\n mov %rdi, %rax\n pop %rbx\n ret\n 2: mov %rdi, 8(%rsp)\n movups %xmm0, (%rsp)\n jmp 1f\n mov (%rdi), %rax\n 1: lea 8(%rsp), %rdx",
		"call " + fuzzPanic + "\n ret\n nop\n jmp " + fuzzPanic},
}

// endsObject assembles main with the seed's code in its first bytes, and returns the object and that code.
func endsObject(t testing.TB, seed, behind, flags string) (object, code []byte) {
	t.Helper()
	mc := ""
	for _, n := range []string{"llvm-mc", "llvm-mc-19"} {
		if p, err := exec.LookPath(n); err == nil && mc == "" {
			mc = p
		}
	}
	if mc == "" {
		if os.Getenv("LEANLINK_REQUIRE_TOOLS") != "" {
			t.Fatal("llvm-mc is not installed")
		}
		t.Skip("llvm-mc is not installed")
	}
	kind, head := "@", ""
	if strings.Contains(flags, "thumb") {
		kind, head = "%", ".syntax unified\n.thumb\n"
	}
	function := func(name, body string) string {
		return strings.NewReplacer("NAME", name, "KIND", kind).Replace(".section .text.NAME,\"ax\",KINDprogbits\n.p2align 2\n.globl NAME\n.type NAME,KINDfunction\nNAME:\n") + body + "\n.size " + name + ", .-" + name + "\n"
	}
	source := head + function("main", seed+"\n.org main+"+fmt.Sprint(endsCode)+"\n"+behind) + function(fuzzPanic, "nop\nnop\nnop\nnop\nnop\nnop") + function("other", "nop") +
		".section .comment,\"MS\"," + kind + "progbits,1\n.string \"rustc version 1.95.0\"\n"
	dir := t.TempDir()
	out := filepath.Join(dir, "a.o")
	cmd := exec.Command(mc, append(strings.Fields(flags), "-filetype=obj", "-o", out)...)
	cmd.Stdin = strings.NewReader(source)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", flags, err, said)
	}
	object, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	at := mainAt(t, object)
	return object, object[at : at+endsCode]
}

// mainAt is where main's code is in an object.
func mainAt(t testing.TB, object []byte) uint64 {
	t.Helper()
	f, err := objfile.Parse("main.o", object)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Sections {
		if f.Sections[i].Name == ".text.main" {
			return f.Sections[i].Offset
		}
	}
	t.Fatal("no main")
	return 0
}

// FuzzDeadEnds: whatever the code before a panic is, the check, which reads it by itself, agrees with what the trim makes
// of it.
func FuzzDeadEnds(f *testing.F) {
	var objects [][]byte
	for i, s := range endsSeeds {
		object, code := endsObject(f, s.seed, s.behind, s.flags)
		objects = append(objects, object)
		f.Add(uint8(i), bytes.Clone(code))
	}
	f.Fuzz(func(t *testing.T, which uint8, code []byte) {
		object := bytes.Clone(objects[int(which)%len(objects)])
		at := mainAt(t, object)
		copy(object[at:at+endsCode], code)
		o, err := objfile.Parse("main.o", object)
		if err != nil {
			t.Fatal(err)
		}
		l, err := merge.NewLink([]*objfile.File{o}, merge.Options{Wanted: map[string]bool{"main": true}})
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(merge.Trim{Trap: true, Frames: true})
		if err != nil {
			t.Fatal(err)
		}
		if x.Cuts[0] == nil {
			t.Fatal("the panic is no trap")
		}
		claim := verify.Object{Name: "main.o", Data: x.Files[0].Data, Untrimmed: object}
		for _, c := range x.Cuts[0] {
			claim.Cuts = append(claim.Cuts, verifyCut(c))
		}
		res, err := verify.CheckTrims([]verify.Object{claim})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.Mismatches {
			t.Errorf("%x: %v", object[at:at+endsCode], m)
		}
	})
}
