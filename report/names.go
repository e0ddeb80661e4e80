package report

import (
	"encoding/hex"

	"github.com/zeebo/xxh3"
)

// stringTable numbers strings in the order in which they turn up. It is a hash
// table with open addressing, of half the size that a map would have.
type stringTable struct {
	strings []string
	// slots have the hash of a string in the upper half and its number + 1 in
	// the lower, 0 for none: one look mostly tells. There are a power of two, a
	// quarter of them free.
	slots []uint64
}

// newStringTable makes room for a number of strings.
func newStringTable(room int) stringTable {
	size := 1 << 10
	for 3*size < 4*room {
		size *= 2
	}
	return stringTable{strings: make([]string, 0, room), slots: make([]uint64, size)}
}

// add returns the number of a string, a new one if it has none.
func (t *stringTable) add(s string) (n uint32, isNew bool) {
	if 4*len(t.strings) >= 3*len(t.slots) {
		t.grow()
	}
	hash := uint32(xxh3.HashString(s))
	mask := len(t.slots) - 1
	slot := int(hash) & mask
	for ; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if e := t.slots[slot]; uint32(e>>32) == hash && t.strings[uint32(e)-1] == s {
			return uint32(e) - 1, false
		}
	}
	n = uint32(len(t.strings))
	t.strings = append(t.strings, s)
	t.slots[slot] = uint64(hash)<<32 | uint64(n+1)
	return n, true
}

// lookUp returns the number of a name, if it has one.
func (t *stringTable) lookUp(name []byte) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	hash := uint32(xxh3.Hash(name))
	mask := len(t.slots) - 1
	for slot := int(hash) & mask; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if e := t.slots[slot]; uint32(e>>32) == hash && t.strings[uint32(e)-1] == string(name) {
			return uint32(e) - 1, true
		}
	}
	return 0, false
}

func (t *stringTable) grow() {
	old := t.slots
	t.slots = make([]uint64, max(2*len(old), 1<<10))
	mask := len(t.slots) - 1
	for _, e := range old {
		if e == 0 {
			continue
		}
		slot := int(uint32(e>>32)) & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = e
	}
}

// cutName splits a section's name into the part that many sections share and
// the part that is its own, most often a symbol: ".text." and "_ZN…",
// ".rodata.." and "Lanon.…". The second part may be empty.
func cutName(name string) (prefix, suffix string) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '.' {
			continue
		}
		if c := name[i+1]; c == '_' || c == 'L' || c == 'a' || c >= '0' && c <= '9' {
			return name[:i+1], name[i+1:]
		}
	}
	return name, ""
}

// nameTable numbers the names of sections and symbols. A name is a string of
// its own and a tail, because tails are what differs between names: a Rust
// hash (legacy mangling), which would be two thirds of the file if compressed
// together with the rest, or a number.
type nameTable struct {
	names   stringTable
	strings stringTable
	text    []byte  // strings as JSON, each with a comma before it
	base    numbers // by name: number of its string, as difference from the name before
	tail    numbers // by name: one of the tail constants
	number  numbers // the numbers of the names with tailNumber, as differences
	hashes  []byte  // the hashes of the names with tailHash, 8 bytes each

	unhashed bool // hashes are left out of the names being added

	lastBase, lastNumber int64
}

// noHash ends a name whose hash was left out.
const noHash = "17h0000000000000000E"

// What follows a name's string.
const (
	tailNone   = iota
	tailHash   // "17h", the next of hashes as 16 digits, "E"
	tailNumber // a decimal number without leading zeros
)

// newNameTable makes room for the names of a number of sections, in the columns
// of a table that is of no more use if there is one.
func newNameTable(sections int, old *nameTable) *nameTable {
	t := &nameTable{names: newStringTable(sections * 5 / 4), strings: newStringTable(sections / 4)}
	if old != nil {
		t.text, t.hashes, t.base, t.tail, t.number = old.text[:0], old.hashes[:0], old.base[:0], old.tail[:0], old.number[:0]
	} else {
		t.text, t.hashes = make([]byte, 0, 24*sections), make([]byte, 0, 2*sections)
		t.base, t.tail, t.number = make(numbers, 0, sections*9/4), make(numbers, 0, sections*9/4), make(numbers, 0, sections*3/2)
	}
	t.add("")
	return t
}

// add numbers a name; the empty one is 0.
func (t *nameTable) add(s string) int64 {
	if t.unhashed {
		if base, _, ok := cutLegacyHash(s); ok {
			s = base + noHash
		}
	}
	i, isNew := t.names.add(s)
	if !isNew {
		return int64(i)
	}
	var b int64
	if base, hash, ok := cutLegacyHash(s); ok {
		t.tail.add(tailHash)
		t.hashes, _ = hex.AppendDecode(t.hashes, []byte(hash)) // cutLegacyHash saw that it is hexadecimal
		b = t.string(base)
	} else if base, n, ok := cutNumber(s); ok {
		t.tail.add(tailNumber)
		t.number.add(n - t.lastNumber)
		t.lastNumber = n
		b = t.string(base)
	} else {
		t.tail.add(tailNone)
		b = t.string(s)
	}
	t.base.add(b - t.lastBase)
	t.lastBase = b
	return int64(i)
}

// string numbers a string; the empty one is 0.
func (t *nameTable) string(s string) int64 {
	i, isNew := t.strings.add(s)
	if isNew {
		t.text = appendText(append(t.text, ','), s)
	}
	return int64(i)
}

// cutNumber cuts a decimal number of at most nine digits off the end of s.
func cutNumber(s string) (before string, n int64, ok bool) {
	i := len(s)
	for i > 0 && len(s)-i < 9 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	for i < len(s) && s[i] == '0' {
		i++
	}
	for _, c := range s[i:] {
		n = n*10 + int64(c-'0')
	}
	return s[:i], n, i < len(s)
}
