package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// poisoned are programs of which something folds; each exits with 7. Local
// names: references go by the section, and must be redirected one by one.
var poisoned = []struct {
	name, source string
	victim       string // the symbol of the section that folds
	caught       int    // exit status if a reference still gets to it
}{
	{"function", `
.section .text.main,"ax",@progbits
.globl main
.type main,@function
main:
	mov $1, %edi
	call first
	mov %eax, %edi
	call second
	ret
.section .text.first,"ax",@progbits
.type first,@function
first:
	lea 3(%rdi), %eax
	ret
.section .text.second,"ax",@progbits
.type second,@function
second:
	lea 3(%rdi), %eax
	ret
`, "second", 128 + int(syscall.SIGTRAP)},
	{"constant", `
.section .text.main,"ax",@progbits
.globl main
.type main,@function
main:
	movzbl anon.a.1(%rip), %eax
	movzbl anon.b.1(%rip), %ecx
	add %ecx, %eax
	sub $5, %eax
	ret
.section .rodata..Lanon.a.1,"a",@progbits
anon.a.1:
	.byte 6, 9, 9, 9, 9, 9, 9, 9
.section .rodata..Lanon.b.1,"a",@progbits
anon.b.1:
	.byte 6, 9, 9, 9, 9, 9, 9, 9
`, "anon.b.1", (6 + trapByte - 5) & 0xff},
}

// trapByte is what leanlink fills what folds with.
const trapByte = 0xcc

// TestPoison shows that poisoned links do what plain ones do, that what folds is
// there as traps, and that a reference which was not redirected is caught.
func TestPoison(t *testing.T) {
	need(t, "x86-64")
	for _, p := range poisoned {
		for _, linker := range []string{"lld", "bfd", "gold", "mold"} {
			t.Run(p.name+"/"+linker, func(t *testing.T) {
				need(t, "linker:"+linker)
				dir := t.TempDir()
				source := p.source + ".section .comment,\"MS\",@progbits,1\n.string \"rustc version 1.95.0\"\n.section .note.GNU-stack,\"\",@progbits\n"
				if err := os.WriteFile(filepath.Join(dir, "main.s"), []byte(source), 0o644); err != nil {
					t.Fatal(err)
				}
				flags, _ := linkerFlags(linker)
				link := func(output, driver string, env ...string) int {
					t.Helper()
					argv := append([]string{driver, "main.o", "-Wl,--gc-sections", "-o", output}, flags...)
					for _, argv := range [][]string{{"as", "-o", "main.o", "main.s"}, argv} {
						if o, err := run(dir, environ(env...), argv...); err != nil || o.status != 0 || strings.Contains(o.stderr, "leanlink") {
							t.Fatalf("%v: %v %v", argv, err, o)
						}
					}
					o, err := run(dir, environ(), filepath.Join(dir, output))
					if err != nil {
						t.Fatal(err)
					}
					return o.status
				}
				if got := link("plain", "cc"); got != 7 {
					t.Fatalf("the plain program exits with %d, not 7", got)
				}
				poison := variantEnv("poison")
				if got := link("poisoned", tools.leanlink, poison...); got != 7 {
					t.Errorf("the poisoned program exits with %d, not 7", got)
				}
				// The others drop what nothing refers to, retained or not.
				if (linker == "lld" || linker == "mold") && !isTraps(t, filepath.Join(dir, "poisoned"), p.victim) {
					t.Errorf("%s is not poisoned", p.victim)
				}
				unredirect, err := exec.LookPath("unredirect")
				if err != nil {
					t.Fatal(err)
				}
				if got := link("broken", tools.leanlink, append(poison, "LEANLINK_REAL_LINKER="+unredirect, "UNREDIRECT="+p.victim)...); got != p.caught {
					t.Errorf("with a reference that is not redirected the program exits with %d, not %d", got, p.caught)
				}
			})
		}
	}
}

// isTraps reports whether a symbol of a file stands at four traps.
func isTraps(t *testing.T, path, symbol string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != symbol {
			continue
		}
		at := make([]byte, 4)
		section := f.Sections[s.Section]
		if _, err := section.ReadAt(at, int64(s.Value-section.Addr)); err != nil {
			t.Fatal(err)
		}
		return bytes.Count(at, []byte{trapByte}) == len(at)
	}
	return false
}

// unredirect is what the test binary does as leanlink's real linker: it takes
// back the redirecting of one reference, to the symbol that $UNREDIRECT names,
// and links.
func unredirect() {
	err := fmt.Errorf("no object of leanlink's among the arguments")
	for _, arg := range os.Args[1:] {
		// Among the others are start files.
		if strings.HasSuffix(arg, "-main.o") {
			err = takeBack(arg, os.Getenv("UNREDIRECT"))
		}
	}
	var driver string
	if err == nil {
		driver, err = exec.LookPath("cc")
	}
	if err == nil {
		err = syscall.Exec(driver, append([]string{driver}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "unredirect:", err)
	os.Exit(1)
}

// takeBack makes the first relocation that names one of leanlink's marks name the
// victim.
func takeBack(path, victim string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	target := uint64(0)
	for i, s := range symbols {
		if s.Name == victim {
			target = uint64(i + 1) // Symbols leaves out the null symbol
		}
	}
	if target == 0 {
		return fmt.Errorf("%s: no symbol %s", path, victim)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		for at := s.Offset; at < s.Offset+s.FileSize; at += 24 {
			info := binary.LittleEndian.Uint64(data[at+8:])
			if n := info >> 32; n == 0 || !strings.HasPrefix(symbols[n-1].Name, "leanlink$") {
				continue
			}
			binary.LittleEndian.PutUint64(data[at+8:], target<<32|info&0xffffffff)
			return os.WriteFile(path, data, 0o600)
		}
	}
	return fmt.Errorf("%s: nothing was redirected", path)
}
