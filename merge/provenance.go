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
	// Only functions that are there more than once prove anything.
	count := map[string]int{}
	l.eachNamedFunction(func(o *Object, i uint32, name string) { count[name]++ })
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
	doubtful := map[SecID]bool{}
	l.eachNamedFunction(func(o *Object, i uint32, name string) {
		if count[name] < 2 {
			return
		}
		rs := o.File.Relocs(i)
		body := uint64(0)
		for k := range rs.Len() {
			r := rs.At(k)
			t := l.resolveRef(o, r.Sym)
			if t.kind != toSection || t.global {
				continue
			}
			to, ti := l.Of(t.sec)
			if s := &to.File.Sections[ti]; !to.Rust || to.Reason != "" || s.Flags&(objfile.SHF_EXECINSTR|objfile.SHF_MERGE) != 0 ||
				s.Type != objfile.SHT_PROGBITS || !strings.HasPrefix(s.Name, ".rodata") && !strings.HasPrefix(s.Name, ".data.rel.ro") {
				continue
			}
			doubt, known := doubtful[t.sec]
			if !known {
				doubt = l.mayBeUninitialised(to, ti)
				doubtful[t.sec] = doubt
			}
			if !doubt {
				continue
			}
			if body == 0 {
				body = xxh3.Hash(o.File.Bytes(i))
			}
			key := use{name, body, r.Offset}
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
	})
	for id := range l.source {
		l.source[id] = root(id)
	}
}

// eachNamedFunction calls f for the live sections of code of Rust objects,
// with the mangled name of the function; what LLVM appends when it makes a
// local name known to other units is no part of it.
func (l *Link) eachNamedFunction(f func(o *Object, i uint32, name string)) {
	for _, o := range l.Objects {
		if !o.Rust || o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			if o.File.Sections[i].Flags&objfile.SHF_EXECINSTR == 0 || !l.live[o.Base+SecID(i)] {
				continue
			}
			for _, k := range o.ownsSyms[i] {
				s := o.File.Symbol(k)
				if name := o.File.NameOf(&s); s.Type == objfile.STT_FUNC && (strings.HasPrefix(name, "_ZN") || strings.HasPrefix(name, "_R")) {
					name, _, _ = strings.Cut(name, ".llvm.")
					f(o, uint32(i), name)
					break
				}
			}
		}
	}
}
