package merge

import (
	"slices"
	"strings"
	"testing"

	"leanlink/objfile"
)

// trimOf trims a link whose entry is main.
func trimOf(t *testing.T, trim Trim, sources ...string) (*Link, *Trimmed) {
	t.Helper()
	l, err := NewLink(assemble(t, sources...), Options{Wanted: map[string]bool{"main": true}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.Trim(trim)
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

// sectionNamed is a section of a trimmed object, and what was cut from it.
func (x *Trimmed) sectionNamed(t *testing.T, object int, name string) (uint32, Cut) {
	t.Helper()
	for i := range x.Files[object].Sections {
		if x.Files[object].Sections[i].Name == name {
			if x.Cuts[object] == nil {
				return uint32(i), CutNone
			}
			return uint32(i), x.Cuts[object][i]
		}
	}
	t.Fatalf("no section %s", name)
	return 0, 0
}

const panicFmtName = "_RNvNtCsgEmfK2I1SDS_4core9panicking9panic_fmt"

const trapProgram = `
	.section .text.main,"ax",@progbits
	.globl main
	.type main,@function
main:	call ` + panicFmtName + `@PLT
	ret
	.byte 6 # no instruction, so that its dead end stays
	.section .text.` + panicFmtName + `,"ax",@progbits
	.p2align 4
	.globl ` + panicFmtName + `
	.type ` + panicFmtName + `,@function
` + panicFmtName + `:
	.cfi_startproc
	.cfi_personality 0x9b,DW.ref.rust_eh_personality
	.cfi_lsda 0x1b,.Lexception
	pushq %rbx
	.cfi_def_cfa_offset 16
	leaq message(%rip), %rdi
	call hook
	popq %rbx
	ret
	.cfi_endproc
	.size ` + panicFmtName + `, .-` + panicFmtName + `
	.section .gcc_except_table.x,"a",@progbits
.Lexception:
	.byte 0xff, 0xff, 1, 0
	.section .rodata.message,"a",@progbits
message: .asciz "text"
	.section .text.hook,"ax",@progbits
	.globl hook
	.type hook,@function
hook:	nop
	ret
	.section .text.own,"ax",@progbits
	.globl rust_panic
	.type rust_panic,@function
own:	ret
	.globl _ZN2my9panicking9panic_fmt17h0123456789abcdefE
	.type _ZN2my9panicking9panic_fmt17h0123456789abcdefE,@function
_ZN2my9panicking9panic_fmt17h0123456789abcdefE:	ret
	.section .data.DW.ref.rust_eh_personality,"aw",@progbits
	.globl DW.ref.rust_eh_personality
DW.ref.rust_eh_personality: .quad 0
`

func TestTrap(t *testing.T) {
	_, x := trimOf(t, Trim{Trap: true}, trapProgram+rustc)
	i, cut := x.sectionNamed(t, 0, ".text."+panicFmtName)
	f := x.Files[0]
	if cut != CutTrap || string(f.Bytes(i)) != "\x0f\x0b" || f.Relocs(i).Len() != 0 || f.Sections[i].Align != 1 {
		t.Fatalf("cut %d: %x, %d relocations, alignment %d", cut, f.Bytes(i), f.Relocs(i).Len(), f.Sections[i].Align)
	}
	for _, name := range []string{".text.main", ".text.hook", ".text.own"} {
		if _, cut := x.sectionNamed(t, 0, name); cut != CutNone {
			t.Errorf("%s was cut", name)
		}
	}
	// The symbol is as long as the trap, and so is the frame entry, which
	// names nothing else.
	l, err := NewLink(x.Files, Options{Wanted: map[string]bool{"main": true}})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Objects[0]
	if o.Reason != "" {
		t.Fatal(o.Reason)
	}
	for _, k := range o.Symbols(i) {
		if s := f.Symbol(k); s.Type == objfile.STT_FUNC && s.Size != 2 {
			t.Errorf("%s has %d bytes", f.SymbolName(k), s.Size)
		}
	}
	refs := o.framesOf(i)
	if len(refs) != 1 {
		t.Fatalf("%d frame entries", len(refs))
	}
	eh := o.frames[refs[0].frame]
	fde := eh.FDEs[refs[0].fde]
	if fde.Range != 2 || strings.Trim(string(f.Bytes(eh.Section)[fde.InstrOff():fde.End()]), "\x00") != "" {
		t.Errorf("the frame entry covers %d bytes and has rows", fde.Range)
	}
	// Nothing reaches what only fed the panic.
	p, err := l.Make()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Fate{".text.hook": FateDropped, ".rodata.message": FateDropped, ".gcc_except_table.x": FateDropped, ".text.main": FateKept} {
		i, _ := x.sectionNamed(t, 0, name)
		if got := p.Fate[o.Base+SecID(i)]; got != want {
			t.Errorf("%s: fate %d, want %d", name, got, want)
		}
	}
	// Object b has no panic; it is the very file that came in.
	l, x = trimOf(t, Trim{Trap: true}, trapProgram+rustc, ".text\n ret\n"+rustc)
	if x.Files[1] != l.Objects[1].File || x.Cuts[1] != nil {
		t.Error("an object in which nothing was cut is another")
	}
}

func TestTrapRefused(t *testing.T) {
	for _, tt := range []struct{ name, source, want string }{
		{"unwinding", "\t.text\n call _Unwind_RaiseException@PLT\n" + rustc,
			`trim.panic: panics unwind in this program (a.o raises exceptions), and could be caught: build with panic = "abort"`},
		{"dynamic", "\t.text\n call _RNvCs6CGJPRvUn2O_7___rustc17rust_begin_unwind@PLT\n" + rustc,
			"trim.panic: the panic runtime is in a shared object (prefer-dynamic), which is not trimmed"},
		// An unwinder that is linked in and that no Rust code calls.
		{"C", "\t.text\n call _Unwind_RaiseException@PLT\n", ""},
	} {
		l, err := NewLink(assemble(t, tt.source), Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Trim(Trim{Trap: true})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A section with more than the entry point stays, and the trim says so.
func TestTrapNotAlone(t *testing.T) {
	source := strings.Replace(trapProgram, "\t.section .gcc_except_table", "other: ret\n.type other,@function\n\t.section .gcc_except_table", 1)
	_, x := trimOf(t, Trim{Trap: true}, source+rustc)
	if _, cut := x.sectionNamed(t, 0, ".text."+panicFmtName); cut != CutNone || !slices.Equal(x.Missing["trim.panic"], []string{"core::panicking::panic_fmt"}) {
		t.Errorf("cut %d, missing %q", cut, x.Missing)
	}
	// C code of that name is none of Rust's.
	if _, x := trimOf(t, Trim{Trap: true}, trapProgram); x.Traps != 0 || !slices.Equal(x.Missing["trim.panic"], []string{"core::panicking"}) {
		t.Errorf("%d traps, missing %q", x.Traps, x.Missing)
	}
}

// The standard library's release decides which names must be there.
func TestTrapMissing(t *testing.T) {
	files := assemble(t, trapProgram+rustc)
	files[0].Name = "/x/lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-0123456789abcdef.rlib(core.o)"
	l, err := NewLink(files, Options{Wanted: map[string]bool{"main": true}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := l.Trim(Trim{Trap: true})
	if err != nil {
		t.Fatal(err)
	}
	missing := x.Missing["trim.panic"]
	for name, want := range map[string]bool{
		"core::panicking::panic_fmt": false, "core::panicking::panic": true, "core::slice::index::slice_index_fail": true,
		"core::slice::index::slice_end_index_len_fail": false, "core::panicking::assert_failed": false, "alloc::alloc::handle_alloc_error": false,
	} {
		if slices.Contains(missing, name) != want {
			t.Errorf("%s missing: %v", name, !want)
		}
	}
	if !slices.IsSorted(missing) {
		t.Error("not sorted")
	}
}

func TestPanicPath(t *testing.T) {
	for symbol, want := range map[string]string{
		panicFmtName: "core::panicking::panic_fmt",
		"_ZN4core9panicking9panic_fmt17h0123456789abcdefE":                          "core::panicking::panic_fmt",
		"_ZN4core9panicking13assert_failed17h0123456789abcdefE":                     "core::panicking::assert_failed",
		"_RINvNtCsgEmfK2I1SDS_4core9panicking13assert_failedssECsjrHSEGnQ3l9_3std":  "core::panicking::assert_failed",
		"_RNvNvMs_NtCslNYArtu3iFV_5alloc3vecINtB6_3VecppE9split_off13assert_failed": "alloc::vec::Vec::split_off::assert_failed",
		"_ZN5alloc3vec16Vec$LT$T$C$A$GT$6remove13assert_failed17h0123456789abcdefE": "alloc::vec::Vec::remove::assert_failed",
		"_RNvCs6CGJPRvUn2O_7___rustc17rust_begin_unwind":                            "rust_begin_unwind",
		"rust_begin_unwind": "rust_begin_unwind",
		"_RINvNtCsjrHSEGnQ3l9_3std9panicking11begin_panicReEB4_":      "std::panicking::begin_panic",
		"_RNvNtNtCsjrHSEGnQ3l9_3std9panicking11panic_count9get_count": "",
		"_ZN2my9panicking9panic_fmt17h0123456789abcdefE":              "",
		"_ZN4core9panicking9panic_fmt":                                "",
		"main":                                                        "",
		"core::panicking::panic_fmt":                                  "",
		"_RNvNvNtCsjrHSEGnQ3l9_3std7process5abort":                    "",
		"_RNCINvNtCsjrHSEGnQ3l9_3std9panicking11begin_panicReE0B6_":   "",
	} {
		if got := panicPath(symbol); got != want {
			t.Errorf("%s: %q, want %q", symbol, got, want)
		}
	}
	for path, e := range panicEntries() {
		if e.path != path || e.since < 70 || e.until != 0 && e.until < e.since {
			t.Errorf("bad line: %+v", e)
		}
	}
	if len(panicEntries()) < 100 {
		t.Errorf("only %d entries", len(panicEntries()))
	}
}

func TestTrapBodies(t *testing.T) {
	for _, tt := range []struct {
		machine uint16
		thumb   bool
		want    string
	}{
		{objfile.EM_X86_64, false, "\x0f\x0b"}, {objfile.EM_AARCH64, false, "\x20\x00\x20\xd4"},
		{objfile.EM_ARM, true, "\xfe\xde"}, {objfile.EM_ARM, false, "\xf0\x01\xf0\xe7"}, {objfile.EM_RISCV, false, "\x73\x00\x10\x00"},
	} {
		if code, align := Trap(tt.machine, tt.thumb); string(code) != tt.want || align == 0 || align > 4 {
			t.Errorf("machine %d: %x, alignment %d", tt.machine, code, align)
		}
	}
}

// locationProgram has a function that refers to constants a to f. Each is a
// Location but for what its case changes.
const locationProgram = `
	.section .text.main,"ax",@progbits
	.globl main
	.type main,@function
main:	je .Lsecond
	leaq .Lanon.x.1(%rip), %rdi
	call _RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed@PLT
.Lsecond:
	leaq .Lanon.x.2(%rip), %rdi
	call _RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed@PLT
	.section .text._RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed,"ax",@progbits
	.globl _RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed
	.type _RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed,@function
_RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed: ud2
	.section .data.rel.ro..Lanon.x.1,"aw",@progbits
	.p2align 3
.Lanon.x.1:
	.quad NAME
	.quad LENGTH
	.long LINE, COLUMN
	EXTRA
	.section .data.rel.ro..Lanon.x.2,"aw",@progbits
	.p2align 3
.Lanon.x.2:
	.quad .Lother
	.quad 8
	.long 9, 9
	.section .rodata..Lanon.x.3,"a",@progbits
.Lplain: .ascii "src/a.rs"
	.section .rodata.str1.1,"aMS",@progbits,1
	.asciz "before"
.Lother: .asciz "src/b.rs"
.Lname:	.asciz "src/a.rs"
.Ltext:	.asciz "src/a.txt"
`

// nameElsewhere is the name of a file in an object of its own.
const nameElsewhere = ".section .rodata.str1.1,\"aMS\",@progbits,1\n.globl elsewhere\n.hidden elsewhere\nelsewhere: .asciz \"src/d.rs\"\n"

func TestLocations(t *testing.T) {
	for _, tt := range []struct {
		name                              string
		file, length, line, column, extra string
		want                              bool
	}{
		{"a Location", ".Lname", "8", "3", "4", "", true},
		{"its file's name is in another object", "elsewhere", "8", "3", "4", "", true},
		{"its file's name could be another's", "nowhere", "8", "3", "4", "", false},
		{"a str has no NUL", ".Lplain", "8", "3", "4", "", false},
		{"the NUL is counted", ".Lname", "9", "3", "4", "", false},
		{"a shorter length", ".Lname", "7", "3", "4", "", false},
		{"no Rust file", ".Ltext", "9", "3", "4", "", false},
		{"line 0", ".Lname", "8", "0", "4", "", false},
		{"column 0", ".Lname", "8", "3", "0", "", false},
		{"larger", ".Lname", "8", "3", "4", ".quad 0", false},
		{"a name of its own", ".Lname", "8", "3", "4", ".globl own\n.set own, .Lanon.x.1\n", false},
		{"the length is a pointer", ".Lname", ".Lname", "3", "4", "", false},
	} {
		source := strings.NewReplacer("NAME", tt.file, "LENGTH", tt.length, "LINE", tt.line, "COLUMN", tt.column, "EXTRA", tt.extra).Replace(locationProgram)
		_, x := trimOf(t, Trim{Locations: true}, source+rustc, nameElsewhere+rustc)
		i, cut := x.sectionNamed(t, 0, ".data.rel.ro..Lanon.x.1")
		k, other := x.sectionNamed(t, 0, ".data.rel.ro..Lanon.x.2")
		if (cut == CutLocation) != tt.want || other != CutLocation {
			t.Errorf("%s: cut %d, the other one %d", tt.name, cut, other)
		}
		f := x.Files[0]
		if got := string(f.Bytes(k)[8:]); got != "\x0a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00<redacted>\x00" {
			t.Errorf("%q", got)
		}
		if r := f.Relocs(k).At(0); f.Symbol(r.Sym).Section != k || r.Addend != 24 || r.Offset != 0 {
			t.Errorf("%+v", r)
		}
		if !tt.want {
			continue
		}
		// The two become one, and that refers to no file.
		l, err := NewLink(x.Files, Options{Wanted: map[string]bool{"main": true}, Mode: ModeSafe})
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.Make()
		if err != nil {
			t.Fatal(err)
		}
		if base := l.Objects[0].Base; p.Leader[base+SecID(k)] != base+SecID(i) {
			t.Errorf("%s: the Locations do not fold: %v", tt.name, p.Reason[base+SecID(k)])
		}
	}
	// Constants of C stay.
	if _, x := trimOf(t, Trim{Locations: true}, strings.NewReplacer("NAME", ".Lname", "LENGTH", "8", "LINE", "3", "COLUMN", "4", "EXTRA", "").Replace(locationProgram)); x.Locations != 0 {
		t.Errorf("%d Locations in C", x.Locations)
	}
}

// Who refers to a constant tells whether it is a Location: one of the program's
// own has the same form.
func TestLocationsPassed(t *testing.T) {
	plain := strings.NewReplacer("NAME", ".Lname", "LENGTH", "8", "LINE", "3", "COLUMN", "4", "EXTRA", "").Replace(locationProgram)
	const load, call = "\tleaq .Lanon.x.1(%rip), %rdi\n", "\tcall _RNvNtCsgEmfK2I1SDS_4core6option13unwrap_failed@PLT\n"
	for _, tt := range []struct {
		name, source string
		want         bool
	}{
		{"passed to a panic", plain, true},
		{"in another register of an entry point that is not known", strings.Replace(plain, load, "\tleaq .Lanon.x.1(%rip), %rsi\n", 1), true},
		{"not the first of what it says to panics", plain + "\t.section .text.g,\"ax\",@progbits\n" + load + call, true},
		{"read on the way", strings.Replace(plain, load, load+"\tmovl (%rdi), %esi\n", 1), false},
		{"stored", strings.Replace(plain, load, "\tleaq .Lanon.x.1(%rip), %rax\n\tmovq %rax, 8(%rsp)\n", 1), false},
		{"behind a branch", strings.Replace(plain, load, load+"\tje .Lsecond\n", 1), false},
		{"passed to another function", strings.Replace(plain, load, load+"\tcall main@PLT\n", 1), false},
		{"referred to by one that does not panic, too", plain + "\t.section .text.g,\"ax\",@progbits\n" + load + "\tret\n", false},
		{"referred to by data, too", plain + "\t.data\n\t.quad .Lanon.x.1\n", false},
	} {
		_, x := trimOf(t, Trim{Locations: true}, tt.source+rustc)
		if _, cut := x.sectionNamed(t, 0, ".data.rel.ro..Lanon.x.1"); (cut == CutLocation) != tt.want {
			t.Errorf("%s: cut %d", tt.name, cut)
		}
	}
	// Where the register is known, the constant must be in it.
	for register, want := range map[string]bool{"r8": true, "rdi": false, "rcx": false} {
		source := messageProgram("leaq .Lanon.x.1(%rip), %"+register+"\n\tcall "+unwrapFailed+"@PLT") +
			".section .data.rel.ro..Lanon.x.1,\"aw\",@progbits\n.p2align 3\n.Lanon.x.1: .quad .Lname, 8\n.long 3, 4\n.section .rodata.str1.1,\"aMS\",@progbits,1\n.Lname: .asciz \"src/a.rs\"\n"
		_, x := trimOf(t, Trim{Locations: true}, source)
		if _, cut := x.sectionNamed(t, 0, ".data.rel.ro..Lanon.x.1"); (cut == CutLocation) != want {
			t.Errorf("in %s: cut %d", register, cut)
		}
	}
}

func TestSymbolizer(t *testing.T) {
	const cache = "_RINvMs0_NtNtNtCsjrHSEGnQ3l9_3std12backtrace_rs9symbolize5gimliNtB6_5Cache11with_globalNCNvB6_7resolves_0EBc_"
	function := func(name string) string {
		return "\n.section .text." + name + ",\"ax\",@progbits\n.globl \"" + name + "\"\n.type \"" + name + "\",@function\n\"" + name + "\": nop\n nop\n nop\n ret\n"
	}
	for _, tt := range []struct {
		name string
		cut  Cut
	}{
		{cache, CutReturn},
		{"_ZN3std12backtrace_rs9symbolize5gimli5Cache11with_global17h0123456789abcdefE", CutReturn},
		{"_ZN2my12backtrace_rs9symbolize5gimli5Cache11with_global17h0123456789abcdefE", CutNone},
		{"_ZN3std12backtrace_rs9symbolize5gimli5Cache10new_global17h0123456789abcdefE", CutNone},
		{"with_global", CutNone},
	} {
		_, x := trimOf(t, Trim{Symbolizer: true}, function(tt.name)+rustc)
		i, cut := x.sectionNamed(t, 0, ".text."+tt.name)
		if cut != tt.cut || cut == CutReturn && string(x.Files[0].Bytes(i)) != "\xc3" {
			t.Errorf("%s: cut %d, %x", tt.name, cut, x.Files[0].Bytes(i))
		}
	}
	// The demangler goes only from the standard library's own crate, and only
	// with the symbolizer.
	const demangle = "_ZN14rustc_demangle8demangle17h0123456789abcdefE"
	const std = "/s/lib/rustlib/x/lib/librustc_demangle-01.rlib(a.o)"
	for _, tt := range []struct {
		file, with, name string
		cut              Cut
	}{
		{std, cache, demangle, CutTrap},
		{std, "none", demangle, CutNone},
		{"target/release/deps/librustc_demangle-01.rlib(a.o)", cache, demangle, CutNone},
		{std, cache, "_RNvXs_CsgY6Mt91CT9J_14rustc_demangleNtB4_12DemangleStyleNtNtCsgEmfK2I1SDS_4core3fmt5Debug3fmt", CutTrap},
		// <&str as Display>::fmt, of which it has an instance that all may use.
		{std, cache, "_RNvXs1i_NtCsgEmfK2I1SDS_4core3fmtReNtB6_7Display3fmtCsgY6Mt91CT9J_14rustc_demangle", CutNone},
		{std, cache, "_RNvXs1i_NtCsgEmfK2I1SDS_4core3fmtReNtB6_7Display3fmtCsgY6Mt91CT9J_14rustc_demangle.llvm.123", CutNone},
	} {
		files := assemble(t, function(tt.with)+rustc, function(tt.name)+rustc)
		files[1].Name = tt.file
		l, err := NewLink(files, Options{})
		if err != nil {
			t.Fatal(err)
		}
		x, err := l.Trim(Trim{Symbolizer: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, cut := x.sectionNamed(t, 1, ".text."+tt.name); cut != tt.cut {
			t.Errorf("%s of %s with %s: cut %d", tt.name, tt.file, tt.with, cut)
		}
	}
}

func TestDropFrames(t *testing.T) {
	_, x := trimOf(t, Trim{Trap: true, Frames: true}, trapProgram+rustc)
	i, cut := x.sectionNamed(t, 0, ".eh_frame")
	if cut != CutFrames || len(x.Files[0].Bytes(i)) != 0 || x.Files[0].Relocs(i).Len() != 0 || x.Frames == 0 {
		t.Errorf("cut %d: %d bytes, %d relocations", cut, len(x.Files[0].Bytes(i)), x.Files[0].Relocs(i).Len())
	}
	if i, cut := x.sectionNamed(t, 0, ".text."+panicFmtName); cut != CutTrap || string(x.Files[0].Bytes(i)) != "\x0f\x0b" {
		t.Errorf("cut %d", cut)
	}
	for _, tt := range []struct{ name, source, want string }{
		{"Rust", "\t.text\n call _Unwind_RaiseException@PLT\n" + rustc,
			`trim.unwind-tables: panics unwind in this program (b.o raises exceptions): build with panic = "abort"`},
		{"throw", "\t.text\n call __cxa_throw@PLT\n", "trim.unwind-tables: something else than Rust can unwind (b.o refers to __cxa_throw)"},
		{"catch", "\t.data\n .weak DW.ref.__gxx_personality_v0\nDW.ref.__gxx_personality_v0: .quad 0\n",
			"trim.unwind-tables: something else than Rust can unwind (b.o refers to __gxx_personality_v0)"},
	} {
		l, err := NewLink(assemble(t, trapProgram+rustc, tt.source), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = l.Trim(Trim{Frames: true}); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
