package objfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"leanlink/objfile"
)

// global is a symbol that an edit may add.
func global(section uint32, value uint64) objfile.Symbol {
	return objfile.Symbol{Bind: objfile.STB_GLOBAL, Type: objfile.STT_FUNC, Other: objfile.STV_HIDDEN, Section: section, Value: value, Size: 1}
}

// written returns the edited object.
func written(t testing.TB, e *objfile.Edit) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := e.Write(&out)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(out.Len()) {
		t.Errorf("Write says %d bytes, wrote %d", n, out.Len())
	}
	return out.Bytes()
}

// TestEditNothing: an edit without changes writes the original.
func TestEditNothing(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		e := objfile.NewEdit(parse(t, "x.o", im.b))
		if e.Changed() {
			t.Error("a new edit says that it changed something")
		}
		if got := written(t, e); !bytes.Equal(got, im.b) {
			t.Error("an edit without changes changes the file")
		}
	})
}

// TestEditEach makes each kind of change alone and looks at all of the
// result: what was asked for is there, every other byte of the original is
// where it was.
func TestEditEach(t *testing.T) {
	type change struct {
		name string
		edit func(t *testing.T, e *objfile.Edit)
		// changed lists what may differ in the original's bytes: sections'
		// contents by index, and headers as −index.
		changed []int
		check   func(t *testing.T, f *objfile.File)
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	changes := []change{
		{"add a symbol", func(t *testing.T, e *objfile.Edit) {
			i, err := e.AddSymbol("added", global(secText, 3))
			must(t, err)
			if i != 4 {
				t.Errorf("new symbol has index %d", i)
			}
		}, []int{-secSymtab, -secStrtab, -secShndx}, func(t *testing.T, f *objfile.File) {
			s := f.Symbol(4)
			if f.NumSymbols != 5 || f.NameOf(&s) != "added" || s.Section != secText || s.Value != 3 || s.Size != 1 || s.Type != objfile.STT_FUNC || s.Visibility() != objfile.STV_HIDDEN || s.Bind != objfile.STB_GLOBAL {
				t.Errorf("%d symbols, the last %q %+v", f.NumSymbols, f.NameOf(&s), s)
			}
		}},
		{"add symbols of each kind", func(t *testing.T, e *objfile.Edit) {
			for _, section := range []uint32{objfile.SecUndef, objfile.SecAbs, objfile.SecCommon, 0xffffff02, secBSS} {
				_, err := e.AddSymbol(fmt.Sprintf("s%x", section), global(section, 0))
				must(t, err)
			}
			_, err := e.AddSymbol("", objfile.Symbol{Bind: objfile.STB_WEAK})
			must(t, err)
		}, []int{-secSymtab, -secStrtab, -secShndx}, func(t *testing.T, f *objfile.File) {
			for i, section := range []uint32{objfile.SecUndef, objfile.SecAbs, objfile.SecCommon, 0xffffff02, secBSS} {
				s := f.Symbol(uint32(4 + i))
				if s.Section != section || f.NameOf(&s) != fmt.Sprintf("s%x", section) {
					t.Errorf("%s has section %#x", f.NameOf(&s), s.Section)
				}
			}
			if s := f.Symbol(9); f.NameOf(&s) != "" || s.Bind != objfile.STB_WEAK {
				t.Errorf("symbol without a name: %q %+v", f.NameOf(&s), s)
			}
		}},
		{"change a symbol", func(t *testing.T, e *objfile.Edit) {
			must(t, e.SetSymbol(3, objfile.Symbol{Bind: objfile.STB_WEAK, Other: objfile.STV_PROTECTED}))
			must(t, e.SetSymbol(2, objfile.Symbol{Bind: objfile.STB_LOCAL, Section: secBSS, Value: 7}))
		}, []int{-secSymtab, -secShndx}, func(t *testing.T, f *objfile.File) {
			s := f.Symbol(3)
			if f.NameOf(&s) != "f" || s.Defined() || s.Bind != objfile.STB_WEAK || s.Visibility() != objfile.STV_PROTECTED {
				t.Errorf("changed symbol %q %+v", f.NameOf(&s), s)
			}
			s = f.Symbol(2)
			if f.NameOf(&s) != "l" || s.Section != secBSS || s.Value != 7 {
				t.Errorf("changed symbol %q %+v", f.NameOf(&s), s)
			}
		}},
		{"change a relocation", func(t *testing.T, e *objfile.Edit) {
			e.SetReloc(secText, 0, objfile.Reloc{Offset: 2, Type: 5, Sym: 2, Addend: -9})
		}, []int{secRel}, func(t *testing.T, f *objfile.File) {
			want := objfile.Reloc{Offset: 2, Type: 5, Sym: 2}
			if f.Is64() {
				want.Addend = -9
			}
			if r := f.Relocs(secText).At(0); r != want {
				t.Errorf("changed relocation %+v", r)
			}
		}},
		{"patch", func(t *testing.T, e *objfile.Edit) {
			e.Patch(secText, 1, []byte("AB"))
			e.Patch(secText, 7, []byte("C"))
			e.Patch(secText, 8, nil)
		}, []int{secText}, func(t *testing.T, f *objfile.File) {
			if b := f.Bytes(secText); string(b) != "\x90AB\xe8\x00\x00\x00C" {
				t.Errorf("patched %q", b)
			}
		}},
		{"raise the alignment", func(t *testing.T, e *objfile.Edit) {
			e.SetAlign(secText, 64)
			e.SetAlign(secBSS, 32) // as it is
		}, []int{-secText}, func(t *testing.T, f *objfile.File) {
			if a := f.Sections[secText].Align; a != 64 {
				t.Errorf("alignment %d", a)
			}
		}},
		{"exclude", func(t *testing.T, e *objfile.Edit) {
			e.Exclude(secText)
			e.SetAlign(secText, 64)
		}, []int{secText, secRel, -secText, -secRel}, func(t *testing.T, f *objfile.File) {
			if s := f.Sections[secText]; s.Flags != objfile.SHF_EXECINSTR|objfile.SHF_EXCLUDE || s.Align != 64 {
				t.Errorf("excluded section %+v", s)
			}
			if n := f.Relocs(secText).Len(); n != 0 {
				t.Errorf("excluded section has %d relocations", n)
			}
		}},
		{"exclude what is replaced", func(t *testing.T, e *objfile.Edit) {
			e.SetContents(secText, []byte("new"), []objfile.Reloc{{Offset: 1, Type: 2, Sym: 1}})
			e.Exclude(secText)
		}, []int{-secText, -secRel}, func(t *testing.T, f *objfile.File) {
			if s := f.Sections[secText]; s.Flags != objfile.SHF_EXECINSTR|objfile.SHF_EXCLUDE || string(f.Bytes(secText)) != "new" || f.Relocs(secText).Len() != 1 {
				t.Errorf("excluded section %+v", s)
			}
		}},
		{"exclude what has no contents", func(t *testing.T, e *objfile.Edit) { e.Exclude(secBSS) }, []int{-secBSS}, func(t *testing.T, f *objfile.File) {
			if s := f.Sections[secBSS]; s.Flags != objfile.SHF_WRITE|objfile.SHF_EXCLUDE {
				t.Errorf("excluded section %+v", s)
			}
		}},
		{"replace contents", func(t *testing.T, e *objfile.Edit) {
			b := []byte("new contents")
			e.SetContents(secText, b, []objfile.Reloc{{Offset: 1, Type: 2, Sym: 1}, {Offset: 5, Type: 2, Sym: 3}})
			copy(b, "spoiled")
			e.Patch(secText, 0, []byte("N"))
			e.SetReloc(secText, 1, objfile.Reloc{Offset: 6, Type: 1, Sym: 3})
		}, []int{-secText, -secRel}, func(t *testing.T, f *objfile.File) {
			if b := f.Bytes(secText); string(b) != "New contents" {
				t.Errorf("contents %q", b)
			}
			rs := f.Relocs(secText)
			if rs.Len() != 2 || rs.At(0) != (objfile.Reloc{Offset: 1, Type: 2, Sym: 1}) || rs.At(1) != (objfile.Reloc{Offset: 6, Type: 1, Sym: 3}) {
				t.Errorf("%d relocations", rs.Len())
			}
		}},
		{"replace contents by none", func(t *testing.T, e *objfile.Edit) { e.SetContents(secText, nil, nil) }, []int{-secText, -secRel}, func(t *testing.T, f *objfile.File) {
			if len(f.Bytes(secText)) != 0 || f.Relocs(secText).Len() != 0 {
				t.Errorf("contents %q", f.Bytes(secText))
			}
		}},
	}
	classes(t, func(t *testing.T, is64 bool) {
		var scratch objfile.Scratch // of all of them
		for _, c := range changes {
			t.Run(c.name, func(t *testing.T) {
				im := newImage(is64)
				before := bytes.Clone(im.b)
				f := parse(t, "x.o", im.b)
				var e *objfile.Edit
				for range 3 { // what memory was used for before must not show
					scratch.Reset()
					e = scratch.NewEdit(f)
					c.edit(t, e)
					written(t, e)
				}
				fresh := objfile.NewEdit(f)
				c.edit(t, fresh)
				if !bytes.Equal(written(t, e), written(t, fresh)) {
					t.Error("with memory that was used before the result is another")
				}
				scratch.Reset()
				e = scratch.NewEdit(f)
				c.edit(t, e)
				if !e.Changed() {
					t.Error("the edit says that it changed nothing")
				}
				b := written(t, e)
				if !bytes.Equal(im.b, before) {
					t.Error("the original was changed")
				}
				after := parse(t, "x.o", b)
				c.check(t, after)
				var allowed []int
				for _, i := range c.changed {
					contents := i > 0
					if i < 0 {
						from := int(im.shat) - i*int(im.shentsize())
						allowed = append(allowed, from, from+int(im.shentsize()))
						i = -i
					}
					// Where contents that lie elsewhere now were, there may be a hole.
					if contents || after.Sections[i].Offset != f.Sections[i].Offset {
						from := int(f.Sections[i].Offset)
						allowed = append(allowed, from, from+int(f.Sections[i].Size))
					}
				}
				onlyWithin(t, before, b, allowed)
			})
		}
	})
}

// onlyWithin checks that old's bytes are at the start of edited, but for some
// ranges, given as pairs.
func onlyWithin(t *testing.T, old, edited []byte, ranges []int) {
	t.Helper()
	for at := range old {
		if at < len(edited) && edited[at] == old[at] {
			continue
		}
		inside := false
		for k := 0; k < len(ranges); k += 2 {
			inside = inside || at >= ranges[k] && at < ranges[k+1]
		}
		if !inside {
			t.Fatalf("byte %#x of the original has changed", at)
		}
	}
}

// TestEditRefused compares whole errors of changes that cannot be made. No
// byte is written then.
func TestEditRefused(t *testing.T) {
	const noTable = "x.o: section .symtab: offset {sym 4}: a section index needs a table that the file does not have"
	tests := []struct {
		name  string
		spoil func(im *image)
		edit  func(e *objfile.Edit) error
		want  string
	}{
		{"no symbol table", func(im *image) { im.section(secSymtab, "type", 1); im.section(secRel, "link", 0) }, func(e *objfile.Edit) error {
			_, err := e.AddSymbol("x", global(secText, 0))
			return err
		}, "x.o: offset 0x0: no symbol table to add a symbol to"},
		{"empty symbol table", func(im *image) {
			im.section(secSymtab, "size", 0)
			im.section(secSymtab, "info", 0)
			im.section(secShndx, "size", 0)
		}, func(e *objfile.Edit) error {
			_, err := e.AddSymbol("x", global(secText, 0))
			return err
		}, "x.o: offset 0x0: no symbol table to add a symbol to"},
		{"new local symbol", nil, func(e *objfile.Edit) error {
			_, err := e.AddSymbol("x", objfile.Symbol{Section: secText})
			return err
		}, "x.o: a new symbol must not be local"},
		{"NUL in a name", nil, func(e *objfile.Edit) error {
			_, err := e.AddSymbol("a\x00b", global(secText, 0))
			return err
		}, "x.o: a symbol's name must not contain NUL"},
		{"section beyond", nil, func(e *objfile.Edit) error {
			_, err := e.AddSymbol("x", global(8, 0))
			return err
		}, "x.o: section .symtab: offset {sym 4}: a symbol's section does not exist"},
		{"null symbol", nil, func(e *objfile.Edit) error { return e.SetSymbol(0, objfile.Symbol{}) }, "x.o: section .symtab: offset 0x0: no such symbol to change"},
		{"symbol beyond", nil, func(e *objfile.Edit) error { return e.SetSymbol(4, global(secText, 0)) }, "x.o: section .symtab: offset {sym 4}: no such symbol to change"},
		{"symbol far beyond", nil, func(e *objfile.Edit) error { return e.SetSymbol(1<<32-1, global(secText, 0)) }, "x.o: section .symtab: offset {sym 4294967295}: no such symbol to change"},
		{"local becomes global", nil, func(e *objfile.Edit) error { return e.SetSymbol(2, global(secText, 0)) }, "x.o: section .symtab: offset {sym 2}: a symbol cannot become local or cease to be it"},
		{"global becomes local", nil, func(e *objfile.Edit) error { return e.SetSymbol(3, objfile.Symbol{}) }, "x.o: section .symtab: offset {sym 3}: a symbol cannot become local or cease to be it"},

		{"relocation of a section without", nil, func(e *objfile.Edit) error { e.SetReloc(secBSS, 0, objfile.Reloc{}); return nil }, "x.o: section .bss: offset 0x0: no such relocation to change"},
		{"relocation beyond", nil, func(e *objfile.Edit) error { e.SetReloc(secText, 1, objfile.Reloc{Offset: 4}); return nil }, "x.o: section .text: offset 0x4: no such relocation to change"},
		{"relocation −1", nil, func(e *objfile.Edit) error { e.SetReloc(secText, -1, objfile.Reloc{}); return nil }, "x.o: section .text: offset 0x0: no such relocation to change"},
		{"patch beyond", nil, func(e *objfile.Edit) error { e.Patch(secText, 7, []byte("AB")); return nil }, "x.o: section .text: offset 0x7: a change lies outside the section"},
		{"patch far beyond", nil, func(e *objfile.Edit) error { e.Patch(secText, 1<<64-1, []byte("AB")); return nil }, "x.o: section .text: offset 0xffffffffffffffff: a change lies outside the section"},
		{"patch of .bss", nil, func(e *objfile.Edit) error { e.Patch(secBSS, 0, []byte("A")); return nil }, "x.o: section .bss: offset 0x0: a change lies outside the section"},
		{"patch of symbols", nil, func(e *objfile.Edit) error { e.Patch(secSymtab, 0, []byte("A")); return nil }, "x.o: section .symtab: offset 0x0: tables of the object itself do not change like contents"},
		{"contents of the string table", nil, func(e *objfile.Edit) error { e.SetContents(secStrtab, nil, nil); return nil }, "x.o: section .strtab: offset 0x0: tables of the object itself do not change like contents"},
		{"patch of the section names", nil, func(e *objfile.Edit) error { e.Patch(secShstrtab, 0, nil); return nil }, "x.o: section .shstrtab: offset 0x0: tables of the object itself do not change like contents"},
		{"contents of .bss", nil, func(e *objfile.Edit) error { e.SetContents(secBSS, []byte("A"), nil); return nil }, "x.o: section .bss: offset 0x0: the section has no contents to replace"},
		{"contents of section 0", nil, func(e *objfile.Edit) error { e.SetContents(0, []byte("A"), nil); return nil }, "x.o: offset 0x0: tables of the object itself do not change like contents"},
		{"new relocations without a table", func(im *image) { im.section(secShndx, "type", 1) }, func(e *objfile.Edit) error {
			e.SetContents(secShndx, []byte("A"), []objfile.Reloc{{Offset: 1}})
			return nil
		}, "x.o: section .symtab_shndx: offset 0x1: the section has no table to put a relocation into"},
		{"contents with several tables of relocations", func(im *image) {
			im.section(secShndx, "type", map[bool]uint64{true: objfile.SHT_RELA, false: objfile.SHT_REL}[im.is64])
			im.section(secShndx, "entsize", map[bool]uint64{true: 24, false: 8}[im.is64])
			im.section(secShndx, "size", 0)
			im.section(secShndx, "info", secText)
		}, func(e *objfile.Edit) error { e.SetContents(secText, nil, nil); return nil }, "x.o: section .text: offset 0x0: the section has several relocation sections"},
		{"only the first refusal counts", nil, func(e *objfile.Edit) error {
			e.Patch(secText, 9, nil)
			e.Patch(secText, 10, nil)
			return nil
		}, "x.o: section .text: offset 0x9: a change lies outside the section"},
		{"exclude symbols", nil, func(e *objfile.Edit) error { e.Exclude(secSymtab); return nil }, "x.o: section .symtab: offset 0x0: a table of the object itself cannot be excluded"},
		{"exclude names", nil, func(e *objfile.Edit) error { e.Exclude(secShstrtab); return nil }, "x.o: section .shstrtab: offset 0x0: a table of the object itself cannot be excluded"},
		{"exclude section 0", nil, func(e *objfile.Edit) error { e.Exclude(0); return nil }, "x.o: offset 0x0: a table of the object itself cannot be excluded"},

		{"overlapping sections", func(im *image) { im.section(secStrtab, "offset", im.offs[secText]+7) }, change, "x.o: section .strtab: offset 0x0: the section overlaps .text"},
		{"a section within another", func(im *image) { im.section(secText, "offset", im.offs[secSymtab]+8) }, change, "x.o: section .text: offset 0x0: the section overlaps .symtab"},
		{"a section twice", func(im *image) { im.section(secText, "offset", im.offs[secShstrtab]) }, change, "x.o: section .shstrtab: offset 0x0: the section overlaps .text"},
		{"a section in the ELF header", func(im *image) { im.section(secText, "offset", 8) }, change, "x.o: section .text: offset 0x0: the section lies in the headers"},
		{"a section in the section headers", func(im *image) { im.section(secText, "offset", im.shat+3) }, change, "x.o: section .text: offset 0x0: the section lies in the headers"},
		{"section headers in a section", func(im *image) {
			im.section(secText, "offset", im.shat-3)
			im.section(secShndx, "type", 1)
			im.section(secShndx, "size", 0)
		}, change, "x.o: section .text: offset 0x3: the section headers lie in a section"},
		{"an empty section anywhere", func(im *image) {
			im.section(secText, "offset", 8)
			im.section(secText, "size", 0)
			im.section(secRel, "info", secBSS)
		}, change, ""},
	}
	classes(t, func(t *testing.T, is64 bool) {
		for _, test := range tests {
			im := newImage(is64)
			if test.spoil != nil {
				test.spoil(im)
			}
			e := objfile.NewEdit(parse(t, "x.o", im.b))
			err := test.edit(e)
			var out bytes.Buffer
			if err == nil {
				_, err = e.Write(&out)
			}
			want := expand(test.want, im, 0)
			want = strings.ReplaceAll(want, "{sym 4294967295}", fmt.Sprintf("%#x", uint64(1<<32-1)*map[bool]uint64{true: 24, false: 16}[is64]))
			if got := errString(err); got != want {
				t.Errorf("%s:\n got %q\nwant %q", test.name, got, want)
			}
			if err != nil && out.Len() > 0 {
				t.Errorf("%s: %d bytes written", test.name, out.Len())
			}
		}
	})
	// Without a table of extended indices there is no way to name section
	// 0xff00, were there one.
	im := newImage(true)
	im.section(secShndx, "type", 1)
	e := objfile.NewEdit(manySections(t, im, 0xff10))
	if _, err := e.AddSymbol("x", global(0xff00, 0)); errString(err) != expand(noTable, im, 0) {
		t.Errorf("section 0xff00: %v", err)
	}
	if _, err := e.AddSymbol("x", global(0xfeff, 0)); err != nil {
		t.Errorf("section 0xfeff: %v", err)
	}
}

// change is any change, to a part of the file that no test above spoils.
func change(e *objfile.Edit) error {
	_, err := e.AddSymbol("x", objfile.Symbol{Bind: objfile.STB_GLOBAL})
	return err
}

// manySections parses an image with empty sections added, count in all.
func manySections(t *testing.T, im *image, count int) *objfile.File {
	t.Helper()
	im.b = append(im.b, make([]byte, (count-8)*int(im.shentsize()))...)
	im.head("shnum", 0)
	im.section(0, "size", uint64(count))
	return parse(t, "x.o", im.b)
}

// TestEditLimits32: what does not fit into ELF32's fields is refused.
func TestEditLimits32(t *testing.T) {
	f := parse(t, "x.o", newImage(false).b)
	e := objfile.NewEdit(f)
	wide := "x.o: section .symtab: offset 0x40: a symbol's value or size does not fit into 32 bits"
	if _, err := e.AddSymbol("x", global(secText, 1<<32)); errString(err) != wide {
		t.Errorf("value: %v", err)
	}
	if _, err := e.AddSymbol("x", objfile.Symbol{Bind: objfile.STB_GLOBAL, Size: 1 << 32}); errString(err) != wide {
		t.Errorf("size: %v", err)
	}
	for _, r := range []objfile.Reloc{{Offset: 4, Sym: 1 << 24}, {Offset: 4, Type: 256}} {
		e := objfile.NewEdit(f)
		e.SetReloc(secText, 0, r)
		_, err := e.Write(&bytes.Buffer{})
		if want := "x.o: section .text: offset 0x4: a relocation does not fit into its ELF class"; errString(err) != want {
			t.Errorf("%+v: %v", r, err)
		}
		e = objfile.NewEdit(f)
		e.SetContents(secText, []byte("12345678"), []objfile.Reloc{r})
		if _, err := e.Write(&bytes.Buffer{}); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

// TestEditTooManySymbols32: a relocation of ELF32 names 2²⁴ symbols.
func TestEditTooManySymbols32(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 256 MB")
	}
	im := newImage(false)
	const count = 1<<24 - 1
	table := make([]byte, count*16)
	copy(table, im.b[im.offs[secSymtab]:][:3*16])
	for i := 3; i < count; i++ {
		table[i*16+12] = 0x10
	}
	im.section(secShndx, "type", 1)
	im.section(secSymtab, "offset", uint64(len(im.b)))
	im.section(secSymtab, "size", uint64(len(table)))
	im.b = append(im.b, table...)
	e := objfile.NewEdit(parse(t, "x.o", im.b))
	if i, err := e.AddSymbol("last", global(secText, 0)); err != nil || i != count {
		t.Errorf("symbol %d: %v", i, err)
	}
	_, err := e.AddSymbol("one too many", global(secText, 0))
	if want := "x.o: section .symtab: offset 0x10000000: too many symbols for this ELF class"; errString(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestEditEmptyStrings: the first name of a file without names is not at
// offset 0, which means no name.
func TestEditEmptyStrings(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		im.section(secStrtab, "size", 0)
		im.symbol(2, "name", 0)
		im.symbol(3, "name", 0)
		e := objfile.NewEdit(parse(t, "x.o", im.b))
		if _, err := e.AddSymbol("added", global(secText, 0)); err != nil {
			t.Fatal(err)
		}
		f := parse(t, "x.o", written(t, e))
		if f.SymbolName(4) != "added" || f.SymbolName(3) != "" || f.SymbolName(2) != "" {
			t.Errorf("names %q %q %q", f.SymbolName(2), f.SymbolName(3), f.SymbolName(4))
		}
	})
}

// TestEditSharedStrings: one string table for symbols and sections, as LLVM
// makes it; and a second symbol table (of another kind) that uses it.
func TestEditSharedStrings(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		im.section(secSymtab, "link", secShstrtab)
		im.symbol(2, "name", 2) // "text"
		im.symbol(3, "name", 1) // ".text"
		im.section(secBSS, "type", objfile.SHT_DYNSYM)
		im.section(secBSS, "offset", im.offs[secSymtab])
		im.section(secBSS, "size", 0)
		im.section(secBSS, "link", secShstrtab)
		before := parse(t, "x.o", im.b)
		e := objfile.NewEdit(before)
		if _, err := e.AddSymbol("added", global(secText, 0)); err != nil {
			t.Fatal(err)
		}
		f := parse(t, "x.o", written(t, e))
		for i := range f.Sections {
			if f.Sections[i].Name != before.Sections[i].Name {
				t.Errorf("section %d is called %q", i, f.Sections[i].Name)
			}
		}
		if f.SymbolName(2) != "text" || f.SymbolName(3) != ".text" || f.SymbolName(4) != "added" {
			t.Errorf("names %q %q %q", f.SymbolName(2), f.SymbolName(3), f.SymbolName(4))
		}
	})
}

// TestEditHeadersOverlap: a table of section headers that begins within the
// ELF header, where its null section happens to fit, parses and can't be
// edited.
func TestEditHeadersOverlap(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		start := map[bool]uint64{true: 64, false: 52}[is64]
		shoff := map[bool]uint64{true: 48, false: 36}[is64] // from e_flags on
		gap := 8 * im.shentsize()
		table := bytes.Clone(im.b[im.shat+im.shentsize():])
		im.b = slices.Insert(im.b[:im.shat], int(start), make([]byte, gap)...)
		copy(im.b[shoff+im.shentsize():], table)
		im.shat = shoff
		im.head("shoff", shoff)
		for i := secText; i <= secBSS; i++ {
			im.section(i, "offset", im.offs[i]+gap)
		}
		e := objfile.NewEdit(parse(t, "x.o", im.b))
		e.SetAlign(secText, 64)
		_, err := e.Write(&bytes.Buffer{})
		if want := fmt.Sprintf("x.o: offset %#x: the section headers overlap the ELF header", shoff); errString(err) != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	})
}

// failingWriter fails after some bytes.
type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(b []byte) (int, error) {
	n := min(len(b), w.left)
	w.left -= n
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// TestEditWriteFails: the writer's error comes back, at whatever byte.
func TestEditWriteFails(t *testing.T) {
	e := objfile.NewEdit(parse(t, "x.o", newImage(true).b))
	e.Exclude(secText)
	e.SetReloc(secText, 0, objfile.Reloc{})
	if _, err := e.AddSymbol("added", global(secText, 0)); err != nil {
		t.Fatal(err)
	}
	size := len(written(t, e))
	for n := range size {
		if got, err := e.Write(&failingWriter{n}); !errors.Is(err, errFull) || got != int64(n) {
			t.Errorf("disk full after %d bytes: %d, %v", n, got, err)
		}
	}
	if _, err := e.Write(&failingWriter{size}); err != nil {
		t.Error(err)
	}
}

// shake makes many changes to an object that must not change what a program
// does: an alias for every function, calls by local symbols redirected to
// aliases, one section in three rewritten elsewhere with the same contents,
// code aligned to twice as much, .comment excluded. It returns the edit and
// the aliases' names by symbol.
func shake(f *objfile.File) (*objfile.Edit, map[uint32]string, error) {
	e := objfile.NewEdit(f)
	file := crc32.ChecksumIEEE(f.Data) // keeps aliases of one link apart
	aliases, index := map[uint32]string{}, map[uint32]uint32{}
	for i := uint32(1); i < f.NumSymbols; i++ {
		s := f.Symbol(i)
		if !s.Defined() || s.Type != objfile.STT_FUNC {
			continue
		}
		s.Bind, s.Other = objfile.STB_GLOBAL, objfile.STV_HIDDEN
		aliases[i] = fmt.Sprintf("alias$%s$%d$%x", f.SymbolName(i), i, file)
		k, err := e.AddSymbol(aliases[i], s)
		if err != nil {
			return nil, nil, err
		}
		index[i] = k
	}
	arch := objfile.ArchOf(f.Machine)
	for i := range uint32(len(f.Sections)) {
		s := &f.Sections[i]
		code := s.Flags&(objfile.SHF_ALLOC|objfile.SHF_EXECINSTR) == objfile.SHF_ALLOC|objfile.SHF_EXECINSTR
		switch {
		case s.Name == ".comment":
			e.Exclude(i)
			continue
		case s.MultiRel || s.Type != objfile.SHT_PROGBITS:
			continue
		}
		rs := f.Relocs(i)
		if code && s.Align > 0 {
			e.SetAlign(i, 2*s.Align)
		}
		if i%3 == 0 {
			all := make([]objfile.Reloc, rs.Len())
			for k := range all {
				all[k] = rs.At(k)
			}
			e.SetContents(i, f.Bytes(i), all)
		}
		if !code || arch == nil {
			continue
		}
		for k := range rs.Len() {
			r := rs.At(k)
			if to, ok := index[r.Sym]; ok && r.Sym < f.FirstGlobal && arch.IsCall(f.Bytes(i), r) {
				r.Sym = to
				e.SetReloc(i, k, r)
			}
		}
	}
	return e, aliases, nil
}

// TestEditAgainstReadelf edits every real object and asks readelf: no
// warning that the original did not have, the old symbols and section names
// as they were, and the new ones.
func TestEditAgainstReadelf(t *testing.T) {
	dir := t.TempDir()
	names := func(out string) (lines []string) {
		for _, line := range strings.Split(out, "\n") {
			if fields := strings.Fields(line); len(fields) > 6 && strings.HasSuffix(fields[0], ":") && fields[0] != "Num:" {
				lines = append(lines, strings.Join(fields, " "))
			}
		}
		return lines
	}
	objects := 0
	eachObject(t, func(t *testing.T, o object) {
		f := parse(t, o.name, o.data)
		if f.NumSymbols == 0 {
			return
		}
		if objects++; objects > 40 && objects%4 != 0 {
			return // four runs of readelf each
		}
		e, aliases, err := shake(f)
		if err != nil {
			t.Fatal(err)
		}
		b := written(t, e)
		if again := written(t, e); !bytes.Equal(b, again) {
			t.Errorf("%s: written twice, the files differ", o.name)
		}
		g := parse(t, o.name+" edited", b)
		sameSymbols(t, f, g)
		if got := int(g.NumSymbols - f.NumSymbols); got != len(aliases) {
			t.Errorf("%s: %d new symbols, want %d", o.name, got, len(aliases))
		}
		old, edited := write(t, dir, "old.o", o.data), write(t, dir, "edited.o", b)
		was, is := names(command(t, dir, "readelf", "--symbols", "--wide", old)), names(command(t, dir, "readelf", "--symbols", "--wide", edited))
		if len(is) != len(was)+len(aliases) || !slices.Equal(is[:len(was)], was) {
			t.Errorf("%s: readelf lists %d symbols, %d before, %d added", o.name, len(is), len(was), len(aliases))
		}
		for i, name := range aliases {
			s := f.Symbol(i)
			if !slices.ContainsFunc(is[len(was):], func(line string) bool {
				return strings.HasSuffix(line, fmt.Sprintf(" %d FUNC GLOBAL HIDDEN %d %s", s.Size, s.Section, name))
			}) {
				t.Errorf("%s: readelf does not list %s", o.name, name)
			}
		}
		for _, path := range []string{old, edited} {
			cmd := exec.Command(tool(t, "readelf"), "--file-header", "--section-headers", "--section-groups", "--relocs", "--symbols", "--unwind", "--wide", path)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("%s: readelf: %v", o.name, err)
			}
			if path == edited && stderr.Len() > 0 {
				t.Errorf("%s: readelf warns of the edited object: %s", o.name, stderr.Bytes())
			} else if stderr.Len() > 0 {
				break // it warns of the original already
			}
		}
	})
	t.Logf("%d objects", objects)
}

// sameSymbols checks that g has all symbols of f, at their indices.
func sameSymbols(t testing.TB, f, g *objfile.File) {
	t.Helper()
	if g.NumSymbols < f.NumSymbols || g.FirstGlobal != f.FirstGlobal {
		t.Fatalf("%s: %d symbols, first global %d; before %d and %d", f.Name, g.NumSymbols, g.FirstGlobal, f.NumSymbols, f.FirstGlobal)
	}
	for i := range f.NumSymbols {
		a, b := f.Symbol(i), g.Symbol(i)
		if a != b || f.NameOf(&a) != g.NameOf(&b) {
			t.Fatalf("%s: symbol %d was %q %+v, is %q %+v", f.Name, i, f.NameOf(&a), a, g.NameOf(&b), b)
		}
	}
}
