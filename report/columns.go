package report

import "encoding/base64"

// columns are the sections of a report, their symbols and their names as the
// file has them. docs/report-schema.md states what each column means.
type columns struct {
	n     int // sections
	names *nameTable

	index, prefix, suffix, size, align, kind, fate, reason, into, jump, jumpFDE, fde, lsda, count numbers

	symName, symOffset, symSize numbers

	lastInput  InputIndex
	lastIndex  uint32
	lastSuffix int64
	lastPrefix string // the last section's, and its number
	prefixName int64

	inputs []inputSums // by InputIndex
}

// inputSums counts an input's sections.
type inputSums struct {
	sections     uint32 // in the columns
	dropped      uint32 // left out of them
	droppedBytes uint64 // of those, with their FDEs
}

// newColumns makes room for a number of sections, in columns that are of no more
// use if there are any.
func newColumns(inputs, sections int, old *columns) *columns {
	c := &columns{lastInput: -1, inputs: make([]inputSums, inputs)}
	if old != nil {
		c.names = newNameTable(sections, old.names)
		for i, n := range c.all() {
			*n = (*old.all()[i])[:0]
		}
		return c
	}
	c.names = newNameTable(sections, nil)
	for i, n := range c.all() {
		room := sections * 5 / 2 // most numbers have one digit and a comma
		if i < 4 {
			room += sections
		}
		*n = make(numbers, 0, room)
	}
	return c
}

// all lists the columns, those with the larger numbers first.
func (c *columns) all() [17]*numbers {
	return [...]*numbers{&c.size, &c.align, &c.into, &c.fde, &c.index, &c.prefix, &c.suffix, &c.kind, &c.fate, &c.reason, &c.jump, &c.jumpFDE, &c.lsda, &c.count,
		&c.symName, &c.symOffset, &c.symSize}
}

// leaveOut counts a section that does not get into the columns.
func (c *columns) leaveOut(s *Section) {
	in := &c.inputs[s.Input]
	in.dropped++
	in.droppedBytes += s.Size + s.FDE
}

// add appends a section. back is how many sections before it that one comes
// which stands for it, 0 for none. It returns the name table's numbers of the
// symbols' names, appended to ids.
func (c *columns) add(s *Section, back int64, unhashed bool, ids []uint32) []uint32 {
	c.n++
	c.inputs[s.Input].sections++
	if s.Input != c.lastInput {
		c.lastInput, c.lastIndex = s.Input, 0
	}
	c.index.add(int64(s.Index - c.lastIndex))
	c.lastIndex = s.Index

	c.names.unhashed = unhashed
	prefix, own := cutName(s.Name)
	if prefix != c.lastPrefix || unhashed {
		c.lastPrefix, c.prefixName = prefix, c.names.add(prefix)
	}
	c.prefix.add(c.prefixName)
	suffix := int64(0)
	if own != "" {
		suffix = c.names.add(own)
	}
	c.suffix.add(suffix - c.lastSuffix)
	c.lastSuffix = suffix

	c.size.add(int64(s.Size))
	c.align.add(int64(s.Align))
	c.kind.add(int64(s.Kind))
	c.fate.add(int64(s.Fate))
	c.reason.add(c.names.string(string(s.Reason)))
	c.into.add(back)
	c.jump.add(int64(s.NewSize))
	c.jumpFDE.add(int64(s.NewFDE))
	c.fde.add(int64(s.FDE))
	c.lsda.add(int64(s.LSDA))

	c.count.add(int64(len(s.Symbols)))
	last := suffix
	for k := range s.Symbols {
		y := &s.Symbols[k]
		id := suffix
		if y.Name != own || own == "" {
			id = c.names.add(y.Name)
		}
		c.symName.add(id - last)
		last = id
		c.symOffset.add(int64(y.Offset))
		if y.Offset == 0 && y.Size == s.Size {
			c.symSize.add(-1)
		} else {
			c.symSize.add(int64(y.Size))
		}
		ids = append(ids, uint32(id))
	}
	return ids
}

// bytes is about half as many bytes as they are as text.
func (c *columns) bytes() int {
	return len(c.names.text) + len(c.names.hashes) + len(c.size) + 20*c.n
}

// write writes them but for the end of the object with the sections, to which
// the tail adds.
func (c *columns) write(e *encoder, class, shape numbers) {
	e.texts("kinds", kindNames[:])
	e.texts("fates", fateNames[:])
	e.array("strings", c.names.text)
	e.object("names", func() {
		e.array("text", c.names.base)
		e.array("tail", c.names.tail)
		e.array("number", c.names.number)
		// Base64, of which deflate makes 6 bits a character; of hexadecimal
		// digits it makes more than 4.
		e.key("hashes")
		e.b = append(e.b, '"')
		e.b = base64.StdEncoding.AppendEncode(e.b, c.names.hashes)
		e.b = append(e.b, '"')
	})
	e.object("symbols", func() {
		e.array("name", c.symName)
		e.array("offset", c.symOffset)
		e.array("size", c.symSize)
	})
	e.key("sections")
	e.b = append(e.b, '{')
	e.array("index", c.index)
	e.array("prefix", c.prefix)
	e.array("suffix", c.suffix)
	e.array("size", c.size)
	e.array("align", c.align)
	e.array("kind", c.kind)
	e.array("fate", c.fate)
	e.array("reason", c.reason)
	e.array("into", c.into)
	e.array("jump", c.jump)
	e.array("jump_fde", c.jumpFDE)
	e.array("fde", c.fde)
	e.array("lsda", c.lsda)
	e.array("class", class)
	e.array("shape", shape)
	e.array("symbols", c.count)
}

// groups makes the column of groups of sections: of is the group of each, of
// those that are live and do not fold, 0 for none. What folds counts for the
// group of its leader, of has 0 for it.
//
// The column has 0 for no group, or one of a single section; 1 begins a group;
// more is the group that many begun ago, 2 the newest.
func (k *skeleton) groups(of []uint32, omits func(SectionIndex) bool) (column numbers) {
	top := uint32(0)
	for _, g := range of {
		top = max(top, g)
	}
	if int(top) > len(of) { // any numbers will do
		number := map[uint32]uint32{0: 0}
		dense := make([]uint32, len(of))
		for i, g := range of {
			if _, ok := number[g]; !ok {
				number[g] = uint32(len(number))
			}
			dense[i] = number[g]
		}
		of, top = dense, uint32(len(number))
	}
	size, number := make([]uint32, top+1), make([]uint32, top+1)
	for i, g := range of {
		size[g]++
		if k.fate[i] == FateFolded {
			size[of[k.into[i]]]++
		}
	}
	column = make(numbers, 0, len(of)*9/4)
	newest := uint32(0)
	for i, g := range of {
		switch {
		case omits(SectionIndex(i)):
		case g == 0 || size[g] < 2:
			column.add(0)
		case number[g] == 0:
			newest++
			number[g] = newest
			column.add(1)
		default:
			column.add(int64(newest-number[g]) + 2)
		}
	}
	return column
}
