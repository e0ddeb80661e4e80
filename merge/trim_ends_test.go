package merge

import (
	"fmt"
	"strings"
	"testing"

	"leanlink/objfile"
)

// thumbFunction is a function in a section of its own.
func thumbFunction(name, body string) string {
	return fmt.Sprintf("\t.section .text.%[1]s,\"ax\",%%progbits\n\t.p2align 1\n\t.globl %[1]s\n\t.type %[1]s,%%function\n\t.thumb_func\n%[1]s:\n%[2]s\n\t.size %[1]s, .-%[1]s\n", name, body)
}

// thumbProgram has a panic entry point, a function that is none, and main.
func thumbProgram(main string) string {
	return "\t.syntax unified\n\t.fpu vfpv4-d16\n\t.thumb\n" + thumbFunction(panicBounds, "\tpush {r7, lr}\n\tmov r7, sp\n\tbl rust_begin_unwind") +
		thumbFunction("rust_begin_unwind", "1:\tb 1b\n\tnop") + thumbFunction("other", "\tbx lr") + thumbFunction("main", main) +
		"\t.section .rodata..Lanon.l,\"a\",%progbits\nplace: .word 2\n" + strings.ReplaceAll(rustc, "@", "%")
}

// trimFor trims objects of an architecture.
func trimFor(t *testing.T, triple string, trim Trim, source string) *Trimmed {
	t.Helper()
	l, err := NewLink(assembleFor(t, triple, source), Options{Wanted: map[string]bool{"main": true}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := l.Trim(trim)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Each body of main becomes the other one; none has more relocations.
func TestDeadEndsThumb(t *testing.T) {
	const address = "movw r2, :lower16:place\n movt r2, :upper16:place\n"
	const panic = "bl " + panicBounds + "\n"
	const live = "cmp r0, #4\n bhs 1f\n adds r0, #1\n bx lr\n"
	for _, tt := range []struct {
		name, was, is string // "" is as it was
		relocs        int    // that are left
	}{
		{"at the end", live + "1: " + address + panic, live + "1: udf #254", 0},
		{"two of them", live + "1: cbz r0, 2f\n" + address + panic + "2: movs r1, #1\n" + panic, live + "1: udf #254", 0},
		{"two by their own jumps", "cbz r0, 1f\n cmp r0, #9\n beq.w 2f\n bx lr\n 1: " + address + panic + "2: nop\n" + panic,
			"cbz r0, 1f\n cmp r0, #9\n beq.w 1f\n bx lr\n 1: udf #254", 0},
		{"by a far jump", "cbz r0, 1f\n b.w 2f\n 1: bx lr\n 3: nop\n" + panic + "2: nop\n" + panic, "cbz r0, 1f\n udf #254\n udf #254\n 1: bx lr", 0},
		{"in the middle", "cmp r0, #4\n blo 1f\n" + address + panic + "1: bx lr", "cmp r0, #4\n blo 1f\n .rept 6\n udf #254\n .endr\n 1: bx lr", 0},
		{"stored in the frame", "sub sp, #16\n cbz r0, 1f\n pop {r4, pc}\n 1: " + address + "str r2, [sp, #4]\n strd r2, r2, [sp, #8]\n add r0, sp, #4\n" + panic,
			"sub sp, #16\n cbz r0, 1f\n pop {r4, pc}\n 1: udf #254", 0},
		{"stored elsewhere", live + "1: " + address + "str r2, [r0]\n" + panic, live + "1: " + address + "str r2, [r0]\n udf #254", 2},
		{"stored elsewhere, far", live + "1: strb.w r2, [r0, #300]\n" + panic, live + "1: strb.w r2, [r0, #300]\n udf #254", 0},
		{"two stored elsewhere", live + "1: strd r2, r3, [r0, #8]\n" + panic, live + "1: strd r2, r3, [r0, #8]\n udf #254", 0},
		{"on another stack", live + "1: mov sp, r4\n str r2, [sp]\n" + panic, live + "1: mov sp, r4\n udf #254", 0},
		{"read elsewhere", live + "1: ldr r1, [r4]\n" + address + panic, live + "1: ldr r1, [r4]\n udf #254", 0},
		{"behind a call", live + "1: bl other\n" + address + panic, live + "1: bl other\n udf #254", 1},
		{"behind a call of itself", "0: cbz r0, 1f\n bx lr\n 1: bl 0b\n" + address + panic, "0: cbz r0, 1f\n bx lr\n 1: bl 0b\n udf #254", 0},
		{"a call of its inside", "cbz r0, 1f\n 0: bx lr\n 1: bl 0b\n" + address + panic, "", 3},
		{"behind a loop", live + "1: subs r1, #1\n bne 1b\n" + panic, live + "1: subs r1, #1\n bne 1b\n udf #254", 0},
		{"behind a host's call", live + "1: bkpt #0xab\n" + address + panic, live + "1: bkpt #0xab\n udf #254", 0},
		{"with interrupts masked", live + "1: cpsid i\n" + address + panic, live + "1: cpsid i\n udf #254", 0},
		{"with another stack", live + "1: ldr sp, [sp, #8]\n str r0, [sp]\n" + panic, live + "1: ldr sp, [sp, #8]\n udf #254", 0},
		{"with another stack, by a constant", "ldr.w sp, 2f\n cbz r0, 1f\n bx lr\n 1: nop\n nop\n" + panic + "\n .p2align 2\n 2: .word 9", "", 1},
		{"a return that checks where to", live + "1: nop\n " + panic + ".inst.w 0xfb51ff12\n" + panic, "", 2},
		{"a division first", live + "1: udiv r0, r0, r1\n" + address + panic, live + "1: udiv r0, r0, r1\n udf #254", 0},
		{"a jump out", "cbz r0, 1f\n bx lr\n 1: " + address + "b.w " + panicBounds, "cbz r0, 1f\n bx lr\n 1: udf #254", 0},
		{"on a condition", live + "1: itt eq\n moveq r1, #1\n movweq r2, :lower16:place\n movt r2, :upper16:place\n" + panic, live + "1: udf #254", 0},
		{"a panic on a condition", "cmp r0, #4\n it hs\n blhs " + panicBounds + "\n bx lr", "", 1},
		{"a jump on a condition", "cmp r0, #4\n it hs\n bhs.w 1f\n bx lr\n 1: " + address + panic, "cmp r0, #4\n it hs\n bhs.w 1f\n bx lr\n 1: udf #254", 0},
		{"a jump behind something on its condition", live + "1: itt eq\n ldreq r1, [r4]\n beq.w 2f\n" + panic + "2: nop\n" + panic, live + "1: itt eq\n ldreq r1, [r4]\n beq.w 2f\n 2: udf #254", 0},
		{"a trap of its own", live + "1: " + address + "udf #254\n 2: bl " + panicBounds, live + "1: " + address + "udf #254", 2},
		{"by a table", "cmp r0, #3\n tbb [pc, r0]\n 3: .byte (1f-3b)/2, (2f-3b)/2, (4f-3b)/2, 0\n 1: bx lr\n 4: nop\n" + panic + "2: " + address + panic,
			"cmp r0, #3\n tbb [pc, r0]\n 3: .byte (1f-3b)/2, (2f-3b)/2, (2f-3b)/2, 0\n 1: bx lr\n 2: udf #254", 0},
		{"by a table of halves", "tbh [pc, r0, lsl #1]\n 3: .short (1f-3b)/2, (2f-3b)/2\n 1: bx lr\n 4: nop\n" + panic + "2: " + address + panic,
			"tbh [pc, r0, lsl #1]\n 3: .short (1f-3b)/2, (2f-3b)/2\n 1: bx lr\n 2: udf #254", 0},
		{"a constant that only it reads", "cbz r0, 1f\n ldr r0, 2f\n bx lr\n 1: ldr r2, 3f\n" + panic + "\n .p2align 2\n 2: .word 9\n 3: .word place",
			"cbz r0, 1f\n ldr r0, 2f\n bx lr\n 1: udf #254\n udf #254\n udf #254\n .p2align 2\n 2: .word 9", 0},
		{"a double that something reads, too", "vldr d0, 2f\n cbz r0, 1f\n bx lr\n 1: vldr d1, 2f\n" + panic + "\n .p2align 2\n 2: .word 9, 9",
			"vldr d0, 2f\n cbz r0, 1f\n bx lr\n 1: .rept 4\n udf #254\n .endr\n .p2align 2\n 2: .word 9, 9", 0},
		{"code that knows its place", "adr r1, 1f\n bx r1\n .p2align 2\n 1: " + address + panic, "", 3},
		{"code that jumps by its place", "add pc, r0\n bx lr\n" + address + panic, "", 3},
		{"a jump by a table of addresses", "ldr.w pc, [r1, r0, lsl #2]\n bx lr\n" + address + panic, "", 3},
	} {
		was := trimFor(t, "thumbv7em-none-eabihf", Trim{}, thumbProgram(tt.was))
		x := trimFor(t, "thumbv7em-none-eabihf", Trim{Trap: true}, thumbProgram(tt.was))
		i, cut := x.sectionNamed(t, 0, ".text.main")
		want := was.Files[0].Bytes(i)
		if tt.is != "" {
			is := trimFor(t, "thumbv7em-none-eabihf", Trim{}, thumbProgram(tt.is))
			want = is.Files[0].Bytes(i)
		}
		f := x.Files[0]
		if got := f.Bytes(i); string(got) != string(want) || (cut == CutEnds) != (tt.is != "") || f.Relocs(i).Len() != tt.relocs {
			t.Errorf("%s: cut %d, %x with %d relocations, want %x with %d", tt.name, cut, got, f.Relocs(i).Len(), want, tt.relocs)
		}
		for k := range f.NumSymbols {
			if s := f.Symbol(k); f.NameOf(&s) == "main" && s.Size != uint64(len(want)) || s.Section == i && s.Value > uint64(len(want)) {
				t.Errorf("%s: %s at %d of %d has size %d", tt.name, f.NameOf(&s), s.Value, len(want), s.Size)
			}
		}
	}
}

// What is nothing but a dead end is a trap to its callers, but not what only
// calls itself or each other.
func TestDeadEndsAcross(t *testing.T) {
	source := thumbProgram("bl outer\n bl first\n bx lr") +
		thumbFunction("inner", "push {r7, lr}\n movw r0, :lower16:place\n movt r0, :upper16:place\n bl "+panicBounds) +
		thumbFunction("outer", "push {r4, lr}\n bl inner\n bl other") +
		thumbFunction("first", "push {r4, lr}\n bl second\n bl "+panicBounds) +
		thumbFunction("second", "push {r4, lr}\n bl first\n bl "+panicBounds) +
		thumbFunction("entered", "cbz r0, 1f\n bx lr\n nop\n 1: nop\n bl "+panicBounds) +
		thumbFunction("amid", "cbz r0, 1f\n bx lr\n nop\n 1: nop\n bl "+panicBounds) +
		thumbFunction("two", "cbz r0, 1f\n bx lr\n .globl inside\n .type inside,%function\n .thumb_func\n inside: 1: nop\n bl "+panicBounds) +
		"\t.section .data.t,\"aw\",%progbits\n\t.word entered + 6, amid + 10\n"
	for range 2 {
		x := trimFor(t, "thumbv7em-none-eabihf", Trim{Trap: true}, source)
		for _, tt := range []struct {
			name string
			cut  Cut
			size int
		}{
			{"inner", CutEnds, 2}, {"outer", CutEnds, 2}, {"first", CutEnds, 8}, {"second", CutEnds, 8},
			{"main", CutEnds, 2}, {"entered", CutEnds, 8}, {"amid", CutNone, 12}, {"two", CutNone, 10}, {"other", CutNone, 2},
		} {
			i, cut := x.sectionNamed(t, 0, ".text."+tt.name)
			if got := x.Files[0].Bytes(i); cut != tt.cut || len(got) != tt.size {
				t.Errorf("%s: cut %d, %x", tt.name, cut, got)
			}
		}
	}
}

// Branches of each form go where they are told, or say that they can't.
func TestThumbRetarget(t *testing.T) {
	for _, tt := range []struct {
		name string
		code string // at 0x100, little-endian
		size uint32
		to   uint32
		want string // "" if it does not reach
	}{
		{"cbz", "\x00\xb1", 2, 0x104, "\x00\xb1"},
		{"cbnz", "\x05\xb9", 2, 0x182, "\xfd\xbb"},
		{"cbz backwards", "\x00\xb1", 2, 0x102, ""},
		{"cbz too far", "\x00\xb1", 2, 0x184, ""},
		{"beq", "\x00\xd0", 2, 0x102, "\xff\xd0"},
		{"beq far", "\x00\xd0", 2, 0x202, "\x7f\xd0"},
		{"beq too far", "\x00\xd0", 2, 0x204, ""},
		{"b", "\x00\xe0", 2, 0x902, "\xff\xe3"},
		{"b too far", "\x00\xe0", 2, 0x904, ""},
		{"beq.w", "\x00\xf0\x00\x80", 4, 0x104, "\x00\xf0\x00\x80"},
		{"beq.w far", "\x00\xf0\x00\x80", 4, 0x100102, "\x3f\xf0\xff\xaf"},
		{"beq.w too far", "\x00\xf0\x00\x80", 4, 0x100104, ""},
		{"b.w", "\x00\xf0\x00\xb8", 4, 0x100, "\xff\xf7\xfe\xbf"},
		{"b.w far", "\x00\xf0\x00\xb8", 4, 0x1000102, "\xff\xf3\xff\x97"},
	} {
		code := make([]byte, 0x104)
		copy(code[0x100:], tt.code)
		in := instruction{at: 0x100, size: tt.size}
		ok := thumbRetarget(code, &in, tt.to)
		if ok != (tt.want != "") || ok && string(code[0x100:0x100+tt.size]) != tt.want {
			t.Errorf("%s: %x, %v", tt.name, code[0x100:], ok)
		}
		if typ := map[uint32]uint32{2: 102, 4: 30}[tt.size]; ok && tt.code[1]>>4 == 0xe || ok && tt.name[:3] == "b.w" {
			// The object reader's own decoder says the same.
			if a, _ := objfile.ArchOf(objfile.EM_ARM).Addend(code[0x100:], typ); a+0x104 != int64(tt.to) {
				t.Errorf("%s: leads to 0x%x", tt.name, a+0x104)
			}
		}
	}
}
