package objfile_test

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"leanlink/objfile"
)

// linkedSection is a section of a linked file. Those that are loaded come
// first, and one segment has them and the headers.
type linkedSection struct {
	name    string
	typ     elf.SectionType
	flags   elf.SectionFlag
	align   uint64
	content string
}

// linkedSections are those of most tests: what is loaded, debug information that
// the linker has joined, and the room for more.
var linkedSections = []linkedSection{
	{".text", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR, 16, "code"},
	{".data", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_WRITE, 8, "data"},
	{".bss", elf.SHT_NOBITS, elf.SHF_ALLOC | elf.SHF_WRITE, 8, ""},
	{".comment", elf.SHT_PROGBITS, 0, 1, "made by nobody"},
	{".debug_room", elf.SHT_PROGBITS, 0, 8, "leanlink"},
	{".debug_info", elf.SHT_PROGBITS, 0, 1, "of crt1.o"},
	{".notes", elf.SHT_PROGBITS, 0, 16, "behind"},
	{".shstrtab", elf.SHT_STRTAB, 0, 1, ""},
}

// The indices of some of them in the file.
const (
	linkedText  = 1
	linkedRoom  = 5
	linkedInfo  = 6
	linkedNames = 8
)

// linkFile writes a linked file. loads is where its segment ends, 0 for behind
// the last section that is loaded.
func linkFile(is64 bool, sections []linkedSection, loads uint64) []byte {
	le := binary.LittleEndian
	head, phentsize, shentsize := uint64(52), uint64(32), uint64(40)
	if is64 {
		head, phentsize, shentsize = 64, 56, 64
	}
	b := make([]byte, head+phentsize)
	names := []byte{0}
	place := make([]uint64, len(sections))
	name := make([]uint64, len(sections))
	for i := range sections {
		if k := bytes.Index(names, []byte(sections[i].name+"\x00")); k >= 0 {
			name[i] = uint64(k) // the end of another, as GNU ld writes it
			continue
		}
		name[i] = uint64(len(names))
		names = append(append(names, sections[i].name...), 0)
	}
	for i, s := range sections {
		if s.typ == elf.SHT_STRTAB {
			sections[i].content = string(names)
		}
		for uint64(len(b))%s.align != 0 {
			b = append(b, 0)
		}
		place[i] = uint64(len(b))
		b = append(b, sections[i].content...)
		if s.flags&elf.SHF_ALLOC != 0 && loads < uint64(len(b)) && s.typ != elf.SHT_NOBITS {
			loads = uint64(len(b))
		}
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	im := &image{is64: is64, shat: uint64(len(b))}
	im.b = append(b, make([]byte, uint64(len(sections)+1)*shentsize)...)
	copy(im.b, "\x7fELF\x01\x01\x01")
	machine := uint64(objfile.EM_ARM)
	if is64 {
		im.b[4], machine = 2, objfile.EM_X86_64
	}
	im.head("type", uint64(elf.ET_EXEC))
	im.head("machine", machine)
	im.b[20] = 1
	im.head("shoff", im.shat)
	im.head("shentsize", shentsize)
	im.head("shnum", uint64(len(sections)+1))
	im.head("shstrndx", uint64(len(sections)))
	if is64 {
		le.PutUint64(im.b[32:], head)
		le.PutUint16(im.b[52:], uint16(head))
		le.PutUint16(im.b[54:], uint16(phentsize))
		le.PutUint16(im.b[56:], 1)
		le.PutUint64(im.b[head+32:], loads)
		le.PutUint64(im.b[head+40:], loads)
	} else {
		le.PutUint32(im.b[28:], uint32(head))
		le.PutUint16(im.b[40:], uint16(head))
		le.PutUint16(im.b[42:], uint16(phentsize))
		le.PutUint16(im.b[44:], 1)
		le.PutUint32(im.b[head+16:], uint32(loads))
		le.PutUint32(im.b[head+20:], uint32(loads))
	}
	im.b[head] = 1 // PT_LOAD
	for i, s := range sections {
		im.section(i+1, "name", name[i])
		im.section(i+1, "type", uint64(s.typ))
		im.section(i+1, "flags", uint64(s.flags))
		im.section(i+1, "offset", place[i])
		im.section(i+1, "size", uint64(len(s.content)))
		im.section(i+1, "align", s.align)
		if s.typ == elf.SHT_NOBITS {
			im.section(i+1, "size", 0x1000)
		}
	}
	return im.b
}

// addition is a section that is put into a file, and its contents.
type addition struct {
	objfile.Attachment
	contents string
}

func newAddition(name string, align uint64, contents string) addition {
	return addition{objfile.Attachment{Name: name, Align: align, Size: uint64(len(contents))}, contents}
}

func attachments(list []addition) (sections []objfile.Attachment) {
	for _, a := range list {
		sections = append(sections, a.Attachment)
	}
	return sections
}

// attached is the file with the sections in it.
func attached(t testing.TB, f *objfile.File, gone uint32, list []addition) ([]byte, error) {
	t.Helper()
	how, err := f.Attach(gone, attachments(list))
	if err != nil || how.Size > uint64(len(f.Data))+1<<20 { // an alignment
		return nil, err
	}
	pieces := slices.Clone(how.Pieces)
	for k, a := range list {
		if a.contents != "" {
			pieces = append(pieces, objfile.Piece{At: how.Places[k], Data: []byte(a.contents)})
		}
	}
	slices.SortStableFunc(pieces, func(a, b objfile.Piece) int { return cmp.Compare(a.At, b.At) })
	assemble(t, pieces, how.Size) // they are apart
	out := append(slices.Clone(f.Data), make([]byte, max(how.Size, uint64(len(f.Data)))-uint64(len(f.Data)))...)[:how.Size]
	for _, p := range pieces {
		copy(out[p.At:], p.Data)
	}
	return out, nil
}

func TestAttach(t *testing.T) {
	all := []string{"", ".text", ".data", ".bss", ".comment", ".debug_room", ".debug_info", ".notes", ".shstrtab"}
	at := func(k int, name string, more ...string) []string {
		list := slices.Clone(all)
		list[k] = name
		return append(list, more...)
	}
	tests := []struct {
		what     string
		gone     uint32
		sections []addition
		want     []string // the sections' names
	}{
		{"the first takes the room, the others come last", linkedRoom,
			[]addition{newAddition(".debug_line", 1, "lines"), newAddition(".debug_str", 1, "a\x00b\x00")},
			at(linkedRoom, ".debug_line", ".debug_str")},
		{"a longer name than that of the room", linkedRoom,
			[]addition{newAddition(".debug_a_rather_long_name", 8, "x")}, at(linkedRoom, ".debug_a_rather_long_name")},
		{"one takes the place of its like, another the room", linkedRoom,
			[]addition{newAddition(".debug_info", 4, "of crt1.o\x00\x00\x00of others"), newAddition(".debug_abbrev", 1, "short")},
			at(linkedRoom, ".debug_abbrev")},
		{"all take the places of their likes", linkedRoom,
			[]addition{newAddition(".debug_info", 1, strings.Repeat("long", 100))}, at(linkedRoom, "")},
		{"there is no room", 0,
			[]addition{newAddition(".debug_line", 1, "lines"), newAddition(".debug_abbrev", 64, "short")},
			append(slices.Clone(all), ".debug_line", ".debug_abbrev")},
		{"nothing in it", linkedRoom, []addition{newAddition(".debug_line", 1, "")}, at(linkedRoom, ".debug_line")},
		{"large", linkedRoom, []addition{newAddition(".debug_line", 4096, strings.Repeat("x", 1<<16))}, at(linkedRoom, ".debug_line")},
	}
	classes(t, func(t *testing.T, is64 bool) {
		for _, tt := range tests {
			before := linkFile(is64, linkedSections, 0)
			kept := slices.Clone(before)
			after, err := attached(t, parse(t, "out", before), tt.gone, tt.sections)
			if err != nil {
				t.Fatalf("%s: %v", tt.what, err)
			}
			if !bytes.Equal(before, kept) {
				t.Fatalf("%s: the input was changed", tt.what)
			}
			was, is := parse(t, "before", before), parse(t, "after", after)
			f, err := elf.NewFile(bytes.NewReader(after))
			if err != nil {
				t.Fatalf("%s: %v", tt.what, err)
			}
			var names []string
			for _, s := range f.Sections {
				names = append(names, s.Name)
			}
			if !slices.Equal(names, tt.want) {
				t.Errorf("%s: sections %q, want %q", tt.what, names, tt.want)
				continue
			}
			// What is new is there.
			for _, a := range tt.sections {
				s := f.Section(a.Name)
				got, err := s.Data()
				if err != nil || string(got) != a.contents {
					t.Errorf("%s: %s has %q, want %q: %v", tt.what, a.Name, got, a.contents, err)
				}
				if s.Addralign != a.Align || s.Offset%a.Align != 0 || s.Type != elf.SHT_PROGBITS || s.Flags != 0 || s.Addr != 0 {
					t.Errorf("%s: %+v", tt.what, s.SectionHeader)
				}
			}
			// What was there is there, too, and what is loaded where it was.
			for i := range uint32(len(linkedSections) + 1) {
				a, b := was.Sections[i], is.Sections[i]
				switch {
				case i == tt.gone || i == linkedNames || slices.ContainsFunc(tt.sections, func(n addition) bool { return n.Name == a.Name }):
				case a.Flags&objfile.SHF_ALLOC != 0 && a != b:
					t.Errorf("%s: %+v becomes %+v", tt.what, a, b)
				case tt.gone == linkedRoom && a.Offset < was.Sections[linkedRoom].Offset && a.Offset != b.Offset:
					t.Errorf("%s: %s moves from %#x to %#x", tt.what, a.Name, a.Offset, b.Offset)
				case b.Align > 1 && b.Offset%b.Align != 0 || a.Type != b.Type || a.Type != objfile.SHT_NOBITS && !bytes.Equal(was.Bytes(i), is.Bytes(i)):
					t.Errorf("%s: %s is %q at %#x, was %q", tt.what, a.Name, is.Bytes(i), b.Offset, was.Bytes(i))
				}
			}
			text := was.Sections[linkedText]
			if end := text.Offset + text.Size; !bytes.Equal(after[64:end], before[64:end]) {
				t.Errorf("%s: what is loaded has changed", tt.what)
			}
			// No trace of the room, not even its name.
			if tt.gone != 0 && bytes.Contains(is.Bytes(linkedNames), []byte(".debug_room")) {
				t.Errorf("%s: names %q", tt.what, is.Bytes(linkedNames))
			}
			if null := is.Sections[tt.gone]; tt.want[tt.gone] == "" && null != is.Sections[0] {
				t.Errorf("%s: the section that is gone is %+v", tt.what, null)
			}
			// Nothing lies on anything else.
			end := uint64(0)
			order := slices.DeleteFunc(slices.Clone(is.Sections), func(s objfile.Section) bool { return s.Type == objfile.SHT_NOBITS || s.Size == 0 })
			slices.SortFunc(order, func(a, b objfile.Section) int { return int(a.Offset) - int(b.Offset) })
			for _, s := range order {
				if s.Offset < end {
					t.Errorf("%s: %s begins at %#x, before %#x", tt.what, s.Name, s.Offset, end)
				}
				end = s.Offset + s.Size
			}
		}
	})
}

// TestAttachSharedName: the name of the section that goes may have that of
// another as its end.
func TestAttachSharedName(t *testing.T) {
	classes(t, func(t *testing.T, is64 bool) {
		sections := slices.Clone(linkedSections)
		sections[linkedInfo].name = "_room"
		after, err := attached(t, parse(t, "out", linkFile(is64, sections, 0)), linkedRoom, []addition{newAddition(".debug_x", 1, "")})
		if err != nil {
			t.Fatal(err)
		}
		is := parse(t, "after", after)
		if got := []string{is.Sections[linkedRoom].Name, is.Sections[linkedInfo+1].Name}; !slices.Equal(got, []string{".debug_x", "_room"}) {
			t.Errorf("names %q", got)
		}
	})
}

func TestAttachRefuses(t *testing.T) {
	one := []objfile.Attachment{{Name: ".debug_line", Align: 1, Size: 1}}
	with := func(k int, s linkedSection) []linkedSection {
		return slices.Insert(slices.Clone(linkedSections), k, s)
	}
	tests := []struct {
		what     string
		gone     uint32
		sections []objfile.Attachment
		linked   []linkedSection
		loads    uint64
		err      string
	}{
		{"no such section", 99, one, linkedSections, 0, "out: offset 0x0: no section to put others in the place of"},
		{"nothing to put there", linkedRoom, nil, linkedSections, 0, "out: offset 0x0: no section to put others in the place of"},
		{"loaded and of the name", linkedRoom, []objfile.Attachment{{Name: ".text"}}, linkedSections, 0,
			"out: section .text: offset 0x0: the section is not one that another can take the place of"},
		{"loaded behind", linkedRoom, one, with(7, linkedSection{".late", elf.SHT_PROGBITS, elf.SHF_ALLOC, 1, "late"}), 0,
			"out: section .late: offset 0x0: a section that is loaded lies behind what is not"},
		{"a segment with the room", linkedRoom, one, linkedSections, 0x1000, "out: offset {phdr}: a segment reaches behind what is loaded"},
		{"loaded itself", linkedText, one, linkedSections, 0, "out: section .text: offset 0x0: the section is not one that another can take the place of"},
		{"the names themselves", linkedNames, one, linkedSections, 0, "out: section .shstrtab: offset 0x0: the section is not one that another can take the place of"},
	}
	classes(t, func(t *testing.T, is64 bool) {
		phdr := map[bool]string{false: "0x34", true: "0x40"}[is64]
		for _, tt := range tests {
			b := linkFile(is64, tt.linked, tt.loads)
			_, err := parse(t, "out", b).Attach(tt.gone, tt.sections)
			if want := strings.ReplaceAll(tt.err, "{phdr}", phdr); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", tt.what, err, want)
			}
		}
		var many []objfile.Attachment
		for k := range 0xff00 {
			many = append(many, objfile.Attachment{Name: ".debug_" + string(rune('a'+k))})
		}
		if _, err := parse(t, "out", linkFile(is64, linkedSections, 0)).Attach(linkedRoom, many); err == nil || err.Error() != "out: offset 0x0: too many sections to add some" {
			t.Errorf("many: %v", err)
		}
	})
}

// FuzzAttach: whatever is attached to, it is an error or a file that parses, in
// which what was loaded is as it was and what is new is there.
func FuzzAttach(f *testing.F) {
	for _, is64 := range []bool{false, true} {
		f.Add(linkFile(is64, linkedSections, 0), []byte{}, byte(linkedRoom), ".debug_line")
		f.Add(linkFile(is64, linkedSections, 0), []byte{1, 6, 5, 14}, byte(linkedInfo), ".debug_info")
		f.Add(linkFile(is64, linkedSections, 0), []byte{1, 7, 3, 15}, byte(0), ".text")
	}
	f.Fuzz(func(t *testing.T, b, ops []byte, gone byte, name string) {
		if name == "" || strings.Contains(name, "\x00") {
			return
		}
		b = vandalise(b, ops)
		file, err := objfile.Parse("out", b)
		if err != nil {
			return
		}
		sections := []addition{newAddition(name, 4, "onemore"), newAddition(name+"x", 1, "another")}
		out, err := attached(t, file, uint32(gone), sections)
		if err != nil {
			if _, ok := err.(*objfile.FormatError); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if out == nil {
			return
		}
		again, err := objfile.Parse("again", out)
		if err != nil {
			t.Fatalf("what was attached to does not parse: %v", err)
		}
		for i := range uint32(len(file.Sections)) {
			was, is := file.Sections[i], again.Sections[i]
			if was.Flags&objfile.SHF_ALLOC != 0 && was.Offset >= 64 && i != uint32(gone) && was.Type != objfile.SHT_NULL && (was.Offset != is.Offset || was.Size != is.Size || !bytes.Equal(file.Bytes(i), again.Bytes(i))) {
				t.Fatalf("section %d: %+v becomes %+v", i, was, is)
			}
		}
		for _, a := range sections {
			there := false
			for i, s := range again.Sections {
				there = there || s.Name == a.Name && s.Type == objfile.SHT_PROGBITS && string(again.Bytes(uint32(i))) == a.contents
			}
			if !there {
				t.Fatalf("%s is none of %+v", a.Name, again.Sections)
			}
		}
	})
}
