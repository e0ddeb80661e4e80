package report

import "github.com/zeebo/xxh3"

// form is what many sections have in common, so that the file has it once. It
// has no padding, so that two are compared at once.
type form struct {
	prefix  uint32 // of the name: number of its word
	reason  uint32 // number of its word
	step    uint32 // from the Index of the section before in the same input, or from 0
	symbols int32  // how many; −1 is one that has the rest of the section's name, its start and its size
	align   uint8  // 0, or the power of two and 1
	name    uint8  // where the rest of the name is, and what else there is; see below
	kind    Kind
	fate    Fate
}

// The rest of a section's name.
const (
	nameNone   = iota // there is none
	nameNext          // the next of the names
	nameBefore        // what the section before has

	nameMask = 3
)

// What else form.name says.
const (
	hasFDE  = 4 << iota // there is a number in the column fde
	hasLSDA             // the same in lsda
)

// formTable numbers forms in the order in which they turn up.
type formTable struct {
	forms  []form
	of     map[form]uint32
	recent [512]uint32 // by a few bits of a form: the number of one with these
	// The prefixes and reasons.
	words             stringTable
	prefixes, reasons recentWords
}

func newFormTable() *formTable {
	return &formTable{of: map[form]uint32{}, words: newStringTable(64)}
}

// number returns the number of a form, a new one if it has none.
func (t *formTable) number(f form) uint32 {
	mix := f.prefix*31 + f.step*7 + f.reason*11 + uint32(f.symbols)*13 + uint32(f.align)*37 + uint32(f.name)*61 + uint32(f.fate)*97
	recent := &t.recent[mix%uint32(len(t.recent))]
	if n := *recent; int(n) < len(t.forms) && t.forms[n] == f {
		return n
	}
	n, ok := t.of[f]
	if !ok {
		n = uint32(len(t.forms))
		t.forms, t.of[f] = append(t.forms, f), n
	}
	*recent = n
	return n
}

// recentWords remembers the numbers of a few words that come again and again, by
// their lengths.
type recentWords struct {
	words   [16]string
	numbers [16]uint32
}

// number returns the number of a word of a table.
func (w *recentWords) number(words *stringTable, word string) uint32 {
	i := len(word) % len(w.words)
	if w.words[i] != word || word == "" {
		w.words[i] = word
		w.numbers[i], _ = words.add(word, xxh3.HashString(word))
	}
	return w.numbers[i]
}

// write writes the forms, a column for each of their fields.
func (t *formTable) write(e *encoder) {
	var column numbers
	list := func(name string, of func(f *form) int64) {
		column = column[:0]
		for i := range t.forms {
			column.add(of(&t.forms[i]))
		}
		e.array(name, column)
	}
	words := func(name string, of func(f *form) uint32) {
		var list []string
		for i := range t.forms {
			list = append(list, t.words.strings[of(&t.forms[i])])
		}
		e.texts(name, list)
	}
	e.object("forms", func() {
		words("prefix", func(f *form) uint32 { return f.prefix })
		list("name", func(f *form) int64 { return int64(f.name & nameMask) })
		list("index", func(f *form) int64 { return int64(f.step) })
		list("align", func(f *form) int64 { return int64(uint64(1) << f.align >> 1) })
		list("kind", func(f *form) int64 { return int64(f.kind) })
		list("fate", func(f *form) int64 { return int64(f.fate) })
		words("reason", func(f *form) uint32 { return f.reason })
		list("fde", func(f *form) int64 { return int64(f.name & hasFDE / hasFDE) })
		list("lsda", func(f *form) int64 { return int64(f.name & hasLSDA / hasLSDA) })
		list("symbols", func(f *form) int64 { return int64(f.symbols) })
	})
}
