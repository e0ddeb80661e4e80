package merge

import (
	"bytes"
	"encoding/binary"
	"maps"
	"strings"

	"leanlink/objfile"
)

// A core::panic::Location is an anonymous constant: the address and length of
// a file's name, line and column. Since Rust 1.89 the name has a NUL behind it
// that its length does not count, and so lies among the mergeable strings. A
// program's own (file!(), line!(), column!()) has the same fields, but a name
// without a NUL, for a str has none; it stays as it is.

// isLocation returns the relocation of the file's name if a section is
// nothing but a Location.
func (l *Link) isLocation(o *Object, i uint32) (objfile.Reloc, bool) {
	f := o.File
	s := &f.Sections[i]
	word := uint64(f.WordSize())
	none := objfile.Reloc{}
	switch {
	case s.Type != objfile.SHT_PROGBITS || s.Size != 2*word+8 || s.Flags&objfile.SHF_ALLOC == 0 || s.MultiRel,
		s.Flags&(objfile.SHF_EXECINSTR|objfile.SHF_MERGE|objfile.SHF_TLS|objfile.SHF_RETAIN|objfile.SHF_LINK_ORDER) != 0,
		!strings.HasPrefix(s.Name, ".data.rel.ro..Lanon.") && !strings.HasPrefix(s.Name, ".rodata..Lanon."):
		return none, false
	}
	for _, k := range o.Symbols(i) {
		// A name that the program gave is an identity.
		name := f.SymbolName(k)
		if l.Arch.Mapping && strings.HasPrefix(name, "$") {
			continue // says that it is data
		}
		if k >= f.FirstGlobal || !strings.HasPrefix(name, ".Lanon.") && !strings.HasPrefix(name, "anon.") {
			return none, false
		}
	}
	rs := f.Relocs(i)
	if rs.Len() != 1 {
		return none, false
	}
	r := rs.At(0)
	kind := l.Arch.Reloc(r.Type)
	if r.Offset != 0 || kind.Kind != objfile.RelAbs || uint64(kind.Size) != word {
		return none, false
	}
	b := f.Bytes(i)
	length := uint64(binary.LittleEndian.Uint32(b[word:]))
	if word == 8 {
		length = binary.LittleEndian.Uint64(b[8:])
	}
	line, column := binary.LittleEndian.Uint32(b[2*word:]), binary.LittleEndian.Uint32(b[2*word+4:])
	if line == 0 || column == 0 || length < 4 || length > 1<<16 {
		return none, false
	}
	addend, ok := l.addend(o, i, rs, r)
	t := l.resolveRef(o, r.Sym)
	if !ok || t.kind != toSection {
		return none, false
	}
	so, si := l.Of(t.sec)
	name := so.File.Bytes(si)
	at := t.value + uint64(addend)
	if flags := so.File.Sections[si].Flags; flags&(objfile.SHF_WRITE|objfile.SHF_EXECINSTR) != 0 || at > uint64(len(name)) || length >= uint64(len(name))-at {
		return none, false
	}
	name = name[at:]
	return r, bytes.IndexByte(name, 0) == int(length) && bytes.HasSuffix(name[:length], []byte(".rs"))
}

// redacted is the name of no file, as -Zlocation-detail=none has it; the NUL
// is not counted.
const redacted = "<redacted>\x00"

// locations makes all Locations one, <redacted>:1:1. Each becomes the same
// constant, with the name behind it, of which folding keeps one. Line and
// column are not 0, for zeros could stand for bytes without a value (see
// mayBeUninitialised).
func (x *trimmer) locations() {
	l := x.l
	std := false
	passed := x.passedToPanics()
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		std = std || stdCrate(o.File.Name) != ""
		var self map[uint32]uint32 // by section: a symbol at its start
		for i := range o.File.Sections {
			r, ok := l.isLocation(o, uint32(i))
			if !ok || !passed[o.Base+SecID(i)] {
				continue
			}
			if self == nil {
				self = startSymbols(o.File)
			}
			if r.Sym = self[uint32(i)]; r.Sym == 0 {
				continue
			}
			f := o.File
			word := f.WordSize()
			b := make([]byte, 2*word+8, 2*word+8+len(redacted))
			r.Addend = int64(len(b))
			if !f.Relocs(uint32(i)).Rela {
				b[0] = byte(len(b))
			}
			b[word], b[2*word], b[2*word+4] = byte(len(redacted)-1), 1, 1
			b = append(b, redacted...)
			x.edit(o).SetContents(uint32(i), b, []objfile.Reloc{r})
			x.out.Cuts[o.index][i] = CutLocation
			x.out.Locations++
		}
	}
	if std && x.out.Locations == 0 {
		x.out.Missing["trim.panic"] = append(x.out.Missing["trim.panic"], "core::panic::Location")
	}
}

// passedToPanics lists the constants that are handed to panics. A program's own
// constant may have the form of a Location, as c"a.rs" with two numbers behind
// it has. So only functions that call a panic entry point may refer to it, and
// on x86-64 code must go straight from the load of its address to such a call,
// with the address in the register that the entry point takes a Location from,
// if that is known.
func (x *trimmer) passedToPanics() map[SecID]bool {
	l := x.l
	registers := x.locationRegisters()
	passed, other := map[SecID]bool{}, map[SecID]bool{}
	entries := x.panicEntries()
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			if s.Flags&objfile.SHF_ALLOC == 0 || s.Rel == 0 || s.MultiRel || isEhFrame(s) {
				continue
			}
			w := walk{x: x, o: o, code: o.File.Bytes(uint32(i)), relocs: o.File.Relocs(uint32(i))}
			w.fields = relocIndex(w.relocs)
			panics := entries[o.Base+SecID(i)]
			for k := 0; k < w.relocs.Len() && !panics; k++ {
				t := l.resolveRef(o, w.relocs.At(k).Sym)
				panics = t.kind == toSection && entries[t.sec]
			}
			panics = panics && s.Flags&objfile.SHF_EXECINSTR != 0
			for k := range w.relocs.Len() {
				t := l.resolveRef(o, w.relocs.At(k).Sym)
				switch {
				case t.kind != toSection || passed[t.sec] && panics:
				case !panics:
					other[t.sec] = true
				case o.File.Machine != objfile.EM_X86_64:
					passed[t.sec] = true
				default:
					to, loaded, _, ok := w.straightCall(w.relocs.At(k))
					h, known := registers[to]
					passed[t.sec] = ok && entries[to] && (!known || uint(h.register) == loaded)
				}
			}
		}
	}
	maps.DeleteFunc(passed, func(id SecID, ok bool) bool { return !ok || other[id] })
	return passed
}

// panicEntries are the sections of panic entry points.
func (x *trimmer) panicEntries() map[SecID]bool {
	entries := map[SecID]bool{}
	for _, o := range x.l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			if paths, _ := x.l.panicEntryOf(o, uint32(i)); len(paths) > 0 {
				entries[o.Base+SecID(i)] = true
			}
		}
	}
	return entries
}

// startSymbols finds a local symbol at the start of each section that has one.
func startSymbols(f *objfile.File) map[uint32]uint32 {
	m := map[uint32]uint32{}
	for k := uint32(1); k < f.FirstGlobal; k++ {
		if s := f.Symbol(k); s.Defined() && s.Value == 0 && (m[s.Section] == 0 || s.Type == objfile.STT_SECTION) {
			m[s.Section] = k
		}
	}
	return m
}
