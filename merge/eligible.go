package merge

import (
	"strings"

	"leanlink/objfile"
)

// Reason says why a live section can't fold. The zero value is none.
type Reason uint8

// Reasons, in the order in which they are looked at.
const (
	Eligible      Reason = iota
	NotUnderstood        // the object is left alone, see Object.Reason
	NotContents          // no contents of its own: .bss, tables of the format
	Empty
	Special        // init code, C identifier, retained, link order, TLS: the name or flags say that it is addressed as a whole
	Writable       // its contents can change
	Grouped        // COMDAT: the linker chooses one by itself
	Mergeable      // the linker merges its pieces by itself
	NamedData      // has a name, thus an address that nothing else has
	NotRust        // anonymous data of another compiler may have an identity
	SeveralSymbols // more than one function, or places inside that others name
	SymbolKind     // IFUNC, unique or thread-local symbols
	SeveralDefinitions
	Pinned        // an option or script gives its name a meaning
	Uninitialised // zeros that may stand for bytes without a value
	KeptByUser    // keep = […]
	KeptByScript  // a linker script could name it
	Noted         // a note for tools names a place in it
	UnknownReloc  // a relocation that is not understood
	FrameForm     // call frame information of an unusual form
	HalfAddress   // the other half of an address stands elsewhere
	NotRedirected // a reference to it can't be made to name its leader
)

var reasonText = [...]string{
	Eligible:           "",
	NotUnderstood:      "object left alone",
	NotContents:        "no contents of its own",
	Empty:              "empty",
	Special:            "special section",
	Writable:           "writable",
	Grouped:            "in a section group",
	Mergeable:          "mergeable: left to the linker",
	NamedData:          "named data has an address of its own",
	NotRust:            "data of another compiler",
	SeveralSymbols:     "several places inside are named",
	SymbolKind:         "IFUNC, unique or thread-local symbol",
	SeveralDefinitions: "its name has several definitions",
	Pinned:             "named by an option or script",
	Uninitialised:      "zeros in it may stand for bytes that are not initialised",
	KeptByUser:         "kept apart by the config",
	KeptByScript:       "a linker script could name it",
	Noted:              "a note for other tools names a place in it",
	UnknownReloc:       "unknown relocation",
	FrameForm:          "call frame information of an unusual form",
	HalfAddress:        "the other half of an address stands elsewhere",
	NotRedirected:      "a reference to it cannot name another section",
}

func (r Reason) String() string { return reasonText[r] }

// whyNot decides whether a live section may take part in folding. It is a
// list of early returns; what is not said to be safe is not.
func (l *Link) whyNot(o *Object, i uint32) Reason {
	f := o.File
	s := &f.Sections[i]
	if o.Reason != "" {
		return NotUnderstood
	}
	if s.Type != objfile.SHT_PROGBITS {
		return NotContents
	}
	if s.Size == 0 {
		return Empty
	}
	if s.Flags&(objfile.SHF_TLS|objfile.SHF_RETAIN|objfile.SHF_LINK_ORDER|objfile.SHF_EXCLUDE|objfile.SHF_COMPRESSED) != 0 ||
		isCIdentifier(s.Name) || isEhFrame(s) {
		return Special
	}
	if l.opt.KeepSection != nil && l.opt.KeepSection(s.Name) {
		return KeptByScript
	}
	if l.is(o.Base+SecID(i), isRoot) {
		return Special
	}
	if l.noted[o.Base+SecID(i)] {
		return Noted
	}
	if _, ok := o.groups[i]; ok || s.Flags&objfile.SHF_GROUP != 0 {
		return Grouped
	}
	if s.Flags&objfile.SHF_MERGE != 0 {
		return Mergeable
	}
	if r := l.whyNotSymbols(o, i); r != Eligible {
		return r
	}
	if s.Flags&objfile.SHF_EXECINSTR != 0 {
		if s.Flags&objfile.SHF_WRITE != 0 {
			return Writable
		}
		if !strings.HasPrefix(s.Name, ".text") {
			return Special // code that someone put elsewhere: RAM functions, boot code
		}
		if r := l.whyNotFrames(o, i); r != Eligible {
			return r
		}
		if r := l.whyNotTied(o, i); r != Eligible {
			return r
		}
		if l.splitAddress(o, i) {
			return HalfAddress
		}
	} else {
		if len(o.tiedTo(i)) > 0 {
			return Special
		}
		lsda := strings.HasPrefix(s.Name, ".gcc_except_table") || l.isExtab(s)
		if s.Flags&objfile.SHF_WRITE != 0 && !strings.HasPrefix(s.Name, ".data.rel.ro") {
			return Writable
		}
		if !lsda && !strings.HasPrefix(s.Name, ".rodata") && !strings.HasPrefix(s.Name, ".data.rel.ro") {
			return Special
		}
		if !o.Rust && !lsda {
			return NotRust
		}
		if _, copied := l.source[o.Base+SecID(i)]; !copied && !lsda && l.doubt[o.Base+SecID(i)] {
			return Uninitialised
		}
	}
	rs := f.Relocs(i)
	for k := range rs.Len() {
		switch l.Arch.Reloc(rs.At(k).Type).Kind {
		case objfile.RelUnknown:
			return UnknownReloc
		}
	}
	return Eligible
}

// mayBeUninitialised reports whether zeros in an anonymous constant could
// stand for bytes that have no value (MaybeUninit, padding). LLVM takes such a
// constant for different from one that really holds zeros, and having seen
// that a pointer equals the address of the first it may read what is not there
// instead of the second (rust-lang/rust 162078, llvm-project 220091). Copies of
// one constant are equal in that, too, but nothing says what is a copy.
//
// In the safe mode any zero counts that is as large as the numbers in such a
// constant: of its alignment and no more than four bytes in plain constants, of
// an address in those with pointers, in which small lengths abound. What is
// smaller is let pass, for it is the upper end of most numbers; so (5u8, padding)
// and 5u32 are one still.
func (l *Link) mayBeUninitialised(o *Object, i uint32) bool {
	f := o.File
	b := f.Bytes(i)
	rs := f.Relocs(i)
	if l.opt.Mode == ModeAll {
		return rs.Len() == 0 && allZero(b)
	}
	name := f.Sections[i].Name
	if l.vtable[o.Base+SecID(i)] || strings.Contains(name, ".switch.table") || strings.Contains(name, ".Lswitch.table") ||
		strings.HasPrefix(name, ".rodata.") && !strings.HasPrefix(name, ".rodata..L") && !strings.HasPrefix(name, ".rodata.anon.") && rs.Len() > 0 {
		return false // vtables, lookup tables and jump tables: nobody compares their addresses
	}
	if rs.Len() == 0 {
		return allZero(b) || hasZeroWord(b, int(min(max(f.Sections[i].Align, 1), 4)))
	}
	c := append([]byte(nil), b...)
	for k := range rs.Len() {
		r := rs.At(k)
		for n := range uint64(l.Arch.Reloc(r.Type).Size) {
			c[r.Offset+n] = 1
		}
	}
	return hasZeroWord(c, f.WordSize())
}

// hasZeroWord reports whether one of b's aligned words is zero.
func hasZeroWord(b []byte, size int) bool {
	for k := 0; k < len(b); k += size {
		if allZero(b[k:min(k+size, len(b))]) {
			return true
		}
	}
	return false
}

// whyNotSymbols looks at the symbols that a section defines.
func (l *Link) whyNotSymbols(o *Object, i uint32) Reason {
	f := o.File
	code := f.Sections[i].Flags&objfile.SHF_EXECINSTR != 0
	for _, k := range o.Symbols(i) {
		s := f.Symbol(k)
		name := f.NameOf(&s)
		if s.Type == objfile.STT_GNU_IFUNC || s.Type == objfile.STT_TLS || s.Bind == objfile.STB_GNU_UNIQUE {
			return SymbolKind
		}
		if k >= f.FirstGlobal {
			d := &l.defs[o.globals[k-f.FirstGlobal]]
			// A pinned function keeps its address and body, and others may
			// share them: its weight is exported.
			if d.pinned && !code || l.opt.PinAll {
				return Pinned
			}
			if d.several {
				return SeveralDefinitions
			}
		}
		if l.isLocalLabel(&s, name) {
			continue
		}
		if !code {
			if !isAnonymous(name) {
				return NamedData
			}
			continue
		}
		if s.Value&^l.thumbBit(&s) != 0 {
			return SeveralSymbols
		}
		if l.opt.Keep != nil && l.opt.Keep(name) {
			return KeptByUser
		}
	}
	return Eligible
}

// thumbBit is the bit of a symbol's value that is not part of its address.
func (l *Link) thumbBit(s *objfile.Symbol) uint64 {
	if l.Arch.Machine == objfile.EM_ARM && s.Type == objfile.STT_FUNC {
		return 1
	}
	return 0
}

// isLocalLabel recognises what assemblers and compilers leave in symbol
// tables without meaning it: local labels and ARM, AArch64 and RISC-V
// mapping symbols, which are local and have no type (AAELF32, section
// "Mapping symbols"). A source can name a static like one, but not make its
// symbol one.
func (l *Link) isLocalLabel(s *objfile.Symbol, name string) bool {
	switch {
	case name == "":
		return true
	case name[0] == '$':
		return l.Arch.Mapping && s.Bind == objfile.STB_LOCAL && s.Type == objfile.STT_NOTYPE
	}
	return strings.HasPrefix(name, ".L") && !strings.HasPrefix(name, ".Lanon.")
}

// isAnonymous recognises the names that rustc and LLVM give to constants
// whose address the source can't name: promoted constants, lookup tables,
// vtables, exception tables.
func isAnonymous(name string) bool {
	for _, p := range [...]string{"anon.", ".Lanon.", "switch.table", "vtable.", "GCC_except_table"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// whyNotFrames wants at most one frame entry, for the whole of the code from
// its start.
func (l *Link) whyNotFrames(o *Object, i uint32) Reason {
	refs := o.framesOf(i)
	if len(refs) > 1 {
		return FrameForm
	}
	for _, ref := range refs {
		eh := o.frames[ref.frame]
		rs := o.File.Relocs(eh.Section)
		fde := &eh.FDEs[ref.fde]
		r := rs.At(o.frameRelocs[ref.frame].nth(int(ref.begin)))
		s := o.File.Symbol(r.Sym)
		addend, ok := l.addend(o, eh.Section, rs, r)
		if !ok || l.Arch.Reloc(r.Type).Kind == objfile.RelDiff || int64(s.Value)+addend != 0 || fde.Range > o.File.Sections[i].Size {
			return FrameForm
		}
		if fde.LSDA() != 0 && ref.lsda < 0 && !allZero(o.File.Bytes(eh.Section)[fde.LSDA():fde.LSDA()+uint64(fde.LSDASize)]) {
			return FrameForm
		}
		// Nothing else of the entry may be relocated, but by differences
		// between places of the function.
		for _, n := range o.innerRelocs(ref) {
			r := rs.At(n)
			if t := l.resolveRef(o, r.Sym); !rs.Rela || l.Arch.Reloc(r.Type).Kind != objfile.RelDiff || t.kind != toSection || t.sec != o.Base+SecID(i) {
				return FrameForm
			}
		}
		if o.commonOf(ref).more {
			return FrameForm
		}
	}
	return Eligible
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
