package report

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const adviseC = `
#include <stdio.h>
static const char *names[] = {"one", "two", "three", "four", "five"};
static int zero, one = 1;
static int *places[] = {&zero, &one, &zero, &one};
int main(int argc, char **argv) { puts(names[argc % 5]); return *places[argc % 4]; }
`

// TestAdviceComesTrue links a program, and again as the advice says: what was
// computed of the first must be the size of the second.
func TestAdviceComesTrue(t *testing.T) {
	tool(t, "gcc")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a.c": adviseC})
	run(t, dir, "gcc", "-g", "-O1", "-fPIE", "-c", "a.c")
	for _, linker := range []string{"bfd", "gold", "lld"} {
		t.Run(linker, func(t *testing.T) {
			link := []string{"a.o", "-pie", "-fuse-ld=" + linker}
			if linker == "lld" {
				path, err := exec.LookPath("ld.lld-19")
				if err != nil {
					tool(t, "ld.lld")
				} else if err := os.Symlink(path, filepath.Join(dir, "ld.lld")); err != nil {
					t.Fatal(err)
				}
				link = append(link, "-B"+dir)
			} else {
				tool(t, "ld."+linker)
			}
			build := func(name string, more ...string) uint64 {
				run(t, dir, "gcc", append(append(link, "-o", name), more...)...)
				info, err := os.Stat(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return uint64(info.Size())
			}
			size := build("plain")
			z, err := Open(filepath.Join(dir, "plain"), "")
			if err != nil {
				t.Fatal(err)
			}
			debug, all, ok := z.strippable()
			if !ok {
				t.Fatal("nothing is known of stripping")
			}
			if now := build("nodebug", "-Wl,--strip-debug"); now != size-debug {
				t.Errorf("without debug information %d bytes; expected %d", now, size-debug)
			}
			if now := build("stripped", "-Wl,--strip-all"); now != size-all {
				t.Errorf("stripped %d bytes; expected %d", now, size-all)
			}
			if linker == "gold" {
				return // it knows no packed relocations
			}
			before, after := z.packedRelocations()
			if before < 9*24 {
				t.Errorf("%d bytes of relative relocations, there are at least nine", before)
			}
			build("packed", "-Wl,-z,pack-relative-relocs")
			was, now := allocated(t, filepath.Join(dir, "plain")), allocated(t, filepath.Join(dir, "packed"))
			if now != was+after-before {
				t.Errorf("with packed relocations %d bytes of sections; expected %d", now, was+after-before)
			}
		})
	}
}

// allocated is the sum of the sizes of allocated sections.
func allocated(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sum uint64
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			sum += s.Size
		}
	}
	return sum
}

func TestFarCalls(t *testing.T) {
	const (
		auipcRA    = 0x00000097 // auipc ra, 0
		auipcT1    = 0x00000317 // auipc t1, 0
		callRA     = 0x010080e7 // jalr ra, 16(ra)
		tailT1     = 0x01030067 // jalr zero, 16(t1)
		farther    = 0x00100097 // auipc ra, 0x100: 1 MiB
		justNear   = 0x000ff097 // auipc ra, 0xff
		back       = 0xfff00097 // auipc ra, -0x100
		addi       = 0x00000013
		compressed = 0x0001
	)
	for _, c := range []struct {
		name string
		code []any
		want uint64
	}{
		{"call", []any{uint32(auipcRA), uint32(callRA)}, 1},
		{"tail call", []any{uint32(auipcT1), uint32(tailT1)}, 1},
		{"other register", []any{uint32(auipcT1), uint32(callRA)}, 0},
		{"too far", []any{uint32(farther), uint32(callRA)}, 0},
		{"just near", []any{uint32(justNear), uint32(callRA)}, 1},
		{"just near, backwards", []any{uint32(back), uint32(callRA)}, 1},
		{"apart", []any{uint32(auipcRA), uint32(addi), uint32(callRA)}, 0},
		{"after a compressed one", []any{uint16(compressed), uint32(auipcRA), uint32(callRA), uint32(auipcRA), uint32(callRA)}, 2},
		{"cut off", []any{uint32(auipcRA)}, 0},
	} {
		var code []byte
		for _, word := range c.code {
			code, _ = binary.Append(code, binary.LittleEndian, word)
		}
		if got := farCalls(code); got != c.want {
			t.Errorf("%s: %d, wanted %d", c.name, got, c.want)
		}
	}
}

// TestAdviceNamesVersions checks what is said of one crate in two rlibs.
func TestAdviceNamesVersions(t *testing.T) {
	z := viewSample()
	in := &z.Report.Inputs
	twice := (*in)[2]
	twice.Path = "target/libjson-fedcba9876543210.rlib"
	*in = append(*in, twice)
	z.Report.Command = []string{"-o", "app", (*in)[2].Path, twice.Path, twice.Path, (*in)[3].Path}
	// One of its functions is from the other file.
	for i := range z.Items {
		if it := &z.Items[i]; it.Of == 10 {
			z.Report.Sections[10].Input = InputIndex(len(*in) - 1)
		}
	}
	// What is in the smaller of the two, and what is elsewhere of either.
	var smaller uint64
	for i := range z.Items {
		switch it := &z.Items[i]; {
		case it.Memory == 0:
		case it.Of == 10, it.Crate == "json" && (it.Of == None || z.Report.Sections[it.Of].Input != 2):
			smaller += it.Bytes
		}
	}
	if smaller < 90 {
		t.Fatalf("only %d bytes are in doubt", smaller)
	}
	for _, c := range []struct {
		versions map[string]string
		want     string
	}{
		{nil, "2 versions of the crate json"},
		{map[string]string{"libjson-0123456789abcdef.rlib": "1.2.0", "libjson-fedcba9876543210.rlib": "0.9.1"}, "2 versions of the crate json: 0.9.1, 1.2.0"},
		{map[string]string{"libjson-0123456789abcdef.rlib": "1.2.0", "libjson-fedcba9876543210.rlib": "1.2.0"}, "json 1.2.0, compiled 2 times"},
	} {
		found := false
		for _, a := range z.Advise(AdviceState{Versions: c.versions}) {
			if strings.Contains(a.What, "json") && strings.Contains(a.Line, "cargo tree") {
				found = a.What == c.want && a.Bytes == smaller
				if a.Bytes != smaller {
					t.Errorf("%d bytes, wanted %d", a.Bytes, smaller)
				}
				if a.What != c.want {
					t.Errorf("%q, wanted %q", a.What, c.want)
				}
			}
		}
		if !found {
			t.Errorf("%q is not advised", c.want)
		}
	}
}

// What the link found out of trims takes the place of what is guessed without.
func TestAdviceOfTrims(t *testing.T) {
	for _, tt := range []struct {
		could map[string]uint64
		want  []string
	}{
		{map[string]uint64{}, nil},
		{map[string]uint64{"trim.panic=location": 5, "trim.align=size": 7, AllUnwinding: 10}, []string{"trims 10", "trim.align 7", "trim.panic 5"}},
		{map[string]uint64{"trim.panic=trap": 8, "trim.unwind-tables=drop": 4, AllUnwinding: 10, AllAborting: 12, "later": 1},
			[]string{"trims 12", "trim.panic=trap 8", "trim.unwind-tables=drop 4"}},
	} {
		z := &Sizes{Report: &Report{Modes: Modes{Fold: "all", Could: tt.could}}}
		var got []string
		for _, a := range z.Advise(AdviceState{}) {
			if strings.HasPrefix(a.Key, "trim") {
				got = append(got, fmt.Sprintf("%s %d", a.Key, a.Bytes))
				if a.How != "about" || !a.Loaded || !strings.HasPrefix(a.Line, "leanlink.toml: trim.") {
					t.Errorf("%+v", a)
				}
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.could, got, tt.want)
		}
	}
}
