package linker

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"leanlink/objfile"
)

// place is what an error about a malformed input must begin with: the file, the
// member or section where there is one, and the offset.
var place = regexp.MustCompile(`^(damaged\.o|libdamaged\.a(\(.*\))?): (section .*: )?offset 0x[0-9a-f]+: [^\n]+$`)

// prepareDamaged links a damaged input with a sound object in this process, and
// checks what no input may change: no panic, an error that says where, memory
// in proportion, new objects that others can read.
func prepareDamaged(t *testing.T, dir, what, name string, damaged []byte, limit uint64) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v", what, p)
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, name), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "work")
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	cl, err := ParseCommandLine([]string{"-flavor", "gnu", "sound.o", name, "-o", "out"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := Prepare(cl, &Config{Fold: "all", Report: "off"}, &Linker{Path: "ld.lld", Takes: TakesLD}, work)
	runtime.ReadMemStats(&after)
	defer unmap(t, dir) // an error may hold names from the file
	if p != nil && p.Finish != nil {
		defer p.Finish.debug.abandon()
	}
	if n := after.TotalAlloc - before.TotalAlloc; limit > 0 && n > limit {
		t.Errorf("%s: %d bytes of memory for %d of input", what, n, len(damaged))
	}
	if err != nil {
		var fe *objfile.FormatError
		if script := strings.Contains(err.Error(), "neither an object"); !script && (!errors.As(err, &fe) || !place.MatchString(err.Error())) {
			t.Errorf("%s: the error says too little: %v", what, err)
		}
		return
	}
	readable := func(b []byte) bool { _, err := elf.NewFile(bytes.NewReader(b)); return err == nil }
	for _, arg := range p.Args {
		if !strings.HasPrefix(arg, work) {
			continue
		}
		b, err := os.ReadFile(arg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := objfile.Parse(arg, b); err != nil || !readable(b) && (readable(damaged) || strings.Contains(arg, "sound")) {
			t.Errorf("%s: a new object cannot be read: %v", what, err)
		}
	}
}

// What a sound link of these inputs allocates, times 4, is in proportion.
func soundLimit(t *testing.T, dir, name string, sound []byte) uint64 {
	t.Helper()
	var least uint64
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		prepareDamaged(t, dir, "sound", name, sound, 0)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; least == 0 || n < least {
			least = n
		}
	}
	return 4*least + 1<<20
}

// An object with one field of a header changed to what it should not be: every
// field of the file's and of each section's header, and cycles of sections.
func TestDamagedHeaders(t *testing.T) {
	sound := fuzzSeeds(t, "x86_64-rustc.o")[0]
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "sound.o"), string(sound))
	limit := soundLimit(t, dir, "damaged.o", sound)
	le := binary.LittleEndian
	shoff, count, size := le.Uint64(sound[40:]), uint64(le.Uint16(sound[60:])), uint64(len(sound))
	type field struct {
		name      string
		at, width uint64
	}
	var fields []field
	for _, f := range []field{{"e_type", 16, 2}, {"e_machine", 18, 2}, {"e_version", 20, 4}, {"e_entry", 24, 8}, {"e_phoff", 32, 8}, {"e_shoff", 40, 8},
		{"e_flags", 48, 4}, {"e_ehsize", 52, 2}, {"e_phentsize", 54, 2}, {"e_phnum", 56, 2}, {"e_shentsize", 58, 2}, {"e_shnum", 60, 2}, {"e_shstrndx", 62, 2}} {
		fields = append(fields, f)
	}
	for i := range count {
		for _, f := range []field{{"sh_name", 0, 4}, {"sh_type", 4, 4}, {"sh_flags", 8, 8}, {"sh_addr", 16, 8}, {"sh_offset", 24, 8}, {"sh_size", 32, 8},
			{"sh_link", 40, 4}, {"sh_info", 44, 4}, {"sh_addralign", 48, 8}, {"sh_entsize", 56, 8}} {
			fields = append(fields, field{fmt.Sprintf("section %d: %s", i, f.name), shoff + i*64 + f.at, f.width})
		}
	}
	for _, f := range fields {
		var old [8]byte
		copy(old[:], sound[f.at:f.at+f.width])
		was := le.Uint64(old[:])
		values := []uint64{0, 1, 7, was + 1, was - 1, size, size - was, shoff, count, 1<<31 - 1, 1 << 63, 1<<64 - 1, 0xffff}
		for _, v := range values {
			b := bytes.Clone(sound)
			var now [8]byte
			le.PutUint64(now[:], v)
			copy(b[f.at:f.at+f.width], now[:])
			prepareDamaged(t, dir, fmt.Sprintf("%s: %#x", f.name, v), "damaged.o", b, limit)
		}
	}
	// Each section's sh_link and sh_info lead to the next one's, and the last to the first's.
	for _, at := range []uint64{40, 44} {
		b := bytes.Clone(sound)
		for i := uint64(1); i < count; i++ {
			le.PutUint32(b[shoff+i*64+at:], uint32(i%(count-1)+1))
			prepareDamaged(t, dir, fmt.Sprintf("a cycle of the first %d", i), "damaged.o", b, limit)
		}
	}
	// Each section lies where the next one does.
	for i := uint64(1); i+1 < count; i++ {
		b := bytes.Clone(sound)
		copy(b[shoff+i*64+24:shoff+i*64+40], sound[shoff+(i+1)*64+24:])
		prepareDamaged(t, dir, fmt.Sprintf("section %d over %d", i, i+1), "damaged.o", b, limit)
	}
}

// Objects and archives cut at every byte.
func TestCutInputs(t *testing.T) {
	object := fuzzSeeds(t, "x86_64-rustc.o")[0]
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "sound.o"), string(object))
	for name, sounds := range map[string][][]byte{"damaged.o": fuzzSeeds(t, "x86_64-gcc.o"), "libdamaged.a": fuzzSeeds(t, "[bg]*.a")} {
		for _, sound := range sounds {
			limit := soundLimit(t, dir, name, sound)
			step := 1
			if name != "damaged.o" {
				step = 7 // the headers of members have 60 bytes, at even places
			}
			for n := 0; n < len(sound); n += step {
				prepareDamaged(t, dir, fmt.Sprintf("%s: the first %d of %d bytes", name, n, len(sound)), name, sound[:n], limit)
			}
		}
	}
}

// Through the whole program: the real linker gets the original inputs, and the
// user one line that says where the fault is; a second link of them says so again.
func TestDamagedLinks(t *testing.T) {
	sound := fuzzSeeds(t, "x86_64-rustc.o")[0]
	archive := fuzzSeeds(t, "gnu.a")[0]
	le := binary.LittleEndian
	shoff := le.Uint64(sound[40:])
	changed := func(at uint64, v uint32) []byte {
		b := bytes.Clone(sound)
		le.PutUint32(b[at:], v)
		return b
	}
	tests := []struct {
		name, file string
		data       []byte
		warning    string // "" for none
	}{
		{"sound", "x.o", sound, ""},
		{"empty", "x.o", nil, ""},
		{"no header", "x.o", sound[:19], "x.o: neither an object, an archive, a shared object nor a script"},
		{"half a header", "x.o", sound[:40], "x.o: offset 0x0: ELF header is truncated"},
		{"no sections", "x.o", sound[:64], fmt.Sprintf("x.o: offset %#x: section headers lie outside the file", shoff)},
		{"half", "x.o", sound[:len(sound)/2], fmt.Sprintf("x.o: offset %#x: section headers lie outside the file", shoff)},
		{"one byte missing", "x.o", sound[:len(sound)-1], fmt.Sprintf("x.o: offset %#x: section headers lie outside the file", shoff)},
		{"headers far away", "x.o", changed(44, 0x7fffffff), fmt.Sprintf("x.o: offset %#x: section headers lie outside the file", 0x7fffffff<<32|shoff)},
		{"a section far away", "x.o", changed(shoff+64+32+4, 0xffffffff), fmt.Sprintf("x.o: offset %#x: a section lies outside the file", shoff+64)},
		{"an archive cut short", "libx.a", archive[:len(archive)-40], "libx.a: offset 0x522: a member lies outside the archive"},
		{"an archive's header", "libx.a", append(bytes.Clone(archive[:8]), "garbage that is no header of any member, but sixty bytes long......"...), "libx.a: offset 0x8: a member's header has no terminator"},
	}
	for _, tt := range tests {
		b := newBench(t)
		putFile(t, filepath.Join(b.dir, "work", tt.file), string(tt.data))
		for range 2 {
			_, stderr, end := b.run([]string{"LEANLINK_TEST_PREPARE=real"}, "-m64", tt.file, "-o", "out", "-nostdlib")
			if end != "exit status 0" || strings.Count(stderr, "\n") > 1 || strings.Contains(stderr, "panic") {
				t.Errorf("%s: %q, %s", tt.name, stderr, end)
			}
			if !strings.HasPrefix(stderr, "leanlink: warning: "+tt.warning) && (tt.warning != "" || stderr != "") || tt.warning == "" && stderr != "" {
				t.Errorf("%s: %q, want %q", tt.name, stderr, tt.warning)
			}
			if calls := b.calls(); len(calls) != 1 || stderr != "" && calls[0] != "-m64 "+tt.file+" -o out -nostdlib" {
				t.Errorf("%s: called with %q", tt.name, calls)
			}
			if litter := b.litter(); litter != nil {
				t.Errorf("%s: left %q", tt.name, litter)
			}
		}
	}
}
