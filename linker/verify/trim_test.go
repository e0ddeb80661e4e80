package verify

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cutObject assembles an object.
func cutObject(t *testing.T, source string) []byte {
	t.Helper()
	as, err := exec.LookPath("as")
	if err != nil {
		t.Skip("as is not installed")
	}
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path+".s", []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(as, "--64", "-o", path+".o", path+".s").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path + ".o")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// proveOne checks one trimmed object of x86-64; cuts are by section name.
func proveOne(t *testing.T, was, is []byte, cuts map[string]CutKind) []string {
	t.Helper()
	return proveOneOf(t, x8664, 8, was, is, cuts)
}

func proveOneOf(t *testing.T, arch *arch, word uint64, was, is []byte, cuts map[string]CutKind) []string {
	t.Helper()
	return proveWith(t, &checker{arch: arch, res: &Result{}, out: &output{word: word}}, was, is, cuts)
}

// proveAside is proveOne for an output with sections that are not loaded.
func proveAside(t *testing.T, was, is []byte, cuts map[string]CutKind, aside []string) []string {
	t.Helper()
	return proveWith(t, &checker{arch: x8664, res: &Result{}, out: &output{word: 8, aside: aside}}, was, is, cuts)
}

func proveWith(t *testing.T, v *checker, was, is []byte, cuts map[string]CutKind) []string {
	t.Helper()
	in := &Object{Name: "a.o", Data: is, Untrimmed: was}
	o, err := readObject(in, 0, v.arch)
	if err != nil {
		t.Fatal(err)
	}
	in.Cuts = make([]CutKind, len(o.sections))
	for i, s := range o.sections {
		in.Cuts[i] = cuts[s.name]
	}
	if v.claim == nil {
		v.claim = &Claim{}
	}
	v.claim.Objects, v.objects = []Object{*in}, []*object{o}
	v.resolve()
	if err := v.proveCuts(); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range v.res.Mismatches {
		list = append(list, m.String())
	}
	return list
}

const cutSource = `
	.section .text.keep,"ax",@progbits
	.globl keep
	.type keep,@function
keep:	.cfi_startproc
	call NAME
	BODY2
	ret
	.cfi_endproc
	.size keep, .-keep
	.section .text.cut,"ax",@progbits
	.globl NAME
	.type NAME,@function
NAME:	.cfi_startproc
	BODY
	.cfi_endproc
	.size NAME, .-NAME
	.section .rodata,"a",@progbits
	.quad NUMBER
	.section .note.GNU-stack,"",@progbits
	.globl other
`

// The trimmed object of each case is the original with another body; its frame entry, which the assembler makes, is
// that of a trap if the body has no rows.
func TestProveTrap(t *testing.T) {
	source := func(name, body, body2, number string) []byte {
		return cutObject(t, strings.NewReplacer("NAME", name, "BODY2", body2, "BODY", body, "NUMBER", number).Replace(cutSource))
	}
	const name, body = "core_panic", "nop\n nop\n nop\n ret"
	was := source(name, body, "nop", "1")
	trap := map[string]CutKind{".text.cut": CutTrap}
	for _, tt := range []struct {
		name string
		is   []byte
		cuts map[string]CutKind
		want string
	}{
		{"unchanged", was, nil, ""},
		{"a trap", source(name, "ud2", "nop", "1"), trap, ""},
		{"a trap that is not claimed", source(name, "ud2", "nop", "1"), nil, "the trim changed the section, but claims not to"},
		{"another body", source(name, "ret", "nop", "1"), trap, "should be a trap, but holds c3 with 0 relocations"},
		{"more than a trap", source(name, "ud2\n nop", "nop", "1"), trap, "should be a trap, but holds 0f0b90 with 0 relocations"},
		{"other code", source(name, "ud2", "cld", "1"), trap, "a.o: section .text.keep: the trim changed the section, but claims not to"},
		{"other data", source(name, "ud2", "nop", "2"), trap, "a.o: section .rodata: the trim changed the section, but claims not to"},
		{"a row in the trap's entry", source(name, "ud2\n .cfi_def_cfa_offset 16\n", "nop", "1"), trap, "frame"},
		{"a trap of data", was, map[string]CutKind{".rodata": CutTrap}, "should be a trap, but holds"},
	} {
		got := strings.Join(proveOne(t, was, tt.is, tt.cuts), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	// Only panic entry points may become traps.
	was = source("useful", body, "nop", "1")
	if got := strings.Join(proveOne(t, was, source("useful", "ud2", "nop", "1"), trap), "\n"); !strings.Contains(got, "a trap in the place of useful") {
		t.Errorf("%q", got)
	}
}

// What the demangler's crate defines may go, but not what it has an instance of, which others share.
func TestDemanglerNames(t *testing.T) {
	for name, want := range map[string]bool{
		"_ZN14rustc_demangle8demangle17h0123456789abcdefE":                                               true,
		"_RNvXs_CsgY6Mt91CT9J_14rustc_demangleNtB4_12DemangleStyleNtNtCsgEmfK2I1SDS_4core3fmt5Debug3fmt": true,
		"_RNvXs1i_NtCsgEmfK2I1SDS_4core3fmtReNtB6_7Display3fmtCsgY6Mt91CT9J_14rustc_demangle":            false,
		"_RNvXs1i_NtCsgEmfK2I1SDS_4core3fmtReNtB6_7Display3fmtCsgY6Mt91CT9J_14rustc_demangle.llvm.123":   false,
		"_ZN44_$LT$$RF$T$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE":                      false,
	} {
		if got := demanglerName().MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The trimmed Location of each case is the right one but for what the case changes.
func TestProveLocation(t *testing.T) {
	source := func(body string) []byte {
		user := "\t.section .text.f,\"ax\",@progbits\n\tleaq self(%rip), %rdx\n\tcall panic_bounds_check@PLT\n"
		if strings.Contains(body, "# not passed\n") {
			user = strings.Replace(user, "panic_bounds_check", "something_else", 1)
		}
		if strings.Contains(body, "# in data\n") {
			user += "\t.data\n\t.quad self\n"
		}
		return cutObject(t, user+"\t.data\n\t.quad name, text, outside\n\t.section .data.rel.ro..Lanon.x.1,\"aw\",@progbits\n\t.p2align 3\nself:\n"+body+
			"\n\t.section .rodata.str1.1,\"aMS\",@progbits,1\nname: .asciz \"src/a.rs\"\ntext: .asciz \"src/a.tx\"\n")
	}
	const location, cut = ".quad name, 8\n .long 3, 4", ".quad self + 24, 10\n .long 1, 1\n .asciz \"<redacted>\""
	for _, tt := range []struct{ name, was, is, want string }{
		{"right", location, cut, ""},
		{"a line", location, strings.Replace(cut, "1, 1", "2, 1", 1), "the length, line, column and name should be"},
		{"a length", location, strings.Replace(cut, "10", "11", 1), "the length, line, column and name should be"},
		{"another text", location, strings.Replace(cut, "<redacted>", "{redacted}", 1), "the length, line, column and name should be"},
		{"another place", location, strings.Replace(cut, "24", "16", 1), "the name should be the one behind the Location"},
		{"another name", location, strings.Replace(cut, "self + 24", "name", 1), "the name should be the one behind the Location"},
		{"longer", location, cut + "\n .byte 1", "no Location has this form"},
		{"of a name that is nowhere", strings.Replace(location, "name", "outside", 1), cut, "the name is in no object"},
		{"of no Rust file", strings.Replace(location, "name", "text", 1), cut, "is none of a Location"},
		{"of a longer name", strings.Replace(location, "8", "9", 1), cut, "is none of a Location"},
		{"not passed to a panic", location + "\n # not passed\n", cut + "\n # not passed\n", "a.o: section .data.rel.ro..Lanon.x.1: offset 0x0: .text.f refers to it, and does not panic"},
		{"in data, too", location + "\n # in data\n", cut + "\n # in data\n", ".data refers to it, and does not panic"},
		{"of larger data", location + "\n .quad 0", cut, "no Location has this form"},
	} {
		got := strings.Join(proveOne(t, source(tt.was), source(tt.is), map[string]CutKind{".data.rel.ro..Lanon.x.1": CutLocation}), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Only the symbolizer becomes a return, and only a frame table becomes nothing.
func TestProveReturnAndFrames(t *testing.T) {
	source := func(name, body string) []byte {
		return cutObject(t, "\t.section .text.cut,\"ax\",@progbits\n\t.type "+name+",@function\n"+name+":\n"+body)
	}
	const symbolizer = "_ZN3std12backtrace_rs9symbolize5gimli5Cache11with_global17h0123456789abcdefE"
	cuts := map[string]CutKind{".text.cut": CutReturn}
	if got := proveOne(t, source(symbolizer, "nop\n ret"), source(symbolizer, "ret"), cuts); len(got) > 0 {
		t.Errorf("%q", got)
	}
	for _, got := range [][]string{
		proveOne(t, source("other", "nop\n ret"), source("other", "ret"), cuts),
		proveOne(t, source(symbolizer, "nop\n ret"), source(symbolizer, "nop"), cuts),
		proveOne(t, source(symbolizer, "nop\n ret"), source(symbolizer, "ret"), map[string]CutKind{".text.cut": CutFrames}),
		proveOne(t, source(symbolizer, "nop\n ret"), source(symbolizer, "ret"), map[string]CutKind{".text.cut": 99}),
	} {
		if len(got) != 1 {
			t.Errorf("%q", got)
		}
	}
}

// The trimmed frame table of each case says less than the original; it may do so only where no call is.
func TestProveRows(t *testing.T) {
	source := func(rows string) []byte {
		return cutObject(t, "\t.section .text.f,\"ax\",@progbits\n\t.globl f, g\n\t.type f,@function\nf:\n push %rbx\n.L1: call g@PLT\n"+
			".L2: pop %rbx\n.L3: ret\n.L4: nop\n.L5:\n\t.section .text.h,\"ax\",@progbits\n\t.type h,@function\nh: ret\n.L6:\n"+
			"\t.section .eh_frame,\"a\",@progbits\n.Lc: .long .Lce-.Lc-4, 0\n .byte 1\n .asciz \"zR\"\n .uleb128 1\n .sleb128 -8\n .byte 16\n"+
			" .uleb128 1\n .byte 0x1b, 0x0c, 7, 8, 0x90, 1\n .balign 8\n.Lce:\n"+rows+"\n\t.data\n\t.quad f, h\n")
	}
	entry := func(label, function, end, rows string) string {
		return strings.NewReplacer("LABEL", label, "FUNCTION", function, "END", end, "ROWS", rows).Replace(
			".LLABEL: .long .LeLABEL-.LLABEL-4, .-.Lc\n .long FUNCTION-., END-FUNCTION\n .byte 0\n ROWS\n .balign 8\n.LeLABEL:\n")
	}
	f := func(rows string) string { return entry("f", "f", ".L5", rows) }
	// under has common information of its own, which says where a register was saved.
	under := func(signature, rows string) string {
		return ".Ld: .long .Lde-.Ld-4, 0\n .byte 1\n .asciz \"zR\"\n .uleb128 1\n .sleb128 -8\n .byte " + signature +
			"\n .balign 8\n.Lde:\n" + strings.Replace(f(rows), ".-.Lc", ".-.Ld", 1)
	}
	h := entry("h", "h", ".L6", "")
	const all = ".byte 0x41, 0x0e, 16, 0x83, 2, 0x45, 0x41, 0x0e, 8"
	was := source(f(all) + h)
	cuts := map[string]CutKind{".eh_frame": CutRows}
	for _, tt := range []struct {
		name string
		is   []byte
		want string
	}{
		{"unchanged", was, ""},
		{"the row of the call, from the start", source(f(".byte 0x0e, 16, 0x83, 2") + h), ""},
		{"no entry for the leaf", source(f(".byte 0x0e, 16, 0x83, 2")), ""},
		{"another offset", source(f(".byte 0x0e, 24, 0x83, 2")), "says"},
		{"a register is lost", source(f(".byte 0x0e, 16")), "says"},
		{"another register", source(f(".byte 0x0e, 16, 0x86, 2")), "says"},
		{"too late", source(f(".byte 0x46, 0x0e, 16, 0x83, 2")), "says"},
		{"in time", source(f(".byte 0x45, 0x0e, 16, 0x83, 2")), ""},
		{"no entry for a function that calls", source(h), ".text.f has no frame entry, but what may be a call before 0x6"},
		{"saved by the common information", source(under("16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0x83, 2", ".byte 0x0e, 16")), ""},
		{"saved elsewhere by it", source(under("16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0x83, 3", ".byte 0x0e, 16")), "says"},
		{"saved by it once more", source(under("16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0x83, 2, 0x86, 3", ".byte 0x0e, 16")), "says"},
		{"common information of another return address", source(under("17, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0x83, 2", ".byte 0x0e, 16")), "has other common information"},
		{"arguments on the stack", source(f(".byte 0x0e, 16, 0x83, 2, 0x2e, 8") + h), "says"},
		{"arguments that are gone", source(f(".byte 0x0e, 16, 0x83, 2, 0x2e, 8, 0x2e, 0") + h), ""},
		{"another range", source(entry("f", "f", ".L4", all)), "covers another range"},
		{"twice", source(f(all) + entry("g", "f", ".L5", all)), "two frame entries of one function"},
		{"an expression", source(f(".byte 0x0f, 1, 0x50")), "which no trimmed entry has"},
	} {
		got := strings.Join(proveOne(t, was, tt.is, cuts), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := strings.Join(proveOne(t, was, was, map[string]CutKind{".text.h": CutRows}), "\n"); !strings.Contains(got, "no frame table") {
		t.Errorf("%q", got)
	}
}

func TestPossibleCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		machine elf.Machine
		code    string
		want    []uint64
	}{
		{"bl, b, blr, br, blraa", elf.EM_AARCH64, "\xff\xff\xff\x97\x00\x00\x00\x14\x00\x01\x3f\xd6\x00\x01\x1f\xd6\x1f\x09\x3f\xd7", []uint64{3, 11, 19}},
		{"jal ra, jal zero, jal t0", elf.EM_RISCV, "\xef\x00\x00\x00\x6f\x00\x00\x00\xef\x02\x00\x00", []uint64{3, 11}},
		{"jalr ra, jr", elf.EM_RISCV, "\xe7\x00\x03\x00\x67\x00\x03\x00", []uint64{3}},
		{"c.jalr, c.jr, c.ebreak, c.add, c.jal", elf.EM_RISCV, "\x02\x95\x02\x85\x02\x90\x2e\x95\x01\x20", []uint64{1, 9}},
	} {
		s := &section{data: []byte("...." + tt.code)}
		if got := possibleCalls[tt.machine](s, 4, uint64(len(tt.code))); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A claim of cuts without the original is an error, not a check passed over.
func TestProveNoOriginal(t *testing.T) {
	v := &checker{arch: x8664, res: &Result{}, claim: &Claim{Objects: []Object{{Name: "a.o", Cuts: []CutKind{CutTrap}}}}}
	if err := v.proveCuts(); err == nil || err.Error() != "a.o: something was cut, but there is no original to compare" {
		t.Errorf("%v", err)
	}
	if x8664.machine != elf.EM_X86_64 {
		t.Error("these tests are of x86-64")
	}
}
