package merge

import (
	"slices"
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
	if name, by := l.indexReader(); name != "" {
		return &TrimError{key, "something reads the exception index table (" + name + " refers to " + by + ")"}
	}
	for _, o := range l.Objects {
		for i := range o.File.Sections {
			s := &o.File.Sections[i]
			switch {
			case o.canDropFrames(uint32(i)):
				x.edit(o).SetContents(uint32(i), nil, nil)
			case l.canDropIndex(o, uint32(i)):
				// Linkers expect an entry in such a section, but need none for a function.
				x.edit(o).Exclude(uint32(i))
			default:
				continue
			}
			x.out.Cuts[o.index][i] = CutFrames
			x.out.Frames += s.Size
		}
	}
	if x.out.Frames == 0 {
		name := ".eh_frame"
		if l.Arch.Machine == objfile.EM_ARM {
			name = ".ARM.exidx"
		}
		x.out.Missing[key] = []string{name}
	}
	return nil
}

// indexReader names an object that finds the exception index of the ARM by the
// names that linkers give its ends, and is not the unwinder itself: that comes
// with the entries, which name its personality routines, and nothing calls it
// where nothing throws.
func (l *Link) indexReader() (object, by string) {
	if l.Arch.Machine != objfile.EM_ARM {
		return "", ""
	}
	for _, name := range [...]string{"__exidx_start", "__exidx_end"} {
		id, ok := l.names.lookUp(name)
		if !ok {
			continue
		}
		for _, o := range l.Objects {
			if !slices.Contains(o.globals, id) || l.definesUnwinder(o) {
				continue
			}
			return o.File.Name, name
		}
	}
	return "", ""
}

// definesUnwinder reports whether an object has the personality routines that
// entries of the exception index name.
func (l *Link) definesUnwinder(o *Object) bool {
	for k, id := range o.globals {
		if s := o.File.Symbol(o.File.FirstGlobal + uint32(k)); s.Defined() && l.symName[id] == "__aeabi_unwind_cpp_pr0" {
			return true
		}
	}
	return false
}

// canDropIndex reports whether a section is of an exception index, would be in
// the output, and can be left out.
func (l *Link) canDropIndex(o *Object, i uint32) bool {
	s := &o.File.Sections[i]
	_, grouped := o.groups[i]
	return o.Reason == "" && l.isExidx(s) && s.Flags&objfile.SHF_ALLOC != 0 && s.Size > 0 && !s.MultiRel && !grouped && !l.discards(s)
}

// canDropFrames reports whether a section is a frame table that can be emptied.
func (o *Object) canDropFrames(i uint32) bool {
	s := &o.File.Sections[i]
	_, grouped := o.groups[i]
	return o.Reason == "" && isEhFrame(s) && s.Flags&objfile.SHF_ALLOC != 0 && s.Size > 0 && !s.MultiRel && !grouped
}
