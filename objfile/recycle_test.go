package objfile_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"leanlink/objfile"
)

// recycled makes another section of one that is excluded, a symbol added before
// and one after, and looks at all of the result.
func recycled(t *testing.T, f *objfile.File, section uint32) {
	t.Helper()
	const name = ".debug_recycled"
	rs := f.Relocs(section)
	relocs := []objfile.Reloc{rs.At(0), rs.At(0)}
	relocs[0].Offset, relocs[1].Offset = 0, 8
	contents := []byte("0123456789abcdef")
	e := objfile.NewEdit(f)
	e.Exclude(section)
	if !e.Excludes(section) {
		t.Errorf("%s: section %d is not excluded", f.Name, section)
	}
	var added []string
	add := func(name string) {
		if _, err := e.AddSymbol(name, global(objfile.SecUndef, 0)); err != nil {
			t.Fatal(err)
		}
		added = append(added, name)
	}
	add("before")
	if err := e.Recycle(section, name, 8, contents, relocs); err != nil {
		t.Fatal(err)
	}
	add("after")
	if e.Excludes(section) {
		t.Errorf("%s: section %d is still excluded", f.Name, section)
	}
	again := parse(t, f.Name, written(t, e))
	s := again.Sections[section]
	if s.Name != name || s.Flags != 0 || s.Align != 8 || s.Type != objfile.SHT_PROGBITS || !bytes.Equal(again.Bytes(section), contents) {
		t.Errorf("%s: section %d is %+v with %q", f.Name, section, s, again.Bytes(section))
	}
	var got []objfile.Reloc
	for k := range again.Relocs(section).Len() {
		got = append(got, again.Relocs(section).At(k))
	}
	if !slices.Equal(got, relocs) {
		t.Errorf("%s: relocations %+v, want %+v", f.Name, got, relocs)
	}
	for i := range f.Sections {
		was, is := f.Sections[i], again.Sections[i]
		if uint32(i) != section && (was.Name != is.Name || was.Flags != is.Flags || was.Type != is.Type) {
			t.Errorf("%s: section %d was %+v, is %+v", f.Name, i, was, is)
		}
	}
	for k, name := range added {
		if got := again.SymbolName(f.NumSymbols + uint32(k)); got != name {
			t.Errorf("%s: symbol %q, want %q", f.Name, got, name)
		}
	}
	for k := range f.NumSymbols {
		if got, want := again.SymbolName(k), f.SymbolName(k); got != want {
			t.Errorf("%s: symbol %d is %q, was %q", f.Name, k, got, want)
		}
	}
}

func TestRecycle(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		im := newImage(is64)
		if err := objfile.NewEdit(parse(t, "x.o", im.b)).Recycle(secText, ".debug_x", 1, nil, nil); err == nil || err.Error() != "x.o: section .text: offset 0x0: the section is not one to make another of" {
			t.Errorf("of a section that is loaded: %v", err)
		}
		im.section(secText, "flags", 0)
		recycled(t, parse(t, "x.o", im.b), secText)
	})
	// Compilers' objects: of some the names of sections and symbols are one table.
	shared, apart := 0, 0
	for _, o := range seeds(t, ".o") {
		f := parse(t, o.name, o.data)
		k := slices.IndexFunc(f.Sections, func(s objfile.Section) bool {
			return s.Flags&objfile.SHF_GROUP == 0 && s.Type == objfile.SHT_PROGBITS && s.Rel != 0 && !s.MultiRel
		})
		if k < 0 {
			continue
		}
		im := &image{b: bytes.Clone(o.data), is64: f.Is64(), shat: uint64(binary.LittleEndian.Uint32(o.data[32:]))}
		if im.is64 {
			im.shat = binary.LittleEndian.Uint64(o.data[40:])
		}
		im.section(k, "flags", 0)
		f = parse(t, o.name, im.b)
		recycled(t, f, uint32(k))
		if slices.ContainsFunc(f.Sections, func(s objfile.Section) bool { return s.Name == ".shstrtab" }) {
			apart++
		} else {
			shared++
		}
	}
	if shared == 0 || apart == 0 {
		t.Errorf("%d objects with a table for all names, %d with two: want some of each", shared, apart)
	}
}
