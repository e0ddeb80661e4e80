package merge

import (
	"strings"

	"leanlink/objfile"
)

// globals is what the global symbols of one file are to their names. It is read
// for several files at once: what has to be done in the order of the link then
// looks at no symbol table. All is indexed by symbol index − File.FirstGlobal.
type globals struct {
	names  []string
	hashes []uint64
	kinds  []globalKind
	ids    []SymID // the names' numbers, nil as long as they have none
}

// globalKind is what a symbol is to its name: the rank of a definition,
// rankNone for a reference, and what else matters.
type globalKind uint8

const (
	globalRank      globalKind = 3
	globalWeak      globalKind = 1 << (iota + 1) // STB_WEAK
	globalHidden                                 // STV_HIDDEN or STV_INTERNAL
	globalUnique                                 // STB_GNU_UNIQUE
	globalPlaced                                 // it lies in a section
	globalVersioned                              // the name has a version (.symver)
	globalOld                                    // a shared object defines it and has it not on offer
)

func (k globalKind) rank() rank { return rank(k & globalRank) }

// is reports whether a symbol has a property.
func (k globalKind) is(p globalKind) bool { return k&p != 0 }

// readGlobals reads the global symbols of a file.
func readGlobals(f *objfile.File) *globals {
	n := f.NumSymbols - f.FirstGlobal
	g := &globals{names: make([]string, n), hashes: make([]uint64, n), kinds: make([]globalKind, n)}
	for i := range n {
		s := f.Symbol(f.FirstGlobal + i)
		name := f.NameOf(&s)
		g.names[i], g.hashes[i], g.kinds[i] = name, hashName(name), kindOf(&s)
		if strings.IndexByte(name, '@') >= 0 {
			g.kinds[i] |= globalVersioned
		}
		if f.IsShared() && s.Section != objfile.SecUndef && !f.Offers(f.FirstGlobal+i) {
			g.kinds[i] |= globalOld
		}
	}
	return g
}

func kindOf(s *objfile.Symbol) globalKind {
	var k globalKind
	switch {
	case s.Section == objfile.SecUndef:
	case s.Section == objfile.SecCommon || s.Type == objfile.STT_COMMON:
		k = globalKind(rankCommon)
	case s.Bind == objfile.STB_WEAK:
		k = globalKind(rankWeak)
	default:
		k = globalKind(rankStrong)
	}
	if s.Bind == objfile.STB_WEAK {
		k |= globalWeak
	}
	if s.Bind == objfile.STB_GNU_UNIQUE {
		k |= globalUnique
	}
	if v := s.Visibility(); v == objfile.STV_HIDDEN || v == objfile.STV_INTERNAL {
		k |= globalHidden
	}
	if s.Defined() {
		k |= globalPlaced
	}
	return k
}
