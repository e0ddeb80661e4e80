package merge

import (
	"strings"
	"testing"
)

// Constants with zeros fold where the code that uses them shows that they are
// copies of one, and only there.
func TestProvenance(t *testing.T) {
	const shared = "_ZN1m6shared17h0123456789abcdefE"
	// unit has a local function of the name, which uses a constant with
	// zeros, and one of its own that calls it.
	unit := func(name, function, body string) string {
		return strings.Replace(quoted(function, body+"lea .Lz"+name+"(%rip),%rax\ncall u\nret"), ".globl", ".local", 1) +
			fn(name, "call \""+function+"\"\nret") + ".section .rodata..Lanon." + name + ".0,\"a\"\n.balign 8\n.Lz" + name + ": .quad 0,1,0\n" + rustc
	}
	for _, c := range []struct {
		name        string
		mode        Mode
		second      string
		same, apart string
	}{
		{"one function", ModeSafe, unit("g", shared, ""), "a:.rodata..Lanon.f.0 b:.rodata..Lanon.g.0 a:.text." + shared + " b:.text." + shared, ""},
		{"one function, given a name of its own", ModeSafe, unit("g", shared+".llvm.123", ""), "a:.rodata..Lanon.f.0 b:.rodata..Lanon.g.0", ""},
		{"another name", ModeSafe, unit("g", "_ZN1m6other_17h0123456789abcdefE", ""), "", "a:.rodata..Lanon.f.0 b:.rodata..Lanon.g.0"},
		{"another body", ModeSafe, unit("g", shared, "nop\n"), "", "a:.rodata..Lanon.f.0 b:.rodata..Lanon.g.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := makePlan(t, Options{Mode: c.mode}, callers("f", "g")+unit("f", shared, ""), c.second)
			checkPairs(t, p, c.same, c.apart)
		})
	}
}
