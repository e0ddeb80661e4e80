package report

import (
	"encoding/base64"
	"math/bits"
)

// columns are the sections of a report, their symbols and their names as the
// file has them. docs/report-schema.md states what each column means.
type columns struct {
	n     int // sections
	names *nameList
	forms *formTable

	form, size, fde, lsda, into, jump, jumpFDE numbers

	symName, symOffset, symSize numbers

	edgeCount, edgeTo numbers

	lastInput InputIndex
	lastIndex uint32
	// The part of the last section's name that was its own, and its key.
	lastOwn string
	lastKey uint64

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
		c.names, c.forms = newNameList(sections, old.names), newFormTable()
		for i, n := range c.all() {
			*n = (*old.all()[i])[:0]
		}
		return c
	}
	c.names, c.forms = newNameList(sections, nil), newFormTable()
	for i, n := range c.all() {
		*n = make(numbers, 0, sections*[...]int{6, 8, 7, 3, 3, 2, 2, 1, 1, 1, 0, 0}[i]/2)
	}
	return c
}

// all lists the columns, those that are long first.
func (c *columns) all() [12]*numbers {
	return [...]*numbers{&c.form, &c.edgeTo, &c.size, &c.edgeCount, &c.fde, &c.into, &c.symSize, &c.symName, &c.symOffset, &c.lsda, &c.jump, &c.jumpFDE}
}

// leaveOut counts a section that does not get into the columns.
func (c *columns) leaveOut(s *Section) {
	in := &c.inputs[s.Input]
	in.dropped++
	in.droppedBytes += s.Size + s.FDE
}

// add appends a section. back is how many sections before it that one comes
// which stands for it, 0 for none. It returns the keys of the symbols' names,
// appended to keys.
func (c *columns) add(s *Section, back int64, unhashed bool, keys []uint64) []uint64 {
	c.n++
	c.inputs[s.Input].sections++
	if s.Input != c.lastInput {
		c.lastInput, c.lastIndex = s.Input, 0
	}
	f := form{step: s.Index - c.lastIndex, kind: s.Kind, fate: s.Fate, align: uint8(bits.Len64(s.Align)), symbols: int32(len(s.Symbols))}
	c.lastIndex = s.Index

	first := ""
	if len(s.Symbols) > 0 {
		first = s.Symbols[0].Name
	}
	prefix, own := cutName(s.Name, first)
	words := &c.forms.words
	f.prefix, f.reason = c.forms.prefixes.number(words, prefix), c.forms.reasons.number(words, string(s.Reason))
	switch {
	case own == "":
	case own == c.lastOwn && unhashed == c.names.unhashed:
		f.name = nameBefore
	default:
		f.name = nameNext
		c.names.unhashed = unhashed
		c.lastKey = c.names.add(own)
	}
	c.lastOwn, c.names.unhashed = own, unhashed

	c.size.add(int64(s.Size))
	if s.FDE > 0 {
		f.name |= hasFDE
		c.fde.add(int64(s.FDE))
	}
	if s.LSDA > 0 {
		f.name |= hasLSDA
		c.lsda.add(int64(s.LSDA))
	}
	switch s.Fate {
	case FateThunk:
		c.jump.add(int64(s.NewSize))
		c.jumpFDE.add(int64(s.NewFDE))
		fallthrough
	case FateFolded:
		c.into.add(back)
	}

	if len(s.Symbols) == 1 && own != "" && s.Symbols[0] == (Symbol{own, 0, s.Size}) { // most are
		f.symbols = -1
		keys = append(keys, c.lastKey)
	} else {
		for k := range s.Symbols {
			keys = append(keys, c.symbol(&s.Symbols[k], s.Size, own))
		}
	}
	c.form.add(int64(c.forms.number(f)))
	return keys
}

// symbol appends a symbol of a section of some size whose name ends in own. It
// returns the key of its name.
func (c *columns) symbol(y *Symbol, size uint64, own string) (key uint64) {
	if own != "" && y.Name == own {
		c.symName.add(0)
		key = c.lastKey
	} else {
		c.symName.add(1)
		key = c.names.add(y.Name)
	}
	c.symOffset.add(int64(y.Offset))
	if y.Offset == 0 && y.Size == size {
		c.symSize.add(-1)
	} else {
		c.symSize.add(int64(y.Size))
	}
	return key
}

// refer appends what section i refers to, by the places that they all have in
// the file.
func (c *columns) refer(i SectionIndex, to []SectionIndex, moved []SectionIndex) {
	c.edgeCount.add(int64(len(to)))
	last := i
	if moved != nil {
		last = moved[i]
	}
	for _, t := range to {
		if moved != nil {
			t = moved[t]
		}
		c.edgeTo.add(int64(t - last))
		last = t
	}
}

// text is how many bytes they are as text, without hashes.
func (c *columns) text() int {
	text := len(c.names.text) + len(c.names.shared) + len(c.names.base) + len(c.names.tail) + len(c.names.number) + 2*c.n // with classes and shapes
	for _, n := range c.all() {
		text += len(*n)
	}
	return text
}

// write writes them but for the end of the object with the sections, to which
// the tail adds.
func (c *columns) write(e *encoder, class, shape numbers) {
	e.texts("kinds", kindNames[:])
	e.texts("fates", fateNames[:])
	e.array("strings", c.names.text)
	e.object("names", func() {
		e.array("shared", c.names.shared)
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
	c.forms.write(e)
	e.key("sections")
	e.b = append(e.b, '{')
	e.array("form", c.form)
	e.array("size", c.size)
	e.array("fde", c.fde)
	e.array("lsda", c.lsda)
	e.array("into", c.into)
	e.array("jump", c.jump)
	e.array("jump_fde", c.jumpFDE)
	e.array("class", class)
	e.array("shape", shape)
}

// groups makes the column of groups of sections: of is the group of each, of
// those that are live and do not fold, 0 for none. What folds counts for the
// group of its leader, of has 0 for it.
//
// The column has a number for each section in the output: 0 for no group, or
// one of a single section; 1 begins a group; more is the group that many begun
// ago, 2 the newest.
func (k *skeleton) groups(of []uint32) (column numbers) {
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
		case !k.stays(SectionIndex(i)):
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
