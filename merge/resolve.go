package merge

import (
	"fmt"
	"slices"
	"strings"

	"leanlink/objfile"
)

// An Input is one file of the link, in command line order, as far as symbol
// resolution sees it. Exactly one of File, Members and Shared is set.
type Input struct {
	File    *objfile.File // a relocatable object
	Members []*Member     // an archive
	Whole   bool          // --whole-archive: all members take part
	Group   int           // > 0: number of the --start-group it lies in
	Shared  *objfile.File // a shared object: its dynamic symbols
}

// Member is one object of an archive, parsed only when something needs it.
type Member struct {
	Name string
	// Defines lists the symbols for which a linker extracts the member.
	Defines []string
	// Parse reads the member; it is called at most once in a search.
	Parse func() (*objfile.File, error)

	file    *objfile.File
	ids     []SymID // of Defines, in the search that is under way
	taken   bool
	skipped bool // not an ELF object: nothing to extract
	during  int
	rank    int
}

// Extracted says when an extracted member came into the link: while the input
// of index during was being read, behind all members of lower rank.
func (m *Member) Extracted() (during, rank int) { return m.during, m.rank }

// File returns the member's parsed object, nil if it was not extracted.
func (m *Member) File() *objfile.File {
	if !m.taken {
		return nil
	}
	return m.file
}

// Taken names the extracted members, by their places, to compare two ways of
// extracting.
func Taken(inputs []Input) string {
	var b strings.Builder
	for i := range inputs {
		for k, m := range inputs[i].Members {
			if m.taken {
				fmt.Fprintf(&b, "%d.%d ", i, k)
			}
		}
	}
	return b.String()
}

// Contested returns a name over which linkers that search archives in one way
// otherwise come to different members, "" if there is none: an object has a
// common symbol that a member not extracted may define, or refers to what both
// a shared object and such a member offer. It is to be asked after Extract.
func Contested(inputs []Input) string {
	common, wanted, shared := map[string]bool{}, map[string]bool{}, map[string]bool{}
	look := func(f *objfile.File) {
		for i := f.FirstGlobal; i < f.NumSymbols; i++ {
			switch s := f.Symbol(i); {
			case s.Section == objfile.SecCommon || s.Type == objfile.STT_COMMON:
				common[f.NameOf(&s)] = true
			case s.Section == objfile.SecUndef && s.Bind != objfile.STB_WEAK:
				wanted[f.NameOf(&s)] = true
			}
		}
	}
	for i := range inputs {
		in := &inputs[i]
		if f := in.File; f != nil {
			look(f)
		}
		if f := in.Shared; f != nil {
			for k := f.FirstGlobal; k < f.NumSymbols; k++ {
				if f.Offers(k) {
					shared[f.SymbolName(k)] = true
				}
			}
		}
		for _, m := range in.Members {
			if f := m.File(); f != nil {
				look(f)
			}
		}
	}
	offered := map[string]bool{}
	for i := range inputs {
		for _, m := range inputs[i].Members {
			for _, name := range m.Defines {
				if m.taken {
					delete(wanted, name) // what is defined is not looked for
				} else {
					offered[name] = true
				}
			}
		}
		if f := inputs[i].File; f != nil {
			for k := f.FirstGlobal; k < f.NumSymbols; k++ {
				if s := f.Symbol(k); s.Section != objfile.SecUndef {
					delete(wanted, f.NameOf(&s))
				}
			}
		}
	}
	var names []string
	for name := range offered {
		if common[name] || wanted[name] && shared[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return slices.Min(names)
}

// symState is what a name stands for while archives are being searched.
type symState uint8

const (
	symUnseen  symState = iota
	symWeakRef          // only weak references: extract nothing
	symWanted           // a reference that extracts
	symShared           // a shared object defines it
	symDefined
)

// extraction is the state of a simulated search of archives.
type extraction struct {
	names *nameTable
	state []symState // indexed by SymID of names
	lazy  []*Member  // by the same: first member on offer, position-independent search only
	eager bool       // lld and mold: archives are on offer from anywhere on the line
	now   int        // index of the input that is being read
	count int        // of members taken
	err   error
}

// id numbers a name.
func (x *extraction) id(name string) SymID {
	id, isNew := x.names.add(name, hashName(name))
	if isNew {
		x.state, x.lazy = append(x.state, symUnseen), append(x.lazy, nil)
	}
	return id
}

// Extract decides which archive members take part in the link and returns
// them, and parses them. roots are the names that the command line wants
// (entry, -u, …).
//
// GNU ld and gold search an archive when they come to it, for what is
// undefined by then, and a group until nothing new turns up; lld, mold and
// wild keep every member on offer from wherever it stands. eager chooses the
// second way.
func Extract(inputs []Input, roots []string, eager bool) error {
	offered := 0
	for i := range inputs {
		for _, m := range inputs[i].Members {
			m.taken, m.ids = false, nil
			offered += len(m.Defines)
		}
	}
	x := &extraction{names: newNameTable(offered), eager: eager}
	for _, name := range roots {
		x.want(x.id(name))
	}
	for i := 0; i < len(inputs); i++ {
		in := &inputs[i]
		x.now = i
		switch {
		case in.File != nil || in.Shared != nil || in.Whole:
			x.whole(in)
		case eager:
			for _, m := range in.Members {
				x.offer(m)
			}
		default:
			last := i
			for in.Group > 0 && last+1 < len(inputs) && inputs[last+1].Group == in.Group {
				last++
			}
			if last == i {
				x.search(in.Members)
				break
			}
			// A group: objects and shared objects in it count once, its
			// archives are searched until a round finds nothing.
			for round, changed := 0, true; changed && x.err == nil; round++ {
				changed = round == 0
				for k := i; k <= last; k++ {
					x.now = k
					if round > 0 {
						x.now = last
					}
					switch g := &inputs[k]; {
					case g.File != nil || g.Shared != nil || g.Whole:
						if round == 0 {
							x.whole(g)
						}
					case x.search(g.Members):
						changed = true
					}
				}
			}
			i = last
		}
		if x.err != nil {
			return x.err
		}
	}
	return x.err
}

// whole adds an input all of which takes part.
func (x *extraction) whole(in *Input) {
	switch {
	case in.File != nil:
		x.object(in.File)
	case in.Shared != nil:
		x.shared(in.Shared)
	}
	for _, m := range in.Members {
		x.take(m)
	}
}

// want notes a reference; in an eager search it extracts at once.
func (x *extraction) want(id SymID) {
	if s := x.state[id]; s > symWeakRef {
		return
	}
	x.state[id] = symWanted
	if m := x.lazy[id]; m != nil {
		x.take(m)
	}
}

// object adds an object's symbols.
func (x *extraction) object(f *objfile.File) {
	ids := make([]SymID, f.NumSymbols-f.FirstGlobal)
	for k := range ids {
		s := f.Symbol(f.FirstGlobal + uint32(k))
		ids[k] = x.id(f.NameOf(&s))
		if s.Section != objfile.SecUndef {
			x.state[ids[k]] = symDefined
		}
	}
	for k, id := range ids {
		if x.state[id] >= symWanted {
			continue
		}
		if s := f.Symbol(f.FirstGlobal + uint32(k)); s.Bind == objfile.STB_WEAK {
			if x.state[id] == symUnseen {
				x.state[id] = symWeakRef
			}
			continue
		}
		x.want(id)
		if x.err != nil {
			return
		}
	}
}

// shared adds a shared object's dynamic symbols. What it leaves undefined is
// a reference like any other.
func (x *extraction) shared(f *objfile.File) {
	for i := f.FirstGlobal; i < f.NumSymbols; i++ {
		s := f.Symbol(i)
		id := x.id(f.NameOf(&s))
		if s.Section != objfile.SecUndef {
			if f.Offers(i) && x.state[id] < symShared {
				x.state[id] = symShared
			}
		} else if s.Bind != objfile.STB_WEAK {
			x.want(id)
		}
	}
}

// defines numbers the names that a member is extracted for.
func (x *extraction) defines(m *Member) []SymID {
	if m.ids == nil {
		m.ids = make([]SymID, len(m.Defines))
		for i, name := range m.Defines {
			m.ids[i] = x.id(name)
		}
	}
	return m.ids
}

// offer makes a member's definitions available to later references and
// serves the earlier ones.
func (x *extraction) offer(m *Member) {
	ids := x.defines(m)
	for _, id := range ids {
		if x.state[id] == symWanted {
			x.take(m)
			return
		}
	}
	for _, id := range ids {
		if x.lazy[id] == nil {
			x.lazy[id] = m
		}
	}
}

// search extracts from one archive until a round finds nothing.
func (x *extraction) search(members []*Member) (found bool) {
	for changed := true; changed && x.err == nil; {
		changed = false
		for _, m := range members {
			if m.taken {
				continue
			}
			for _, id := range x.defines(m) {
				if x.state[id] == symWanted {
					x.take(m)
					changed, found = true, true
					break
				}
			}
		}
	}
	return found
}

// take extracts a member.
func (x *extraction) take(m *Member) {
	if m.taken || x.err != nil {
		return
	}
	m.taken, m.during, m.rank = true, x.now, x.count
	x.count++
	if m.file == nil && !m.skipped {
		f, err := m.Parse()
		if err != nil {
			x.err = err
			return
		}
		m.file, m.skipped = f, f == nil
	}
	if m.file != nil {
		x.object(m.file)
	}
}
