package debuginfo

import (
	"bytes"
	"errors"
	"fmt"

	"leanlink/objfile"
)

// tableName is the section of the tables, in objects and, until they are read,
// in the output. As it begins with .debug_ linkers treat what it names as debug
// information does: it keeps nothing alive, and what is not in the output is 0.
const tableName = ".debug_leanlink"

// A table begins with magic, the object's place in link order and the number of
// words, of 32 bits each. The words follow.
const (
	magic      = "leanlink"
	tableHead  = 16
	tableIndex = 8  // where the place is
	tableCount = 12 // where the number is
)

// Merge joins the strings. The sections then have their sizes.
func (j *Join) Merge() error {
	for _, s := range j.sections {
		if s.strings == nil {
			continue
		}
		size := uint64(0)
		for _, p := range s.parts {
			size += p.object.file.Sections[p.from].Size
		}
		if err := s.strings.reserve(size); err != nil {
			return err
		}
		for _, p := range s.parts {
			b := p.object.file.Bytes(p.from)
			err := s.strings.merge(p.strings, b)
			j.letGo(b)
			if err != nil {
				return p.object.file.ErrorAt(p.from, 0, err.Error())
			}
		}
		s.strings.done()
	}
	return j.lay()
}

// Has reports whether the object at a place in link order has debug information
// that is joined.
func (j *Join) Has(k int) bool { return j != nil && j.byFile[k] != nil }

// Edit takes an object's debug information out and puts a table in its place.
// dead says of a symbol that lies in a section whether
// the plan leaves that out: its address is not asked for.
func (j *Join) Edit(k int, e *objfile.Edit, dead func(symbol, section uint32) bool) error {
	o := j.byFile[k]
	for _, p := range o.parts {
		e.Exclude(p.from)
	}
	for _, g := range o.groups {
		e.Dissolve(g.section, g.Members)
	}
	var relocs []objfile.Reloc
	for i := range o.words {
		w := &o.words[i]
		if s := o.file.Symbol(w.symbol); s.Defined() && dead(w.symbol, s.Section) {
			continue
		}
		relocs = append(relocs, objfile.Reloc{
			Offset: uint64(tableHead + j.word*len(relocs)), Type: w.typ, Sym: w.symbol, Addend: w.addend,
		})
		w.slot = uint32(len(relocs))
	}
	if o.slots = len(relocs); o.slots == 0 {
		return nil
	}
	rela := o.file.Relocs(o.table).Rela
	table := make([]byte, tableHead+j.word*len(relocs))
	copy(table, magic)
	le.PutUint32(table[tableIndex:], o.index)
	le.PutUint32(table[tableCount:], uint32(len(relocs)))
	if !rela {
		for _, r := range relocs {
			le.PutUint32(table[r.Offset:], uint32(r.Addend))
		}
	}
	return e.Recycle(o.table, tableName, uint64(j.word), table, relocs)
}

// errTable is the fault of an output that has not the tables of the objects.
var errTable = errors.New("the linker has made something else of " + tableName)

// read reads the tables of the output. leavesOut allows that some are missing:
// all that their objects' debug information is about is dead then.
func (j *Join) read(table []byte, leavesOut bool) error {
	missing := map[uint32]*object{}
	for _, o := range j.objects {
		if o.slots > 0 {
			missing[o.index] = o
		}
	}
	for len(table) > 0 {
		if len(table) < tableHead || !bytes.HasPrefix(table, []byte(magic)) {
			return errTable
		}
		o := missing[le.Uint32(table[tableIndex:])]
		count := int(le.Uint32(table[tableCount:]))
		table = table[tableHead:]
		if o == nil || count != o.slots || count > len(table)/j.word {
			return errTable
		}
		delete(missing, o.index)
		for i := range o.words {
			w := &o.words[i]
			switch {
			case w.slot == 0:
				w.value = 0
			case j.word == 8:
				w.value = le.Uint64(table[8*(w.slot-1):])
			default:
				w.value = uint64(le.Uint32(table[4*(w.slot-1):]))
			}
		}
		table = table[count*j.word:]
	}
	for _, o := range j.objects {
		if missing[o.index] != nil && !leavesOut {
			return fmt.Errorf("%w: that of %s is missing", errTable, o.file.Name)
		}
	}
	return nil
}
