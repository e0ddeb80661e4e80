package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// assembleAll assembles sources, each a name and a text, with a compiler and its flags, and returns the objects' names.
func assembleAll(t *testing.T, dir string, sources [][2]string, compiler string, flags ...string) (objects []string) {
	t.Helper()
	for _, f := range sources {
		if err := os.WriteFile(filepath.Join(dir, f[0]+".s"), []byte(f[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, dir, compiler, append(flags[:len(flags):len(flags)], "-c", "-o", f[0]+".o", f[0]+".s")...)
		objects = append(objects, f[0]+".o")
	}
	return objects
}

// mismatches lists what the check finds that says what.
func mismatches(t *testing.T, c *Claim, what string) (found []string) {
	t.Helper()
	res, err := Check(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range res.Mismatches {
		if strings.Contains(m.What, what) {
			found = append(found, m.String())
		}
	}
	return found
}

// TestPairsARM: what makes two functions differ on a machine that keeps addends in instructions and unwind data in
// .ARM.exidx.
func TestPairsARM(t *testing.T) {
	object := func(name, body, data string) string {
		return ".syntax unified\n.thumb\n.section .text." + name + ",\"ax\",%progbits\n.globl " + name + "\n.type " + name + ",%function\n" + name + ":\n.fnstart\n" +
			body + "\n.fnend\n.size " + name + ", .-" + name + "\n" + data
	}
	const two = ".section .rodata.two,\"a\"\ntwo: .ascii \"onetwo\"\n"
	strs := func(text string) string {
		return ".section .rodata.str1.1,\"aMS\",%progbits,1\n.asciz \"unused\"\ns: .asciz \"" + text + "\"\n"
	}
	tests := []struct{ name, f, g, want string }{
		{"equal", object("f", "push {r4, lr}\n.save {r4, lr}\nbl begin\npop {r4, pc}", ""), object("g", "push {r4, lr}\n.save {r4, lr}\nbl begin\npop {r4, pc}", ""), ""},
		{"addend in a word", object("f", "ldr r0, 1f\nbx lr\n1: .word shared", ""), object("g", "ldr r0, 1f\nbx lr\n1: .word shared+3", ""), "it refers to shared in start.o: section .rodata.shared+3"},
		{"addend in a move", object("f", "movw r0, #:lower16:shared\nmovt r0, #:upper16:shared\nbx lr", ""), object("g", "movw r0, #:lower16:(shared+3)\nmovt r0, #:upper16:(shared+3)\nbx lr", ""), "it refers to shared in start.o: section .rodata.shared+3"},
		{"register of a move", object("f", "movw r0, #:lower16:shared\nbx lr", ""), object("g", "movw r1, #:lower16:shared\nbx lr", ""), "offset 0x0: is not its leader f.o: section .text.f: the instructions differ in the bits that are not relocated"},
		{"equal strings", object("f", "ldr r0, 1f\nbx lr\n1: .word s", strs("one")), object("g", "ldr r0, 1f\nbx lr\n1: .word s", strs("one")), ""},
		{"other strings", object("f", "ldr r0, 1f\nbx lr\n1: .word s", strs("one")), object("g", "ldr r0, 1f\nbx lr\n1: .word s", strs("two")), `it refers to "two\x00", the leader to "one\x00"`},
		{"unwind rows", object("f", "push {r4, lr}\n.save {r4, lr}\npop {r4, pc}", ""), object("g", "push {r4, lr}\n.save {lr}\npop {r4, pc}", ""), "the unwind entries differ"},
		{"cannot unwind", object("f", "bx lr", ""), object("g", ".cantunwind\nbx lr", ""), "the unwind entries differ"},
		{"unwind table", object("f", "bx lr\n.personality pers\n.handlerdata\n.word 1", ""), object("g", "bx lr\n.personality pers\n.handlerdata\n.word 2", ""), "the unwind entries differ"},
		{"equal unwind tables", object("f", "bx lr\n.personality pers\n.handlerdata\n.word 1", ""), object("g", "bx lr\n.personality pers\n.handlerdata\n.word 1", ""), ""},
		{"personality", object("f", "bx lr\n.personality pers\n.handlerdata\n.word 1", ""), object("g", "bx lr\n.personality begin\n.handlerdata\n.word 1", ""), "the unwind entries differ"},
	}
	start := ".syntax unified\n.thumb\n.text\n.globl begin, pers\n.type begin,%function\nbegin: bl f\nbl g\nb begin\n.type pers,%function\npers: bx lr\n" +
		".globl __aeabi_unwind_cpp_pr0, __aeabi_unwind_cpp_pr1\n__aeabi_unwind_cpp_pr0: bx lr\n__aeabi_unwind_cpp_pr1: bx lr\n" +
		".section .rodata.shared,\"a\"\n.globl shared\nshared: .ascii \"onetwo\"\n" + two
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			need(t, "arm-none-eabi-gcc")
			dir := t.TempDir()
			objects := assembleAll(t, dir, [][2]string{{"start", start}, {"f", test.f}, {"g", test.g}}, "arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb")
			run(t, dir, "arm-none-eabi-gcc", append([]string{"-nostdlib", "-Wl,-e,begin", "-o", "out"}, objects...)...)
			c := claimOf(t, dir, "out", objects...)
			mustAgree(t, c)
			claimFold(t, c, Folded, "g.o .text.g", "f.o .text.f")
			found := mismatches(t, c, "is not its leader")
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)) {
				t.Errorf("want a difference with %q, got %q", test.want, found)
			}
		})
	}
}

// TestHalvesAArch64: a function with one half of an address is not folded, for its other half may not be.
func TestHalvesAArch64(t *testing.T) {
	const rust = ".ident \"rustc version 1.0.0\"\n"
	tests := []struct{ name, body, want string }{
		{"whole", "adrp x0, :got:shared\nldr x0, [x0, :got_lo12:shared]\nret", ""},
		{"whole, directly", "adrp x0, shared\nadd x0, x0, :lo12:shared\nret", ""},
		{"upper half", "adrp x8, :got:shared\nret", "at offset 0x0 it has half of the address of a slot of shared"},
		{"lower half", "nop\nldr x8, [x8, :got_lo12:shared]\nret", "at offset 0x4 it has half of the address of a slot of shared"},
		{"halves of two", "adrp x0, shared\nadd x0, x0, :lo12:shared+4\nret", "at offset 0x0 it has half of the address of a place of shared"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			need(t, "aarch64-linux-gnu-gcc")
			dir := t.TempDir()
			object := func(name string) string {
				return rust + ".section .text." + name + ",\"ax\"\n.globl " + name + "\n.type " + name + ",%function\n" + name + ":\n" + test.body + "\n.size " + name + ", .-" + name + "\n"
			}
			objects := assembleAll(t, dir, [][2]string{{"start", ".globl _start, shared\n_start: bl f\nbl g\n.data\nshared: .quad 1, 2\n"}, {"f", object("f")}, {"g", object("g")}}, "aarch64-linux-gnu-gcc")
			run(t, dir, "aarch64-linux-gnu-gcc", append([]string{"-nostdlib", "-static", "-o", "out"}, objects...)...)
			c := claimOf(t, dir, "out", objects...)
			claimFold(t, c, Folded, "g.o .text.g", "f.o .text.f")
			found := mismatches(t, c, "must not be folded")
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)) {
				t.Errorf("want %q, got %q", test.want, found)
			}
		})
	}
}
