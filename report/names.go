package report

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// stringTable numbers strings in the order in which they turn up. It is a hash
// table with open addressing, of half the size that a map would have.
type stringTable struct {
	strings []string
	// slots have the upper half of a string's hash in the upper half and its
	// number + 1 in the lower, 0 for none: one look mostly tells. There are a
	// power of two, a quarter of them free.
	slots []uint64
}

// newStringTable makes room for a number of strings.
func newStringTable(room int) stringTable {
	size := 1 << 8
	for 3*size < 4*room {
		size *= 2
	}
	return stringTable{strings: make([]string, 0, room), slots: make([]uint64, size)}
}

// add returns the number of a string, of which hash is the hash, a new one if it
// has none.
func (t *stringTable) add(s string, hash uint64) (n uint32, isNew bool) {
	if 4*len(t.strings) >= 3*len(t.slots) {
		t.grow()
	}
	upper, mask := hash>>32, len(t.slots)-1
	slot := int(upper) & mask
	for ; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if e := t.slots[slot]; e>>32 == upper && t.strings[uint32(e)-1] == s {
			return uint32(e) - 1, false
		}
	}
	n = uint32(len(t.strings))
	t.strings = append(t.strings, s)
	t.slots[slot] = upper<<32 | uint64(n+1)
	return n, true
}

func (t *stringTable) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	mask := len(t.slots) - 1
	for _, e := range old {
		if e == 0 {
			continue
		}
		slot := int(e>>32) & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = e
	}
}

// cutName splits a section's name into the part that many sections share and
// the part that is its own, most often that of its first symbol: ".text." and
// "_ZN…", ".rodata.." and "Lanon.…". The second part may be empty.
func cutName(name, symbol string) (prefix, own string) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '.' {
			continue
		}
		if c := name[i+1]; c == '_' || c == 'L' || c == 'a' || c >= '0' && c <= '9' {
			return name[:i+1], name[i+1:]
		}
	}
	if i := len(name) - len(symbol); symbol != "" && i > 1 && name[i-1] == '.' && name[i:] == symbol {
		return name[:i], symbol
	}
	return name, ""
}

// A nameTail is what ends a name and differs between names: a Rust hash (legacy
// mangling), which would be two thirds of the file if compressed together with
// the rest, or a number.
type nameTail struct {
	kind  int64 // one of the constants below
	value uint64
}

// What follows a name's string.
const (
	tailNone   = iota
	tailHash   // "17h", the value as 16 digits, "E"
	tailNumber // the value as a decimal number without leading zeros
)

// cutTail cuts a name's tail off.
func cutTail(name string) (base string, t nameTail) {
	if name == "" {
		return name, nameTail{}
	}
	switch c := name[len(name)-1]; {
	case c == 'E':
		if base, hash, ok := cutLegacyHash(name); ok {
			return base, nameTail{tailHash, hash}
		}
	case c >= '0' && c <= '9':
		if base, n, ok := cutNumber(name); ok {
			return base, nameTail{tailNumber, n}
		}
	}
	return name, nameTail{}
}

// cutNumber cuts a decimal number of at most nine digits off the end of s.
func cutNumber(s string) (before string, n uint64, ok bool) {
	i := len(s)
	for i > 0 && len(s)-i < 9 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	for i < len(s) && s[i] == '0' {
		i++
	}
	for _, c := range s[i:] {
		n = n*10 + uint64(c-'0')
	}
	return s[:i], n, i < len(s)
}

// nameKey tells a name from others, by the hash of what comes before its tail.
func nameKey(base uint64, t nameTail) uint64 {
	if t.kind == tailNone {
		return base
	}
	hi, lo := bits.Mul64(base+uint64(t.kind)*0x9e3779b97f4a7c15, t.value^0xc2b2ae3d27d4eb4f)
	return base ^ hi ^ lo
}

// keyOf is the key of a name.
func keyOf(name string) uint64 {
	base, t := cutTail(name)
	return nameKey(xxh3.HashString(base), t)
}

// nameList is the names of sections and symbols, in the order in which the
// columns use them.
type nameList struct {
	strings stringTable
	text    []byte  // strings as JSON, each with a comma before it, without what they share
	shared  numbers // by string: how much of it the one before begins with
	base    numbers // by name: 0 for a new string, else how many strings ago it was new, 1 for the newest
	tail    numbers // by name: one of the tail constants
	number  numbers // the numbers of the names with tailNumber, as differences
	hashes  []byte  // the hashes of the names with tailHash, 8 bytes each

	unhashed bool // hashes are left out of the names being added

	lastNumber uint64
	newest     string // the string that was last added, "" if it is not plain
	// The string of the last name, its hash and its number: names that differ in
	// their tails follow each other.
	last       string
	lastHash   uint64
	lastString uint32
}

// newNameList makes room for the names of a number of sections, in the columns
// of a list that is of no more use if there is one.
func newNameList(sections int, old *nameList) *nameList {
	n := &nameList{strings: newStringTable(sections / 2)}
	if old != nil {
		n.text, n.hashes, n.shared, n.base, n.tail, n.number = old.text[:0], old.hashes[:0], old.shared[:0], old.base[:0], old.tail[:0], old.number[:0]
	} else {
		n.text, n.hashes, n.shared = make([]byte, 0, 20*sections), make([]byte, 0, 3*sections), make(numbers, 0, sections*3/2)
		n.base, n.tail, n.number = make(numbers, 0, sections*3), make(numbers, 0, sections*9/4), make(numbers, 0, sections*3/2)
	}
	return n
}

// add appends a name. It returns the name's key.
func (n *nameList) add(name string) (key uint64) {
	base, t := cutTail(name)
	isNew := false
	if base != n.last || n.lastHash == 0 {
		n.last, n.lastHash = base, xxh3.HashString(base)
		if n.lastString, isNew = n.strings.add(base, n.lastHash); isNew {
			n.write(base)
		}
	}
	if isNew {
		n.base.add(0)
	} else {
		n.base.add(int64(len(n.strings.strings)) - int64(n.lastString))
	}
	n.tail.add(t.kind)
	switch t.kind {
	case tailHash:
		v := t.value
		if n.unhashed {
			v = 0
		}
		n.hashes = binary.BigEndian.AppendUint64(n.hashes, v)
	case tailNumber:
		n.number.add(int64(t.value - n.lastNumber))
		n.lastNumber = t.value
	}
	return nameKey(n.lastHash, t)
}

// write appends a new string but for what it shares with the one before, if JSON
// has both as they are.
func (n *nameList) write(s string) {
	shared := commonPrefix(n.newest, s)
	n.newest = s
	if !isPlain(s[shared:]) {
		shared, n.newest = 0, ""
	}
	n.shared.add(int64(shared))
	n.text = appendText(append(n.text, ','), s[shared:])
}

// commonPrefix is the number of bytes with which two strings both begin.
func commonPrefix(a, b string) int {
	n := 0
	for min(len(a), len(b))-n >= 8 {
		if d := word(a[n:]) ^ word(b[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)/8
		}
		n += 8
	}
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// word is the first eight bytes of a string as a number.
func word(s string) uint64 {
	s = s[:8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
