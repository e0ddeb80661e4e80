package merge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"leanlink/objfile"
)

// A mergeable section whose entries claim to be larger than it, or than any
// number with a sign, has none.
func TestEntriesLargerThanTheirSection(t *testing.T) {
	for _, entry := range []uint64{0, 17, 1 << 62, 1 << 63, 1<<64 - 1} {
		files := assemble(t, callers("f", "g")+fn("f", "lea k(%rip),%rax\n"+work)+fn("g", "lea k+8(%rip),%rax\n"+work)+section(".rodata.cst16,\"aM\",@progbits,16", "k: .quad 1,2")+rustc)
		b := bytes.Clone(files[0].Data)
		headers := binary.LittleEndian.Uint64(b[0x28:])
		for i := range files[0].Sections {
			if files[0].Sections[i].Name == ".rodata.cst16" {
				binary.LittleEndian.PutUint64(b[headers+64*uint64(i)+56:], entry)
			}
		}
		f, err := objfile.Parse("a.o", b)
		if err != nil {
			t.Fatal(err)
		}
		if p := planOf(t, Options{Mode: ModeAll}, f); p.together(t, "f", "g") {
			t.Errorf("entries of %#x bytes: functions that use different constants fold", entry)
		}
	}
}

// A group of very many sections, each of which keeps all the others, takes no
// time of its square.
func TestGroupOfMany(t *testing.T) {
	const n = 60_000
	var b strings.Builder
	b.WriteString(callers("f0"))
	for i := range n {
		fmt.Fprintf(&b, ".section .text.f%d,\"axG\",@progbits,all,comdat\nf%d: ret\n", i, i)
	}
	files := assemble(t, b.String()+rustc)
	start := time.Now()
	p := planOf(t, Options{Mode: ModeAll}, files...)
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("%v", d)
	}
	if got := p.state(t, "a:.text.f59999"); got != "kept" {
		t.Errorf("a section of a group that is kept is %s", got)
	}
}

// What has no bytes in the file is no vtable, whatever size it claims: no
// memory is asked for by that.
func TestVtableWithoutBytes(t *testing.T) {
	vtable := section(".data.rel.ro..Lanon.v,\"aw\"", ".balign 8\n.Lanon.v: .quad 0,16,8,f")
	files := assemble(t, callers("f")+section(".data.u,\"aw\"", ".globl u\nu: .quad .Lanon.v")+vtable+fn("f", work)+rustc)
	files[0] = retyped(t, files[0], ".data.rel.ro..Lanon.v", objfile.SHT_NOBITS)
	files[0] = retyped(t, files[0], ".rela.data.rel.ro..Lanon.v", objfile.SHT_PROGBITS)
	b := bytes.Clone(files[0].Data)
	headers := binary.LittleEndian.Uint64(b[0x28:])
	for i := range files[0].Sections {
		if files[0].Sections[i].Name == ".data.rel.ro..Lanon.v" {
			binary.LittleEndian.PutUint64(b[headers+64*uint64(i)+32:], 1<<50)
		}
	}
	f, err := objfile.Parse("a.o", b)
	if err != nil {
		t.Fatal(err)
	}
	planOf(t, Options{Mode: ModeAll, KeepAll: true}, f)
}

// An object whose relocations lead nowhere is left alone, with the place for a
// reason, and all that it may want stays. The real linker says what it thinks.
func TestDamagedObject(t *testing.T) {
	framed := ".section .text.f,\"ax\",@progbits\n.globl f\n.type f,@function\nf: .cfi_startproc\ncall g\n" + work + "\n.cfi_endproc\n.size f,.-f\n"
	for _, tt := range []struct {
		name, section string
		at            uint64 // of the field in the relocation
		value         uint32
		reason        string
	}{
		{"a reference to no symbol", ".rela.text.f", 12, 0xffffff, "b.o: section .text.f: offset 0x1: a relocation names a symbol that does not exist"},
		{"a frame entry of no symbol", ".rela.eh_frame", 12, 99, "b.o: section .eh_frame: offset 0x20: a relocation names a symbol that does not exist"},
		{"a reference behind the section", ".rela.text.f", 0, 4096, "b.o: section .text.f: offset 0x1000: a relocation lies outside its section"},
		{"a frame entry behind the section", ".rela.eh_frame", 0, 1 << 30, "b.o: section .eh_frame: offset 0x40000000: a relocation lies outside its section"},
	} {
		files := assemble(t, callers("f"), framed+rustc, fn("g", work)+fn("h", work)+rustc)
		b := bytes.Clone(files[1].Data)
		found := false
		for i := range files[1].Sections {
			if s := &files[1].Sections[i]; s.Name == tt.section {
				binary.LittleEndian.PutUint32(b[s.Offset+tt.at:], tt.value)
				found = true
			}
		}
		if !found {
			t.Fatalf("%s: there is no %s", tt.name, tt.section)
		}
		damaged, err := objfile.Parse("b.o", b)
		if err != nil {
			t.Fatal(err)
		}
		files[1] = damaged
		for _, keepAll := range []bool{false, true} {
			p := planOf(t, Options{Mode: ModeAll, KeepAll: keepAll}, files...)
			if got := p.Link.Objects[1].Reason; got != tt.reason {
				t.Errorf("%s: left alone because of %q, want %q", tt.name, got, tt.reason)
			}
			for _, name := range []string{"f", "g"} {
				if got := p.state(t, name); got != "kept" {
					t.Errorf("%s: %s is %s", tt.name, name, got)
				}
			}
			if e, err := p.Edit(1, new(objfile.Scratch)); e != nil || err != nil {
				t.Errorf("%s: the object is edited: %v", tt.name, err)
			}
		}
	}
}
