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
// Meanwhile, on a processor that others have no use for, the sections are laid
// out here: contributions in link order, equal strings once. When the output is
// there its table is read, and the sections take the table's place: each is made
// then, a stretch at a time, and written while it is still in the processor's
// cache. To make them before, while the linker runs, takes as much from it as it
// gains: what both need most is memory.
//
// What comes out is what the linker would have made, but for the order of the
// strings: linked both ways, llvm-dwarfdump prints the same (linker/e2e). GNU ld
// saves a little more: strings that are the ends of others, and all that is said
// of objects of which nothing else is left. Where what comes out is not sure to
// be the same (Reader.Join), the objects keep their debug information and the
// linker joins it.
//
// An address of what is not in the output is 0, or 1 in .debug_ranges and
// .debug_loc, where two zeros end a list: as lld and mold have it.
package debuginfo

import (
	"fmt"
	"math"

	"leanlink/objfile"
)

// Join is the debug information of a link.
type Join struct {
	machine  *machine
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
}

// Join arranges the debug information of a link's objects, which are given in
// link order; those that were not added are read now. The error says why the
// linker should join it; the result is nil if there is none. letGo is told of
// strings of an object that will not be looked at again; it may do nothing.
func (r *Reader) Join(files []*objfile.File, letGo func(b []byte)) (*Join, error) {
	j := &Join{letGo: letGo, byFile: make([]*object, len(files))}
	c := collector{named: map[string]*section{}, first: map[string][]*part{}}
	for k, f := range files {
		o, err := r.take(f)
		if err != nil {
			return nil, err
		}
		if len(o.parts) == 0 {
			continue
		}
		o.index = uint32(k)
		if err := c.collect(o); err != nil {
			return nil, err
		}
		j.objects = append(j.objects, o)
		j.byFile[k] = o
		j.word = f.WordSize()
		if j.machine == nil {
			j.machine = o.machine
		} else if j.machine != o.machine {
			return nil, f.ErrorAt(0, 0, "the object is for another machine")
		}
	}
	if len(j.objects) == 0 {
		return nil, nil
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
func (c *collector) collect(o *object) error {
	mine := map[string][]*part{} // the members of groups, by signature
	for _, p := range o.parts {
		if p.group != nil {
			signature := p.group.Signature
			n := len(mine[signature])
			mine[signature] = append(mine[signature], p)
			if first := c.first[signature]; first != nil {
				if n >= len(first) || !first[n].stands(p) {
					return o.file.ErrorAt(p.from, 0, "the section's group has other members than one of its signature in another object")
				}
				p.instead = first[n]
				continue
			}
		}
		if err := c.add(p); err != nil {
			return err
		}
	}
	for signature, members := range mine {
		if c.first[signature] == nil {
			c.first[signature] = members
		}
	}
	return nil
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
