package merge

import (
	"slices"
	"strings"

	"leanlink/objfile"
)

// Where code can be moved, dead ends leave nothing but one trap where some way
// leads to them, amid a function, too; what follows moves up. And where nothing
// unwinds, nothing enters the code that unwinding would, which the standard
// library's functions have in every program: it goes as well.
//
// Where frame entries or debug information tell what lies where, nothing moves:
// dead code is filled with traps and names nothing any more.
//
// Code is only changed if all of it is understood: each byte belongs to an
// instruction, and each reference from elsewhere is to the function's start or
// an entry of a jump table of its own. Where code was moved, the distances that
// instructions hold (trim_ends_layout.go) and the entries of jump tables are
// made to fit.

// takeApart takes dead code out of functions.
func (x *trimmer) takeApart(bodies []*body, t Trim) {
	known := map[SecID]*body{}
	for _, b := range bodies {
		known[b.id()] = b
	}
	entries := x.jumpTables(known)
	within := map[SecID][]entry{}
	for _, e := range entries {
		within[e.function] = append(within[e.function], entry{place: e.target})
	}
	at := map[SecID]*layout{}
	unaligned := x.unaligned(t)
	for _, b := range bodies {
		if b.fixed {
			continue
		}
		b.reach(within[b.id()])
		if !x.canMove(b, t.Frames) {
			x.fillIn(b)
			continue
		}
		lay, ok := b.layout(x.l.Section(b.id()).Align >= speedAlign && !unaligned(b.id()))
		if !ok || int(lay.length) >= len(b.bytes) {
			continue
		}
		at[b.id()] = lay
		x.putLayout(b, lay)
	}
	for i := range entries {
		e := &entries[i]
		lay := at[e.function]
		if lay == nil {
			continue
		}
		place := lay.at[known[e.function].at(e.target)]
		if place == e.target {
			continue
		}
		r := e.o.File.Relocs(e.section).At(e.reloc)
		r.Addend += int64(place) - int64(e.target)
		x.edit(e.o).SetReloc(e.section, e.reloc, r)
		x.out.Cuts[e.o.index][e.section] = CutTable
	}
}

// canMove reports whether nothing but instructions knows what lies where inside
// a function: no frame entry that stays, no debug information.
func (x *trimmer) canMove(b *body, frames bool) bool {
	if !x.canDropFrames(b.o, b.section, frames) {
		return false
	}
	if x.l.opt.Strip {
		return true
	}
	for k := range b.o.File.Sections {
		if strings.HasPrefix(b.o.File.Sections[k].Name, ".debug_") {
			return false
		}
	}
	return true
}

// canDropFrames reports whether a function has no frame entry, or none that
// stays if frames go.
func (x *trimmer) canDropFrames(o *Object, i uint32, frames bool) bool {
	for _, f := range o.framesOf(i) {
		if !frames || !o.canDropFrames(o.frames[f.frame].Section) {
			return false
		}
	}
	return true
}

// filling is what dead code is filled with, int3, but for the places that some
// way leads to: a trap is there.
const filling = 0xcc

// fillIn takes the references of a function's dead code away.
func (x *trimmer) fillIn(b *body) {
	code := slices.Clone(b.bytes)
	gone := make([]bool, len(code))
	for k := range b.code {
		if in := &b.code[k]; b.dead(k) {
			for at := in.at; at < in.at+in.size; at++ {
				code[at], gone[at] = filling, true
			}
		}
	}
	for k := range b.code {
		in := &b.code[k]
		if !b.met[k] {
			continue
		}
		// An instruction of one byte has no room, unless the next is dead, too, and
		// nothing leads there.
		if in.size == 1 && (k+1 == len(b.code) || !b.dead(k+1) || b.met[k+1]) {
			return
		}
		copy(code[in.at:], trapCode)
	}
	var kept []objfile.Reloc
	for k := range b.relocs.Len() {
		if r := b.relocs.At(k); !gone[r.Offset] {
			kept = append(kept, r)
		}
	}
	if len(kept) == b.relocs.Len() {
		return // nothing is won
	}
	x.edit(b.o).SetContents(b.section, code, kept)
	x.out.Cuts[b.o.index][b.section] = CutEnds
	x.out.DeadEnds++
	x.out.Operands += b.relocs.Len() - len(kept)
}

func (b *body) id() SecID { return b.o.Base + SecID(b.section) }

// dead reports whether an instruction goes, or is a part of what a trap is put
// for.
func (b *body) dead(k int) bool { return !b.live[k] }

// unwinds reports whether unwinding could enter a function.
func (o *Object) unwinds(i uint32) bool {
	for _, f := range o.framesOf(i) {
		if f.lsda >= 0 {
			return true
		}
	}
	return false
}

// distantEntry is a relocation in data that names a place inside a function.
type distantEntry struct {
	o        *Object
	section  uint32
	reloc    int
	function SecID
	target   uint32
}

// jumpTables finds the jump tables of functions; a function that something
// else refers to inside of is fixed.
//
// An entry of a table holds either an address or the distance of one from the
// table's start. There may be several in one section, so it must be one that
// only this function's code refers to, and the table is the last that begins
// before the entry, by the addresses that the code loads. That is so of a
// compiler's tables, which lie in a section of the function's name; one that
// was written by hand may count from anything.
func (x *trimmer) jumpTables(bodies map[SecID]*body) []distantEntry {
	l := x.l
	users := map[SecID]map[SecID][]uint64{} // by section of data and by function: the places in it that code loads the addresses of
	var entries []distantEntry
	for pass := range 2 {
		for _, o := range l.Objects {
			for i := range o.File.Sections {
				s := &o.File.Sections[i]
				code := s.Flags&objfile.SHF_EXECINSTR != 0
				if s.Rel == 0 || code != (pass == 0) || isEhFrame(s) || s.IsDebug() {
					continue
				}
				id := o.Base + SecID(i)
				rs := o.File.Relocs(uint32(i))
				for k := range rs.Len() {
					r := rs.At(k)
					t := o.target(r.Sym)
					if t.kind != toSection {
						x.namedReference(r, t, code, bodies)
						continue
					}
					if code && (s.Flags&objfile.SHF_ALLOC == 0 || o.Reason != "") {
						// What is not loaded or not understood was not checked.
						if b := bodies[t.sec]; b != nil {
							b.fixed = true
						}
						continue
					}
					if code {
						x.codeReference(o, uint32(i), r, t, bodies, users)
						continue
					}
					b := bodies[t.sec]
					if b == nil || b.fixed {
						continue
					}
					at, ok := x.entryOf(o, uint32(i), r, t, users[id])
					there := at < 1<<31 && b.at(at) >= 0
					switch {
					case !ok || !there || s.MultiRel || s.Flags&objfile.SHF_ALLOC == 0 && at != 0:
						b.fixed = true
					case at != 0:
						entries = append(entries, distantEntry{o, uint32(i), k, t.sec, at})
					}
				}
			}
		}
	}
	return entries
}

// namedReference notes what a relocation says of a function by a name that
// something else may stand for, too.
func (x *trimmer) namedReference(r objfile.Reloc, t *target, code bool, bodies map[SecID]*body) {
	if t.kind != toSymbol {
		return
	}
	if code {
		r.Addend -= x.l.Arch.Bias(r)
	}
	if sec, ok := x.l.place(t.sym); ok && bodies[sec] != nil && r.Addend != 0 {
		bodies[sec].fixed = true
	}
}

// codeReference notes what a relocation in code says of jump tables and of
// functions.
func (x *trimmer) codeReference(o *Object, i uint32, r objfile.Reloc, t *target, bodies map[SecID]*body, users map[SecID]map[SecID][]uint64) {
	l := x.l
	from := o.Base + SecID(i)
	code := o.File.Bytes(i)
	_, load := addressLoad(l.Arch, code, r)
	place := int64(t.value) + r.Addend - l.Arch.Bias(r)
	if b := bodies[t.sec]; b != nil {
		if place != 0 || !load && !l.Arch.IsCall(code, r) && l.Arch.Reloc(r.Type).Kind != objfile.RelGOT && l.Arch.Reloc(r.Type).Kind != objfile.RelAbs {
			b.fixed = true
		}
		return
	}
	if l.Section(t.sec).Flags&objfile.SHF_EXECINSTR != 0 {
		return
	}
	m := users[t.sec]
	if m == nil {
		m = map[SecID][]uint64{}
		users[t.sec] = m
	}
	if !load || place < 0 {
		place = -1
	}
	m[from] = append(m[from], uint64(place))
}

// entryOf is the place in a function that an entry in data stands for.
func (x *trimmer) entryOf(o *Object, i uint32, r objfile.Reloc, t *target, users map[SecID][]uint64) (uint32, bool) {
	kind := x.l.Arch.Reloc(r.Type)
	at := int64(t.value) + r.Addend
	switch {
	case kind.Kind == objfile.RelAbs && kind.Size == 8:
	case at == 0 && !t.section && (kind.Kind == objfile.RelPC || kind.Kind == objfile.RelBranch):
		// The function's own distance from here.
	case kind.Kind == objfile.RelPC && kind.Size == 4:
		if len(users) != 1 || users[t.sec] == nil || !x.l.compilersTable(&o.File.Sections[i], t.sec) {
			return 0, false
		}
		start := int64(-1)
		for _, s := range users[t.sec] {
			if s <= r.Offset {
				start = max(start, int64(s))
			}
		}
		if start < 0 {
			return 0, false
		}
		at -= int64(r.Offset) - start
	default:
		return 0, false
	}
	return uint32(at), at >= 0 && at < 1<<31
}

// compilersTable reports whether data has the name that the jump tables of a
// function have.
func (l *Link) compilersTable(data *objfile.Section, function SecID) bool {
	o, i := l.Of(function)
	name, ok := strings.CutPrefix(data.Name, ".rodata.")
	name = strings.TrimPrefix(name, "unlikely.")
	return ok && slices.ContainsFunc(o.Symbols(i), func(k uint32) bool { return name == o.File.SymbolName(k) })
}

// putLayout gives a function its new code.
func (x *trimmer) putLayout(b *body, lay *layout) {
	f, e := b.o.File, x.edit(b.o)
	code := lay.write()
	e.SetContents(b.section, code, lay.relocs())
	if string(code) == string(trapCode) {
		e.SetAlign(b.section, 1)
	}
	for _, k := range b.o.Symbols(b.section) {
		if s := f.Symbol(k); s.Size != 0 {
			s.Size = uint64(len(code))
			if err := e.SetSymbol(k, s); err != nil {
				continue // Write tells of it
			}
		}
	}
	x.out.Cuts[b.o.index][b.section] = CutEnds
	x.out.DeadEnds++
	x.out.DeadBytes += uint64(len(b.bytes) - len(code))
}
