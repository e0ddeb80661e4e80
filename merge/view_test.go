package merge

import (
	"strings"
	"testing"
)

// What has one shape differs in relocated fields at the most, whether or not its
// size alone tells it from all others.
func TestShapes(t *testing.T) {
	nops := strings.Repeat("nop\n", 20)
	p := makePlan(t, Options{Mode: ModeSafe}, callers("f", "g", "h", "call1", "call2", "same1", "same2", "long")+
		fn("f", "mov $1,%eax\nadd $70000,%eax\nret")+fn("g", "mov $2,%eax\nadd $70000,%eax\nret")+ // of one size, without relocations
		fn("h", "mov $1,%eax\ncall f@PLT\nret")+ // of the same size, with one
		fn("call1", nops+"call f@PLT\nret")+fn("call2", nops+"call g@PLT\nret")+
		fn("same1", work)+fn("same2", work)+
		fn("long", nops+nops+"ret")+fn("dead", nops+"call f@PLT\nret")+
		".data\n.quad call2\n")
	names := []string{"f", "g", "h", "call1", "call2", "same1", "same2", "long", "dead", "main"}
	var ids []SecID
	for _, n := range names {
		ids = append(ids, p.find(t, n))
	}
	if p.state(t, "same2") != "folded" || p.state(t, "dead") != "dropped" {
		t.Fatalf("same2 is %s, dead %s", p.state(t, "same2"), p.state(t, "dead"))
	}
	shapes := p.Shapes(ids)
	for i := range names {
		for k := range i {
			alike := names[k] == "call1" && names[i] == "call2"
			none := shapes[i] == 0 && shapes[k] == 0
			if (shapes[i] == shapes[k]) != (alike || none) {
				t.Errorf("%s has shape %d, %s %d", names[k], shapes[k], names[i], shapes[i])
			}
		}
		if none := names[i] == "same2" || names[i] == "dead"; none != (shapes[i] == 0) {
			t.Errorf("%s has shape %d", names[i], shapes[i])
		}
	}
}
