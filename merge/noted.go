package merge

import (
	"strings"

	"leanlink/objfile"
)

// What is not loaded may still be read beside the program, and say of places in
// it what the program itself does not: .note.stapsdt says at which instruction
// a tracer finds a probe. Debug information of two functions that became one is
// that of the one that stays; a probe of the other would be lost. So what such
// a section names is neither folded nor excluded.

// readsPlaces reports whether a section is not loaded, and in the output for
// somebody to read who is no debugger.
func readsPlaces(s *objfile.Section) bool {
	if s.Rel == 0 || s.MultiRel || s.Flags&(objfile.SHF_ALLOC|objfile.SHF_EXCLUDE|objfile.SHF_LINK_ORDER|objfile.SHF_COMPRESSED) != 0 {
		return false
	}
	switch s.Type {
	case objfile.SHT_PROGBITS, objfile.SHT_NOTE:
	default:
		return false
	}
	for _, p := range [...]string{".debug", ".zdebug", ".stab", ".llvm"} {
		if strings.HasPrefix(s.Name, p) {
			return false
		}
	}
	return true
}

// readNotes finds what such sections name.
func (l *Link) readNotes() {
	for _, o := range l.Objects {
		if o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			if !readsPlaces(&o.File.Sections[i]) || o.dropped(uint32(i)) {
				continue
			}
			rs := o.File.Relocs(uint32(i))
			for k := range rs.Len() {
				if t := l.resolveRef(o, rs.At(k).Sym); t.kind == toSection {
					if l.noted == nil {
						l.noted = map[SecID]bool{}
					}
					l.noted[t.sec] = true
				}
			}
		}
	}
}
