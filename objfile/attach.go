package objfile

import (
	"bytes"
	"cmp"
	"math"
	"slices"
)

// An Attachment is a section that is put into a linked file: one that is not
// loaded (SHT_PROGBITS without SHF_ALLOC).
type Attachment struct {
	Name    string
	Flags   uint64 // SHF_…
	Align   uint64 // bytes, a power of two
	EntSize uint64 // bytes
	Size    uint64 // of its contents, bytes
}

// Attached is what becomes of a file that sections are attached to.
type Attached struct {
	Pieces []Piece  // what changes of it but for the sections' contents, in ascending order; borrowed from nothing
	Places []uint64 // where the contents of each section begin, indexed as the sections
	Size   uint64   // of the file, bytes
}

// Attach makes room for sections in a linked file in the place of one that is not
// loaded, which then is gone; at its end if that is 0. A section that has the
// name of another takes its place, too. What is loaded stays as it is and where it
// is, and no section gets another index: the first new section takes that of the
// one that goes (SHT_NULL if there is none), the others come last. What lies
// behind the first of the places moves on: the symbols and names, which nothing
// loads.
func (f *File) Attach(gone uint32, sections []Attachment) (*Attached, error) {
	if int(gone) >= len(f.Sections) || len(sections) == 0 {
		return nil, &FormatError{File: f.Name, What: "no section to put others in the place of"}
	}
	if s := &f.Sections[gone]; gone != 0 && (s.Flags&SHF_ALLOC != 0 || s.Type != SHT_PROGBITS) {
		return nil, f.fail(gone, 0, "the section is not one that another can take the place of")
	}
	if f.names == 0 || f.Sections[f.names].Flags&SHF_ALLOC != 0 {
		return nil, f.fail(f.names, 0, "the sections have no names, or such as are loaded")
	}
	slot, count, err := f.slots(gone, sections)
	if err != nil {
		return nil, err
	}
	changed := slices.Concat(slot, []uint32{gone})
	first, err := f.unloaded(changed)
	if err != nil {
		return nil, err
	}
	size := f.class.sectionSize()
	headers := make([]byte, size*uint64(count))
	copy(headers, f.Data[f.head.shoff:][:size*uint64(len(f.Sections))])
	header := func(i uint32) []byte { return headers[uint64(i)*size:][:size] }

	if gone != 0 && !slices.Contains(slot, gone) {
		clear(header(gone)) // SHT_NULL
	}
	names, nameAt := f.nameSections(gone, slot, sections)
	out := &Attached{Pieces: make([]Piece, 1), Size: first}
	place := func(align, size uint64) (start uint64) {
		start = (out.Size + max(align, 1) - 1) &^ (max(align, 1) - 1)
		out.Size = start + size
		return start
	}
	put := func(align uint64, b []byte) (start uint64) {
		start = place(align, uint64(len(b)))
		if len(b) > 0 {
			out.Pieces = append(out.Pieces, Piece{At: start, Data: b})
		}
		return start
	}
	for k := range sections {
		a, h := &sections[k], header(slot[k])
		start := place(a.Align, a.Size)
		out.Places = append(out.Places, start)
		f.class.putSection(h, &Section{Type: SHT_PROGBITS, Flags: a.Flags, Offset: start, Size: a.Size, Align: max(a.Align, 1), EntSize: a.EntSize})
		le.PutUint32(h, nameAt[k])
	}
	for _, i := range f.behind(first, changed) {
		b := bytes.Clone(f.Bytes(i))
		if i == f.names {
			b = names
		}
		f.class.putExtent(header(i), put(f.Sections[i].Align, b), uint64(len(b)))
	}
	shoff := put(8, headers)
	if f.class == class32 && out.Size > math.MaxUint32 {
		return nil, &FormatError{File: f.Name, Offset: uint64(len(f.Data)), What: "the file becomes too large for its ELF class"}
	}
	head := bytes.Clone(f.Data[:f.class.headerSize()])
	f.class.putTable(head, shoff, uint16(count))
	out.Pieces[0].Data = head
	return out, nil
}

// slots says which index each of the sections gets, and how many there are
// then.
func (f *File) slots(gone uint32, sections []Attachment) (slot []uint32, count int, err error) {
	count = len(f.Sections)
	taken := gone == 0 || slices.ContainsFunc(sections, func(a Attachment) bool { return a.Name == f.Sections[gone].Name })
	for k := range sections {
		at := uint32(slices.IndexFunc(f.Sections, func(s Section) bool { return s.Name == sections[k].Name }))
		switch {
		case at != math.MaxUint32:
			if s := &f.Sections[at]; s.Flags&SHF_ALLOC != 0 || s.Type != SHT_PROGBITS {
				return nil, 0, f.fail(at, 0, "the section is not one that another can take the place of")
			}
		case !taken:
			at, taken = gone, true
		default:
			at = uint32(count)
			count++
		}
		slot = append(slot, at)
	}
	if count >= shnLoReserve || f.head.shnum == 0 || f.head.shstrndx == shnXIndex {
		return nil, 0, &FormatError{File: f.Name, What: "too many sections to add some"}
	}
	return slot, count, nil
}

// unloaded is the first place of the sections that get other contents. It
// checks that nothing that is loaded lies behind.
func (f *File) unloaded(changed []uint32) (uint64, error) {
	first := uint64(len(f.Data))
	for _, i := range changed {
		if i != 0 && int(i) < len(f.Sections) {
			first = min(first, f.Sections[i].Offset)
		}
	}
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Flags&SHF_ALLOC != 0 && s.Type != SHT_NOBITS && s.Type != SHT_NULL && s.Size > 0 && s.Offset+s.Size > first {
			return 0, f.fail(uint32(i), 0, "a section that is loaded lies behind what is not")
		}
	}
	for i := range int(f.head.phnum) {
		at := f.head.phoff + uint64(i)*uint64(f.head.phentsize)
		if at > uint64(len(f.Data)) || uint64(len(f.Data))-at < f.class.segmentSize() {
			return 0, &FormatError{File: f.Name, Offset: at, What: "the program headers lie outside the file"}
		}
		if offset, size := f.class.segment(f.Data[at:]); size > 0 && (offset > first || size > first-offset) {
			return 0, &FormatError{File: f.Name, Offset: at, What: "a segment reaches behind what is loaded"}
		}
	}
	if first < f.class.headerSize() {
		return 0, &FormatError{File: f.Name, Offset: first, What: "a section lies in the ELF header"}
	}
	return first, nil
}

// behind lists the sections that have to move on, in the order of their places:
// those that lie behind first and do not get other contents, and the names.
func (f *File) behind(first uint64, changed []uint32) (list []uint32) {
	for i := range uint32(len(f.Sections)) {
		s := &f.Sections[i]
		if i == f.names || s.Type != SHT_NOBITS && s.Type != SHT_NULL && s.Offset >= first && s.Flags&SHF_ALLOC == 0 && !slices.Contains(changed, i) {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b uint32) int { return cmp.Compare(f.Sections[a].Offset, f.Sections[b].Offset) })
	return list
}

// nameSections makes a new table of section names and says where in it the
// sections' names are. The name of the one that goes makes room for one of
// them, so that it is gone, too.
func (f *File) nameSections(gone uint32, slot []uint32, sections []Attachment) (names []byte, at []uint32) {
	size := f.class.sectionSize()
	nameOf := func(i uint32) uint32 { return le.Uint32(f.Data[f.head.shoff+uint64(i)*size:]) }
	names = bytes.Clone(f.Bytes(f.names))
	was, length := nameOf(gone), uint32(len(f.Sections[gone].Name)) // of 0, none
	for i := range uint32(len(f.Sections)) {
		if n := nameOf(i); i != gone && n+uint32(len(f.Sections[i].Name)) >= was && n <= was+length {
			length = 0 // they share bytes
		}
	}
	at = make([]uint32, len(sections))
	for k := range sections {
		name := sections[k].Name
		switch {
		case int(slot[k]) < len(f.Sections) && slot[k] != gone:
			at[k] = nameOf(slot[k])
		case uint32(len(name)) <= length:
			clear(names[was : was+length])
			copy(names[was:], name)
			at[k], length = was, 0
		default:
			at[k] = uint32(len(names))
			names = append(append(names, name...), 0)
		}
	}
	if length > 0 {
		clear(names[was : was+length])
	}
	return names, at
}
