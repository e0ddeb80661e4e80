package merge

import (
	"slices"
	"strings"

	"leanlink/objfile"
)

// A function as the search for dead ends sees it: its instructions by what they do
// to the flow of control and to memory, and what is read amid them. A file for
// each machine decodes its code.

// flow says where control goes from an instruction.
type flow uint8

const (
	flowNext   flow = iota // to the one behind it
	flowJump               // to another of the function
	flowBranch             // to another, or to the one behind
	flowTable              // to one of those that a table lists
	flowCall               // to another function, and to the one behind
	flowEnd                // out of the function
)

// instruction is one of a function, by its effects.
type instruction struct {
	at, size uint32
	flow     flow
	to       uint32 // of a jump or branch
	callee   SecID  // of a call, or jump out of the function; NoSec if not known
	reads    uint32 // the place of a constant amid the code
	width    uint32 // its size, 0 if none is read
	quiet    bool
	perhaps  bool // it depends on a condition whether it does anything
	inside   bool // it belongs to the instruction before it
	// Where code can be moved:
	nop   bool  // it does nothing at all
	field uint8 // the distance to where it goes is in that many last bytes, 0 if a relocation says it
}

// tableEntry is the field of a jump table amid the code.
type tableEntry struct {
	at, width uint32
	to        uint32
}

// body is the code of one function, decoded.
type body struct {
	x       *trimmer
	o       *Object
	section uint32
	bytes   []byte
	relocs  objfile.Relocs
	fields  relocsByOffset
	code    []instruction // by place
	index   []int32       // by place: in code, −1 if none begins there
	table   []tableEntry
	doomed  []bool // parallel to code
	live    []bool // parallel to code: can be reached, and is not doomed
	met     []bool // parallel to code: can be reached, and is doomed
	used    []bool // by place: of a constant or table that live code reads
	fixed   bool   // something refers to its code in a way that is not understood
}

// endMachine is what the search must know of a machine.
type endMachine struct {
	// decode fills in code and table; false if something is not understood.
	decode func(*body) bool
	// retarget makes a jump or branch in bytes one to another place.
	retarget func(bytes []byte, in *instruction, to uint32) bool
	// retable does the same with an entry of a table.
	retable func(bytes []byte, b *body, e tableEntry, to uint32) bool
	// trap is the shortest instruction that traps.
	trap func(f *objfile.File) string
	// moves says that what is left can be moved (trim_ends_move.go). The others
	// of these functions are for those that stay in place.
	moves bool
	// whole reports whether a function can be taken apart; nil for all. frames
	// says that nothing unwinds.
	whole func(x *trimmer, o *Object, i uint32, frames bool) bool
}

// endMachines are those whose code can be decoded.
var endMachines = map[uint16]*endMachine{
	objfile.EM_ARM:     &thumbEnds,
	objfile.EM_RISCV:   &riscvEnds,
	objfile.EM_AARCH64: &aarch64Ends,
	objfile.EM_X86_64:  &x86Ends,
}

// decode is the code of a function, nil if it is not understood, or if the
// section holds more than one function.
func (x *trimmer) decode(m *endMachine, o *Object, i uint32) *body {
	function := false
	for _, k := range o.Symbols(i) {
		s := o.File.Symbol(k)
		if s.Type != objfile.STT_FUNC {
			if s.Type != objfile.STT_NOTYPE || s.Bind != objfile.STB_LOCAL {
				return nil
			}
			continue
		}
		if s.Value&^x.l.thumbBit(&s) != 0 {
			return nil
		}
		function = true
	}
	if !function {
		return nil
	}
	b := &body{x: x, o: o, section: i, bytes: o.File.Bytes(i), relocs: o.File.Relocs(i)}
	b.fields = relocIndex(b.relocs)
	b.index = slices.Repeat([]int32{-1}, len(b.bytes)+1)
	if !m.decode(b) || len(b.code) == 0 || b.index[0] != 0 {
		return nil
	}
	for k := range b.code {
		in := &b.code[k]
		if (in.flow == flowJump || in.flow == flowBranch) && !b.enters(in.to) {
			return nil
		}
		for at := range in.width {
			if b.within(in.reads+at) >= 0 {
				return nil // code that is read
			}
		}
	}
	for _, e := range b.table {
		if !b.enters(e.to) {
			return nil
		}
	}
	b.doomed = make([]bool, len(b.code))
	return b
}

// add appends an instruction.
func (b *body) add(in instruction) {
	b.index[in.at] = int32(len(b.code))
	b.code = append(b.code, in)
}

// at is the index of the instruction at a place, −1 if none is there.
func (b *body) at(place uint32) int32 {
	if place >= uint32(len(b.index)) {
		return -1
	}
	return b.index[place]
}

// enters reports whether control may go to a place: an instruction that does
// not belong to the one before it.
func (b *body) enters(place uint32) bool {
	k := b.at(place)
	return k >= 0 && !b.code[k].inside
}

// callee is the function to whose start the relocation at off leads, NoSec if
// that is none that is known; relocated says that there is one.
func (b *body) callee(off uint32) (to SecID, relocated bool) {
	k, ok := b.fields.find(uint64(off))
	if !ok {
		return NoSec, false
	}
	l, r := b.x.l, b.relocs.At(k)
	t := l.resolveRef(b.o, r.Sym)
	addend, ok := l.addend(b.o, b.section, b.relocs, r)
	value := t.value
	if t.typ == objfile.STT_FUNC && l.Arch.Machine == objfile.EM_ARM {
		value &^= 1
	}
	if !ok || !l.Arch.IsCall(b.bytes, r) || t.kind != toSection || value != 0 || addend != l.Arch.Bias(r) {
		return NoSec, true
	}
	return t.sec, true
}

// onlyCode reports whether no mapping symbol says that there is data.
func (b *body) onlyCode() bool {
	for _, k := range b.o.Symbols(b.section) {
		if s := b.o.File.Symbol(k); s.Type == objfile.STT_NOTYPE && strings.HasPrefix(b.o.File.NameOf(&s), "$d") {
			return false
		}
	}
	return true
}

// relocated reports whether a relocation changes some of n bytes.
func (b *body) relocated(off, n uint32) bool {
	for k := range n {
		if _, ok := b.fields.find(uint64(off + k)); ok {
			return true
		}
	}
	return false
}

// addressed reports whether what relocations change of an instruction is all
// of it: an instruction may hold a part of an address.
func (b *body) addressed(in *instruction) bool { return !b.relocated(in.at+1, in.size-1) }

// within is the index of the instruction that a byte belongs to, −1 if none.
func (b *body) within(place uint32) int32 {
	for at := int(place); at >= 0 && place-uint32(at) < 16; at-- {
		if k := b.index[at]; k >= 0 {
			if place-uint32(at) < b.code[k].size {
				return k
			}
			return -1
		}
	}
	return -1
}
