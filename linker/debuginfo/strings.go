package debuginfo

import (
	"bytes"
	"errors"
	"math"

	"github.com/zeebo/xxh3"
)

// stringTable has each string of a joined section once, in the order in which
// they first appear.
type stringTable struct {
	data   []byte       // allocated, with room for all
	slots  []stringSlot // a power of two, open addressing
	memory []byte       // of the slots, allocated
	count  int
}

// stringSlot is a place of the hash table.
type stringSlot struct {
	hash uint32 // a part of it
	next uint32 // where the string is in data, and one more; 0 for a free slot
}

// reserve makes room for the strings of sections of some bytes together. Half of
// the bytes are those of strings that were there before, as a rule; what is not
// used costs nothing.
func (t *stringTable) reserve(bytes uint64) (err error) {
	if t.data, err = allocate(bytes); err != nil {
		return err
	}
	t.data = t.data[:0]
	slots := 1 << 12
	for uint64(slots) < bytes/meanString && slots < 1<<30 {
		slots *= 2
	}
	t.slots, t.memory, err = allocateSlots(slots)
	return err
}

// done drops what only add needs.
func (t *stringTable) done() {
	release(t.memory)
	t.slots, t.memory = nil, nil
}

// meanString is about how many bytes a string has.
const meanString = 64

var errTooLong = errors.New("the strings become too many for their offsets")

// add returns the offset of a string, whose NUL is part of it; h is its hash.
func (t *stringTable) add(s []byte, h uint32) (uint32, error) {
	if t.count >= len(t.slots)/2 {
		if err := t.grow(); err != nil {
			return 0, err
		}
	}
	mask := uint32(len(t.slots) - 1)
	for k := h & mask; ; k = (k + 1) & mask {
		slot := &t.slots[k]
		if slot.next == 0 {
			at := uint64(len(t.data))
			if at+uint64(len(s)) >= math.MaxUint32 {
				return 0, errTooLong
			}
			*slot = stringSlot{h, uint32(at) + 1}
			t.count++
			t.data = append(t.data, s...)
			return uint32(at), nil
		}
		if at := int(slot.next - 1); slot.hash == h && len(t.data)-at >= len(s) && bytes.Equal(t.data[at:at+len(s)], s) {
			return uint32(at), nil
		}
	}
}

func (t *stringTable) grow() (err error) {
	was, memory := t.slots, t.memory
	defer release(memory)
	if t.slots, t.memory, err = allocateSlots(2 * len(was)); err != nil {
		return err
	}
	mask := uint32(len(t.slots) - 1)
	for _, slot := range was {
		if slot.next == 0 {
			continue
		}
		k := slot.hash & mask
		for t.slots[k].next != 0 {
			k = (k + 1) & mask
		}
		t.slots[k] = slot
	}
	return nil
}

// stringMap says where the strings of one object's section have come to.
type stringMap struct {
	from []uint32 // where a string begins in the object's section, ascending
	// to is where it begins in the joined one; before it is there, its hash.
	to []uint32
}

// split finds the strings of a section, each of which must end.
func split(b []byte) (*stringMap, error) {
	if uint64(len(b)) > math.MaxUint32 {
		return nil, errTooLong
	}
	m := &stringMap{from: make([]uint32, 0, len(b)/meanString), to: make([]uint32, 0, len(b)/meanString)}
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], 0) + 1
		if n == 0 {
			return nil, errors.New("the last string has no end")
		}
		m.from, m.to = append(m.from, uint32(at)), append(m.to, uint32(xxh3.Hash(b[at:at+n])))
		at += n
	}
	return m, nil
}

// merge adds the strings of a section that was split.
func (t *stringTable) merge(m *stringMap, b []byte) (err error) {
	for k, at := range m.from {
		end := uint32(len(b))
		if k+1 < len(m.from) {
			end = m.from[k+1]
		}
		if m.to[k], err = t.add(b[at:end], m.to[k]); err != nil {
			return err
		}
	}
	return nil
}

// stringIndex finds strings by their offsets in an object's section.
type stringIndex struct {
	*stringMap
	// first has for each run of 1<<runBits bytes the last string that begins
	// before its end, and is −1 as long as there is none.
	first []int32
}

const runBits = 5

// index makes m fit for find; first is reused if there is room.
func (m *stringMap) index(first []int32) stringIndex {
	if len(m.from) == 0 {
		return stringIndex{m, first[:0]}
	}
	n := int(m.from[len(m.from)-1]>>runBits) + 1
	if cap(first) < n {
		first = make([]int32, n)
	}
	first = first[:n]
	k := 0
	for run := range first {
		for k < len(m.from) && int(m.from[k]>>runBits) <= run {
			k++
		}
		first[run] = int32(k - 1)
	}
	return stringIndex{m, first}
}

// find is where the byte at an offset of the object's section has come to;
// false if there is none.
func (x *stringIndex) find(at, size uint64) (uint64, bool) {
	if at >= size || len(x.from) == 0 {
		return 0, false
	}
	var k int
	if run := int(at >> runBits); run < len(x.first) {
		k = int(x.first[run])
	} else {
		k = len(x.from) - 1
	}
	for k > 0 && uint64(x.from[k]) > at {
		k--
	}
	return uint64(x.to[k]) + at - uint64(x.from[k]), true
}
