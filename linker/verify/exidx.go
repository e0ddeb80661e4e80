package verify

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// On ARM a function's unwind data is an entry of two words in .ARM.exidx: the function's place, and its rows or where in
// .ARM.extab they are (EHABI, 5). The linker sorts all entries into one table and leaves out one that says what the one
// before it says, so a function's entry is the last that does not begin after it.

// exidxEntry is an entry of the output's table.
type exidxEntry struct {
	fn, at uint64 // the function, and the address of the entry itself
	word   uint32 // the second word
}

// readExidx attaches the objects' unwind entries to the code they are for and reads the output's table.
func (v *checker) readExidx() {
	if v.arch.exidx == 0 {
		return
	}
	for _, s := range v.sections {
		if strings.HasPrefix(s.name, ".ARM.exidx") && !s.discarded && int(s.link) < len(s.obj.sections) && s.link != 0 {
			s.obj.sections[s.link].exidx = s
		}
	}
	for i := range v.out.sections {
		s := &v.out.sections[i]
		if s.name != ".ARM.exidx" || s.data == nil {
			continue
		}
		for off := uint64(0); off+8 <= uint64(len(s.data)); off += 8 {
			first := binary.LittleEndian.Uint32(s.data[off:])
			at := s.addr + off
			v.exidx = append(v.exidx, exidxEntry{uint64(uint32(at) + prel31(first)), at, binary.LittleEndian.Uint32(s.data[off+4:])})
		}
	}
}

// prel31 is a 31-bit distance.
func prel31(w uint32) uint32 { return uint32(int32(w<<1) >> 1) }

const cantUnwind = 1

// checkExidx: the output's table says of a function what the object did.
func (v *checker) checkExidx(s *section) {
	if v.exidx == nil || s.exidx == nil {
		return
	}
	x := s.exidx
	for off := uint64(0); off+8 <= uint64(len(x.data)); off += 8 {
		fn, table := relocAt(x, off), relocAt(x, off+4)
		if fn == nil {
			continue
		}
		t := &x.obj.targets[fn.sym]
		if t.sec != s {
			continue
		}
		start := (t.value + uint64(fn.addend)) & v.arch.codeMask
		addr := s.addr + start
		i := sort.Search(len(v.exidx), func(i int) bool { return v.exidx[i].fn&v.arch.codeMask > addr })
		if i == 0 {
			v.fail(s, int64(start), "the unwind table begins after 0x%x", addr)
			continue
		}
		e := v.exidx[i-1]
		v.res.FDEs++
		word := binary.LittleEndian.Uint32(x.data[off+4:])
		if table == nil {
			if e.word != word {
				v.fail(s, int64(start), "the unwind entry holds 0x%x, the original's 0x%x", e.word, word)
			}
			continue
		}
		if e.word == cantUnwind || e.word>>31 != 0 {
			v.fail(s, int64(start), "the unwind entry holds 0x%x, the original's leads to a table", e.word)
			continue
		}
		v.settle(use{from: s, off: int64(start), index: -1, as: "the unwind entry ", target: &x.obj.targets[table.sym], addend: table.addend,
			lead: decoded{kind: leadPlace, place: place{addr: uint64(uint32(e.at) + 4 + prel31(e.word) - uint32(table.addend))}}})
	}
}

// checkExidxOrder: the unwinder searches the table by halving.
func (v *checker) checkExidxOrder() {
	for i := 1; i < len(v.exidx); i++ {
		if v.exidx[i-1].fn > v.exidx[i].fn {
			v.fail(nil, -1, ".ARM.exidx: the entry at 0x%x for 0x%x is not in order", v.exidx[i].at, v.exidx[i].fn)
			return
		}
	}
}

// hasExidx says that there is an unwind table in the output: firmware that never unwinds is linked without.
func (v *checker) hasExidx() bool {
	const ptARMExidx = 0x70000001
	for _, p := range v.out.file.Progs {
		if p.Type == ptARMExidx {
			return true
		}
	}
	for i := range v.out.sections {
		if s := &v.out.sections[i]; uint32(s.typ) == v.arch.exidx || strings.HasPrefix(s.name, ".ARM.exidx") {
			return true
		}
	}
	return len(v.out.byName["__exidx_start"]) > 0
}

// unlikeExidx compares the unwind entries of two functions, where there are any in the output.
func (v *checker) unlikeExidx(a, b *section) *difference {
	if v.arch.exidx == 0 || !v.hasExidx() {
		return nil
	}
	x, y := a.exidx, b.exidx
	if x == nil && y == nil {
		return nil
	}
	if x == nil || y == nil {
		return &difference{-1, "one has unwind entries, the other not"}
	}
	if x.size != y.size {
		return &difference{-1, fmt.Sprintf("it has %d bytes of unwind entries, the leader %d", x.size, y.size)}
	}
	if d := v.unlikeRange(x, y, 0, 0, x.size); d != nil {
		return &difference{-1, fmt.Sprintf("the unwind entries differ: offset 0x%x: %s", max(d.off, 0), d.what)}
	}
	return nil
}
