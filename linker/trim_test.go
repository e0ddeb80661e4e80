package linker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"leanlink/merge"
)

func TestPackedFlag(t *testing.T) {
	for _, tt := range []struct {
		name  string
		style Style
		kind  Kind
		value string
		want  []string
		notes []string
		err   string
	}{
		{"driver", StyleCC, KindLLD, "packed", []string{"-Wl,-z,pack-relative-relocs"}, []string{"relocations = packed"}, ""},
		{"ld", StyleLD, KindLLD, "packed", []string{"-z", "pack-relative-relocs"}, []string{"relocations = packed"}, ""},
		{"keep", StyleCC, KindLLD, "keep", nil, nil, ""},
		{"gold", StyleCC, KindGold, "packed", nil, nil,
			`default: trim.relocations = "packed": gold has no packed relocations (-z pack-relative-relocs): use lld, GNU ld from 2.38 or mold`},
		{"gold, not asked", StyleCC, KindGold, "keep", nil, nil, ""},
	} {
		p := &preparation{cl: &CommandLine{Style: tt.style}, cfg: &Config{TrimRelocations: tt.value}, kind: tt.kind}
		err := p.decideTrims(&Linker{}, &Environment{})
		if errText(err) != tt.err || !slices.Equal(p.linkerFlags(), tt.want) || !slices.Equal(p.trims.notes, tt.notes) {
			t.Errorf("%s: %q %q, error %q", tt.name, p.linkerFlags(), p.trims.notes, errText(err))
		}
	}
}

// What is not shipped is not trimmed, and the report says so.
func TestTrimsOnlyFinal(t *testing.T) {
	lib := Input{Path: "/lib/rustlib/x/lib/libtest-0123456789abcdef.rlib"}
	for _, tt := range []struct {
		name string
		cl   CommandLine
		env  []string
		want string
	}{
		{"program", CommandLine{Inputs: []Input{{Path: "libtester-1.rlib"}, {Path: "libtest-1.so"}}}, nil, ""},
		{"harness", CommandLine{Inputs: []Input{lib}}, nil, "a test harness"},
		{"build script", CommandLine{}, []string{"CARGO_CRATE_NAME=build_script_build"}, "a build script"},
	} {
		env := &Environment{Vars: tt.env}
		if got := notFinal(&tt.cl, env); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		p := &preparation{cl: &tt.cl, cfg: &Config{TrimRelocations: "packed", TrimPanic: "keep"}, kind: KindLLD}
		err := p.decideTrims(&Linker{}, env)
		want := []string{"relocations = packed"}
		if tt.want != "" {
			want = []string{"none: " + tt.want}
		}
		if err != nil || !slices.Equal(p.trims.notes, want) || (len(p.linkerFlags()) > 0) != (tt.want == "") {
			t.Errorf("%s: notes %q, flags %q, error %v", tt.name, p.trims.notes, p.linkerFlags(), err)
		}
	}
}

func TestMoldVersion(t *testing.T) {
	for _, tt := range []struct {
		text, version string
		old           bool
	}{
		{"mold 1.10.1 (compatible with GNU ld)\n", "mold 1.10", true},
		{"mold 2.0.0 (compatible with GNU ld)\n", "mold 2.0", true},
		{"collect2 version 12\nmold 2.1.0 (compatible with GNU ld)\n", "mold 2.1", false},
		{"mold 12.0\n", "mold 12.0", false},
		{"mold HEAD\n", "mold", false},
		{"", "mold", false},
	} {
		if v, old := parseMoldVersion(tt.text); v != tt.version || old != tt.old {
			t.Errorf("%q: %s, %v", tt.text, v, old)
		}
	}
}

// A linker that ignores the flag is found out by its output.
func TestUnpacked(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is missing")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte("int a, b, c; int *p[] = {&a, &b, &c}; int main(void) { return !p[0]; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]bool{"-Wl,-z,pack-relative-relocs": false, "-Wl,-z,nopack-relative-relocs": true} {
		out := filepath.Join(dir, "out")
		if text, err := exec.Command(cc, "-fuse-ld=bfd", "-pie", "-fPIE", flag, "-o", out, filepath.Join(dir, "a.c")).CombinedOutput(); err != nil {
			t.Skipf("%v: %s", err, text)
		}
		if got := unpacked(out); (got != "") != want {
			t.Errorf("%s: %q", flag, got)
		}
	}
	if got := unpacked(filepath.Join(dir, "a.c")); got != "" {
		t.Errorf("no program: %q", got)
	}
}

// Of a trim that is asked for and can't be had, the error names the key and
// where it is set.
func TestRefuseCut(t *testing.T) {
	p := &preparation{cfg: &Config{TrimPanic: "trap", TrimUnwindTables: "drop"}}
	for key, want := range map[string]string{
		"trim.panic": `default: trim.panic = "trap": why`, "trim.unwind-tables": `default: trim.unwind-tables = "drop": why`,
	} {
		err := p.refuseCut(fmt.Errorf("around: %w", &merge.TrimError{Key: key, Why: "why"}))
		var refusal *Refusal
		if !errors.As(err, &refusal) || err.Error() != want {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := p.refuseCut(io.EOF); err != io.EOF {
		t.Errorf("%v", err)
	}
	p = &preparation{cl: &CommandLine{}, cfg: &Config{TrimPanic: "location", Fold: "off"}}
	if got := errText(p.decideTrims(&Linker{}, &Environment{})); got != `default: trim.panic = "location": Locations become one by folding, and fold is off` {
		t.Error(got)
	}
}
