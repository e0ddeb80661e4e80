package linker

import (
	"slices"
	"testing"
)

// TestGlobSet has a set of globs find what each glob finds by itself.
func TestGlobSet(t *testing.T) {
	patterns := []string{".", ".text", ".text.*", ".text", "*", "", ".te*", ".t?xt", "*.text", ".text.[ab]*", ".text.x", "*(", ".rodata.*", "a[", `.data\*`, "/DISCARD/"}
	set := newGlobSet(patterns)
	names := []string{"", ".", ".t", ".text", ".texts", ".text.", ".text.a", ".text.b.c", ".text.x", ".text.xy", "x.text", ".rodata", ".rodata.a/b",
		"a", "ab", ".data*", ".data", ".dataa", "/DISCARD/", "*(", "\xff"}
	for _, name := range append(names, patterns...) {
		var want []int32
		for i := range patterns {
			if globMatch(patterns[i], name) {
				want = append(want, int32(i))
			}
		}
		got := set.matches(nil, name)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
		if set.match(name) != (len(want) > 0) {
			t.Errorf("%q: match: %v, want %v", name, set.match(name), len(want) > 0)
		}
	}
	if newGlobSet(nil).match(".text") {
		t.Error("a set of none matches .text")
	}
}
