package merge

import (
	"strings"

	"leanlink/objfile"
)

// throwers are names that only code refers to that throws or catches, or that
// a cancelled thread cleans up by.
var throwers = [...]string{"__cxa_throw", "__cxa_rethrow", "__gxx_personality_v0", "__gcc_personality_v0", "__objc_personality_v0",
	"__gnat_personality_v0", "__gxx_personality_sj0", "_Unwind_ForcedUnwind"}

// thrower names an object of another language that can unwind, and by what.
func (l *Link) thrower() (object, by string) {
	for _, name := range throwers {
		ids := map[SymID]bool{}
		for _, n := range [...]string{name, "DW.ref." + name} {
			if id, ok := l.names.lookUp(n); ok {
				ids[id] = true
			}
		}
		if len(ids) == 0 {
			continue
		}
		for _, o := range l.Objects {
			for k, id := range o.globals {
				s := o.File.Symbol(o.File.FirstGlobal + uint32(k))
				if ids[id] && (!s.Defined() || strings.HasPrefix(l.symName[id], "DW.ref.")) {
					return o.File.Name, name
				}
			}
		}
	}
	return "", ""
}

// dropFrames empties the frame tables, where nothing can unwind. The
// exception tables, which only those name, are dropped with what else nothing
// reaches.
func (x *trimmer) dropFrames() error {
	l := x.l
	const key = "trim.unwind-tables"
	if name := l.unwinder(); name != "" {
		return &TrimError{key, "panics unwind in this program (" + name + " raises exceptions): build with panic = \"abort\""}
	}
	if name, by := l.thrower(); name != "" {
		return &TrimError{key, "something else than Rust can unwind (" + name + " refers to " + by + ")"}
	}
	if l.dynamicStd() {
		return &TrimError{key, "the panic runtime is in a shared object (prefer-dynamic), and may unwind"}
	}
	for _, o := range l.Objects {
		if o.Reason != "" {
			continue
		}
		for i := range o.File.Sections {
			if !o.canDropFrames(uint32(i)) {
				continue
			}
			s := &o.File.Sections[i]
			x.edit(o).SetContents(uint32(i), nil, nil)
			x.out.Cuts[o.index][i] = CutFrames
			x.out.Frames += s.Size
		}
	}
	if x.out.Frames == 0 {
		x.out.Missing[key] = []string{".eh_frame"}
	}
	return nil
}

// canDropFrames reports whether a section is a frame table that can be emptied.
func (o *Object) canDropFrames(i uint32) bool {
	s := &o.File.Sections[i]
	_, grouped := o.groups[i]
	return o.Reason == "" && isEhFrame(s) && s.Flags&objfile.SHF_ALLOC != 0 && s.Size > 0 && !s.MultiRel && !grouped
}
