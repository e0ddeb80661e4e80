package linker

import (
	"testing"

	"leanlink/objfile"
)

// TestPacks: which new objects may lie in an archive, which has to be linked
// whole without an index and to say what its members are called.
func TestPacks(t *testing.T) {
	small, large := &objfile.File{}, &objfile.File{Data: make([]byte, maxMember+1)}
	named := func(names ...string) (list []newObject) {
		for _, n := range names {
			list = append(list, newObject{from: scriptFile{name: n}, file: small})
		}
		return list
	}
	tests := []struct {
		what    string
		kind    Kind
		thin    bool
		objects []newObject
		want    bool
	}{
		{"two", KindLLD, false, named("a.o", "b.o"), true},
		{"GNU ld", KindBFD, false, named("a.o", "b.o"), true},
		{"two of one name", KindMold, false, named("a.o", "a.o"), true},
		{"one", KindLLD, false, named("a.o"), false},
		{"a linker that is not known", KindUnknown, false, named("a.o", "b.o"), false},
		{"a thin archive", KindLLD, true, named("a.o", "b.o"), false},
		{"a name that ends the table's line", KindLLD, false, named("a.o", "b\n.o"), false},
		{"a name with a slash", KindLLD, false, named("a.o", "x/b.o"), false},
		{"a size of too many digits", KindLLD, false, append(named("a.o"), newObject{from: scriptFile{name: "b.o"}, file: large}), false},
	}
	for _, tt := range tests {
		p := &preparation{kind: tt.kind}
		if got := p.packs(&objfile.Archive{Thin: tt.thin}, tt.objects); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}
