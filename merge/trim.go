package merge

import (
	"bytes"
	"fmt"
	"sort"

	"leanlink/objfile"
)

// Trims make new objects of those of a link, before anything else is decided
// about it: what a program does not need is cut out of the sections that have
// it, with the relocations that kept other things alive. A link of the new
// objects is then made as any other, and reachability finds what nothing
// refers to any more.

// Trim says what is to be cut.
type Trim struct {
	// Trap: the panic entry points of the standard library become traps.
	Trap bool
	// Messages: panics have an empty message.
	Messages bool
	// Locations: all core::panic::Location constants become one.
	Locations bool
	// Symbolizer: the standard library's backtraces know no names.
	Symbolizer bool
	// Frames: no unwind tables.
	Frames bool
	// Calls: unwind tables that are exact at calls only.
	Calls bool
	// Align: no alignment that only serves speed where that is not wanted.
	Align bool
}

// Any reports whether there is anything to do.
func (t Trim) Any() bool { return t != Trim{} }

// Cut is what a trim did to a section.
type Cut uint8

// The cuts.
const (
	CutNone     Cut = iota
	CutTrap         // the function's body is a trap
	CutLocation     // the Location says nothing
	CutReturn       // the function's body is a return
	CutFrames       // the frame table is empty
	CutRows         // the frame table has the rows that calls need
	CutOperands     // addresses that are loaded for nothing
	CutMessage      // the function hands on an empty message
	CutHandOn       // the function's body is a jump to one that does
	CutEnds         // ways that lead to nothing but a trap are traps, or gone
	CutTable        // the jump table of such a function leads to where its code is now

	// CutAligned is added to what else was cut: the alignment is less.
	CutAligned Cut = 1 << 7
)

// body reports whether a function has another body, which calls nothing.
func (c Cut) body() bool { return c == CutTrap || c == CutReturn || c == CutHandOn }

// Trimmed is what Link.Trim made.
type Trimmed struct {
	// Files are the objects in link order, new ones where Cuts has an entry.
	Files []*objfile.File
	// Cuts says what was done, by object and section; the places of objects
	// that were not changed are nil.
	Cuts [][]Cut
	// Missing lists, for each trim by its key in the config, what it looked
	// for and the standard library in use does not have.
	Missing map[string][]string
	// Traps is the number of panic entry points that became traps, Messages of
	// those that lost their message, Operands that of addresses that only fed
	// them.
	Traps, Messages, Operands int
	// DeadEnds is the number of functions with code that only led to a trap,
	// DeadBytes how much of it is gone.
	DeadEnds  int
	DeadBytes uint64
	// Aligned is the number of functions whose alignment was taken down.
	Aligned int
	// Locations, Symbolizers are the numbers of Locations that were made one
	// and of symbolizers that were cut; Frames is the bytes of frame tables
	// that were dropped.
	Locations, Symbolizers int
	Frames                 uint64
}

// TrimError says why a trim can't be had in a link.
type TrimError struct {
	Key string // of the config
	Why string
}

// Error is the key and the reason.
func (e *TrimError) Error() string { return e.Key + ": " + e.Why }

// trimmer is the state of Link.Trim; the edits and cuts are indexed by object.
type trimmer struct {
	l     *Link
	edits []*objfile.Edit
	out   *Trimmed
	// ignored are the registers that changed functions do not look at.
	ignored map[SecID]registers
	// cold are the functions that need no alignment, nil if none does or if that
	// was not asked for.
	cold map[SecID]bool
}

// Trim makes the trims. The link itself stays as it is: the result's files
// are for a new one. An error says that a trim can't be made in this link.
func (l *Link) Trim(t Trim) (*Trimmed, error) {
	x := &trimmer{l: l, edits: make([]*objfile.Edit, len(l.Objects)), ignored: map[SecID]registers{}}
	x.out = &Trimmed{Cuts: make([][]Cut, len(l.Objects)), Missing: map[string][]string{}}
	if t.Trap {
		if err := x.traps(); err != nil {
			return nil, err
		}
	}
	if t.Messages {
		if err := x.messages(); err != nil {
			return nil, err
		}
	}
	if t.Locations {
		x.locations()
	}
	if t.Symbolizer {
		x.backtraces()
	}
	if t.Trap {
		x.deadEnds(t)
	}
	x.operands()
	if t.Align {
		x.alignments()
	}
	if t.Frames {
		// Last: what goes before patches frame entries.
		if err := x.dropFrames(); err != nil {
			return nil, err
		}
	}
	if t.Calls {
		if err := x.callFrames(); err != nil {
			return nil, err
		}
	}
	for i, o := range l.Objects {
		f := o.File
		if e := x.edits[i]; e != nil {
			var b bytes.Buffer
			if _, err := e.Write(&b); err != nil {
				return nil, err
			}
			var err error
			if f, err = objfile.Parse(f.Name, b.Bytes()); err != nil {
				return nil, fmt.Errorf("a trimmed object is not understood: %w", err)
			}
		}
		x.out.Files = append(x.out.Files, f)
	}
	return x.out, nil
}

// edit is the edit of an object.
func (x *trimmer) edit(o *Object) *objfile.Edit {
	if x.edits[o.index] == nil {
		x.edits[o.index] = objfile.NewEdit(o.File)
		x.out.Cuts[o.index] = make([]Cut, len(o.File.Sections))
	}
	return x.edits[o.index]
}

// Replace puts a trimmed object in the place of an extracted member's.
func (m *Member) Replace(f *objfile.File) { m.file = f }

// missing notes what a trim did not find.
func (x *trimmer) missing(key string, names []string) {
	if len(names) > 0 {
		sort.Strings(names)
		x.out.Missing[key] = names
	}
}
