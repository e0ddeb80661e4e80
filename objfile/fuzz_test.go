package objfile_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"leanlink/objfile"
)

// seeds returns the files of testdata/objects with a suffix, and small
// members of Rust's libraries if there are any.
func seeds(t testing.TB, suffix string) []object {
	t.Helper()
	paths, err := filepath.Glob("testdata/objects/*" + suffix)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no seeds: %v", err)
	}
	var all []object
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, object{path, b})
	}
	return all
}

// members adds the small members of Rust's libraries to the seeds.
func members(f *testing.F, add func(b []byte)) {
	for _, o := range seeds(f, ".o") {
		add(o.data)
	}
	if out, err := sysroot(); err == nil {
		for _, target := range []string{"x86_64-unknown-linux-gnu", "thumbv7m-none-eabi"} {
			for _, o := range libraryMembers(f, out, target) {
				if len(o.data) < 6<<10 {
					add(o.data)
				}
			}
		}
	}
}

// vandalise changes fields of the headers, sections and symbols of an object
// as ops say: random bytes alone rarely get behind the first checks. Each
// operation has four bytes: what to change, which one, the field, the value.
func vandalise(b, ops []byte) []byte {
	if len(b) < 64 || string(b[:4]) != "\x7fELF" {
		return b
	}
	b = slices.Clone(b)
	is64 := b[4] == 2
	shoffAt, size := 32, uint64(40)
	shoff := uint64(binary.LittleEndian.Uint32(b[shoffAt:]))
	if is64 {
		shoff, size = binary.LittleEndian.Uint64(b[40:]), 64
	}
	count := uint64(binary.LittleEndian.Uint16(b[headFields[is64]["shnum"].at:]))
	im := &image{b: b, is64: is64, shat: shoff}
	if count == 0 || shoff > uint64(len(b)) || count*size > uint64(len(b))-shoff {
		return b
	}
	get := func(i uint64, name string) (v uint64) {
		f := sectionFields[is64][name]
		for k := range f.width {
			v |= uint64(b[shoff+i*size+f.at+k]) << (8 * k)
		}
		return v
	}
	sectionNames := []string{"name", "type", "flags", "offset", "size", "link", "info", "align", "entsize"}
	headNames := []string{"type", "machine", "shoff", "shnum", "shstrndx"}
	symbolNames := []string{"name", "info", "other", "shndx", "value", "size"}
	for len(ops) >= 4 {
		what, which, name, value := ops[0], uint64(ops[1]), int(ops[2]), ops[3]
		ops = ops[4:]
		n := uint64(len(b))
		i := which % count
		v := []uint64{0, 1, n, n - 1, n + 1, im.max(), im.max() - n, count, count - 1, 0xff00, 0xffff, uint64(value), i, n / 2, 2, 3, 4, 9, 18, 17,
			get(i, "offset"), get(i, "size") - 1, get(i, "size") + 1, get((i+1)%count, "offset"), shoff, 1 << 31, 1 << 32, size}[int(value)%28]
		switch what % 4 {
		case 0:
			im.head(headNames[name%len(headNames)], v)
		case 1, 2:
			im.section(int(i), sectionNames[name%len(sectionNames)], v)
		case 3: // a symbol or a relocation: a field of some record of a section
			records := map[bool]uint64{true: 24, false: 16}[is64]
			offset, length := get(i, "offset"), get(i, "size")
			if offset > n || length > n-offset || length < records {
				continue
			}
			at := offset + uint64(value)%(length/records)*records
			im.put(at, symbolFields[is64][symbolNames[name%len(symbolNames)]], v)
		}
	}
	return b
}

// within reports whether part is a subslice of whole, or empty.
func within(part, whole []byte) bool {
	if len(part) == 0 {
		return true
	}
	a, w := uintptr(unsafe.Pointer(&part[0])), uintptr(unsafe.Pointer(&whole[0]))
	return a >= w && a+uintptr(len(part)) <= w+uintptr(len(whole))
}

// walk uses all of a parsed object, as later phases might.
func walk(t *testing.T, f *objfile.File) {
	t.Helper()
	for i := range uint32(len(f.Sections)) {
		s := &f.Sections[i]
		if !within(f.Bytes(i), f.Data) || !within(unsafe.Slice(unsafe.StringData(s.Name), len(s.Name)), f.Data) {
			t.Fatalf("section %d reaches outside the file", i)
		}
		if s.Rel >= uint32(len(f.Sections)) {
			t.Fatalf("section %d has relocations in section %d", i, s.Rel)
		}
		rs := f.Relocs(i)
		for k := range rs.Len() {
			rs.At(k)
		}
		for _, machine := range []uint16{objfile.EM_X86_64, objfile.EM_AARCH64, objfile.EM_ARM, objfile.EM_RISCV} {
			useRelocs(f, i, objfile.ArchOf(machine))
		}
		if eh, err := f.ReadEhFrame(i); err == nil {
			checkFrames(t, f, eh)
		}
	}
	for i := range f.NumSymbols {
		s := f.Symbol(i)
		if s.Defined() && s.Section >= uint32(len(f.Sections)) && objfile.FileType(f.Data) == objfile.ET_REL {
			t.Fatalf("symbol %d is in section %d of %d", i, s.Section, len(f.Sections))
		}
		if f.NameOf(&s) != f.SymbolName(i) {
			t.Fatalf("symbol %d has two names", i)
		}
	}
}

// useRelocs uses all that is known of an architecture on a section: what
// CheckRelocs has passed needs no further checks.
func useRelocs(f *objfile.File, section uint32, arch *objfile.Arch) {
	if f.CheckRelocs(section, arch) != nil {
		return
	}
	b, rs := f.Bytes(section), f.Relocs(section)
	for k := range rs.Len() {
		r := rs.At(k)
		if r.Sym != 0 {
			f.Symbol(r.Sym)
		}
		typ := arch.Reloc(r.Type)
		_ = b[r.Offset : r.Offset+uint64(typ.Size)]
		arch.IsCall(b, r)
		arch.Addend(b[r.Offset:], r.Type)
		if typ.Kind != objfile.RelUnknown {
			arch.Bias(r)
		}
	}
	arch.OwnAddress(f, section)
	for _, reach := range []uint64{0, 1 << 40} {
		arch.Thunk(f, section, reach)
	}
}

// FuzzParse: whatever parses can be used without a panic.
func FuzzParse(f *testing.F) {
	members(f, func(b []byte) { f.Add(b, []byte{}) })
	for _, is64 := range []bool{false, true} {
		f.Add(newImage(is64).b, []byte{1, 6, 5, 14})
		f.Add(newImage(is64).b, []byte{0, 0, 0, 15, 1, 3, 1, 12})
	}
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		b = vandalise(b, ops)
		before := bytes.Clone(b)
		file, err := objfile.Parse("fuzz.o", b)
		if err == nil {
			walk(t, file)
		} else if _, ok := err.(*objfile.FormatError); !ok {
			t.Fatalf("%T: %v", err, err)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
	})
}

// FuzzArchive: members lie in the archive and apart from each other, the
// index names members, and each can be parsed.
func FuzzArchive(f *testing.F) {
	for _, o := range seeds(f, ".a") {
		f.Add(o.data)
	}
	f.Add(arFile(arMember("/", sysvIndex(false, "f", 0x50)), arMember("f.o/", []byte("odd"))))
	f.Add(arFile(arMember("/SYM64/", sysvIndex(true, "f", 0x5e)), arMember("f.o/", []byte("odd"))))
	f.Add(arFile(arMember("__.SYMDEF", bsdIndex(false, "f", 0x5c)), arMember("#1/4", []byte("f.o\x00odd"))))
	f.Add(arFile(arMember("__.SYMDEF_64", bsdIndex(true, "f", 0x6c)), arMember("//", []byte("name/\n")), arMember("/0", newImage(true).b)))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := objfile.ParseArchive("dir/fuzz.a", b)
		if err != nil {
			if _, ok := err.(*objfile.FormatError); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		total := 0
		for i, m := range a.Members {
			total += len(m.Data)
			if !within(m.Data, b) || a.Thin && m.Data != nil || !a.Thin && m.Path != "" {
				t.Fatalf("member %d %q: %d bytes, path %q", i, m.Name, len(m.Data), m.Path)
			}
			if objfile.IsELF(m.Data) {
				if file, err := objfile.Parse(m.Name, m.Data); err == nil {
					walk(t, file)
				}
			}
		}
		if total > len(b) {
			t.Fatalf("members have %d bytes, the archive %d", total, len(b))
		}
		for _, s := range a.Symbols {
			if int(s.Member) >= len(a.Members) || len(s.Name) > len(b) {
				t.Fatalf("index names member %d of %d", s.Member, len(a.Members))
			}
		}
	})
}

// FuzzEhFrame: entries lie behind one another, and every place that they
// name lies within them.
func FuzzEhFrame(f *testing.F) {
	members(f, func(b []byte) {
		file, err := objfile.Parse("seed.o", b)
		if err != nil {
			f.Fatal(err)
		}
		for i := range uint32(len(file.Sections)) {
			if file.Sections[i].Name == ".eh_frame" {
				f.Add(file.Is64(), file.Bytes(i))
			}
		}
	})
	f.Add(true, join(cie("zPLRS", join(0x9b, zeros(4), 0x1b, 0x1c)...), zeros(4)))
	f.Add(false, join(entry(join(zeros(4), 3, 0, 1, 0x7c, 0x88, 0)...), zeros(4)))
	f.Fuzz(func(t *testing.T, is64 bool, b []byte) {
		file := ehImage(t, is64, b)
		eh, err := file.ReadEhFrame(secText)
		if err != nil {
			if _, ok := err.(*objfile.FormatError); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		checkFrames(t, file, eh)
		// The entries, put together, are the section.
		end, c, d := uint64(0), 0, 0
		for c < len(eh.CIEs) || d < len(eh.FDEs) {
			switch {
			case c < len(eh.CIEs) && eh.CIEs[c].Offset == end:
				end = eh.CIEs[c].End
				c++
			case d < len(eh.FDEs) && eh.FDEs[d].Offset() == end:
				if eh.FDEs[d].CIE >= uint32(c) {
					t.Fatalf("entry at %#x has a CIE behind it", end)
				}
				end = eh.FDEs[d].End()
				d++
			default:
				t.Fatalf("no entry begins at %#x", end)
			}
		}
		if eh.Terminator {
			end += 4
		}
		if end != uint64(len(b)) {
			t.Fatalf("entries end at %#x of %#x", end, len(b))
		}
	})
}

// FuzzEdit: parse, edit, write, parse again. What was not edited is the same,
// what was is as it was asked for, or else there is an error and nothing is
// written.
func FuzzEdit(f *testing.F) {
	members(f, func(b []byte) {
		f.Add(b, []byte{}, []byte{0, 1, 2, 3, 1, 5, 2, 7, 3, 4, 9, 1, 4, 2, 2, 2, 5, 6, 0, 1, 6, 7, 3, 1})
	})
	for _, is64 := range []bool{false, true} {
		f.Add(newImage(is64).b, []byte{1, 3, 5, 14}, []byte{0, 1, 2, 3, 3, 0, 9, 1, 2, 1, 0, 9})
		f.Add(newImage(is64).b, []byte{}, []byte{3, 0, 9, 1, 5, 0, 0, 1, 6, 1, 3, 1, 0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, b, spoil, ops []byte) {
		b = vandalise(b, spoil)
		before := bytes.Clone(b)
		file, err := objfile.Parse("fuzz.o", b)
		if err != nil {
			return
		}
		editAtRandom(t, file, ops)
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
	})
}

// editAtRandom makes changes as ops say, four bytes each, and compares the
// written object with a model of what it should be.
func editAtRandom(t *testing.T, f *objfile.File, ops []byte) {
	e := objfile.NewEdit(f)
	type named struct {
		name string
		s    objfile.Symbol
	}
	symbols := make([]named, 0, f.NumSymbols)
	for i := range f.NumSymbols {
		s := f.Symbol(i)
		symbols = append(symbols, named{f.NameOf(&s), s})
	}
	sections := slices.Clone(f.Sections)
	contents := make([][]byte, len(sections))
	relocs := map[uint32][]objfile.Reloc{}
	for i := range uint32(len(sections)) {
		contents[i] = bytes.Clone(f.Bytes(i))
	}
	relocsOf := func(i uint32) []objfile.Reloc {
		if _, ok := relocs[i]; !ok {
			rs, all := f.Relocs(i), []objfile.Reloc{}
			for k := range rs.Len() {
				all = append(all, rs.At(k))
			}
			relocs[i] = all
		}
		return relocs[i]
	}
	// A relocation section's own bytes are the model's only through relocs.
	isTable := func(i uint32) bool {
		switch f.Sections[i].Type {
		case objfile.SHT_REL, objfile.SHT_RELA, objfile.SHT_SYMTAB, objfile.SHT_SYMTAB_SHNDX, objfile.SHT_STRTAB, objfile.SHT_NULL, objfile.SHT_DYNSYM:
			return true
		}
		return false
	}
	excluded := map[uint32]bool{}
	for ; len(ops) >= 4; ops = ops[4:] {
		i, x, y := uint32(ops[1])%uint32(len(sections)), ops[2], ops[3]
		switch ops[0] % 7 {
		case 0, 1:
			s := objfile.Symbol{Bind: objfile.STB_GLOBAL, Type: objfile.SymType(x & 15), Other: x >> 4, Section: i, Value: uint64(y) << (x % 60), Size: uint64(x)}
			name := string(ops[1:4])
			if k, err := e.AddSymbol(name, s); err == nil {
				if int(k) != len(symbols) {
					t.Fatalf("new symbol has index %d, want %d", k, len(symbols))
				}
				symbols = append(symbols, named{name, s})
			}
		case 2:
			if len(symbols) == 0 {
				continue
			}
			k := uint32(x) % uint32(len(symbols))
			s := objfile.Symbol{Bind: symbols[k].s.Bind, Section: []uint32{i, objfile.SecUndef, objfile.SecAbs, objfile.SecCommon}[y%4], Value: uint64(y)}
			if err := e.SetSymbol(k, s); err == nil {
				symbols[k].s = s
			}
		case 3:
			rs := relocsOf(i)
			if len(rs) == 0 || isTable(i) || f.Sections[f.Sections[i].Rel].Info != i {
				continue
			}
			k := int(x) % len(rs)
			r := objfile.Reloc{Offset: uint64(y), Type: uint32(x), Sym: uint32(y) * 3, Addend: -int64(x)}
			if !f.Relocs(i).Rela {
				r.Addend = 0
			}
			e.SetReloc(i, k, r)
			rs[k] = r
		case 4:
			off := uint64(x)
			patch := []byte{y, x}
			if isTable(i) || off+2 > uint64(len(contents[i])) {
				continue
			}
			e.Patch(i, off, patch)
			copy(contents[i][off:], patch)
		case 5:
			e.SetAlign(i, 1<<(x%16))
			sections[i].Align = 1 << (x % 16)
		case 6:
			if s := f.Sections[i]; isTable(i) || s.Type == objfile.SHT_NOBITS || s.MultiRel || excluded[i] {
				continue
			}
			if y&1 != 0 {
				if f.Sections[i].Type == objfile.SHT_GROUP {
					continue
				}
				e.Exclude(i)
				excluded[i] = true
				sections[i].Flags = sections[i].Flags&^objfile.SHF_ALLOC | objfile.SHF_EXCLUDE
				continue
			}
			content := bytes.Repeat([]byte{x}, int(y))
			var rs []objfile.Reloc
			if f.Sections[i].Rel != 0 {
				rs = []objfile.Reloc{{Offset: uint64(x), Type: 1, Sym: uint32(x) % max(1, f.NumSymbols)}}
			}
			e.SetContents(i, content, rs)
			contents[i] = content
			relocs[i] = rs
		}
	}
	var out bytes.Buffer
	if n, err := e.Write(&out); err != nil {
		if n != 0 || out.Len() != 0 {
			t.Fatalf("%v, but %d bytes are written", err, out.Len())
		}
		if _, ok := err.(*objfile.FormatError); !ok {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	pieces, size, err := e.Pieces()
	if err != nil || size != uint64(out.Len()) || !bytes.Equal(assemble(t, pieces, size), out.Bytes()) {
		t.Fatalf("the pieces, %d bytes, are not the %d bytes written: %v", size, out.Len(), err)
	}
	again, err := objfile.Parse("again.o", out.Bytes())
	if err != nil {
		t.Fatalf("the edited object does not parse: %v", err)
	}
	if int(again.NumSymbols) != len(symbols) || again.FirstGlobal != f.FirstGlobal || len(again.Sections) != len(sections) {
		t.Fatalf("%d symbols, %d sections; want %d and %d", again.NumSymbols, len(again.Sections), len(symbols), len(sections))
	}
	for k, want := range symbols {
		s := again.Symbol(uint32(k))
		if name := again.NameOf(&s); name != want.name || differ(s, want.s) {
			t.Fatalf("symbol %d: %q %+v, want %q %+v", k, name, s, want.name, want.s)
		}
	}
	for i := range uint32(len(sections)) {
		s, want := again.Sections[i], sections[i]
		if s.Name != want.Name || s.Type != want.Type || s.Flags != want.Flags || s.Align != want.Align || s.EntSize != want.EntSize || s.Link != want.Link || s.Info != want.Info || s.Rel != want.Rel {
			t.Fatalf("section %d: %+v, want %+v", i, s, want)
		}
		if isTable(i) || excluded[i] {
			continue
		}
		if !bytes.Equal(again.Bytes(i), contents[i]) {
			t.Fatalf("section %d: contents %x, want %x", i, again.Bytes(i), contents[i])
		}
		if f.Sections[i].MultiRel || f.Sections[i].Rel == 0 || excluded[i] {
			continue
		}
		rs, all := again.Relocs(i), relocsOf(i)
		if rs.Len() != len(all) {
			t.Fatalf("section %d: %d relocations, want %d", i, rs.Len(), len(all))
		}
		for k, want := range all {
			if r := rs.At(k); r != want {
				t.Fatalf("section %d: relocation %d is %+v, want %+v", i, k, r, want)
			}
		}
	}
	if _, err := e.Write(io.Discard); err != nil {
		t.Fatalf("written a second time: %v", err)
	}
}

// assemble puts pieces together, with zeros between them.
func assemble(t testing.TB, pieces []objfile.Piece, size uint64) []byte {
	t.Helper()
	b, end := make([]byte, size), uint64(0)
	for i, p := range pieces {
		if p.At < end || uint64(len(p.Data)) > size-p.At {
			t.Fatalf("piece %d is at %#x, %d bytes of %d, the one before ends at %#x", i, p.At, len(p.Data), size, end)
		}
		end = p.At + uint64(copy(b[p.At:], p.Data))
	}
	return b
}

// differ reports whether two symbols differ in what a caller can set.
func differ(a, b objfile.Symbol) bool {
	return a.Bind != b.Bind || a.Type != b.Type || a.Other != b.Other || a.Section != b.Section || a.Value != b.Value || a.Size != b.Size
}
