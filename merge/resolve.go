package merge

import (
	"sync"

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
	// Parse reads the member, nil for what is no object. It is called at most
	// once, on any thread, and perhaps for a member that is not extracted.
	Parse func() (*objfile.File, error)
	// Likely says that the member will hardly not be extracted, and is large
	// enough to be read together with others before that is known.
	Likely bool
	// Taken is told of the member's being extracted, if it is not nil: once,
	// in order.
	Taken func(*objfile.File)

	once    sync.Once
	file    *objfile.File
	globals *globals
	err     error
	hashes  []uint64 // of Defines
	ids     []SymID  // of Defines, in the search that is under way
	taken   bool
	told    bool // Taken was called
	during  int
	rank    int
}

// read parses the member, if nobody has.
func (m *Member) read() {
	m.once.Do(func() {
		if m.file, m.err = m.Parse(); m.err == nil && m.file != nil {
			m.globals = readGlobals(m.file)
		}
	})
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

// symState is what a name stands for while archives are being searched.
type symState uint8

const (
	symUnseen  symState = iota
	symWeakRef          // only weak references: extract nothing
	symWanted           // a reference that extracts
	symShared           // a shared object defines it
	symDefined
)

// Search is a simulated search of archives, and what it came to.
type Search struct {
	inputs []Input
	names  *nameTable
	// files has what was read of the objects that take part and of the shared
	// objects, their names numbered.
	files map[*objfile.File]*globals
	state []symState // indexed by SymID of names
	lazy  []*Member  // by the same: first member on offer, position-independent search only
	eager bool       // lld and mold: archives are on offer from anywhere on the line
	now   int        // index of the input that is being read
	count int        // of members taken
	err   error
}

// id numbers a name.
func (x *Search) id(name string, hash uint64) SymID {
	id, isNew := x.names.add(name, hash)
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
func Extract(inputs []Input, roots []string, eager bool) (*Search, error) {
	x := &Search{inputs: inputs, eager: eager, files: map[*objfile.File]*globals{}}
	x.begin()
	for _, name := range roots {
		x.want(x.id(name, hashName(name)))
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
			return nil, x.err
		}
	}
	return x, x.err
}

// begin reads the symbols of what takes part whatever is wanted, and of the
// members that likely do, and hashes the names of what archives offer.
func (x *Search) begin() {
	read := make([]*globals, len(x.inputs))
	var work []func() // the largest pieces first
	for i := range x.inputs {
		in := &x.inputs[i]
		if f := in.File; f != nil {
			work = append(work, func() { read[i] = readGlobals(f) })
		}
		for _, m := range in.Members {
			if m.taken, m.ids = false, nil; m.Likely {
				work = append(work, m.read)
			}
		}
	}
	names := 0
	for i := range x.inputs {
		in := &x.inputs[i]
		if f := in.Shared; f != nil {
			work = append(work, func() { read[i] = readGlobals(f) })
			names += int(f.NumSymbols)
		}
		if len(in.Members) > 0 {
			work = append(work, func() { hashDefines(in.Members) })
		}
		for _, m := range in.Members {
			names += len(m.Defines)
		}
	}
	inParallel(len(work), func(i int) { work[i]() })
	for i := range x.inputs {
		in := &x.inputs[i]
		switch {
		case in.File != nil:
			x.files[in.File] = read[i]
			names += len(read[i].names)
		case in.Shared != nil:
			x.files[in.Shared] = read[i]
		}
	}
	x.names = newNameTable(names)
	x.state, x.lazy = make([]symState, 0, names), make([]*Member, 0, names)
}

// hashDefines hashes what members are extracted for.
func hashDefines(members []*Member) {
	for _, m := range members {
		if m.hashes != nil {
			continue
		}
		m.hashes = make([]uint64, len(m.Defines))
		for k, name := range m.Defines {
			m.hashes[k] = hashName(name)
		}
	}
}

// whole adds an input all of which takes part.
func (x *Search) whole(in *Input) {
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
func (x *Search) want(id SymID) {
	if s := x.state[id]; s > symWeakRef {
		return
	}
	x.state[id] = symWanted
	if m := x.lazy[id]; m != nil {
		x.take(m)
	}
}

// number numbers the names of a file's global symbols.
func (x *Search) number(g *globals) {
	g.ids = make([]SymID, len(g.names))
	for k, name := range g.names {
		g.ids[k] = x.id(name, g.hashes[k])
	}
}

// object adds an object's symbols.
func (x *Search) object(f *objfile.File) {
	g := x.files[f]
	x.number(g)
	for k, id := range g.ids {
		if g.kinds[k].rank() != rankNone {
			x.state[id] = symDefined
		}
	}
	for k, id := range g.ids {
		if x.state[id] >= symWanted {
			continue
		}
		if g.kinds[k].is(globalWeak) {
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
func (x *Search) shared(f *objfile.File) {
	g := x.files[f]
	x.number(g)
	for k, id := range g.ids {
		switch kind := g.kinds[k]; {
		case kind.is(globalOld):
		case kind.rank() != rankNone:
			x.state[id] = max(x.state[id], symShared)
		case !kind.is(globalWeak):
			x.want(id)
		}
	}
}

// defines numbers the names that a member is extracted for.
func (x *Search) defines(m *Member) []SymID {
	if m.ids == nil {
		m.ids = make([]SymID, len(m.Defines))
		for i, name := range m.Defines {
			m.ids[i] = x.id(name, m.hashes[i])
		}
	}
	return m.ids
}

// offer makes a member's definitions available to later references and
// serves the earlier ones.
func (x *Search) offer(m *Member) {
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
func (x *Search) search(members []*Member) (found bool) {
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
func (x *Search) take(m *Member) {
	if m.taken || x.err != nil {
		return
	}
	m.taken, m.during, m.rank = true, x.now, x.count
	x.count++
	if m.read(); m.err != nil {
		x.err = m.err
		return
	}
	if !m.told && m.Taken != nil {
		m.told = true
		m.Taken(m.file)
	}
	if m.file != nil {
		x.files[m.file] = m.globals
		x.object(m.file)
	}
}
