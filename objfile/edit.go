package objfile

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Edit collects changes to one object and writes the result. The original
// is not changed and not laid out again: sections stay where they are,
// relocations are changed in place, and what grows (the symbol table and
// its strings, replaced contents, the section headers) is appended.
//
// New symbols are global, so they go behind all others and no index moves.
//
// Bytes can be changed in place only where they belong to one thing alone:
// Write fails for a file whose sections overlap each other or the headers.
// It also reports the first change that could not be made, where the method
// asked for it returns no error itself.
type Edit struct {
	f       *File
	scratch *Scratch
	headers []byte // the table of section headers, nil if none changes
	// Indexed by section; nil as long as no section has such a change.
	places   []overlay // contents changed in place (same size)
	runs     int       // of all places
	excluded []bool    // their contents need not be written

	moved   map[uint32][]byte // contents replaced, written behind the original
	symbols []byte            // the new symbol table, nil if unchanged
	xindex  []byte            // the new SHT_SYMTAB_SHNDX, nil if the file has none
	strings []byte            // strings appended to the symbol table's
	err     error             // the first change that could not be made
}

// NewEdit begins an edit of f.
func NewEdit(f *File) *Edit { return new(Scratch).NewEdit(f) }

// Changed reports whether anything was edited, or was to be and could not.
func (e *Edit) Changed() bool {
	return e.err != nil || e.headers != nil || e.places != nil || len(e.moved) > 0 || e.symbols != nil || len(e.strings) > 0
}

// refuse keeps the first error for Write.
func (e *Edit) refuse(section uint32, off uint64, what string) {
	if e.err == nil {
		e.err = e.f.fail(section, off, what)
	}
}

func (e *Edit) ownSymbols() {
	if e.symbols == nil {
		// What is left of the room costs little, growing is a copy of all.
		e.symbols = append(e.scratch.bytes.take(len(e.f.syms) + len(e.f.syms)/4 + 1024)[:0], e.f.syms...)
		if len(e.f.strs) == 0 {
			e.strings = []byte{0} // offset 0 means no name
		}
		if e.f.xindex != nil {
			e.xindex = append([]byte(nil), e.f.xindex...)
		}
	}
}

// AddSymbol appends a symbol and returns its index. It must not be local. It
// fails where a relocation of this class could not name it.
func (e *Edit) AddSymbol(name string, s Symbol) (uint32, error) {
	if e.f.NumSymbols == 0 {
		return 0, e.f.fail(0, 0, "no symbol table to add a symbol to")
	}
	if s.Bind == STB_LOCAL {
		return 0, fmt.Errorf("%s: a new symbol must not be local", e.f.Name)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return 0, fmt.Errorf("%s: a symbol's name must not contain NUL", e.f.Name)
	}
	e.ownSymbols()
	size := int(e.f.class.symbolSize())
	index := uint32(len(e.symbols) / size)
	if index > e.f.class.maxRelocSym() {
		return 0, e.f.fail(e.f.Symtab, uint64(len(e.symbols)), "too many symbols for this ELF class")
	}
	nameOff := uint64(len(e.f.strs) + len(e.strings))
	if nameOff > math.MaxUint32 {
		return 0, e.f.fail(e.f.Sections[e.f.Symtab].Link, nameOff, "the string table is full")
	}
	if err := e.checkSymbol(index, &s); err != nil {
		return 0, err
	}
	s.nameOff = uint32(nameOff)
	e.addString(name)
	var record [24]byte
	e.symbols = append(e.scratch.room(e.symbols, size), record[:size]...)
	if e.xindex != nil {
		e.xindex = append(e.xindex, 0, 0, 0, 0)
	}
	e.putSymbol(index, &s)
	return index, nil
}

// addString adds a name to the symbols' names.
func (e *Edit) addString(name string) {
	e.strings = append(e.scratch.room(e.strings, len(name)+1), name...)
	e.strings = append(e.strings, 0)
}

// SetSymbol replaces a symbol, whose name stays. It must stay local or stay
// not local.
func (e *Edit) SetSymbol(i uint32, s Symbol) error {
	e.ownSymbols()
	size := e.f.class.symbolSize()
	if i == 0 || uint64(i) >= uint64(len(e.symbols))/size {
		return e.f.fail(e.f.Symtab, uint64(i)*size, "no such symbol to change")
	}
	if (s.Bind == STB_LOCAL) != (i < e.f.FirstGlobal) {
		return e.f.fail(e.f.Symtab, uint64(i)*size, "a symbol cannot become local or cease to be it")
	}
	if err := e.checkSymbol(i, &s); err != nil {
		return err
	}
	s.nameOff = le.Uint32(e.symbols[uint64(i)*size:])
	e.putSymbol(i, &s)
	return nil
}

// checkSymbol checks that symbol i can be written as s.
func (e *Edit) checkSymbol(i uint32, s *Symbol) error {
	fail := func(what string) error {
		return e.f.fail(e.f.Symtab, uint64(i)*e.f.class.symbolSize(), what)
	}
	switch {
	case s.Section < SecReserved && uint64(s.Section) >= uint64(len(e.f.Sections)):
		return fail("a symbol's section does not exist")
	case s.Section < SecReserved && s.Section >= shnLoReserve && e.xindex == nil:
		return fail("a section index needs a table that the file does not have")
	case e.f.class == class32 && (s.Value > math.MaxUint32 || s.Size > math.MaxUint32):
		return fail("a symbol's value or size does not fit into 32 bits")
	}
	return nil
}

// putSymbol encodes a symbol that checkSymbol has passed.
func (e *Edit) putSymbol(i uint32, s *Symbol) {
	raw, extended := uint16(s.Section), uint32(0)
	if s.Section < SecReserved && s.Section >= shnLoReserve {
		raw, extended = shnXIndex, s.Section
	}
	if e.xindex != nil {
		le.PutUint32(e.xindex[uint64(i)*4:], extended)
	}
	e.f.class.putSymbol(e.symbols[uint64(i)*e.f.class.symbolSize():], s, raw)
}

// An overlay is what a section's contents become: runs of overlayRun bytes,
// nil where they stay. Of the relocations of debug information, tens of
// megabytes, a few change here and there.
type overlay [][]byte

const overlayRun = 4096

// overwrite changes contents of a section in place.
func (e *Edit) overwrite(section uint32, off uint64, b []byte) {
	if to, ok := e.moved[section]; ok {
		copy(to[off:], b)
		return
	}
	if e.places == nil {
		e.places = e.scratch.overlays.cleared(len(e.f.Sections))
	}
	was := e.f.Bytes(section)
	if e.places[section] == nil {
		e.places[section] = e.scratch.runs.cleared((len(was) + overlayRun - 1) / overlayRun)
	}
	for len(b) > 0 {
		run := &e.places[section][off/overlayRun]
		if *run == nil {
			from := off / overlayRun * overlayRun
			*run = e.scratch.clone(was[from:min(from+overlayRun, uint64(len(was)))])
			e.runs++
		}
		n := copy((*run)[off%overlayRun:], b)
		off, b = off+uint64(n), b[n:]
	}
}

// length is the size of a section's contents as edited so far, bytes.
func (e *Edit) length(section uint32) uint64 {
	if b, ok := e.moved[section]; ok {
		return uint64(len(b))
	}
	return uint64(len(e.f.Bytes(section)))
}

// SetReloc replaces relocation i of a section. With SHT_REL, r.Addend is not
// written: the addend stays in the contents.
func (e *Edit) SetReloc(section uint32, i int, r Reloc) {
	at := e.f.Sections[section].Rel
	if at == 0 {
		e.refuse(section, r.Offset, "no such relocation to change")
		return
	}
	rela := e.f.Sections[at].Type == SHT_RELA
	size := e.f.class.relocSize(rela)
	if i < 0 || uint64(i) >= e.length(at)/size {
		e.refuse(section, r.Offset, "no such relocation to change")
		return
	}
	if e.fits(section, r) {
		var record [24]byte
		e.f.class.putReloc(record[:], rela, r)
		e.overwrite(at, uint64(i)*size, record[:size])
	}
}

// fits refuses a relocation that this ELF class has no room for. An addend
// of 32 bits wraps as addresses do.
func (e *Edit) fits(section uint32, r Reloc) bool {
	if e.f.class == class32 && (r.Offset > math.MaxUint32 || r.Type > 0xff || r.Sym > e.f.class.maxRelocSym()) {
		e.refuse(section, r.Offset, "a relocation does not fit into its ELF class")
		return false
	}
	return true
}

// Patch overwrites bytes of a section's contents in place.
func (e *Edit) Patch(section uint32, off uint64, b []byte) {
	if e.isTable(section) {
		e.refuse(section, off, "tables of the object itself do not change like contents")
		return
	}
	if n := e.length(section); off > n || uint64(len(b)) > n-off {
		e.refuse(section, off, "a change lies outside the section")
		return
	}
	e.overwrite(section, off, b)
}

// header is the writable header of a section.
func (e *Edit) header(section uint32) []byte {
	size := e.f.class.sectionSize()
	if e.headers == nil {
		at := e.f.head.shoff
		e.headers = e.scratch.clone(e.f.Data[at : at+size*uint64(len(e.f.Sections))])
	}
	return e.headers[uint64(section)*size:]
}

// SetAlign sets a section's alignment, bytes.
func (e *Edit) SetAlign(section uint32, align uint64) {
	if e.headers != nil || e.f.Sections[section].Align != align {
		e.f.class.putAlign(e.header(section), align)
	}
}

// Retain makes a section one that --gc-sections keeps (SHF_GNU_RETAIN).
func (e *Edit) Retain(section uint32) {
	h := e.header(section)
	e.f.class.putFlags(h, e.f.class.flags(h)|SHF_RETAIN)
}

// Exclude makes a section one that a linker leaves out whatever refers to it
// (SHF_EXCLUDE; it is no longer allocated).
func (e *Edit) Exclude(section uint32) {
	if e.isTable(section) || e.f.Sections[section].Type == SHT_GROUP {
		// Only a file made with ill intent has one that is allocated.
		e.refuse(section, 0, "a table of the object itself cannot be excluded")
		return
	}
	h := e.header(section)
	e.f.class.putFlags(h, e.f.class.flags(h)&^SHF_ALLOC|SHF_EXCLUDE)
	if e.excluded == nil {
		e.excluded = e.scratch.flags.cleared(len(e.f.Sections))
	}
	e.excluded[section] = true
}

// Excludes reports whether a section is one that Exclude has been called for.
func (e *Edit) Excludes(section uint32) bool { return e.excluded != nil && e.excluded[section] }

// isTable reports whether a section describes the object itself: symbols,
// names, relocations. Those change by AddSymbol, SetSymbol and SetReloc.
func (e *Edit) isTable(section uint32) bool {
	switch e.f.Sections[section].Type {
	case SHT_NULL, SHT_SYMTAB, SHT_DYNSYM, SHT_STRTAB, SHT_REL, SHT_RELA, SHT_SYMTAB_SHNDX:
		return true
	}
	return false
}

// SetContents replaces a section's contents, which are copied, and all its
// relocations. A section that has no relocations can't be given any, and one
// of several relocation sections can't be replaced.
func (e *Edit) SetContents(section uint32, b []byte, relocs []Reloc) {
	s := &e.f.Sections[section]
	switch {
	case s.Type == SHT_NOBITS:
		e.refuse(section, 0, "the section has no contents to replace")
		return
	case e.isTable(section):
		e.refuse(section, 0, "tables of the object itself do not change like contents")
		return
	case s.Rel == 0 && len(relocs) > 0:
		e.refuse(section, relocs[0].Offset, "the section has no table to put a relocation into")
		return
	case s.MultiRel:
		e.refuse(section, 0, "the section has several relocation sections")
		return
	}
	e.move(section, e.scratch.clone(b))
	if at := s.Rel; at != 0 {
		rela := e.f.Sections[at].Type == SHT_RELA
		size := int(e.f.class.relocSize(rela))
		out := e.scratch.bytes.cleared(len(relocs) * size)
		for i, r := range relocs {
			if e.fits(section, r) {
				e.f.class.putReloc(out[i*size:], rela, r)
			}
		}
		e.move(at, out)
	}
}

// Recycle makes another section of one that is not loaded: of another name, and
// with contents and relocations of its own. A linker that is told to leave the
// one out keeps the other.
func (e *Edit) Recycle(section uint32, name string, align uint64, b []byte, relocs []Reloc) error {
	s := &e.f.Sections[section]
	if s.Flags&(SHF_ALLOC|SHF_GROUP) != 0 || s.Type != SHT_PROGBITS {
		return e.f.fail(section, 0, "the section is not one to make another of")
	}
	at, err := e.addSectionName(name)
	if err != nil {
		return err
	}
	h := e.header(section)
	le.PutUint32(h, at)
	e.f.class.putFlags(h, 0)
	e.f.class.putAlign(h, align)
	if e.excluded != nil {
		e.excluded[section] = false
	}
	e.SetContents(section, b, relocs)
	return e.err
}

// Dissolve makes a group of sections that are not loaded no group, and excludes
// them.
func (e *Edit) Dissolve(group uint32, members []uint32) {
	h := e.header(group)
	le.PutUint32(h[4:], SHT_PROGBITS)
	e.f.class.putFlags(h, SHF_EXCLUDE)
	for _, m := range members {
		h := e.header(m)
		e.f.class.putFlags(h, e.f.class.flags(h)&^SHF_GROUP)
		if !e.isTable(m) {
			e.Exclude(m)
		}
	}
}

// addSectionName adds a name to the section names' table and returns its place.
func (e *Edit) addSectionName(name string) (uint32, error) {
	f := e.f
	shared := f.Symtab != 0 && f.names == f.Sections[f.Symtab].Link // with the symbols' names
	size := e.length(f.names)
	if shared {
		size += uint64(len(e.strings))
	}
	if size > math.MaxUint32 {
		return 0, f.fail(f.names, size, "the string table is full")
	}
	if shared {
		e.addString(name)
		return uint32(size), nil
	}
	was := f.Bytes(f.names)
	if b, moved := e.moved[f.names]; moved {
		was = b
	}
	e.move(f.names, slices.Concat(was, []byte(name), []byte{0}))
	return uint32(size), nil
}

func (e *Edit) move(section uint32, b []byte) {
	e.moved[section] = b
	if e.places != nil {
		e.places[section] = nil
	}
}

// byOffset lists the sections that have contents in the order of those, 0 for
// the table of headers among them. It checks that no byte of the file belongs
// to two things: the ELF header, the section headers, the contents of each
// section.
func (e *Edit) byOffset() ([]uint32, error) {
	f := e.f
	n := len(f.Sections) + 1
	// The table of sections has a section's relocations behind it, but in the file
	// all relocations lie behind all contents.
	contents, relocs := e.scratch.extents.take(n)[:0], e.scratch.extents.take(n)[:0]
	for i := range f.Sections {
		s := &f.Sections[i]
		n := uint64(len(f.Bytes(uint32(i))))
		if n == 0 {
			continue
		}
		to := &contents
		if s.Type == SHT_RELA || s.Type == SHT_REL {
			to = &relocs
		}
		*to = append(*to, extent{s.Offset, s.Offset + n, uint32(i)})
	}
	size := f.class.sectionSize() * uint64(len(f.Sections))
	contents = append(contents, extent{f.head.shoff, f.head.shoff + size, 0})
	slices.SortFunc(contents, extent.compare)
	slices.SortFunc(relocs, extent.compare)
	all := merged(contents, relocs, e.scratch.extents.take(n)[:0])
	order := e.scratch.numbers.take(len(all))
	for i, b := range all {
		order[i] = b.section
		if i == 0 {
			continue
		}
		if a := all[i-1]; b.at < a.end {
			switch {
			case b.section == 0:
				return nil, f.fail(a.section, b.at-a.at, "the section headers lie in a section")
			case a.section == 0:
				return nil, f.fail(b.section, 0, "the section lies in the headers")
			}
			return nil, f.fail(b.section, 0, "the section overlaps "+f.Sections[a.section].Name)
		}
	}
	if first := all[0]; first.at < f.class.headerSize() {
		if first.section == 0 {
			return nil, &FormatError{File: f.Name, Offset: first.at, What: "the section headers overlap the ELF header"}
		}
		return nil, f.fail(first.section, 0, "the section lies in the headers")
	}
	return order, nil
}

// extent is what of a file a section has.
type extent struct {
	at, end uint64
	section uint32 // 0 for the headers
}

func (x extent) compare(y extent) int {
	switch {
	case x.at < y.at:
		return -1
	case x.at > y.at:
		return 1
	}
	return cmp.Compare(x.section, y.section)
}

// merged appends two sorted lists to to, in order.
func merged(a, b, to []extent) []extent {
	for len(a) > 0 && len(b) > 0 {
		if b[0].compare(a[0]) < 0 {
			a, b = b, a
		}
		to, a = append(to, a[0]), a[1:]
	}
	return append(append(to, a...), b...)
}

// Piece is a run of bytes of an edited object.
type Piece struct {
	At   uint64 // offset in the file
	Data []byte // may be borrowed from the original
	same bool   // they are the original's at this offset
}

// Pieces lays out the edited object and ends the edit: runs of bytes in
// ascending order, and the size of the whole. Between runs are holes, which
// read as zeros: most contents of what is excluded, and places of what was
// replaced, which no linker looks at.
func (e *Edit) Pieces() ([]Piece, uint64, error) {
	f := e.f
	if e.err != nil {
		return nil, 0, e.err
	}
	order, err := e.byOffset()
	if err != nil {
		return nil, 0, err
	}
	isHole := e.scratch.flags.cleared(len(f.Sections))
	for i := range f.Sections {
		s := &f.Sections[i]
		if e.excluded == nil || !e.excluded[i] {
			continue
		}
		if _, moved := e.moved[uint32(i)]; moved || s.Rel != 0 && e.sharesRelocs(uint32(i)) {
			continue
		}
		isHole[i] = true
		if s.Rel != 0 {
			isHole[s.Rel] = true
			f.class.putExtent(e.header(s.Rel), f.Sections[s.Rel].Offset, 0)
		}
	}
	end := uint64(len(f.Data))
	var tail []Piece
	grow := func(section uint32, parts ...[]byte) {
		end = (end + 15) &^ 15
		start := end
		for _, b := range parts {
			if len(b) > 0 {
				tail = append(tail, Piece{At: end, Data: b})
				end += uint64(len(b))
			}
		}
		f.class.putExtent(e.header(section), start, end-start)
		isHole[section] = true // where it was
	}
	movedOrder := make([]uint32, 0, len(e.moved))
	for i := range e.moved {
		movedOrder = append(movedOrder, i)
	}
	slices.Sort(movedOrder)
	for _, i := range movedOrder {
		grow(i, e.moved[i])
	}
	if len(e.strings) > 0 {
		grow(f.Sections[f.Symtab].Link, f.strs, e.strings)
	}
	if e.symbols != nil {
		grow(f.Symtab, e.symbols)
		if e.xindex != nil {
			for i := range f.Sections {
				if s := &f.Sections[i]; s.Type == SHT_SYMTAB_SHNDX && s.Link == f.Symtab {
					grow(uint32(i), e.xindex)
				}
			}
		}
	}
	if f.class == class32 && end > math.MaxUint32 {
		return nil, 0, &FormatError{File: f.Name, Offset: uint64(len(f.Data)), What: "the file becomes too large for its ELF class"}
	}
	changes := e.scratch.changes.take(len(order) + e.runs)[:0]
	for _, i := range order {
		at, n := f.Sections[i].Offset, uint64(len(f.Bytes(i)))
		switch {
		case i == 0 && e.headers != nil:
			changes = append(changes, change{Piece{At: f.head.shoff, Data: e.headers}, uint64(len(e.headers))})
		case i == 0:
		case isHole[i]:
			changes = append(changes, change{Piece{At: at}, n})
		case e.places != nil:
			for k, run := range e.places[i] {
				if run != nil {
					changes = append(changes, change{Piece{At: at + uint64(k)*overlayRun, Data: run}, uint64(len(run))})
				}
			}
		}
	}
	pieces := e.scratch.pieces.take(2*len(changes) + len(tail) + 1)[:0]
	// keep takes over the original's bytes up to an offset.
	var at uint64
	keep := func(to uint64) {
		if n := len(pieces) - 1; n >= 0 && pieces[n].same && pieces[n].At+uint64(len(pieces[n].Data)) == at {
			at = pieces[n].At
			pieces = pieces[:n]
		}
		if at < to {
			pieces = append(pieces, Piece{at, f.Data[at:to:to], true})
		}
		at = to
	}
	for i := 0; i < len(changes); {
		c := changes[i]
		keep(c.At)
		at += c.size
		i++
		if c.Data != nil {
			pieces = append(pieces, c.Piece)
			continue
		}
		// The zeros that align the next hole belong to this one.
		for i < len(changes) && changes[i].Data == nil && isZero(f.Data[at:min(changes[i].At, at+minGap)]) && changes[i].At < at+minGap {
			at = changes[i].At + changes[i].size
			i++
		}
		if at-c.At < minHole {
			to := at
			at = c.At
			keep(to)
		}
	}
	keep(uint64(len(f.Data)))
	return append(pieces, tail...), end, nil
}

// minHole is the smallest hole, bytes: a smaller one spares no page of a file
// and costs a call of the system. Padding is shorter than minGap as a rule.
const (
	minHole = 4096
	minGap  = 16
)

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// change is a run of the original's bytes that is not taken over: Data stands
// in its place, or nil for a hole.
type change struct {
	Piece
	size uint64
}

// sharesRelocs reports whether a section's relocations are not its alone.
func (e *Edit) sharesRelocs(section uint32) bool {
	r := &e.f.Sections[e.f.Sections[section].Rel]
	_, moved := e.moved[e.f.Sections[section].Rel]
	return moved || r.Info != section || e.f.Sections[section].MultiRel
}

// Write writes the edited object, holes as zeros. It returns the number of
// bytes written. An error other than the writer's is a *FormatError.
func (e *Edit) Write(w io.Writer) (int64, error) {
	pieces, size, err := e.Pieces()
	if err != nil {
		return 0, err
	}
	var written uint64
	put := func(b []byte) error {
		n, err := w.Write(b)
		written += uint64(n)
		return err
	}
	for _, p := range append(pieces, Piece{At: size}) {
		if p.At > written {
			if err := put(make([]byte, p.At-written)); err != nil {
				return int64(written), err
			}
		}
		if err := put(p.Data); err != nil {
			return int64(written), err
		}
	}
	return int64(written), nil
}
