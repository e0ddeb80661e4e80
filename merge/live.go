package merge

import (
	"strings"

	"leanlink/objfile"
)

// mark finds every section that the real linker's --gc-sections would keep,
// or more: where it is not sure, a section is live. Which copy of a COMDAT
// group or which of several definitions a linker chooses depends on the order
// in which it comes by them, so all of them are.
//
// The walk is breadth-first, so that via gives shortest paths.
func (l *Link) mark() {
	l.live = make([]bool, l.Sections())
	l.via = make([]SecID, l.Sections())
	for i := range l.via {
		l.via[i] = NoSec
	}
	queue := make([]SecID, 0, len(l.live)/4)
	named := make([]bool, len(l.defs)) // names that were reached before
	reach := func(id, from SecID) {
		if id == NoSec || l.live[id] {
			return
		}
		if !l.is(id, isLoaded) {
			return
		}
		l.live[id], l.via[id] = true, from
		queue = append(queue, id)
	}
	reachName := func(id SymID, from SecID) {
		if named[id] {
			return
		}
		named[id] = true
		reach(l.placed[id], from)
		for _, sec := range l.losers[id] {
			reach(sec, from)
		}
	}
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			if id := o.Base + SecID(i); l.opt.KeepAll || o.Reason != "" || l.is(id, isRoot) {
				reach(id, NoSec)
			}
		}
		if o.Reason != "" {
			// What it refers to may not all be understood.
			for _, id := range o.globals {
				reachName(id, NoSec)
			}
		}
	}
	for id := range l.defs {
		if d := &l.defs[id]; d.exported || d.pinned {
			reachName(SymID(id), NoSec)
		}
	}
	follow := func(o *Object, sym uint32, from SecID) {
		t := o.target(sym)
		if t.kind == toSection || t.kind == toDiscarded {
			reach(t.sec, from)
		}
		// A name that stands for one section, and has no other, is that.
		if t.global && (t.kind != toSection || t.several) {
			reachName(t.sym, from)
		}
	}
	entered := map[SecID]bool{} // groups, by their headers
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		o, i := l.Of(id)
		if !l.is(id, isFrames) {
			rs := o.File.Relocs(i)
			for k := range rs.Len() {
				follow(o, rs.Sym(k), id)
			}
		}
		for _, ref := range o.framesOf(i) {
			eh := o.frames[ref.frame]
			rs := o.File.Relocs(eh.Section)
			if ref.lsda >= 0 {
				follow(o, rs.Sym(int(ref.lsda)), id)
			}
			if k := o.commonOf(ref).personality; k >= 0 {
				follow(o, rs.Sym(int(k)), id)
			}
			// The frame table itself is kept; it is no one's target.
			l.live[o.Base+SecID(eh.Section)] = true
		}
		if g, ok := o.groups[i]; ok && !entered[o.Base+SecID(g.header)] {
			entered[o.Base+SecID(g.header)] = true // a group of a million is gone through once
			for _, m := range g.members {
				reach(o.Base+SecID(m), id)
			}
		}
		for _, d := range o.tiedTo(i) {
			reach(o.Base+SecID(d), id) // metadata lives with what it is tied to
		}
	}
}

func isEhFrame(s *objfile.Section) bool { return s.Name == ".eh_frame" }

// isRoot reports whether a section is kept whether or not anything refers
// to it.
func (l *Link) isRoot(o *Object, i uint32) bool {
	s := &o.File.Sections[i]
	if s.Flags&objfile.SHF_ALLOC == 0 || isEhFrame(s) {
		return false
	}
	if s.Flags&objfile.SHF_LINK_ORDER != 0 {
		return false // lives with its section
	}
	if l.isExidx(s) {
		return true // one that says of no section that it lives with that
	}
	switch s.Type {
	case objfile.SHT_INIT_ARRAY, objfile.SHT_FINI_ARRAY, objfile.SHT_PREINIT, objfile.SHT_NOTE:
		return true
	}
	if s.Flags&objfile.SHF_RETAIN != 0 || isCIdentifier(s.Name) {
		return true
	}
	if hasRootName(s.Name) {
		return true
	}
	return l.opt.KeepSection != nil && l.opt.KeepSection(s.Name)
}

// hasRootName reports whether linkers keep a section for its name: lld and gold
// go by how names begin, gold by what they contain as well.
func hasRootName(name string) bool {
	switch { // most names first
	case strings.HasPrefix(name, ".text."), strings.HasPrefix(name, ".data."):
		return strings.Contains(name, "personality")
	case strings.HasPrefix(name, ".rodata"):
		return false
	}
	for _, p := range [...]string{".init", ".fini", ".ctors", ".dtors", ".preinit_array", ".jcr", ".tm_clone_table", ".note"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// isCIdentifier reports whether __start_NAME and __stop_NAME can exist.
func isCIdentifier(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}
