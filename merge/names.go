package merge

import "github.com/zeebo/xxh3"

// nameTable numbers the global names of a link, in the order in which they
// turn up. It is a hash table with open addressing: a link has a hundred
// thousand names, and each is looked up once for every object that has it, so
// hashes are worked out beforehand, on several threads, and comparing strings
// is left to those whose hashes are equal.
type nameTable struct {
	names  []string // indexed by SymID
	hashes []uint64 // indexed by SymID
	slots  []uint32 // SymID + 1, 0 for none; a power of two, at least twice as many as names
}

func newNameTable(room int) *nameTable {
	size := 1 << 10
	for size < 2*room {
		size *= 2
	}
	return &nameTable{slots: make([]uint32, size), names: make([]string, 0, room), hashes: make([]uint64, 0, room)}
}

func hashName(name string) uint64 { return xxh3.HashString(name) }

// find returns the number of a name and the slot where it is or would be.
func (t *nameTable) find(name string, hash uint64) (id SymID, slot int, ok bool) {
	mask := len(t.slots) - 1
	for slot = int(hash) & mask; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if id = SymID(t.slots[slot] - 1); t.hashes[id] == hash && t.names[id] == name {
			return id, slot, true
		}
	}
	return 0, slot, false
}

// lookUp returns the number of a name, if it has one.
func (t *nameTable) lookUp(name string) (SymID, bool) {
	id, _, ok := t.find(name, hashName(name))
	return id, ok
}

// add returns the number of a name, a new one if it has none.
func (t *nameTable) add(name string, hash uint64) (id SymID, isNew bool) {
	id, slot, ok := t.find(name, hash)
	if ok {
		return id, false
	}
	id = SymID(len(t.names))
	t.names, t.hashes = append(t.names, name), append(t.hashes, hash)
	t.slots[slot] = uint32(id) + 1
	if 2*len(t.names) > len(t.slots) {
		t.grow()
	}
	return id, true
}

func (t *nameTable) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := len(t.slots) - 1
	for id, hash := range t.hashes {
		slot := int(hash) & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = uint32(id) + 1
	}
}
