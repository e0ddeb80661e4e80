package report

import (
	"cmp"
	"debug/elf"
	"os"
	"slices"
)

// What stripping saves
//
// A linker puts what is not loaded behind all that is: debug information, the
// symbol table, names, and last the table of section headers. So the size of a
// stripped file follows from the section headers alone: leave out the headers,
// the names and the bytes of what goes, and put the rest one after the other,
// each where its alignment lets it. That the same arithmetic gives the file as
// it is, with nothing left out, shows that its linker lays it out like that;
// where it does not, nothing is claimed.

// tail is what a file has behind its loaded bytes.
type tail struct {
	from     uint64    // where the loaded bytes end
	sections []section // in the order of the file
	headers  uint64    // number of section headers
	entry    uint64    // bytes of each
	names    int       // index into sections of the table of section names
	kept     []nameRange
}

// section is a section that is not loaded.
type section struct {
	label       Label
	name        nameRange
	size, align uint64
	isShstrtab  bool
}

// nameRange is where a section's name lies in the table of names.
type nameRange struct{ from, to uint64 }

// strippable returns the bytes that a file would have less without its debug
// information, and without its symbol table as well; ok says that they are
// exact.
func (z *Sizes) strippable() (debug, all uint64, ok bool) {
	if z.Layout == nil {
		return 0, 0, false
	}
	f, err := os.Open(z.Path)
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	t, ok := readTail(f)
	if !ok || t.size(func(Label) bool { return true }) != z.FileSize {
		return 0, 0, false
	}
	without := func(gone ...Label) uint64 {
		return z.FileSize - min(z.FileSize, t.size(func(l Label) bool { return !slices.Contains(gone, l) }))
	}
	return without(LabelDebug), without(LabelDebug, LabelSymtab, LabelStrtab), true
}

// readTail reads the section headers; ok says that there are any and that
// nothing loaded lies behind what is not.
func readTail(f *os.File) (t *tail, ok bool) {
	e, err := elf.NewFile(f)
	if err != nil || len(e.Sections) == 0 {
		return nil, false
	}
	t = &tail{headers: uint64(len(e.Sections)), names: -1}
	var raw [64]byte
	if _, err := f.ReadAt(raw[:52], 0); err != nil {
		return nil, false
	}
	var at, index uint64
	if e.Class == elf.ELFCLASS64 {
		if _, err := f.ReadAt(raw[:], 0); err != nil {
			return nil, false
		}
		at, t.entry, index = e.ByteOrder.Uint64(raw[40:]), uint64(e.ByteOrder.Uint16(raw[58:])), uint64(e.ByteOrder.Uint16(raw[62:]))
	} else {
		at, t.entry, index = uint64(e.ByteOrder.Uint32(raw[32:])), uint64(e.ByteOrder.Uint16(raw[46:])), uint64(e.ByteOrder.Uint16(raw[50:]))
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Filesz > 0 {
			t.from = max(t.from, p.Off+p.Filesz)
		}
	}
	type placed struct {
		section
		offset uint64
	}
	var list []placed
	var word [4]byte
	for i, s := range e.Sections {
		if _, err := f.ReadAt(word[:], int64(at)+int64(i)*int64(t.entry)); err != nil {
			return nil, false
		}
		from := uint64(e.ByteOrder.Uint32(word[:]))
		name := nameRange{from, from + uint64(len(s.Name)) + 1}
		if s.Type == elf.SHT_NULL || s.Flags&elf.SHF_ALLOC != 0 {
			t.kept = append(t.kept, name)
			if s.Type != elf.SHT_NULL && s.Type != elf.SHT_NOBITS {
				t.from = max(t.from, s.Offset+s.FileSize)
			}
			continue
		}
		list = append(list, placed{section{sectionLabel(s), name, s.FileSize, max(s.Addralign, 1), uint64(i) == index}, s.Offset})
	}
	slices.SortStableFunc(list, func(a, b placed) int { return cmp.Compare(a.offset, b.offset) })
	for i, s := range list {
		if s.offset < t.from {
			return nil, false
		}
		if s.isShstrtab {
			t.names = i
		}
		t.sections = append(t.sections, s.section)
	}
	return t, t.names >= 0
}

// size is the size of the file if only sections of some labels were in its
// tail. The names of sections always are.
func (t *tail) size(keep func(Label) bool) uint64 {
	names := slices.Clone(t.kept)
	headers := t.headers
	for i := range t.sections {
		if s := &t.sections[i]; s.isShstrtab || keep(s.label) {
			names = append(names, s.name)
		} else {
			headers--
		}
	}
	at := t.from
	for i := range t.sections {
		s := &t.sections[i]
		size := s.size
		switch {
		case s.isShstrtab:
			size = nameBytes(names)
		case !keep(s.label):
			continue
		}
		at = roundUp(at, s.align) + size
	}
	word := uint64(8)
	if t.entry < 64 {
		word = 4
	}
	return roundUp(at, word) + headers*t.entry
}

// nameBytes is the size of a table with some names, of which one may be the
// end of another; a table begins with a zero byte.
func nameBytes(names []nameRange) uint64 {
	slices.SortFunc(names, func(a, b nameRange) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	sum, end := uint64(1), uint64(1)
	for _, n := range names {
		if from := max(n.from, end); from < n.to {
			sum += n.to - from
			end = n.to
		}
	}
	return sum
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) / align * align }
