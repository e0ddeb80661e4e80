package merge

import (
	"bytes"
	"debug/elf"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"leanlink/objfile"
)

// linkSeeds are objects to be damaged and linked with what they were: those of
// objfile, and the small members of Rust's standard library that have
// exception tables.
func linkSeeds(t testing.TB) [][]byte {
	t.Helper()
	paths, err := filepath.Glob("../objfile/testdata/objects/*.o")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no seeds: %v", err)
	}
	var all [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	root, err := exec.Command("rustc", "--print", "sysroot").Output()
	if err != nil {
		return all
	}
	libs, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "lib/rustlib/x86_64-unknown-linux-gnu/lib/*.rlib"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range libs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a, err := objfile.ParseArchive(path, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range a.Members {
			if len(m.Data) < 24<<10 && objfile.FileType(m.Data) == objfile.ET_REL && bytes.Contains(m.Data, []byte(".gcc_except_table.")) {
				all = append(all, bytes.Clone(m.Data))
			}
		}
	}
	return all
}

// field is where something is in a record, for ELF32 and ELF64.
type field struct{ at32, width32, at64, width64 uint64 }

var (
	sectionFields = []field{{4, 4, 4, 4}, {8, 4, 8, 8}, {20, 4, 32, 8}, {24, 4, 40, 4}, {28, 4, 44, 4}, {32, 4, 48, 8}, {36, 4, 56, 8}} // type, flags, size, link, info, align, entsize
	symbolFields  = []field{{4, 4, 8, 8}, {8, 4, 16, 8}, {12, 1, 4, 1}, {13, 1, 5, 1}, {14, 2, 6, 2}}                                   // value, size, info, other, shndx
	relocFields   = []field{{0, 4, 0, 8}, {4, 1, 8, 4}, {5, 3, 12, 4}, {8, 4, 16, 8}}                                                   // offset, type, symbol, addend
)

// damage changes an object as ops say: each operation is of five bytes, the
// section, the record in it or what kind of change, the field, and two of the
// value. What it makes may still be read, unlike most random bytes.
func damage(b, ops []byte) []byte {
	f, err := objfile.Parse("seed.o", b)
	if err != nil {
		return b
	}
	b = bytes.Clone(b)
	put := func(base uint64, of field, v uint64) {
		at, width := of.at32, of.width32
		if f.Is64() {
			at, width = of.at64, of.width64
		}
		for i := range width {
			if base+at+i < uint64(len(b)) {
				b[base+at+i] = byte(v >> (8 * i))
			}
		}
	}
	heads, record := uint64(32), map[uint32]uint64{objfile.SHT_SYMTAB: 16, objfile.SHT_REL: 8, objfile.SHT_RELA: 12}
	headSize := uint64(40)
	if f.Is64() {
		heads, headSize, record = 40, 64, map[uint32]uint64{objfile.SHT_SYMTAB: 24, objfile.SHT_REL: 16, objfile.SHT_RELA: 24}
	}
	shoff := uint64(0)
	for i := range uint64(f.WordSize()) {
		shoff |= uint64(b[heads+i]) << (8 * i)
	}
	for ; len(ops) >= 5; ops = ops[5:] {
		i := uint32(ops[0]) % uint32(len(f.Sections))
		s := &f.Sections[i]
		v := uint64(ops[3]) | uint64(ops[4])<<8
		extreme := [...]uint64{v, v & 3, 1 << (v % 64), ^v, uint64(f.NumSymbols), uint64(len(f.Sections)), s.Size, s.Size - 1}[int(ops[2]>>3)%8]
		switch fields := symbolFields; {
		case ops[1] >= 0xe0: // the section's header
			put(shoff+uint64(i)*headSize, sectionFields[int(ops[2])%len(sectionFields)], extreme)
		case s.Type == objfile.SHT_REL || s.Type == objfile.SHT_RELA:
			fields = relocFields
			fallthrough
		case s.Type == objfile.SHT_SYMTAB:
			if n := s.Size / record[s.Type]; n > 0 {
				put(s.Offset+uint64(ops[1])%n*record[s.Type], fields[int(ops[2])%len(fields)], extreme)
			}
		default:
			if n := uint64(len(f.Bytes(i))); n > 0 {
				b[s.Offset+(uint64(ops[1])|uint64(ops[2])<<8)%n] = ops[3]
			}
		}
	}
	return b
}

// FuzzPlan: a damaged object among sound ones ends in an error that says
// where, or in objects that are whole: debug/elf and objfile read them, what
// is kept refers to nothing that is gone, and relocations fit.
func FuzzPlan(f *testing.F) {
	seeds := linkSeeds(f)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range seeds {
		f.Add(uint8(i), uint8(i), []byte{})
		ops := make([]byte, 15)
		for k := range ops {
			ops[k] = byte(r.Uint32())
		}
		f.Add(uint8(i), uint8(r.Uint32()), ops)
	}
	f.Fuzz(func(t *testing.T, which, how uint8, ops []byte) {
		sound := seeds[int(which)%len(seeds)]
		damaged := damage(sound, ops)
		first, err := objfile.Parse("sound.o", sound)
		if err != nil {
			t.Fatal(err)
		}
		second, err := objfile.Parse("damaged.o", damaged)
		if err != nil {
			return // as FuzzParse has it
		}
		files := []*objfile.File{first, second}
		if how&1 != 0 {
			slices.Reverse(files)
		}
		opt := Options{Mode: Mode(how >> 1 % 3), Exclude: Exclusion(how >> 3 % 3), KeepAll: how&32 == 0, Shared: how&64 != 0, NoThunks: how&128 != 0,
			Wanted: map[string]bool{"main": true}}
		if how&64 != 0 {
			opt.Exports = func(name string) bool { return len(name)%2 == 0 }
		}
		for i := range first.NumSymbols { // roots
			if i >= first.FirstGlobal && i%3 == 0 {
				opt.Wanted[first.SymbolName(i)] = true
			}
		}
		l, err := NewLink(files, opt)
		if err != nil {
			return
		}
		p, err := l.Make()
		if err != nil {
			mustBeFormatError(t, err)
			return
		}
		for i := range l.Objects {
			checkEdit(t, p, i)
		}
	})
}

func mustBeFormatError(t *testing.T, err error) {
	t.Helper()
	if fe := (*objfile.FormatError)(nil); !errors.As(err, &fe) {
		t.Errorf("%T: %v", err, err)
	}
}

// checkEdit writes one object of a plan and reads the result.
func checkEdit(t *testing.T, p *Plan, object int) {
	o := p.Link.Objects[object]
	e, err := p.Edit(object, new(objfile.Scratch))
	if err != nil {
		mustBeFormatError(t, err)
		return
	}
	if e == nil {
		if p.CertainlyEdits(object) {
			t.Error("an edit that was certain is none")
		}
		return
	}
	var b bytes.Buffer
	if _, err := e.Write(&b); err != nil {
		mustBeFormatError(t, err)
		if b.Len() != 0 {
			t.Errorf("%v, but %d bytes are written", err, b.Len())
		}
		return
	}
	f, err := objfile.Parse("edited.o", b.Bytes())
	if err != nil {
		t.Fatalf("the edited object does not parse: %v", err)
	}
	if _, err := elf.NewFile(bytes.NewReader(o.File.Data)); err == nil {
		if _, err := elf.NewFile(bytes.NewReader(b.Bytes())); err != nil {
			t.Fatalf("debug/elf read the object, but not the edited one: %v", err)
		}
	}
	if len(f.Sections) != len(o.File.Sections) || f.NumSymbols < o.File.NumSymbols {
		t.Fatalf("%d sections and %d symbols, but there were %d and %d", len(f.Sections), f.NumSymbols, len(o.File.Sections), o.File.NumSymbols)
	}
	arch := objfile.ArchOf(f.Machine)
	for i := range uint32(len(f.Sections)) {
		s := &f.Sections[i]
		if s.Flags&objfile.SHF_ALLOC == 0 || o.File.CheckRelocs(i, arch) != nil {
			continue
		}
		if err := f.CheckRelocs(i, arch); err != nil {
			t.Fatalf("the edited object: %v", err)
		}
		if p.Fate[o.Base+SecID(i)] != FateKept || s.Flags&objfile.SHF_EXCLUDE != 0 || s.Name == ".eh_frame" || s.Type == objfile.SHT_X86_UNWIND {
			continue // frame entries go with their functions
		}
		rs := f.Relocs(i)
		for k := range rs.Len() {
			r := rs.At(k)
			to := f.Symbol(r.Sym)
			if to.Section < uint32(len(f.Sections)) && to.Section != 0 && f.Sections[to.Section].Flags&objfile.SHF_EXCLUDE != 0 &&
				o.File.Sections[to.Section].Flags&objfile.SHF_EXCLUDE == 0 {
				t.Fatalf("%s: offset %#x refers to %s, which is gone", s.Name, r.Offset, f.Sections[to.Section].Name)
			}
		}
	}
}
