package debuginfo

import (
	"errors"
	"runtime"
	"strings"
	"sync"

	"leanlink/objfile"
)

// Reader reads the debug information of objects as they come into a link, on
// processors that the phases which find them have no use for. A nil Reader reads
// nothing.
type Reader struct {
	slot    chan struct{} // one for each object that is read at once
	stopped chan struct{}
	stop    sync.Once
	all     sync.WaitGroup

	mu       sync.Mutex // of what follows
	objects  map[*objfile.File]*reading
	machines map[uint16]*machine // by e_machine
}

// reading is an object that is being read.
type reading struct {
	done   chan struct{}
	object *object
	err    error // valid when done, as object is
}

// machine is what is to be known of an architecture.
type machine struct {
	arch   *objfile.Arch
	fields [maxType]fieldKind // indexed by relocation type
}

// object is an object and what it has of debug information.
type object struct {
	file    *objfile.File
	machine *machine
	index   uint32 // in link order
	parts   []*part
	table   uint32 // the section that makes room for the table
	groups  []*group
	// targets says what a relocation by a symbol refers to; indexed by symbol.
	targets []target
	exact   map[exactly]uint32 // into words
	words   []word
	slots   int // of the words, those that the table has
}

// group is a COMDAT group of debug information.
type group struct {
	objfile.Group
	section uint32
}

// part is one object's contribution to a section.
type part struct {
	object  *object
	from    uint32     // the object's section
	group   *group     // that it is a member of, nil for none
	strings *stringMap // of a section of strings

	// What the other objects decide.
	to *section
	at uint64 // where in the section's data it begins; of strings, nothing
	// instead is what is joined in the place of a member of a group: that of the
	// first group of its signature; nil if it is joined itself.
	instead *part
}

// NewReader makes a Reader.
func NewReader() *Reader {
	return &Reader{
		slot: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), stopped: make(chan struct{}),
		objects: map[*objfile.File]*reading{}, machines: map[uint16]*machine{},
	}
}

// Add begins to read an object that takes part in the link.
func (r *Reader) Add(f *objfile.File) {
	if r == nil {
		return
	}
	n := &reading{done: make(chan struct{})}
	m := r.machine(f.Machine)
	r.mu.Lock()
	r.objects[f] = n
	r.mu.Unlock()
	r.all.Go(func() {
		defer close(n.done)
		select {
		case r.slot <- struct{}{}:
		case <-r.stopped:
			n.err = errStopped
			return
		}
		defer func() { <-r.slot }()
		n.object, n.err = read(f, m)
	})
}

// errStopped is the fault of an object that is not to be read any more.
var errStopped = errors.New("not read")

// Stop waits for the end of what is being read; what was not begun never is,
// but when it is asked for.
func (r *Reader) Stop() {
	if r != nil {
		r.stop.Do(func() { close(r.stopped) })
		r.all.Wait()
	}
}

// machine is that of a number (EM_…).
func (r *Reader) machine(number uint16) *machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.machines[number]; m != nil {
		return m
	}
	m := &machine{arch: objfile.ArchOf(number)}
	if m.arch != nil {
		for typ := range m.fields {
			m.fields[typ] = kindOf(m.arch.Reloc(uint32(typ)))
		}
	}
	r.machines[number] = m
	return m
}

// take returns what was read of an object, and reads one that was not.
func (r *Reader) take(f *objfile.File) (*object, error) {
	r.mu.Lock()
	n := r.objects[f]
	r.mu.Unlock()
	if n != nil {
		if <-n.done; n.err != errStopped {
			return n.object, n.err
		}
	}
	return read(f, r.machine(f.Machine))
}

// read reads the debug information of an object. The error says why the linker
// should join it.
func read(f *objfile.File, m *machine) (*object, error) {
	o := &object{file: f, machine: m}
	grouped, err := o.readGroups()
	if err != nil {
		return nil, err
	}
	for i := range f.Sections {
		s := &f.Sections[i]
		if strings.HasPrefix(s.Name, ".zdebug") {
			return nil, f.ErrorAt(uint32(i), 0, "debug information in an old form")
		}
		if !s.IsDebug() || s.Flags&objfile.SHF_EXCLUDE != 0 {
			if err := o.apart(uint32(i)); err != nil {
				return nil, err
			}
			continue
		}
		p := &part{object: o, from: uint32(i), group: grouped[uint32(i)]}
		if err := p.suits(); err != nil {
			return nil, err
		}
		o.parts = append(o.parts, p)
		if s.Rel != 0 && o.table == 0 && p.group == nil {
			o.table = uint32(i)
		}
	}
	if len(o.parts) == 0 {
		return o, nil
	}
	if m.arch == nil || m.arch.Address == 0 || m.arch.Relaxes {
		return nil, f.ErrorAt(0, 0, "the linker shortens code for this machine, so that only it knows what lies where")
	}
	o.targets = make([]target, f.NumSymbols)
	for _, p := range o.parts {
		if err := p.scan(); err != nil {
			return nil, err
		}
		if p.isStrings() {
			b := f.Bytes(p.from)
			willRead(b)
			if p.strings, err = split(b); err != nil {
				return nil, f.ErrorAt(p.from, 0, err.Error())
			}
		}
	}
	if len(o.words) > 0 && o.table == 0 {
		return nil, f.ErrorAt(o.parts[0].from, 0, "there is no room for a table")
	}
	return o, nil
}

// apart returns an error if a section that is not loaded, and that the linker
// keeps, refers to debug information, which the linker will not have.
func (o *object) apart(section uint32) error {
	f := o.file
	if s := &f.Sections[section]; s.Rel == 0 || s.Flags&(objfile.SHF_ALLOC|objfile.SHF_EXCLUDE) != 0 {
		return nil
	}
	rs := f.Relocs(section)
	for k := range rs.Len() {
		sym := rs.Sym(k)
		if sym >= f.NumSymbols {
			return f.ErrorAt(section, rs.Offset(k), "a relocation names a symbol that does not exist")
		}
		if s := f.Symbol(sym); s.Defined() && f.Sections[s.Section].IsDebug() {
			return f.ErrorAt(section, rs.Offset(k), "a relocation refers to debug information")
		}
	}
	return nil
}

// readGroups finds the groups of debug information, and which sections are in
// one.
func (o *object) readGroups() (grouped map[uint32]*group, err error) {
	for i := range o.file.Sections {
		if o.file.Sections[i].Type != objfile.SHT_GROUP {
			continue
		}
		g, err := debugGroup(o.file, uint32(i))
		if err != nil {
			return nil, err
		}
		if g == nil {
			continue
		}
		if grouped == nil {
			grouped = map[uint32]*group{}
		}
		for _, m := range g.Members {
			grouped[m] = g
		}
		o.groups = append(o.groups, g)
	}
	return grouped, nil
}

// debugGroup decodes a group; nil if it has no debug information in it.
func debugGroup(f *objfile.File, section uint32) (*group, error) {
	g, ok := f.Group(section)
	if !ok {
		return nil, f.ErrorAt(section, 0, "the group is not understood")
	}
	debug, others := false, false
	for _, m := range g.Members {
		switch s := &f.Sections[m]; {
		case s.IsDebug():
			debug = true
		case s.Type == objfile.SHT_REL || s.Type == objfile.SHT_RELA:
		default:
			others = true
		}
	}
	switch {
	case !debug:
		return nil, nil
	case others || !g.Comdat:
		return nil, f.ErrorAt(section, 0, "debug information is in a group with what is none, or of an unusual kind")
	}
	return &group{g, section}, nil
}

// isStrings reports whether it is of a section of strings.
func (p *part) isStrings() bool {
	return p.object.file.Sections[p.from].Flags&objfile.SHF_STRINGS != 0
}

// suits returns an error if a section of debug information is not one that can
// be joined.
func (p *part) suits() error {
	f, section, grouped := p.object.file, p.from, p.group != nil
	s := &f.Sections[section]
	const merged = objfile.SHF_MERGE | objfile.SHF_STRINGS
	switch {
	case s.Flags&objfile.SHF_COMPRESSED != 0:
		return f.ErrorAt(section, 0, "the section is compressed")
	case s.Flags&objfile.SHF_GROUP != 0 != grouped:
		return f.ErrorAt(section, 0, "the section is in a group that does not know it")
	case s.Type != objfile.SHT_PROGBITS || s.MultiRel || s.Flags&^(merged|objfile.SHF_GROUP) != 0:
		return f.ErrorAt(section, 0, "the section is of an unusual kind")
	case s.Flags&merged != 0 && (s.Flags&merged != merged || s.EntSize != 1 || s.Rel != 0 || grouped):
		return f.ErrorAt(section, 0, "the section is merged otherwise than strings are")
	case s.Name == tableName:
		return f.ErrorAt(section, 0, "the section's name is leanlink's own")
	}
	return nil
}
