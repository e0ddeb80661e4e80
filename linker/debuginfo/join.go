// Package debuginfo joins the debug information (DWARF) of a link in the real
// linker's place.
//
// Debug information is half of what a linker reads, and none of what leanlink
// decides anything by. To hand it on means to copy it, for the linker to read
// the copy, look up every string in it and apply a relocation for every fourth
// byte. Yet of those relocations only one in three needs the linker: the ones
// that name an address of the program. The others say where in the joined
// sections something lies that is debug information itself.
//
// So the new objects have none. Each has a table instead (see tableName) of the
// few addresses that its debug information refers to, one for each section or
// symbol, which the linker fills in like any other data that is not loaded.
// Meanwhile, on a processor that the linker has no use for, the sections are
// joined here: contributions in link order, equal strings once. When the output
// is there its table is read, the addresses are put in, and the sections take
// the table's place.
//
// What comes out is what the linker would have made, but for the order of the
// strings: linked both ways, llvm-dwarfdump prints the same (linker/e2e). Where
// it is not sure to (New, Scan), the objects keep their debug information and
// the linker joins it.
//
// An address of what is not in the output is 0, or 1 in .debug_ranges and
// .debug_loc, where two zeros end a list: as lld and mold have it.
package debuginfo

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"leanlink/objfile"
)

// Join is the debug information of a link.
type Join struct {
	arch     *objfile.Arch
	fields   [maxType]fieldKind // indexed by relocation type
	letGo    func(b []byte)
	word     int       // size of an address, bytes
	objects  []*object // those that have any, in link order
	byFile   []*object // indexed by the place in link order, nil without debug information
	sections []*section
}

// section is one section of the output.
type section struct {
	name    string
	flags   uint64
	align   uint64
	entSize uint64
	strings *stringTable // of a section of strings, each of which is there once
	parts   []*part      // in link order
	size    uint64       // of what is joined here, bytes
	// base is where that begins: behind what the linker has put there of files
	// that nobody else sees.
	base uint64
	data []byte
}

// part is one object's contribution to a section.
type part struct {
	object  *object
	from    uint32 // the object's section
	to      *section
	at      uint64 // where in the section's data it begins; of strings, nothing
	strings *stringMap
	// addresses is the number of relocations that need the linker.
	addresses int
	fixups    []fixup
	// instead is what is joined in the place of a member of a COMDAT group: that
	// of the first group of its signature; nil if it is joined itself.
	instead *part
}

// object is an object that has debug information.
type object struct {
	file   *objfile.File
	index  uint32 // in link order
	parts  []*part
	table  uint32 // the section that makes room for the table
	groups []groupSection
	// targets says what a relocation by a symbol refers to; indexed by symbol.
	targets []target
	exact   map[exactly]uint32 // into words
	words   []word
	slots   int // of the words, those that the table has
}

// groupSection is a group of debug information: its section and its members.
type groupSection struct {
	section uint32
	members []uint32
}

// New looks at the sections of a link's objects, which are given in link order.
// The error says why the linker should join their debug information, if it is
// not for New to; the result is nil if there is none. letGo is told of bytes of an
// object that will not be looked at again; it may do nothing.
func New(files []*objfile.File, arch *objfile.Arch, letGo func(b []byte)) (*Join, error) {
	j := &Join{arch: arch, letGo: letGo, byFile: make([]*object, len(files))}
	for typ := range j.fields {
		j.fields[typ] = kindOf(arch.Reloc(uint32(typ)))
	}
	c := collector{named: map[string]*section{}, first: map[string][]*part{}}
	for k, f := range files {
		o, err := c.collect(f, uint32(k))
		if err != nil {
			return nil, err
		}
		if len(o.parts) > 0 {
			j.objects = append(j.objects, o)
			j.byFile[k] = o
			j.word = f.WordSize()
		}
	}
	if len(j.objects) == 0 {
		return nil, nil
	}
	if arch.Address == 0 || arch.Relaxes {
		return nil, fmt.Errorf("the linker shortens code on %s, so that only it knows what lies where", arch.Name)
	}
	j.sections = c.sections
	return j, nil
}

// collector collects the sections of debug information of a link.
type collector struct {
	named    map[string]*section
	sections []*section         // in the order of their first appearance
	first    map[string][]*part // by signature: the members of the first COMDAT group
}

// collect collects those of one object.
func (c *collector) collect(f *objfile.File, index uint32) (*object, error) {
	o := &object{file: f, index: index}
	var grouped map[uint32]string // by section: the signature of its group
	for i := range f.Sections {
		if f.Sections[i].Type != objfile.SHT_GROUP {
			continue
		}
		g, err := debugGroup(f, uint32(i))
		if err != nil {
			return nil, err
		}
		if g == nil {
			continue
		}
		if grouped == nil {
			grouped = map[uint32]string{}
		}
		for _, m := range g.Members {
			grouped[m] = g.Signature
		}
		o.groups = append(o.groups, groupSection{uint32(i), g.Members})
	}
	mine := map[string][]*part{} // the members of groups, by signature
	for i := range f.Sections {
		s := &f.Sections[i]
		if strings.HasPrefix(s.Name, ".zdebug") {
			return nil, f.ErrorAt(uint32(i), 0, "debug information in an old form")
		}
		if !s.IsDebug() || s.Flags&objfile.SHF_EXCLUDE != 0 {
			continue
		}
		signature, inGroup := grouped[uint32(i)]
		if err := suits(f, uint32(i), inGroup); err != nil {
			return nil, err
		}
		p := &part{object: o, from: uint32(i)}
		o.parts = append(o.parts, p)
		if s.Rel != 0 && o.table == 0 && !inGroup {
			o.table = uint32(i)
		}
		if inGroup {
			n := len(mine[signature])
			mine[signature] = append(mine[signature], p)
			if first := c.first[signature]; first != nil {
				if n >= len(first) || !first[n].stands(p) {
					return nil, f.ErrorAt(uint32(i), 0, "the section's group has other members than one of its signature in another object")
				}
				p.instead = first[n]
				continue
			}
		}
		if err := c.add(p); err != nil {
			return nil, err
		}
	}
	for signature, members := range mine {
		if c.first[signature] == nil {
			c.first[signature] = members
		}
	}
	return o, nil
}

// add adds a part to the section that it is one of.
func (c *collector) add(p *part) error {
	s := &p.object.file.Sections[p.from]
	flags := s.Flags &^ objfile.SHF_GROUP
	to := c.named[s.Name]
	if to == nil {
		to = &section{name: s.Name, flags: flags, align: 1, entSize: s.EntSize}
		if flags&objfile.SHF_STRINGS != 0 {
			to.strings = &stringTable{}
		}
		c.named[s.Name] = to
		c.sections = append(c.sections, to)
	}
	if to.flags != flags || to.entSize != s.EntSize {
		return p.object.file.ErrorAt(p.from, 0, "the section is of another kind than in other objects")
	}
	p.to = to
	to.align = max(to.align, s.Align)
	to.parts = append(to.parts, p)
	return nil
}

// stands reports whether a member of a group can stand for that of another
// group of its signature: the signature is a hash of what it says.
func (p *part) stands(q *part) bool {
	a, b := &p.object.file.Sections[p.from], &q.object.file.Sections[q.from]
	return a.Name == b.Name && a.Size == b.Size
}

// debugGroup decodes a group; nil if it has no debug information in it.
func debugGroup(f *objfile.File, section uint32) (*objfile.Group, error) {
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
	return &g, nil
}

// suits returns an error if a section of debug information is not one that can
// be joined.
func suits(f *objfile.File, section uint32, grouped bool) error {
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

// Size is how many bytes the joined sections have; known after Merge.
func (j *Join) Size() (n uint64) {
	for _, s := range j.sections {
		n += s.size
	}
	return n
}

// Apply makes the joined sections, but for the addresses.
func (j *Join) Apply() error {
	for _, s := range j.sections {
		if s.strings != nil {
			s.data = s.strings.data
		} else if uint64(len(s.data)) != s.size {
			var err error
			if s.data, err = allocate(s.size); err != nil {
				return err
			}
		}
	}
	return j.each(func(o *object) error {
		for _, p := range o.parts {
			if p.instead == nil && p.to.strings == nil {
				if err := p.apply(j); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// lay says where each part comes to lie.
func (j *Join) lay() error {
	for _, s := range j.sections {
		if s.strings != nil {
			s.size = uint64(len(s.strings.data))
			continue
		}
		for _, p := range s.parts {
			h := &p.object.file.Sections[p.from]
			align := max(h.Align, 1)
			p.at = (s.size + align - 1) &^ (align - 1)
			s.size = p.at + h.Size
		}
		if s.size > math.MaxUint32 {
			return fmt.Errorf("%s becomes too large for its offsets", s.name)
		}
	}
	for _, o := range j.objects {
		for _, p := range o.parts {
			if p.instead != nil {
				p.to, p.at = p.instead.to, p.instead.at
			}
		}
	}
	return nil
}

// each calls f for all objects, several at once.
func (j *Join) each(f func(*object) error) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, o := range j.objects {
		g.Go(func() error { return f(o) })
	}
	return g.Wait()
}

// partOf is the part that a section of an object is, nil if it is none.
func (o *object) partOf(section uint32) *part {
	k := slices.IndexFunc(o.parts, func(p *part) bool { return p.from == section })
	if k < 0 {
		return nil
	}
	return o.parts[k]
}

// tombstone stands for the address of what is not in the output.
func (s *section) tombstone() uint64 {
	if s.name == ".debug_ranges" || s.name == ".debug_loc" {
		return 1
	}
	return 0
}

// Names are the names of the joined sections and of the tables' one.
func (j *Join) Names() []string {
	names := []string{tableName}
	for _, s := range j.sections {
		names = append(names, s.name)
	}
	return names
}
