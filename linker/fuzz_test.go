package linker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"leanlink/objfile"
)

// fuzzSeeds are the small objects and archives that objfile's tests read.
func fuzzSeeds(t testing.TB, pattern string) [][]byte {
	t.Helper()
	paths, err := filepath.Glob("../objfile/testdata/objects/" + pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no seeds %s: %v", pattern, err)
	}
	var all [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// FuzzPrepare: a link of an object, an archive and a file that is anything ends
// in an error or in command lines whose new objects are whole; nothing is
// written outside the link's own folder, and the inputs stay as they were.
func FuzzPrepare(f *testing.F) {
	archives := fuzzSeeds(f, "*.a")
	for i, o := range fuzzSeeds(f, "x86_64*.o") {
		f.Add(o, archives[i%len(archives)], []byte("INPUT ( libx.a ) GROUP(-lx AS_NEEDED ( libx.a ))"), uint8(i))
		f.Add(o, archives[i%len(archives)], o, uint8(i*5))
	}
	f.Add([]byte("\x7fELF"), []byte("!<arch>\n"), []byte("/* INPUT("), uint8(3))
	linkers := []string{"ld.lld", "mold", "ld.bfd", "ld.gold", "unknown"}
	f.Fuzz(func(t *testing.T, object, archive, other []byte, how uint8) {
		dir := t.TempDir()
		defer unmap(t, dir)
		work := filepath.Join(dir, "work")
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		inputs := map[string][]byte{"x.o": object, "libx.a": archive, "other": other}
		for name, data := range inputs {
			putFile(t, filepath.Join(dir, name), string(data))
		}
		args := []string{"-flavor", "gnu", "x.o", "-L.", "-lx", "other", "-o", "out"}
		if how&8 != 0 {
			args = append(args, "--gc-sections")
		}
		if how&16 != 0 {
			args = append(args, "-shared")
		}
		if how&32 != 0 {
			args = append(args, "--start-lib", "x.o", "--end-lib")
		}
		cl, err := ParseCommandLine(args, dir)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &Config{Fold: []string{"safe", "all"}[how>>6&1], Verify: how>>7 != 0}
		p, err := Prepare(cl, cfg, &Linker{Path: linkers[int(how&7)%len(linkers)], Takes: TakesLD}, work)
		if p != nil && p.Finish != nil {
			defer p.Finish.debug.abandon()
		}
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without a message")
			}
			if fe := (*objfile.FormatError)(nil); errors.As(err, &fe) && fe.File == "" {
				t.Errorf("an error that names no file: %v", err)
			}
		} else {
			for _, arg := range p.Args {
				if !strings.HasPrefix(arg, work) {
					continue
				}
				b, err := os.ReadFile(arg)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := objfile.Parse(arg, b); err != nil {
					t.Fatalf("a new object: %v", err)
				}
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(inputs)+1 {
			t.Fatalf("%d entries in the folder, %v", len(entries), err)
		}
		for name, data := range inputs {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(b, data) {
				t.Fatalf("%s was changed: %v", name, err)
			}
		}
	})
}

// unmap gives back what is mapped of the files in a folder. A worker never
// does: it makes one link and ends.
func unmap(t *testing.T, dir string) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if !strings.Contains(line, dir+"/") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, from, to-from, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
}

// FuzzScript: whatever a linker script holds, reading it ends, and each name
// that the linker could take from it is known.
func FuzzScript(f *testing.F) {
	f.Add("ENTRY(Reset)\nEXTERN(__RESET_VECTOR);\nSECTIONS { .text : { *(.text .text.*); KEEP(*(.init)) EXCLUDE_FILE(*libx.a:) . = ALIGN(4); } > FLASH }\nPROVIDE(a = b + 1);")
	f.Add("INCLUDE memory.x\nINCLUDE \"link.x\"")
	f.Add("/* a */ /* b")
	f.Add(`"a (" ) ((({ *libx.a:*.o(.text*) }`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		putFile(t, filepath.Join(dir, "link.x"), text)
		s, err := readScripts(&CommandLine{Dir: dir, Scripts: []string{"link.x"}})
		if err != nil {
			return
		}
		keeps, class := s.keeps(), s.class()
		for _, p := range append(s.patterns, ".text.f", "") {
			keeps(p)
			if class(p) != class(p) {
				t.Errorf("%q has two classes", p)
			}
		}
		if len(s.names) > len(text) || len(s.patterns) > len(text) {
			t.Errorf("%d names and %d patterns of %d bytes", len(s.names), len(s.patterns), len(text))
		}
	})
}
