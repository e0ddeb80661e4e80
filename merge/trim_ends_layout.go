package merge

import (
	"encoding/binary"
	"slices"

	"leanlink/objfile"
)

// A function without its dead code is laid out as an assembler would: every
// jump and branch begins in its short form, and what does not reach its target
// grows, until all do. Where a branch to a trap would need the long form, a
// trap of two bytes for it and its neighbours takes less, behind any jump or
// return near by. The heads of loops stay at the boundaries that the compiler
// put them at.

// trapCode is an instruction that traps, ud2.
var trapCode, _ = Trap(objfile.EM_X86_64, false)

// layout is a function without its dead code. The slices are indexed like
// body.code.
type layout struct {
	b      *body
	size   []uint8  // of each instruction, 0 for those that are gone
	aim    []int32  // of jumps and branches: the instruction that they go to; ^k is the trap behind instruction k
	at     []uint32 // where each instruction is now, or the trap that it leads to
	trap   []bool   // a trap is to be put behind it, for branches near by
	head   []bool   // begins at a multiple of 16
	stop   []bool   // of the first in each run of dead code: some way leads to that
	length uint32
}

// layout lays a function out again. aligned says that loops are to begin at
// the boundaries that they had. ok is false if some instruction does not reach
// its target.
func (b *body) layout(aligned bool) (*layout, bool) {
	n := len(b.code)
	if last := &b.code[n-1]; !b.dead(n-1) && (last.flow == flowNext || last.flow == flowBranch || last.perhaps) {
		return nil, false // it goes on behind the function's end
	}
	lay := &layout{b: b, size: make([]uint8, n), aim: make([]int32, n), at: make([]uint32, n), trap: make([]bool, n), head: make([]bool, n), stop: make([]bool, n)}
	first := 0
	for k := range b.code {
		if !b.dead(k) {
			first = k + 1
		} else if b.met[k] {
			lay.stop[first] = true
		}
	}
	for k := range b.code {
		in := &b.code[k]
		if b.dead(k) {
			continue
		}
		lay.size[k] = uint8(in.size)
		if in.field != 0 {
			lay.aim[k] = b.at(in.to)
		}
		if to := lay.aim[k]; aligned && in.field != 0 && to > 0 && to <= int32(k) && in.to%speedAlign == 0 && b.code[to-1].nop {
			lay.head[to] = true
		}
	}
	// What padded loops goes, for there is new padding.
	for k := n - 1; k > 0; k-- {
		if (lay.head[k] || lay.size[k] == 0) && !b.dead(k) && !b.dead(k-1) && b.code[k-1].nop {
			lay.size[k-1] = 0
		}
	}
	if !lay.relax() {
		return nil, false
	}
	plain, sizes := lay.length, slices.Clone(lay.size)
	lay.traps()
	if !lay.relax() || lay.length > plain {
		clear(lay.trap)
		copy(lay.size, sizes)
		for k := range b.code {
			if b.code[k].field != 0 && !b.dead(k) {
				lay.aim[k] = b.at(b.code[k].to)
			}
		}
		lay.put()
	}
	return lay, true
}

// forms are the sizes that a jump or a branch can have; those of one that has a
// single form are equal.
func (b *body) forms(k int) (short, long uint8) {
	in := &b.code[k]
	first, size := b.bytes[in.at], uint8(in.size)
	switch {
	case in.flow == flowJump && (size == 2 && first == 0xeb || size == 5 && first == 0xe9):
		return 2, 5
	case in.flow == flowBranch && (size == 2 && first&0xf0 == 0x70 || size == 6 && first == 0x0f):
		return 2, 6
	}
	return size, size
}

// relax gives each jump and branch the short form if it then reaches its
// target, else the long one. It reports whether all do.
func (lay *layout) relax() bool {
	b := lay.b
	for k := range b.code {
		if lay.size[k] > 0 && b.code[k].field != 0 {
			lay.size[k], _ = b.forms(k)
		}
	}
	for again := true; again; {
		again = false
		lay.put()
		for k := range b.code {
			if lay.size[k] == 0 || lay.field(k) != 1 || lay.distance(k) == int64(int8(lay.distance(k))) {
				continue
			}
			_, long := b.forms(k)
			if lay.size[k] == long {
				return false
			}
			lay.size[k] = long
			again = true
		}
	}
	return true
}

// field is the size of the distance that an instruction holds, 0 if none.
func (lay *layout) field(k int) uint8 {
	in := &lay.b.code[k]
	switch {
	case in.field == 0 || lay.size[k] == uint8(in.size):
		return in.field
	case lay.size[k] == 2:
		return 1
	}
	return 4
}

// put finds out where everything is.
func (lay *layout) put() {
	b, place, run := lay.b, uint32(0), uint32(0)
	for k := range b.code {
		if b.dead(k) {
			if k == 0 || !b.dead(k-1) {
				run = place
				if lay.stop[k] {
					place += uint32(len(trapCode))
				}
			}
			lay.at[k] = run
			continue
		}
		if lay.head[k] {
			place = (place + speedAlign - 1) &^ (speedAlign - 1)
		}
		lay.at[k] = place
		place += uint32(lay.size[k])
		if lay.trap[k] {
			place += uint32(len(trapCode))
		}
	}
	lay.length = place
}

// distance is what an instruction's field holds.
func (lay *layout) distance(k int) int64 {
	to := lay.aim[k]
	end := int64(lay.at[k]) + int64(lay.size[k])
	if to < 0 {
		return int64(lay.at[^to]) + int64(lay.size[^to]) - end
	}
	return int64(lay.at[to]) - end
}

// reach is how far a branch may be from a trap that is put near it: a little
// less than a short one can go, for what is put between.
const reach = 118

// traps puts traps near the branches to traps that don't reach one.
func (lay *layout) traps() {
	b := lay.b
	var ends []int32  // the instructions that a trap can be put behind, in order
	var spots []int32 // traps so far, in order, as layout.aim names them
	place := func(spot int32) int64 {
		if spot < 0 {
			return int64(lay.at[^spot]) + int64(lay.size[^spot])
		}
		return int64(lay.at[spot])
	}
	// last returns the last of some spots that a branch which ends at end reaches.
	last := func(spots []int32, end int64) (int32, bool) {
		k, _ := slices.BinarySearchFunc(spots, end+reach, func(spot int32, limit int64) int {
			if place(spot) <= limit {
				return -1
			}
			return 1
		})
		if k == 0 || place(spots[k-1]) < end-reach {
			return 0, false
		}
		return spots[k-1], true
	}
	for k := range b.code {
		switch {
		case b.dead(k):
			if lay.stop[k] {
				spots = append(spots, int32(k))
			}
		case lay.size[k] > 0:
			switch b.code[k].flow {
			case flowJump, flowEnd:
				if !b.code[k].perhaps {
					ends = append(ends, ^int32(k))
				}
			}
		}
	}
	var added []int32
	for k := range b.code {
		if b.dead(k) || b.code[k].flow != flowBranch || lay.size[k] != 6 || lay.aim[k] < 0 || !b.doomed[lay.aim[k]] {
			continue
		}
		end := int64(lay.at[k]) + int64(lay.size[k])
		if spot, ok := last(spots, end); ok {
			lay.aim[k] = spot
		} else if spot, ok := last(added, end); ok {
			lay.aim[k] = spot
		} else if spot, ok := last(ends, end); ok {
			lay.aim[k] = spot
			lay.trap[^spot] = true
			added = append(added, spot)
		}
	}
}

// longNops are instructions that do nothing, by their length.
var longNops = [...]string{"", "\x90", "\x66\x90", "\x0f\x1f\x00", "\x0f\x1f\x40\x00", "\x0f\x1f\x44\x00\x00", "\x66\x0f\x1f\x44\x00\x00",
	"\x0f\x1f\x80\x00\x00\x00\x00", "\x0f\x1f\x84\x00\x00\x00\x00\x00"}

// write returns the code.
func (lay *layout) write() []byte {
	b := lay.b
	out := make([]byte, 0, lay.length)
	for k := range b.code {
		in := &b.code[k]
		switch {
		case b.dead(k):
			if lay.stop[k] {
				out = append(out, trapCode...)
			}
			continue
		case lay.size[k] == 0:
			continue
		}
		for n := int(lay.at[k]) - len(out); n > 0; {
			pad := longNops[min(n, len(longNops)-1)]
			out = append(out, pad...)
			n -= len(pad)
		}
		switch size := uint8(in.size); {
		case lay.size[k] == size:
			out = append(out, b.bytes[in.at:in.at+in.size]...)
		case in.flow == flowJump && lay.size[k] == 2:
			out = append(out, 0xeb, 0)
		case in.flow == flowJump:
			out = append(out, 0xe9, 0, 0, 0, 0)
		case lay.size[k] == 2:
			out = append(out, 0x70|b.bytes[in.at+1]&15, 0)
		default:
			out = append(out, 0x0f, 0x80|b.bytes[in.at]&15, 0, 0, 0, 0)
		}
		switch d := lay.distance(k); lay.field(k) {
		case 1:
			out[len(out)-1] = byte(d)
		case 4:
			binary.LittleEndian.PutUint32(out[len(out)-4:], uint32(d))
		}
		if lay.trap[k] {
			out = append(out, trapCode...)
		}
	}
	return out
}

// relocs are those of the code that is left, at their new places.
func (lay *layout) relocs() []objfile.Reloc {
	b := lay.b
	var list []objfile.Reloc
	k := 0
	for n := range b.relocs.Len() {
		r := b.relocs.At(b.fields.nth(n))
		for uint64(b.code[k].at+b.code[k].size) <= r.Offset {
			k++
		}
		if lay.size[k] > 0 {
			r.Offset += uint64(lay.at[k]) - uint64(b.code[k].at)
			list = append(list, r)
		}
	}
	return list
}
