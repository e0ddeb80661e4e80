package merge

import (
	"strings"

	"github.com/zeebo/xxh3"

	"leanlink/objfile"
)

// Provenance of constants. Where zeros in a constant may stand for bytes
// without a value (see mayBeUninitialised) equal bytes don't make two
// constants equal, but copies of one constant are: every codegen unit has its
// own. What tells a copy is the code that uses it. Two functions of one
// mangled name are compiled from the same source for the same types, and if
// their bytes are equal, too, then what they name at the same place is the
// same constant of that source, without a value where the other is without.
// (All but for an argument that every caller in a unit gives as the address of
// a constant, and the compiler puts in its place: for that to go wrong, two
// units must give two constants that differ in nothing but such bytes.)

// trace finds the constants with doubtful zeros that are copies of others.
// Being copies of the same is transitive: of each set, source has the lowest
// for all.
func (l *Link) trace() {
	l.source = map[SecID]SecID{}
	l.findDoubts()
	// Only functions that are there more than once prove anything.
	functions := l.namedFunctions()
	count := map[uint64]uint32{} // by hash of the name; too many do no harm
	for _, list := range functions {
		for k := range list {
			count[list[k].hash]++
		}
	}
	type use struct {
		function string
		body     uint64 // hash of the function's bytes
		at       uint64 // place of the reference in it
	}
	first := map[use]SecID{}
	var root func(id SecID) SecID
	root = func(id SecID) SecID {
		if up, ok := l.source[id]; ok && up != id {
			l.source[id] = root(up)
		}
		return l.source[id]
	}
	for n, list := range functions {
		o := l.Objects[n]
		for _, f := range list {
			if count[f.hash] < 2 {
				continue
			}
			rs := o.File.Relocs(f.section)
			body := uint64(0)
			for k := range rs.Len() {
				t := o.target(rs.Sym(k))
				if t.kind != toSection || t.global || !l.doubt[t.sec] {
					continue
				}
				if body == 0 {
					body = xxh3.Hash(o.File.Bytes(f.section))
				}
				key := use{f.name, body, rs.At(k).Offset}
				other, ok := first[key]
				if !ok {
					first[key] = t.sec
					continue
				}
				for _, id := range [...]SecID{other, t.sec} {
					if _, ok := l.source[id]; !ok {
						l.source[id] = id
					}
				}
				a, b := root(other), root(t.sec)
				l.source[max(a, b)] = min(a, b)
			}
		}
	}
	for id := range l.source {
		l.source[id] = root(id)
	}
}

// findDoubts finds the live anonymous constants with doubtful zeros.
func (l *Link) findDoubts() {
	l.doubt = make([]bool, l.Sections())
	inParallel(len(l.Objects), func(n int) {
		o := l.Objects[n]
		if !o.Rust || o.Reason != "" {
			return
		}
		for i := range uint32(len(o.File.Sections)) {
			s := &o.File.Sections[i]
			if id := o.Base + SecID(i); l.live[id] && s.Flags&(objfile.SHF_EXECINSTR|objfile.SHF_MERGE) == 0 && s.Type == objfile.SHT_PROGBITS &&
				(strings.HasPrefix(s.Name, ".rodata") || strings.HasPrefix(s.Name, ".data.rel.ro")) {
				l.doubt[id] = l.mayBeUninitialised(o, i)
			}
		}
	})
}

// namedFunction is a live section of code with the mangled name of its
// function; what LLVM appends when it makes a local name known to other units
// is no part of it.
type namedFunction struct {
	section uint32
	name    string
	hash    uint64 // of the name
}

// namedFunctions lists them for Rust objects; indexed by object.
func (l *Link) namedFunctions() [][]namedFunction {
	lists := make([][]namedFunction, len(l.Objects))
	inParallel(len(l.Objects), func(n int) {
		o := l.Objects[n]
		if !o.Rust || o.Reason != "" {
			return
		}
		for i := range o.File.Sections {
			if o.File.Sections[i].Flags&objfile.SHF_EXECINSTR == 0 || !l.live[o.Base+SecID(i)] {
				continue
			}
			for _, k := range o.Symbols(uint32(i)) {
				s := o.File.Symbol(k)
				if s.Type != objfile.STT_FUNC {
					continue
				}
				if name := o.File.NameOf(&s); strings.HasPrefix(name, "_ZN") || strings.HasPrefix(name, "_R") {
					name, _, _ = strings.Cut(name, ".llvm.")
					lists[n] = append(lists[n], namedFunction{uint32(i), name, xxh3.HashString(name)})
					break
				}
			}
		}
	})
	return lists
}
