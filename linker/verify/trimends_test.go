package verify

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// thumbObject assembles functions, each in a section of its own, by name and body. The symbols have the order in which
// they come first, whichever of them the bodies refer to; main, outer and inner have relocations, be it none.
func thumbObject(t *testing.T, functions ...[2]string) []byte {
	t.Helper()
	as := need(t, "arm-none-eabi-as")
	b := &strings.Builder{}
	b.WriteString("\t.syntax unified\n\t.thumb\n\t.cpu cortex-m4\n\t.data\n\t.word place, core_panic, other, outer, inner, unknown\n")
	for _, f := range functions {
		b.WriteString("\t.section .text." + f[0] + ",\"ax\",%progbits\n\t.p2align 1\n\t.globl " + f[0] + "\n\t.type " + f[0] + ",%function\n\t.thumb_func\n" + f[0] + ":\n" + f[1] + "\n")
		if f[0] == "main" || f[0] == "outer" || f[0] == "inner" {
			b.WriteString("\t.section .text." + f[0] + "\n\tbl other\n") // which is taken away again
		}
	}
	b.WriteString("\t.section .rodata.p,\"a\",%progbits\nplace: .word 2\n")
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path+".s", []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Dir(path), as, "-o", "a.o", "a.s")
	o, err := os.ReadFile(path + ".o")
	if err != nil {
		t.Fatal(err)
	}
	return dropLast(t, o, 4, "main", "outer", "inner")
}

// dropLast takes the last bytes of functions away, with the last relocation: a call that is there so that they have
// relocations, be it none.
func dropLast(t *testing.T, o []byte, bytesOf uint64, functions ...string) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(o))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		_, name, _ := strings.Cut(s.Name, ".text.")
		if !slices.Contains(functions, name) {
			continue
		}
		size := s.Size - bytesOf
		if s.Type == elf.SHT_REL || s.Type == elf.SHT_RELA {
			size = s.Size - s.Entsize
		}
		if f.Class == elf.ELFCLASS32 {
			binary.LittleEndian.PutUint32(o[int(binary.LittleEndian.Uint32(o[32:]))+40*i+20:], uint32(size))
		} else {
			binary.LittleEndian.PutUint64(o[int(binary.LittleEndian.Uint64(o[40:]))+64*i+32:], size)
		}
	}
	return o
}

const (
	thumbTrap    = "udf #254\n"
	thumbAddress = "movw r2, :lower16:place\n movt r2, :upper16:place\n"
	thumbLive    = "cmp r0, #4\n bhs 1f\n adds r0, #1\n bx lr\n"
)

// thumbClaim is that core_panic is a trap, and main and what else is named have lost dead ends.
func thumbClaim(t *testing.T, was, is []byte, also ...string) []string {
	cuts := map[string]CutKind{".text.core_panic": CutTrap, ".text.main": CutEnds}
	for _, name := range also {
		cuts[".text."+name] = CutEnds
	}
	return proveOneOf(t, arm32, 4, was, is, cuts)
}

func TestProveEndsThumb(t *testing.T) {
	const panic = "bl core_panic\n"
	source := func(panics, body string) []byte {
		return thumbObject(t, [2]string{"core_panic", panics}, [2]string{"other", "bx lr"}, [2]string{"main", body})
	}
	for _, tt := range []struct{ name, was, is, want string }{
		{"the end", thumbLive + "1: " + thumbAddress + panic, thumbLive + "1: " + thumbTrap, ""},
		{"nothing yet", thumbLive + "1: " + thumbAddress + panic, thumbLive + "1: " + thumbAddress + panic, ""},
		{"the middle", "cbz r0, 1f\n" + thumbAddress + panic + "1: bx lr", "cbz r0, 1f\n .rept 6\n udf #254\n .endr\n 1: bx lr", ""},
		{"two ends", thumbLive + "1: cbz r0, 2f\n" + panic + "2: movs r1, #1\n" + panic, thumbLive + "1: " + thumbTrap, ""},
		{"two jumps", "cbz r0, 1f\n cmp r0, #9\n beq.w 2f\n bx lr\n 1: " + panic + "2: nop\n" + panic, "cbz r0, 1f\n cmp r0, #9\n beq.w 1f\n bx lr\n 1: " + thumbTrap, ""},
		{"nothing goes there", "cbz r0, 1f\n b.w 2f\n 1: bx lr\n 2: nop\n" + panic, "cbz r0, 1f\n udf #254\n udf #254\n 1: bx lr\n", ""},
		{"the frame", thumbLive + "1: str r2, [sp, #4]\n push {r1}\n" + panic, thumbLive + "1: " + thumbTrap, ""},
		{"a store", thumbLive + "1: str r2, [r0]\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a store behind the frame", thumbLive + "1: mov sp, r4\n str r2, [sp]\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a store that stays", thumbLive + "1: str r2, [r0]\n" + thumbAddress + panic, thumbLive + "1: str r2, [r0]\n " + thumbTrap, ""},
		{"a load", thumbLive + "1: ldrb r2, [r0, r1]\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a load of two words", thumbLive + "1: ldrd r2, r3, [r0, #8]\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a call", thumbLive + "1: bl other\n" + panic, thumbLive + "1: " + thumbTrap, "goes on elsewhere"},
		{"a call of the host", thumbLive + "1: bkpt #0xab\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"another stack by a load", thumbLive + "1: ldr sp, [sp, #8]\n str r0, [sp]\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"another stack by a constant", "ldr.w sp, 2f\n cbz r0, 1f\n bx lr\n 1: nop\n" + panic + " .p2align 2\n 2: .word 9", "ldr.w sp, 2f\n cbz r0, 1f\n bx lr\n 1: udf #254\n udf #254\n udf #254\n .p2align 2\n 2: .word 9", "is not understood"},
		{"a return that checks where to", thumbLive + "1: nop\n .inst.w 0xfb51ff12\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen, or is not understood"},
		{"interrupts", thumbLive + "1: cpsid i\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a special register", thumbLive + "1: msr primask, r0\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a division", thumbLive + "1: sdiv r0, r1, r2\n" + panic, thumbLive + "1: " + thumbTrap, "may be seen"},
		{"a return", thumbLive + "1: pop {r4, pc}\n" + panic, thumbLive + "1: " + thumbTrap, "goes where it is not known"},
		{"a call of what is no trap", thumbLive + "1: bl other\n", thumbLive + "1: " + thumbTrap, "goes on elsewhere"},
		{"a call of what is not known", thumbLive + "1: bl unknown\n", thumbLive + "1: " + thumbTrap, "goes on elsewhere"},
		{"a trap of its own", thumbLive + "1: movs r0, #1\n udf #254", thumbLive + "1: " + thumbTrap, "goes where it is not known"},
		{"a loop", thumbLive + "1: b 1b", thumbLive + "1: " + thumbTrap, "is a loop"},
		{"one way out", thumbLive + "1: cbz r1, 2f\n" + panic + "2: bx lr", thumbLive + "1: " + thumbTrap, "goes where it is not known"},
		{"on a condition", thumbLive + "1: itt eq\n moveq r1, #1\n moveq r2, #1\n" + panic, thumbLive + "1: " + thumbTrap, ""},
		{"a panic on a condition", thumbLive + "1: it eq\n bleq core_panic\n bx lr", thumbLive + "1: " + thumbTrap, "goes where it is not known"},
		{"a jump on a condition", "cmp r0, #4\n it hs\n bhs.w 1f\n bx lr\n 1: nop\n" + panic, "cmp r0, #4\n it hs\n bhs.w 1f\n bx lr\n 1: " + thumbTrap, ""},
		{"a trap on a condition", "cmp r0, #4\n it hs\n movhs r0, #1\n nop\n" + panic, "cmp r0, #4\n it hs\n udf #254\n nop\n" + panic, "is fede, was 0120"},
		{"other code", thumbLive + "1: " + panic, strings.Replace(thumbLive, "#1", "#2", 1) + "1: " + thumbTrap, "is 0230, was 0130"},
		{"another condition", thumbLive + "1: nop\n nop\n" + panic, strings.Replace(thumbLive, "bhs", "bhi", 1) + "1: " + thumbTrap, "is 01d8, was 01d2"},
		{"another register", "cbz r0, 1f\n bx lr\n nop\n 1: nop\n nop\n" + panic, "cbz r1, 1f\n bx lr\n 1: " + thumbTrap, "is 01b1, was 08b1"},
		{"a jump to what is no trap", thumbLive + "1: nop\n nop\n nop\n" + panic, "cmp r0, #4\n bhs 1f\n adds r0, #1\n 1: bx lr\n" + thumbTrap, "was 01d2"},
		{"a jump that was no dead end", "cbz r0, 1f\n nop\n bx lr\n 1: movs r0, #1\n bx lr", "cbz r0, 1f\n nop\n bx lr\n 1: " + thumbTrap, "goes where it is not known"},
		{"an address of live code", thumbAddress + thumbLive + "1: " + panic, "movw r2, #0\n movt r2, #0\n" + thumbLive + "1: " + thumbTrap, "lost a relocation"},
		{"a call of live code", "bl other\n" + thumbLive + "1: " + panic, "bl outer\n" + thumbLive + "1: " + thumbTrap, "another relocation"},
		{"behind the end", "cbz r0, 1f\n nop\n bx lr\n 1: nop\n" + panic, "cbz r0, 1f\n nop\n bx lr\n 1:", "goes on behind the end"},
		{"falls behind the end", "cbz r0, 1f\n bx lr\n 1: str r1, [r0]\n" + panic, "cbz r0, 1f\n bx lr\n 1: str r1, [r0]\n", "goes on behind the end"},
		{"no trap in what is dead", "b 1f\n" + panic + "1: bx lr", "b 1f\n nop\n nop\n 1: bx lr", "which is no trap"},
		{"more", thumbLive + "1: " + panic, thumbLive + "1: " + panic + "nop", "no more than there was"},
		{"its own place", "adr r1, 1f\n bx r1\n .p2align 2\n 1: nop\n" + panic, "adr r1, 1f\n bx r1\n .p2align 2\n 1: " + thumbTrap, "is not understood"},
		{"a place of its own", "add pc, r0\n bx lr\n" + panic, "add pc, r0\n bx lr\n" + thumbTrap, "is not understood"},
		{"a table of addresses", "ldr.w pc, [r1, r0, lsl #2]\n bx lr\n" + panic, "ldr.w pc, [r1, r0, lsl #2]\n bx lr\n" + thumbTrap, "is not understood"},
	} {
		got := strings.Join(thumbClaim(t, source("nop\n nop", tt.was), source(thumbTrap, tt.is)), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || tt.want != "" && !strings.Contains(got, "section .text.main") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// Not if the panic is none.
	was, is := source("nop", thumbLive+"1: bl core_panic"), source("nop", thumbLive+"1: udf #254")
	if got := proveOneOf(t, arm32, 4, was, is, map[string]CutKind{".text.main": CutEnds}); len(got) != 1 || !strings.Contains(got[0], "goes on elsewhere") {
		t.Errorf("%q", got)
	}
}

// Constants and tables amid the code.
func TestProveEndsThumbData(t *testing.T) {
	source := func(panics, body string) []byte {
		return thumbObject(t, [2]string{"core_panic", panics}, [2]string{"other", "bx lr"}, [2]string{"main", body})
	}
	const table = "tbb [pc, r0]\n 3: .byte (1f-3b)/2, (ENTRY-3b)/2\n 1: bx lr\n 2: nop\n bl core_panic\n 4: bx lr"
	trapped := strings.Replace(table, "nop\n bl core_panic", ".rept 3\n udf #254\n .endr", 1)
	const pool = "cbz r0, 1f\n ldr r0, 2f\n bx lr\n 1: ldr r2, 3f\n bl core_panic\n .p2align 2\n 2: .word NINE\n 3: .word PLACE\n 5: bx lr"
	empty := strings.Replace(pool, "1: ldr r2, 3f\n bl core_panic", "1: .rept 3\n udf #254\n .endr", 1)
	in := func(s string, values ...string) string { return strings.NewReplacer(values...).Replace(s) }
	for _, tt := range []struct{ name, was, is, want string }{
		{"a table", in(table, "ENTRY", "2f"), in(trapped, "ENTRY", "2f"), ""},
		{"an entry to a trap", in(table, "ENTRY", "2f+2"), in(trapped, "ENTRY", "2f"), ""},
		{"an entry to something else", in(table, "ENTRY", "4f"), in(trapped, "ENTRY", "2f"), "goes where it is not known"},
		{"an entry to no trap", in(table, "ENTRY", "2f"), in(trapped, "ENTRY", "4f"), "jumps by a table to"},
		{"a constant that nothing reads", in(pool, "NINE", "9", "PLACE", "place"), in(empty, "NINE", "9", "PLACE", "0"), ""},
		{"that is no zero", in(pool, "NINE", "9", "PLACE", "place"), in(empty, "NINE", "9", "PLACE", "1"), "which is no trap"},
		{"a constant that is read", in(pool, "NINE", "9", "PLACE", "place"), in(empty, "NINE", "0", "PLACE", "place"), "reads what is 00000000, was 09000000"},
		{"an address that is read", in(pool, "NINE", "place", "PLACE", "place"), in(empty, "NINE", "0", "PLACE", "place"), "reads what lost a relocation"},
	} {
		got := strings.Join(thumbClaim(t, source("nop\n nop", tt.was), source(thumbTrap, tt.is)), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A function that is nothing but a dead end is a trap to others, in whatever order they come; what calls in a circle is
// none.
func TestProveEndsAcross(t *testing.T) {
	object := func(panics, outer, inner, main string) []byte {
		return thumbObject(t, [2]string{"core_panic", panics}, [2]string{"other", "bx lr"}, [2]string{"main", main}, [2]string{"outer", outer}, [2]string{"inner", inner})
	}
	const main = "cbz r0, 1f\n bx lr\n 1: bl outer"
	for _, tt := range []struct {
		name, outer, inner string
		entered            string
		want               string
	}{
		{"nested", "push {lr}\n bl inner", "push {lr}\n bl core_panic", "", ""},
		{"in a circle", "push {lr}\n bl inner", "push {lr}\n bl outer", "", "goes on elsewhere"},
		{"entered amid", "push {lr}\n bl inner", "push {lr}\n bl core_panic", "\n .data\n .word main + 5", "goes on behind the end"},
	} {
		was := object("nop", tt.outer, tt.inner, main+tt.entered)
		is := object(thumbTrap, thumbTrap, thumbTrap, "cbz r0, 1f\n bx lr\n 1: "+thumbTrap+tt.entered)
		if tt.entered != "" {
			is = object(thumbTrap, thumbTrap, thumbTrap, "udf #254\n udf #254"+tt.entered)
		}
		got := strings.Join(thumbClaim(t, was, is, "outer", "inner"), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Each bit of trimmed code matters.
func TestProveEndsMutated(t *testing.T) {
	source := func(panics, body string) []byte {
		return thumbObject(t, [2]string{"core_panic", panics}, [2]string{"other", "bx lr"}, [2]string{"main", body})
	}
	const head = "b 9f\n nop\n 5: .word 0x11223344\n 9: push {r4, lr}\n cmp r0, #4\n bhs 1f\n cmp r0, #1\n bne 4f\n "
	const tail = "4: ldr.w r0, 5b\n bl other\n it eq\n moveq r1, #3\n tbb [pc, r1]\n 3: .byte (6f-3b)/2, (ENTRY-3b)/2\n 6: pop {r4, pc}\n "
	was := source("nop", head+thumbAddress+"bl core_panic\n"+strings.Replace(tail, "ENTRY", "7f", 1)+"1: "+thumbAddress+"b.w core_panic\n 7: str r2, [sp]\n bl core_panic")
	is := source(thumbTrap, head+".rept 6\n udf #254\n .endr\n "+strings.Replace(tail, "ENTRY", "1f", 1)+"1: "+thumbTrap)
	// The branch at 0xc may go to the other trap.
	if got := unseenFlips(t, arm32, 4, was, is); !slices.Equal(got, []int{8*0xc + 4}) {
		t.Errorf("unseen: %v", got)
	}
}

// unseenFlips lists the bits of main that can be another without being noticed.
func unseenFlips(t *testing.T, arch *arch, word uint64, was, is []byte) []int {
	t.Helper()
	cuts := map[string]CutKind{".text.core_panic": CutTrap, ".text.main": CutEnds}
	if got := proveOneOf(t, arch, word, was, is, cuts); len(got) > 0 {
		t.Fatalf("%q", got)
	}
	o, err := readObject(&Object{Name: "a.o", Data: is}, 0, arch)
	if err != nil {
		t.Fatal(err)
	}
	var unseen []int
	flipped := 0
	for _, s := range o.sections {
		if s.name != ".text.main" {
			continue
		}
		at := bytes.Index(is, s.data)
		for k := range 8 * len(s.data) {
			b := bytes.Clone(is)
			b[at+k/8] ^= 1 << (k % 8)
			flipped++
			if got := proveOneOf(t, arch, word, was, b, cuts); len(got) == 0 {
				unseen = append(unseen, k)
			}
		}
	}
	if flipped < 250 {
		t.Errorf("%d bits flipped", flipped)
	}
	return unseen
}

// Only an exception index may be left out, and nothing else of it changes.
func TestProveIndexLeftOut(t *testing.T) {
	source := func(index, flags string) []byte {
		return thumbObject(t, [2]string{"main", "nop\n .data\n .section " + index + ",\"" + flags + "\",%0x70000001\n .word 1, 2\n"})
	}
	const allocated, leftOut = "a", "e"
	for _, tt := range []struct {
		name    string
		was, is []byte
		want    string
	}{
		{"left out", source(".ARM.exidx.text.main", allocated), source(".ARM.exidx.text.main", leftOut), ""},
		{"written, too", source(".ARM.exidx.text.main", allocated), source(".ARM.exidx.text.main", "we"), "changed the section's header"},
		{"of another name", source(".other", allocated), source(".other", leftOut), "changed the section's header"},
		{"still there", source(".ARM.exidx.text.main", allocated), source(".ARM.exidx.text.main", allocated), "should be an empty frame table"},
	} {
		got := strings.Join(proveOneOf(t, arm32, 4, tt.was, tt.is, map[string]CutKind{".ARM.exidx.text.main": CutFrames, ".other": CutFrames}), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
