package linker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestScriptFiles: what of a script chooses by files, and what only looks so.
func TestScriptFiles(t *testing.T) {
	for _, c := range []struct{ name, body, files, patterns, unread string }{
		{"all", "*(.text .text.*) KEEP(*(.init))", "", ".text .text.* .init", ""},
		{"names without a dot", "*(COMMON my_code) KEEP (*(SORT(mine.*)))", "", "COMMON my_code mine.*", ""},
		{"archives and members", "*libpp.a:(.literal .text.*) *:boot.*(.text) :main.o(.text)", "*libpp.a: *:boot.* :main.o", ".literal .text.* .text .text", ""},
		{"in KEEP", "KEEP(*fast.o(.text))", "*fast.o", ".text", ""},
		{"a plain name", "fast.o(.text.hot)", "", ".text.hot", "a linker script names a file"},
		{"an excluded plain name", "*(EXCLUDE_FILE(fast.o) .text.hot)", "fast.o", ".text.hot", ""},
		{"excluded", "*(EXCLUDE_FILE(*a.o *libb.a:) .text .rodata) EXCLUDE_FILE (*c.o) *(.text)", "*a.o *libb.a: *c.o", ".text .rodata .text", ""},
		{"expressions", ". = ALIGN(4) * (2 + SIZEOF(.data)); x = (1 * (3)); PROVIDE(y = . + .x); ASSERT(x == 1, \"no\") *(.a)", "", ".data .a", ""},
		{"after an assignment without a blank", "z = 4;*fast.o(.text)", "*fast.o", ".text", ""},
		{"flags", "INPUT_SECTION_FLAGS (SHF_EXECINSTR & !SHF_WRITE) *(.text)", "", ".text", ""},
		{"a comment", "# *not.o(.text)\n *(.text)", "", ".text", ""},
		{"quotes", "\"a b.o\"(.text)", "", ".text", "a linker script has a file's name in quotes"},
		{"quotes before a colon", "\"a b.a\":c.o(.text)", "", ".text", "a linker script has a file's name in quotes"},
		{"sorted files", "SORT(*)(.ctors)", "", "* .ctors", "a linker script sorts files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"link.x": "MEMORY { ROM (rx) : ORIGIN = 0, LENGTH = (4K) }\nSECTIONS { .out (NOLOAD) : ALIGN(4) {\nINCLUDE body.x\n} > ROM }\nINSERT AFTER .x;",
				"body.x": c.body,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := readScripts(&CommandLine{Dir: dir, Scripts: []string{"link.x"}})
			if err != nil {
				t.Fatal(err)
			}
			s.patterns = slices.DeleteFunc(s.patterns, func(p string) bool { return p == ".out" || p == ".x" || p == "." })
			if got := strings.Join(s.files, " "); got != c.files {
				t.Errorf("files %q, want %q", got, c.files)
			}
			if got := strings.Join(s.patterns, " "); got != c.patterns {
				t.Errorf("patterns %q, want %q", got, c.patterns)
			}
			if s.unread != c.unread {
				t.Errorf("unread %q, want %q", s.unread, c.unread)
			}
		})
	}
	s := &script{names: map[string]bool{}}
	r := scriptReader{script: s}
	for _, w := range []string{"INPUT", "(", "libc.a", ")"} {
		r.word(w, w == "INPUT")
		r.before = w
	}
	if s.unread != "a linker script adds inputs (INPUT)" {
		t.Errorf("INPUT: %q", s.unread)
	}
}

// TestMatchFiles: what lld 22 and GNU ld 2.40 were seen to match.
func TestMatchFiles(t *testing.T) {
	object, member := scriptFile{name: "/a/foo.o"}, scriptFile{"/a/libbar.a", "foo.o"}
	for _, c := range []struct {
		pattern  string
		lld, gnu string // o for the object, m for the member
	}{
		{"*", "om", "om"},
		{"*foo.o", "om", "om"},
		{"/a/foo.o", "o", "o"},
		{"*[!x]oo.o", "om", "om"},
		{"*libbar.a:", "m", "m"},
		{"*libbar.a:foo.o", "m", "m"},
		{"*libbar.a:oo.o", "", ""},
		{"*libbar.a", "", ""},
		{"*:foo.*", "m", "m"},
		{":*foo.o", "o", "o"},
		{"*bar*", "m", ""},
	} {
		for _, m := range []struct {
			name  string
			match func(string, scriptFile) bool
			want  string
		}{{"lld", matchLLD, c.lld}, {"GNU ld", matchGNU, c.gnu}} {
			got := ""
			if m.match(c.pattern, object) {
				got += "o"
			}
			if m.match(c.pattern, member) {
				got += "m"
			}
			if got != m.want {
				t.Errorf("%s: %s matches %q, want %q", m.name, c.pattern, got, m.want)
			}
		}
	}
}
