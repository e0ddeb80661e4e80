package linker

import "testing"

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{".text", ".text", true},
		{".text", ".text.a", false},
		{".text.*", ".text.a/b", true},
		{".text.*", ".text", false},
		{"*", "", true},
		{"*x*", "a/x/b", true},
		{"a*z", "a/:z", true},
		{"a*z", "b/z", false},
		{"?", "/", true},
		{"[!x]y", "xy", false},
		{"[!x]y", "ay", true},
		{"a/[!x]", "a/y", true},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"a[", "nothing like it", true}, // can't be read
	} {
		if got := globMatch(c.glob, c.name); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.glob, c.name, got, c.want)
		}
		m := newMatcher([]string{"other", c.glob})
		if got := m.match(c.name); got != c.want {
			t.Errorf("a set with %q matches %q: %v, want %v", c.glob, c.name, got, c.want)
		}
	}
}
