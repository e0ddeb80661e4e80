package merge

import (
	"strings"
	"testing"
)

// A jump table stays only with a function that has the places it names: not
// with one whose body became a jump.
func TestTableOfAThunk(t *testing.T) {
	const glue = "_ZN4core3ptr20drop_in_place$LT$F$GT$17h0123456789abcdefE"
	const method = "_ZN30_$LT$F$u20$as$u20$m..Trait$GT$3fmt17h0123456789abcdefE"
	table := func(name, label string) string {
		return quoted(name, "lea .LT"+label+"(%rip),%rax\n.L1"+label+": nop\n.L2"+label+":\n"+work) +
			".section .rodata." + label + ",\"a\"\n.balign 4\n.LT" + label + ": .long .L1" + label + "-.LT" + label + ", .L2" + label + "-.LT" + label + "\n"
	}
	source := fn("main", "lea .Lanon.v(%rip),%rax\nlea m(%rip),%rax\nret") + table("m", "m") + table(method, "f") +
		".section .data.rel.ro..Lanon.v,\"aw\"\n.balign 8\n.Lanon.v: .quad \"" + glue + "\",16,8,\"" + method + "\"\n" + quoted(glue, "nop\n"+work) + rustc
	p := makePlan(t, Options{Mode: ModeSafe}, source)
	if got := p.state(t, "m"); got != "thunk" {
		t.Fatalf("m is %s, want thunk: the case shows nothing", got)
	}
	if m, f := p.state(t, "a:.rodata.m"), p.state(t, "a:.rodata.f"); m != "folded" || f != "kept" {
		t.Errorf("the tables of the jump and of its leader are %s and %s, want folded and kept", m, f)
	}
}

// The tables of functions that fold stay with the function that stays, where
// what they name can't be said of another.
func TestTableOfTheLeader(t *testing.T) {
	const target = "+relax,+c riscv64-none-elf"
	body := func(f string) string {
		return fn(f, "lla a0,.LT"+f+"\n.L1"+f+": call u\n.L2"+f+": call u\nret") +
			".section .rodata." + f + ",\"a\"\n.balign 8\n.LT" + f + ": .dword .L1" + f + ",.L2" + f + "\n"
	}
	main := fn("main", "call f\ncall g\ncall h\nret")
	p := planFor(t, target, Options{Mode: ModeSafe}, main+body("f")+body("g")+body("h")+".section .init_array,\"aw\"\n.dword g\n"+rustc)
	got := []string{}
	for _, n := range []string{"f", "a:.rodata.f", "g", "a:.rodata.g", "h", "a:.rodata.h"} {
		got = append(got, p.state(t, n))
	}
	if s := strings.Join(got, " "); s != "folded folded kept kept folded folded" {
		t.Errorf("the functions and their tables are %s", s)
	}
}
