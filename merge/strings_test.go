package merge

import (
	"strings"
	"testing"
)

// TestDeadStrings: of a section of mergeable strings only those stay that
// something which stays refers to, each where it was.
func TestDeadStrings(t *testing.T) {
	const stringSection = ".section .rodata.str1.1,\"aMS\",%progbits,1\n"
	const arm = "\n.section .comment,\"MS\",%progbits,1\n.string \"rustc version 1.95.0\"\n"
	whole := Options{Mode: ModeSafe, WholeStrings: true}
	x86 := func(opt Options, sources ...string) *Plan { return makePlan(t, opt, sources...) }
	m3 := func(opt Options, sources ...string) *Plan { return planFor(t, m3, opt, sources...) }
	// One string dead from the start, one by folding, two in use.
	names := ".Lused: .string \"used\"\n.Ldead: .string \"dead\"\n.Lfolded: .string \"fold\"\n.Lmiddle: .string \"a middle\"\n"
	for _, c := range []struct {
		name    string
		plan    func(Options, ...string) *Plan
		opt     Options
		section string // of the strings
		source  string
		want    string
	}{
		{"kept and dropped functions", x86, whole, ".rodata.str1.1",
			fn("main", "lea .Lused(%rip),%rax\nret") + fn("dead", "lea .Ldead(%rip),%rax\nret") + strings.ReplaceAll(stringSection, "%", "@") + names,
			"used"},
		{"an addend within a string", x86, whole, ".rodata.str1.1",
			fn("main", "lea .Lmiddle+2(%rip),%rax\nret") + strings.ReplaceAll(stringSection, "%", "@") + names,
			"...............a middle"},
		{"data that stays", m3, whole, ".rodata.str1.1",
			calls() + words(".word .Lused\n.word .Lmiddle") + stringSection + names + arm,
			"used...........a middle"},
		{"a section symbol and an addend", m3, whole, ".rodata.str1.1",
			calls() + words(".word .rodata.str1.1+17") + stringSection + names + arm,
			"...............a middle"},
		{"behind the last string", m3, whole, ".rodata.str1.1",
			calls() + words(".word .rodata.str1.1+24\n.word .Lused") + stringSection + names + arm,
			"used.dead.fold.a middle"},
		{"debug information", m3, whole, ".rodata.str1.1",
			calls() + words(".word .Lused") + ".section .debug_info,\"\",%progbits\n.word .Ldead\n" + stringSection + names + arm,
			"used.dead"},
		{"a global name", m3, whole, ".rodata.str1.1",
			calls() + words(".word .Lused") + stringSection + ".globl dead\n" + strings.ReplaceAll(names, ".Ldead", "dead") + arm,
			"used.dead.fold.a middle"},
		{"no NUL at the end", m3, whole, ".rodata.str1.1",
			calls() + words(".word .Lused") + stringSection + names + ".ascii \"x\"\n" + arm,
			"used.dead.fold.a middle.x"},
		{"wide strings", m3, whole, ".rodata.str2.2",
			calls() + words(".word .Lw") + ".section .rodata.str2.2,\"aMS\",%progbits,2\n.Lw: .short 65,0\n.short 66,0\n" + arm,
			"A...B..."},
		{"another section", m3, whole, ".defmt.x",
			calls() + words(".word .Lused") + strings.ReplaceAll(stringSection, ".rodata.str1.1", ".defmt.x") + names + arm,
			"used.dead.fold.a middle"},
		{"a linker that does it by itself", m3, Options{Mode: ModeSafe}, ".rodata.str1.1",
			calls() + words(".word .Lused") + stringSection + names + arm,
			"used.dead.fold.a middle"},
		{"a script keeps it", m3, Options{Mode: ModeSafe, WholeStrings: true, KeepSection: func(n string) bool { return n == ".rodata.str1.1" }}, ".rodata.str1.1",
			calls() + words(".word .Lused") + stringSection + names + arm,
			"used.dead.fold.a middle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := edited(t, c.plan(c.opt, c.source), 0)
			for i := range f.Sections {
				if f.Sections[i].Name != c.section {
					continue
				}
				got := strings.ReplaceAll(string(f.Bytes(uint32(i))), "\x00", ".")
				if want := strings.TrimRight(c.want, ". "); strings.TrimRight(got, ".") != want {
					t.Errorf("strings %q, want %q", got, want)
				}
				return
			}
			t.Fatal("no strings")
		})
	}
}

// What a folded function said is not said any more, what its leader says is.
func TestDeadStringsOfFolded(t *testing.T) {
	one := func(name string) string {
		return fn(name, "lea .Ls(%rip),%rax\nret") + ".section .rodata.str1.1,\"aMS\",@progbits,1\n.Ls: .string \"said\"\n.string \"dead\"\n.Lown: .string \"own\"\n" +
			fn(name+"2", "lea .Lown(%rip),%rcx\nret") + rustc
	}
	p := makePlan(t, Options{Mode: ModeSafe, WholeStrings: true}, callers("f", "f2", "g", "g2")+rustc, one("f"), strings.ReplaceAll(one("g"), "%rcx", "%rdx"))
	for k, want := range []string{"said......own.", "..........own."} {
		object := k + 1
		f := edited(t, p, object)
		for i := range f.Sections {
			if got := strings.ReplaceAll(string(f.Bytes(uint32(i))), "\x00", "."); f.Sections[i].Name == ".rodata.str1.1" && got != want {
				t.Errorf("%s: strings %q, want %q", p.Link.Objects[object].File.Name, got, want)
			}
		}
	}
}
