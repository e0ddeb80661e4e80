package merge

import (
	"bytes"
	"fmt"
	"strings"

	"leanlink/objfile"
)

// SecID numbers the sections of all objects of a link: the object's base
// plus the section's ELF index. IDs grow in link order.
type SecID uint32

// NoSec is no section.
const NoSec SecID = 1<<32 - 1

// SymID numbers the global names of a link.
type SymID uint32

// Object is one relocatable object of the link.
type Object struct {
	File *objfile.File
	// Base is the SecID of section 0.
	Base SecID
	// Rust says that rustc compiled the object (its .comment says so): the
	// rules for anonymous constants hold for no other compiler.
	Rust bool
	// Reason says why the object is left alone; "" if it takes part.
	Reason string

	bytecode bool // GCC's: it could name anything
	index    uint32
	globals  []SymID // indexed by symbol index − File.FirstGlobal
	frames   []*objfile.EhFrame
	// frameRelocs finds the relocations of each frame table; indexed as frames.
	frameRelocs []relocsByOffset
	cies        [][]cieRef // indexed as frames, then as EhFrame.CIEs
	// fdes lists each section's frame entries, grouped by section.
	fdes     []fdeRef
	fdeStart []uint32         // indexed by section index, into fdes; one longer than the sections
	groups   map[uint32]group // indexed by section index: the group it is a member of
	// significant has the symbols that .llvm_addrsig lists, nil if the
	// object has no such table.
	significant map[uint32]bool
	// syms lists the symbols defined in each section, grouped by section,
	// section symbols left out.
	syms     []uint32
	symStart []uint32 // indexed by section index, into syms; one longer than the sections
	targets  []target // indexed by symbol index, local ones: what a reference by it refers to
	stands   []target // Link.stands
	// tied lists what SHF_LINK_ORDER ties to each section, grouped by section;
	// nil where nothing is.
	tied      []uint32
	tiedStart []uint32 // indexed by section index, into tied; one longer than the sections
}

// group is a COMDAT or plain section group.
type group struct {
	header  uint32 // its SHT_GROUP section
	members []uint32
	kept    bool
}

// definition is what a global name stands for.
type definition struct {
	object uint32
	symbol uint32
	rank   rank
	// exported says that something outside the link's objects can name it.
	exported bool
	// pinned says that a command-line option gives the name a meaning of
	// its own (--wrap, --defsym, a linker script): what it stands for is not
	// the definition alone.
	pinned bool
	// several says that more than one object defines it: which one wins
	// must not come to depend on where an alias stands.
	several bool
	// hidden: some object has the name as hidden. Of several visibilities the
	// narrowest holds, be it that of a mere reference.
	hidden bool
	// unique: the definition is STB_GNU_UNIQUE.
	unique bool
	lost   bool // Link.losers has some of it
}

// rank orders definitions of one name; a higher one wins, among equals the
// first in link order (gABI: symbol binding).
type rank uint8

const (
	rankNone rank = iota
	rankWeak
	rankCommon
	rankStrong
)

// Link is a resolved link: the graph that all later phases walk.
type Link struct {
	Arch    *objfile.Arch
	Objects []*Object

	names   linkNames
	defs    []definition // indexed by SymID
	stands  []target     // indexed by SymID: what a reference by the name refers to
	placed  []SecID      // indexed by SymID: see place
	symName []string     // indexed by SymID
	objOf   []uint32     // indexed by SecID: the object
	traits  []trait      // indexed by SecID
	opt     Options
	// losers lists the sections of definitions that were not chosen: another
	// COMDAT group's copy, or a further definition of a name. Linkers do not
	// all look at objects in one order, so nothing rests on their being dead.
	losers map[SymID][]SecID

	// What mark finds.
	live []bool // indexed by SecID
	// via is the section through which mark came, NoSec for roots: a
	// shortest path back to a root. Indexed by SecID.
	via []SecID
	// What weigh finds. Indexed by SecID.
	weight []weight
	vtable []bool  // proven Rust vtables
	user   []SecID // the only live section that refers to it; NoSec none, manySecs several
	// interior: something outside refers to a place behind its start.
	interior []bool
	// noted: what is not loaded but read by others names a place in it.
	noted map[SecID]bool
	// What trace finds: constants whose zeros are in doubt, by SecID.
	doubt []bool
	// class tells live sections apart that can end up in different output
	// sections; indexed by SecID, 0 for what is not live.
	class []uint32
	// source has those that are copies of one, by the lowest of them.
	source map[SecID]SecID
}

const manySecs SecID = 1<<32 - 2

// trait is what is asked of a section for every reference to it: headers are
// large, and far apart.
type trait uint8

const (
	isCode      trait = 1 << iota // SHF_EXECINSTR
	isLoaded                      // SHF_ALLOC, and not SHF_EXCLUDE
	isFrames                      // .eh_frame
	isRoot                        // see Link.isRoot
	hasPieces                     // see Link.hasPieces
	isDiscarded                   // see Link.discards; of what SHF_LINK_ORDER ties only
)

// is reports whether a section has a trait.
func (l *Link) is(id SecID, t trait) bool { return l.traits[id]&t != 0 }

// characterise finds the traits of an object's sections.
func (l *Link) characterise(o *Object) {
	for i := range o.File.Sections {
		s, t := &o.File.Sections[i], &l.traits[o.Base+SecID(i)]
		if s.Flags&(objfile.SHF_ALLOC|objfile.SHF_EXCLUDE) == objfile.SHF_ALLOC {
			*t |= isLoaded
		}
		if isEhFrame(s) {
			*t |= isFrames
		}
		if s.Flags&objfile.SHF_LINK_ORDER != 0 && l.discards(s) {
			*t |= isDiscarded
		}
		if s.Flags&objfile.SHF_EXECINSTR != 0 {
			*t |= isCode
		}
		if l.isRoot(o, uint32(i)) {
			*t |= isRoot
		}
		if l.hasPieces(o, s) {
			*t |= hasPieces
		}
	}
}

// Options are the facts of the link that decide what may change. Its functions
// are called from several threads at once.
type Options struct {
	Mode   Mode
	Shared bool // the output is a shared object: what it exports can be replaced
	// ExportAll: --export-dynamic, or a shared object whose version script
	// is not understood.
	ExportAll bool
	// Exports decides for shared objects and dynamic lists whether a
	// default-visibility symbol of that name is exported; nil for none.
	Exports func(name string) bool
	// Wanted are names referred to from outside the objects: shared
	// objects, start files, -u, the entry.
	Wanted map[string]bool
	// Pinned are names that options or scripts give a meaning of its own.
	Pinned map[string]bool
	// PinAll: some input could name anything (bitcode).
	PinAll bool
	// KeepSection: a section that a linker script could name in KEEP.
	KeepSection func(name string) bool
	// Discards: a section that a linker script throws away.
	Discards func(name string) bool
	// Class tells apart section names that end up in different output
	// sections, by the object's place in link order and the section's name;
	// sections of different classes never fold. nil: by the name alone.
	Class func(object int, name string) string
	// Keep: a function of this (mangled) name stays apart.
	Keep func(name string) bool
	// KeepAll: the linker was not asked to drop what nothing reaches.
	KeepAll bool
	// Exclude says how what is gone is kept out of the output.
	Exclude Exclusion
	// WholeStrings: the linker keeps every string of a mergeable section of
	// which any is used.
	WholeStrings bool
	// NoThunks: functions whose address is taken keep their bodies.
	NoThunks bool
	// Poison: what folds stays, with traps for contents; for tests.
	Poison bool
	// Strip: the linker leaves out debug information.
	Strip bool
	// Search is the search of archives that the objects come from, which has
	// read their symbols and numbered their names; nil if there was none.
	Search *Search
	// Phase is told of the end of each phase, if it is not nil.
	Phase func(name string)
}

func (o *Options) phase(name string) {
	if o.Phase != nil {
		o.Phase(name)
	}
}

// Exclusion is a way to make a linker leave sections out. All of them leave
// out what has SHF_EXCLUDE; they differ in what they make of frame entries
// that still name such a section.
type Exclusion uint8

// Ways to exclude.
const (
	// ExcludeTables excludes only exception tables, whose frame entries name
	// nothing by then; the rest is left to --gc-sections. For linkers that
	// are not known.
	ExcludeTables Exclusion = iota
	// ExcludeSections is for GNU ld, gold and lld, which drop the frame
	// entries of an excluded function.
	ExcludeSections
	// ExcludeDetached is for mold, which takes an entry for dead if it names
	// no symbol, and crashes (1.10) on one that names an excluded section.
	ExcludeDetached
)

// Mode says how much may fold.
type Mode uint8

// The modes of folding.
const (
	ModeOff  Mode = iota
	ModeSafe      // what a program can't observe
	ModeAll       // what the compilers declare mergeable
)

// NewLink resolves the symbols of the objects of a link, in link order, and
// reads their frame tables. It fails only where the objects are of different
// or unknown machines; an object that it does not understand is left alone
// (Object.Reason).
func NewLink(files []*objfile.File, opt Options) (*Link, error) {
	l := &Link{opt: opt, losers: map[SymID][]SecID{}}
	base := SecID(0)
	for i, f := range files {
		a := objfile.ArchOf(f.Machine)
		if a == nil {
			return nil, fmt.Errorf("%s: machine %d is not supported", f.Name, f.Machine)
		}
		if f.WordSize() == 4 && (f.Machine == objfile.EM_X86_64 || f.Machine == objfile.EM_AARCH64) {
			return nil, fmt.Errorf("%s: 32-bit pointers (x32, ILP32) are not supported on %s", f.Name, a.Name)
		}
		if l.Arch == nil {
			l.Arch = a
		} else if l.Arch != a {
			return nil, fmt.Errorf("%s: machine %s in a link for %s", f.Name, a.Name, l.Arch.Name)
		}
		if uint64(base)+uint64(len(f.Sections)) > uint64(manySecs) {
			return nil, fmt.Errorf("%s: too many sections in one link", f.Name)
		}
		o := &Object{File: f, Base: base, index: uint32(i)}
		base += SecID(len(f.Sections))
		l.Objects = append(l.Objects, o)
	}
	l.objOf, l.traits = make([]uint32, base), make([]trait, base)
	for i, o := range l.Objects {
		for k := range o.File.Sections {
			l.objOf[o.Base+SecID(k)] = uint32(i)
		}
	}
	l.readGroups()
	l.resolve()
	// From here on names are numbers, and what each stands for is settled.
	inParallel(len(l.Objects), func(i int) {
		o := l.Objects[i]
		o.stands = l.stands
		o.listSymbols()
		l.study(o)
		l.characterise(o)
	})
	for _, o := range l.Objects {
		l.opt.PinAll = l.opt.PinAll || o.bytecode
	}
	return l, nil
}

// Sections is the number of SecIDs.
func (l *Link) Sections() int { return len(l.objOf) }

// Of returns the object and ELF section index of a SecID.
func (l *Link) Of(id SecID) (*Object, uint32) {
	o := l.Objects[l.objOf[id]]
	return o, uint32(id - o.Base)
}

// Section returns the header of a SecID.
func (l *Link) Section(id SecID) *objfile.Section {
	o, i := l.Of(id)
	return &o.File.Sections[i]
}

// readGroups reads section groups; of several COMDAT groups with one
// signature the first in link order is kept (gABI: section groups).
func (l *Link) readGroups() {
	first := map[string]bool{}
	for _, o := range l.Objects {
		f := o.File
		for i := range f.Sections {
			s := &f.Sections[i]
			if s.Type != objfile.SHT_GROUP {
				continue
			}
			read, ok := f.Group(uint32(i))
			if !ok {
				o.leave("a section group is not understood")
				continue
			}
			g := group{header: uint32(i), members: read.Members, kept: !read.Comdat || !first[read.Signature]}
			if read.Comdat {
				first[read.Signature] = true
			}
			if o.groups == nil {
				o.groups = map[uint32]group{}
			}
			for _, m := range g.members {
				o.groups[m] = g
			}
		}
	}
}

// leave marks an object as one that is left alone; the first reason stays.
func (o *Object) leave(reason string) {
	if o.Reason == "" {
		o.Reason = reason
	}
}

// dropped reports whether a section lies in a COMDAT group that lost.
func (o *Object) dropped(section uint32) bool {
	g, ok := o.groups[section]
	return ok && !g.kept
}

// resolve chooses a definition for every global name.
func (l *Link) resolve() {
	of, versioned := l.numberNames()
	for n, o := range l.Objects {
		g := of[n]
		for i, id := range o.globals {
			kind, d := g.kinds[i], &l.defs[id]
			if kind.is(globalHidden) {
				d.hidden = true
			}
			r, symbol := kind.rank(), o.File.FirstGlobal+uint32(i)
			if r == rankNone {
				continue
			}
			if o.groups != nil && kind.is(globalPlaced) {
				if s := o.File.Symbol(symbol); o.dropped(s.Section) {
					l.losers[id], d.lost = append(l.losers[id], o.Base+SecID(s.Section)), true
					continue
				}
			}
			if d.rank != rankNone {
				d.several = true
				lost, at := o, symbol
				if r > d.rank {
					lost, at = l.Objects[d.object], d.symbol
				}
				if s := lost.File.Symbol(at); s.Defined() {
					l.losers[id] = append(l.losers[id], lost.Base+SecID(s.Section))
				}
			}
			if r > d.rank {
				d.object, d.symbol, d.rank, d.unique = o.index, symbol, r, kind.is(globalUnique)
			}
		}
	}
	inChunks(len(l.defs), func(from, to int) {
		for id := from; id < to; id++ {
			d := &l.defs[id]
			if d.rank == rankNone {
				continue
			}
			if d.unique || l.opt.PinAll || !d.hidden && (l.opt.ExportAll || l.opt.Exports != nil && l.opt.Exports(l.symName[id])) {
				d.exported = true
			}
		}
	})
	// A name with a version (.symver) stands for another one, too.
	for _, id := range versioned {
		if l.defs[id].rank == rankNone {
			continue
		}
		l.defs[id].exported = true
		plain, _, _ := strings.Cut(l.symName[id], "@")
		if plain, ok := l.names.lookUp(plain); ok {
			l.defs[plain].exported = true
		}
	}
	l.stands, l.placed = make([]target, len(l.defs)), make([]SecID, len(l.defs))
	inChunks(len(l.defs), func(from, to int) {
		for id := from; id < to; id++ {
			l.stands[id], l.placed[id] = l.standsFor(SymID(id))
		}
	})
}

// linkNames numbers the names of a link. Those of the search that found its
// objects are more, for archives offer what nobody wants.
type linkNames struct {
	all    *nameTable
	number []SymID // indexed by number in all: the number + 1, 0 for none
}

// lookUp returns the number of a name, if it has one.
func (n *linkNames) lookUp(name string) (SymID, bool) {
	id, ok := n.all.lookUp(name)
	if !ok || int(id) >= len(n.number) || n.number[id] == 0 {
		return 0, false
	}
	return n.number[id] - 1, true
}

// numberNames gives every global name of the objects a number, by which it
// goes from here on. It returns what the symbols of each object are to their
// names, and the names with a version.
func (l *Link) numberNames() (of []*globals, versioned []SymID) {
	of = make([]*globals, len(l.Objects)) // indexed by object
	search := l.opt.Search
	l.opt.Search = nil
	inParallel(len(l.Objects), func(n int) {
		f := l.Objects[n].File
		if search != nil {
			of[n] = search.files[f]
		}
		if of[n] == nil {
			of[n] = readGlobals(f)
		}
	})
	total := 0
	for n := range of {
		total += len(of[n].names)
	}
	if search != nil {
		l.names.all = search.names
	} else {
		l.names.all = newNameTable(total / 2)
	}
	l.names.number = make([]SymID, len(l.names.all.names), len(l.names.all.names)+total/4)
	l.defs, l.symName = make([]definition, 0, total/2), make([]string, 0, total/2)
	for n, o := range l.Objects {
		g := of[n]
		o.globals = make([]SymID, len(g.names))
		for i, name := range g.names {
			var in SymID // all
			if g.ids != nil {
				in = g.ids[i]
			} else if in, _ = l.names.all.add(name, g.hashes[i]); int(in) == len(l.names.number) {
				l.names.number = append(l.names.number, 0)
			}
			if l.names.number[in] == 0 {
				l.defs, l.symName = append(l.defs, definition{}), append(l.symName, name)
				l.names.number[in] = SymID(len(l.defs))
				if g.kinds[i].is(globalVersioned) {
					versioned = append(versioned, SymID(len(l.defs)-1))
				}
			}
			o.globals[i] = l.names.number[in] - 1
		}
	}
	// The objects have many times as many names as the options.
	for name, yes := range l.opt.Pinned {
		if id, ok := l.names.lookUp(name); ok {
			l.defs[id].pinned = yes
		}
	}
	for name, yes := range l.opt.Wanted {
		if id, ok := l.names.lookUp(name); ok {
			l.defs[id].exported = yes
		}
	}
	return of, versioned
}

// study reads what later phases want to know of one object: who compiled
// it, which symbols its sections have, its frame tables, its address
// significance table. Whatever is not understood makes the object one that
// is left alone.
func (l *Link) study(o *Object) {
	f := o.File
	if f.Symtab == 0 {
		o.leave("no symbol table")
		o.fdeStart = make([]uint32, len(f.Sections)+1)
		return
	}
	for i := range f.Sections {
		s := &f.Sections[i]
		switch {
		case s.Type == objfile.SHT_CREL:
			o.leave("compact relocations (CREL) are not understood")
		case s.Flags&objfile.SHF_COMPRESSED != 0 && (s.Flags&objfile.SHF_ALLOC != 0 || s.Type == objfile.SHT_RELA || s.Type == objfile.SHT_REL):
			o.leave("section " + s.Name + " is compressed") // which only what is not loaded can be (gABI)
		case s.MultiRel && s.Flags&objfile.SHF_ALLOC != 0:
			o.leave("section " + s.Name + " has several relocation sections")
		case s.Name == ".comment":
			o.Rust = onlyRust(f.Bytes(uint32(i)))
		case s.Type == objfile.SHT_LLVM_ADDRSIG && s.Link == f.Symtab:
			o.readAddrsig(uint32(i))
		case strings.HasPrefix(s.Name, ".gnu.lto_"):
			o.bytecode = true
			o.leave("GCC bytecode (LTO)")
		}
	}
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Flags&objfile.SHF_ALLOC == 0 && !readsPlaces(s) || s.MultiRel {
			continue
		}
		if err := f.CheckRelocs(uint32(i), l.Arch); err != nil {
			o.leave(err.Error())
			continue
		}
		if s.Name == ".eh_frame" && (s.Type == objfile.SHT_PROGBITS || s.Type == objfile.SHT_X86_UNWIND) {
			eh, err := f.ReadEhFrame(uint32(i))
			if err != nil {
				o.leave(err.Error())
				continue
			}
			o.frames = append(o.frames, eh)
		}
	}
	l.attachFrames(o)
	o.tieMetadata()
}

// listSymbols lists the symbols of each section, in one array for all, and
// finds what the local ones refer to.
func (o *Object) listSymbols() {
	f := o.File
	o.symStart = make([]uint32, len(f.Sections)+1)
	o.targets = make([]target, max(f.FirstGlobal, 1))
	owner := make([]uint32, f.NumSymbols) // by symbol: its section, 0 if it counts for none
	for i := uint32(1); i < f.NumSymbols; i++ {
		s := f.Symbol(i)
		if ownable(&s) {
			owner[i] = s.Section
			o.symStart[s.Section]++
		}
		if i < f.FirstGlobal {
			o.targets[i] = o.targetOf(&s)
		}
	}
	end := uint32(0)
	for i, n := range o.symStart {
		end += n
		o.symStart[i] = end
	}
	// Filled from the back, a section's end becomes its start.
	o.syms = make([]uint32, end)
	for i := len(owner) - 1; i > 0; i-- {
		if s := owner[i]; s != 0 {
			o.symStart[s]--
			o.syms[o.symStart[s]] = uint32(i)
		}
	}
}

// ownable reports whether a symbol counts for a section.
func ownable(s *objfile.Symbol) bool { return s.Defined() && s.Type != objfile.STT_SECTION }

// onlyRust reports whether a .comment section names rustc and nobody else: an
// object that ld -r made of several has the comments of all.
func onlyRust(comment []byte) bool {
	found := false
	for _, c := range bytes.Split(comment, []byte{0}) {
		switch {
		case len(c) == 0:
		case bytes.HasPrefix(c, []byte("rustc version ")):
			found = true
		default:
			return false
		}
	}
	return found
}

// readAddrsig reads LLVM's table of address-significant symbols: ULEB128
// symbol indices.
func (o *Object) readAddrsig(section uint32) {
	o.significant = map[uint32]bool{}
	b := o.File.Bytes(section)
	for len(b) > 0 {
		v, n := uint64(0), 0
		for shift := uint(0); ; shift += 7 {
			if n >= len(b) || shift > 35 {
				o.significant = nil
				return
			}
			c := b[n]
			n++
			v |= uint64(c&0x7f) << shift
			if c&0x80 == 0 {
				break
			}
		}
		if v >= uint64(o.File.NumSymbols) {
			o.significant = nil
			return
		}
		o.significant[uint32(v)] = true
		b = b[n:]
	}
}

// targetKind says what a relocation's symbol stands for.
type targetKind uint8

const (
	toNothing   targetKind = iota // no symbol
	toSection                     // a place in a section of the link
	toSymbol                      // a name that is not in the objects, or that can be replaced
	toAbsolute                    // a number
	toDiscarded                   // a place in a section that COMDAT resolution dropped
)

// target is what a relocation refers to, its addend left out.
type target struct {
	kind    targetKind
	section bool // the symbol is a section symbol
	global  bool // the reference is by a global name
	several bool // the name has further definitions, see Link.losers
	typ     objfile.SymType
	sec     SecID  // toSection, toDiscarded
	sym     SymID  // of a global symbol, for any kind
	value   uint64 // toSection: the symbol's value; toAbsolute: the number
}

// resolveRef says what symbol index sym of object o refers to.
func (l *Link) resolveRef(o *Object, sym uint32) target { return *o.target(sym) }

// target is what a symbol refers to.
func (o *Object) target(sym uint32) *target {
	if sym < uint32(len(o.targets)) {
		return &o.targets[sym]
	}
	if k := sym - o.File.FirstGlobal; k < uint32(len(o.globals)) {
		return &o.stands[o.globals[k]]
	}
	return &o.targets[0] // only in an object that is left alone
}

// targetOf says what a symbol of an object, not the first, refers to if it
// stands for itself.
func (o *Object) targetOf(s *objfile.Symbol) target {
	t := target{typ: s.Type, section: s.Type == objfile.STT_SECTION, value: s.Value}
	switch {
	case s.Section == objfile.SecUndef || s.Section == objfile.SecCommon:
		t.kind = toSymbol
	case s.Section >= objfile.SecReserved:
		t.kind = toAbsolute
	case o.dropped(s.Section):
		t.kind, t.sec = toDiscarded, o.Base+SecID(s.Section)
	default:
		t.kind, t.sec = toSection, o.Base+SecID(s.Section)
	}
	return t
}

// standsFor says what a reference by a global name refers to, and where the
// name is defined.
func (l *Link) standsFor(id SymID) (t target, placed SecID) {
	d := &l.defs[id]
	name := target{kind: toSymbol, global: true, sym: id, several: d.several || d.lost}
	if d.rank == rankNone {
		return name, NoSec
	}
	o := l.Objects[d.object]
	s := o.File.Symbol(d.symbol)
	t, placed = o.targetOf(&s), NoSec
	t.global, t.sym, t.several = true, id, name.several
	if t.kind == toSection {
		placed = t.sec
	}
	switch {
	case d.rank == rankCommon || d.pinned,
		l.opt.Shared && d.exported && s.Visibility() == objfile.STV_DEFAULT: // another module's definition can take its place at run time
		name.typ = s.Type
		return name, placed
	}
	return t, placed
}

// place returns the section that a preemptible or pinned name is defined in,
// for reachability, which must follow names that comparison may not.
func (l *Link) place(id SymID) (SecID, bool) {
	sec := l.placed[id]
	return sec, sec != NoSec
}
