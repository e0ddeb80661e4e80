package linker

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func writeScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExports(t *testing.T) {
	for _, c := range []struct {
		name    string
		cl      CommandLine
		script  string // of -shared
		dynamic string
		out, in string // exported and not
	}{
		{name: "program", in: "f"},
		{name: "--export-dynamic", cl: CommandLine{ExportDynamic: true}, out: "f"},
		{name: "--export-dynamic-symbol", cl: CommandLine{ExportDynamicSymbols: []string{"g*"}}, out: "good", in: "f"},
		{name: "dynamic list", dynamic: "{ f; /* no */ g*; };", out: "f", in: "h"},
		{name: "dynamic list, C++", dynamic: `{ extern "C++" { "f()"; }; };`, out: "anything"},
		{name: "shared", cl: CommandLine{Shared: true}, out: "f"},
		{name: "rustc's version script", cl: CommandLine{Shared: true}, script: "{\n  global:\n    f;\n\n  local:\n    *;\n};", out: "f", in: "g"},
		{name: "attached colons, comments", cl: CommandLine{Shared: true}, script: "VERS_1 { global: f*; # all of them\n local: *; };", out: "fly", in: "g"},
		{name: "versions", cl: CommandLine{Shared: true}, script: "V1 { global: a; }; V2 { global: b; local: *; } V1;", out: "b", in: "c"},
		{name: "local names only", cl: CommandLine{Shared: true}, script: "{ local: secret*; };", out: "f", in: "secret_key"},
		{name: "quoted", cl: CommandLine{Shared: true}, script: `{ global: "f"; local: *; };`, out: "f", in: "g"},
		{name: "a pattern that cannot be read exports", cl: CommandLine{Shared: true}, script: "{ global: [a; local: *; };", out: "f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.script != "" {
				c.cl.VersionScripts = []string{writeScript(t, c.script)}
			}
			if c.dynamic != "" {
				c.cl.DynamicLists = []string{writeScript(t, c.dynamic)}
			}
			exported, err := exports(&c.cl)
			if err != nil {
				t.Fatal(err)
			}
			if c.out != "" && !exported(c.out) {
				t.Errorf("%s is not exported", c.out)
			}
			if c.in != "" && exported(c.in) {
				t.Errorf("%s is exported", c.in)
			}
		})
	}
}

func TestExportsErrors(t *testing.T) {
	path := writeScript(t, "{ global: f;")
	if _, err := exports(&CommandLine{Shared: true, VersionScripts: []string{path}}); err == nil || err.Error() != path+": braces do not match" {
		t.Errorf("got %v", err)
	}
	if _, err := exports(&CommandLine{Shared: true, VersionScripts: []string{path + "x"}}); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

func TestScript(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("memory.x", "MEMORY { FLASH : ORIGIN = 0, LENGTH = 256K }\n_stack_start = ORIGIN(FLASH);")
	write("link.x", `
/* a comment with KEEP(*(.never)) */
INCLUDE memory.x
ENTRY(Reset);
EXTERN(__RESET_VECTOR DefaultHandler);
PROVIDE(SysTick = DefaultHandler);
SECTIONS {
  .vector_table : { KEEP(*(.vector_table.reset_vector)); } > FLASH
  .text : { *(.text.hot*) *(.text .text.*) *(EXCLUDE_FILE (*crtend.o) .ctors) } > FLASH
  .rodata : { *(.rodata .rodata.*); }
  .data : { *(.data .data.* .ramfunc*) }
  .notes : { *(.note.kept) }
  /DISCARD/ : { *(.ARM.exidx .ARM.exidx.*) *(.note.*) *foo.o(.ARM.extab.*) *(EXCLUDE_FILE(*bar.o) .eh_frame) }
}`)
	s, err := readScripts(&CommandLine{Dir: "/", Scripts: []string{"link.x"}, LibraryPaths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"Reset", "__RESET_VECTOR", "DefaultHandler", "SysTick", "_stack_start"} {
		if !s.names[n] {
			t.Errorf("%s is not pinned", n)
		}
	}
	want := []string{"Reset", "__RESET_VECTOR", "DefaultHandler"}
	if len(s.roots) != len(want) {
		t.Errorf("roots %q, want %q", s.roots, want)
	}
	for name, want := range map[string]bool{".ARM.exidx.text.f": true, ".ARM.exidx": true, ".note.x": true, ".note.kept": false, ".ARM.extab.text.f": false, ".eh_frame": false, ".text.f": false, ".data": false} {
		if got := s.discards()(name); got != want {
			t.Errorf("%s is thrown away: %v, want %v", name, got, want)
		}
	}
	if s.unread != "" || !slices.Equal(s.files, []string{"*crtend.o", "*foo.o", "*bar.o"}) {
		t.Errorf("files %q, %q", s.files, s.unread)
	}
	keeps, class := s.keeps(), s.class()
	if !keeps(".vector_table.reset_vector") || keeps(".never") || keeps(".text.f") {
		t.Error("KEEP is misread")
	}
	if class(".text.f") != class(".text.g") {
		t.Error(".text.f and .text.g are told apart")
	}
	if class(".text.f") == class(".text.hot.g") {
		t.Error(".text.f and .text.hot.g are not told apart")
	}
	if class(".rodata.a") == class(".text.a") || class(".rodata.a") != class(".rodata..Lanon.b") {
		t.Error("constants are in the wrong class")
	}

	if _, err = readScripts(&CommandLine{Dir: dir, Scripts: []string{"missing.x"}}); err == nil || err.Error() != "linker script missing.x is not found" {
		t.Errorf("got %v", err)
	}
	write("loop.x", "INCLUDE loop.x")
	if _, err = readScripts(&CommandLine{Dir: dir, Scripts: []string{"loop.x"}}); err == nil || err.Error() != "loop.x: linker scripts include each other without end" {
		t.Errorf("got %v", err)
	}
}

func TestKeepNames(t *testing.T) {
	const legacy, v0 = "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "_RNvXsq_NtCslNYArtu3iFV_5alloc6stringNtB5_6StringNtNtCsgEmfK2I1SDS_4core3fmt7Display3fmt"
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"core::fmt::Formatter::pad", legacy, true},
		{"core::fmt::*", legacy, true},
		{"core::fmt::?*", legacy, true},
		{"fmt", legacy, false},
		{"*String*Display*", v0, true},
		{"*::Debug*", v0, false},
		{"handler_*", "handler_1", true},
	} {
		if got := keepNames([]string{c.glob})(c.name); got != c.want {
			t.Errorf("%s against %s: %v", c.glob, c.name, got)
		}
	}
	if keepNames(nil) != nil {
		t.Error("no globs should give no function: every symbol would be demangled")
	}
}
